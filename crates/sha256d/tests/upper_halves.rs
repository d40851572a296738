//! SHA-NI code behind vector registers whose upper halves are in use runs up to 200 times
//! slower on some CPUs. Time is no test; that the halves are clean afterwards is.

#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]
#![allow(clippy::print_stdout)]

use std::arch::asm;

use zcn_sha256d::{Engine, EngineKind, Job, Nonces, Target, Watch, sha256d};

/// Leaves bits in the upper half of a register that no caller keeps anything in.
#[target_feature(enable = "avx2")]
fn dirty() {
    // SAFETY: the register is told; that its upper half stays in use is the purpose.
    unsafe { asm!("vpcmpeqd ymm15, ymm15, ymm15", out("xmm15") _, options(nomem, nostack)) }
}

/// Whether the upper half of that register has any bit.
#[target_feature(enable = "avx2")]
fn is_dirty() -> bool {
    let mut low: u64;
    // SAFETY: reads a register; what it writes is told.
    unsafe {
        asm!(
            "vextracti128 xmm14, ymm15, 1",
            "vmovq {0}, xmm14",
            out(reg) low,
            out("xmm14") _,
            options(nomem, nostack)
        );
    }
    low != 0
}

#[test]
fn sha_ni_code_starts_with_clean_upper_halves() {
    let Ok(engine) = Engine::new(EngineKind::ShaNi) else {
        println!("SKIPPED: no SHA-NI");
        return;
    };
    if !is_x86_feature_detected!("avx2") {
        println!("SKIPPED: no AVX2, so there are no upper halves");
        return;
    }
    let job = Job::new(&[7; 80], Target::from_be_bytes([0; 32]));
    let nonces = Nonces {
        first: 0,
        count: 10,
    };
    let works: [&dyn Fn(); 3] = [
        &|| drop(std::hint::black_box(sha256d(b"message").to_vec())),
        &|| {
            engine.search(&job, nonces, Watch::never(), &mut |_| ());
        },
        &|| engine.sha256d_64(&[[1; 64]; 3], &mut [[0; 32]; 3]),
    ];
    for (index, work) in works.into_iter().enumerate() {
        // SAFETY: AVX2 was just detected.
        unsafe {
            dirty();
            assert!(is_dirty(), "the test itself does not dirty");
            dirty();
            work();
            assert!(!is_dirty(), "work {index}");
        }
    }
}
