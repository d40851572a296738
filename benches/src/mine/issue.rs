//! How many vector instructions the CPU issues when nothing holds them up.

#![allow(unsafe_code)]

use std::time::Duration;

use zcn_sha256d::Census;

/// Instructions on 64-byte vectors, in millions a second.
pub struct Rates {
    any: f64,
    shifts: f64,
}

impl Rates {
    /// Millions of hashes a second that the instructions of `census` allow: all of them
    /// share the vector units, and the shifts those that can shift.
    pub fn bound(&self, census: &Census) -> f64 {
        let vectors = (self.any / census.total()).min(self.shifts / census.shifts);
        16.0 * vectors
    }
}

/// The rates of this core; `None` without AVX-512.
#[cfg(target_arch = "x86_64")]
pub fn rates(sample: Duration) -> Option<Rates> {
    use std::arch::asm;

    /// Repetitions of the loop between two looks at the clock.
    const TURNS: u64 = 4096;
    /// Instructions in the loop.
    const BODY: u64 = 12;

    /// The instruction on twelve registers, none of which waits for another.
    macro_rules! turns {
        ($name:ident, $instruction:literal, $last:literal) => {
            #[target_feature(enable = "avx512f")]
            fn $name() {
                macro_rules! one {
                    ($to:literal) => {
                        concat!($instruction, " zmm", $to, ", zmm16, ", $last)
                    };
                }
                // SAFETY: changes the registers that it names, and no memory.
                unsafe {
                    asm!(
                        "2:",
                        one!("0"), one!("1"), one!("2"), one!("3"), one!("4"), one!("5"),
                        one!("6"), one!("7"), one!("8"), one!("9"), one!("10"), one!("11"),
                        "dec {turns}",
                        "jnz 2b",
                        turns = inout(reg) TURNS => _,
                        out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                        out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                        out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                        options(nomem, nostack)
                    );
                }
            }
        };
    }
    turns!(sums, "vpaddd", "zmm17");
    turns!(shifts, "vprord", "5");

    if !is_x86_feature_detected!("avx512f") {
        return None;
    }
    let rate = |turns: unsafe fn()| {
        super::rate(sample / 2, |_| {
            // SAFETY: AVX-512F was just detected.
            unsafe { turns() }
            TURNS * BODY
        })
    };
    Some(Rates {
        any: rate(sums),
        shifts: rate(shifts),
    })
}

/// The rates of this core; `None` without AVX-512.
#[cfg(not(target_arch = "x86_64"))]
pub fn rates(_: Duration) -> Option<Rates> {
    None
}
