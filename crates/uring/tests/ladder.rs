//! The flag ladder, and settings that cannot be.

mod common;

use common::{perform, skipped};
use zcn_uring::{MAX_CQ_ENTRIES, MAX_ENTRIES, Op, Ring, SetupError};

#[test]
fn each_rung_drops_one_flag_more() {
    let flags: Vec<_> = (0..=3)
        .map(|rung| {
            let mut ring = Ring::builder().skip_rungs(rung).build().expect("a ring");
            assert_eq!(perform(&mut ring, Op::nop().token(1)).token, 1);
            let features = ring.features();
            assert!(features.submit_all && features.clamp && features.taskrun_flag);
            assert_ne!(features.defer_taskrun, features.coop_taskrun);
            [
                features.no_sqarray,
                features.defer_taskrun,
                features.single_issuer,
            ]
        })
        .collect();
    if flags[0] != [true; 3] {
        return skipped("this kernel does not reach the first rung");
    }
    assert_eq!(flags[1], [false, true, true]);
    assert_eq!(flags[2], [false, false, true]);
    assert_eq!(flags[3], [false; 3]);
}

#[test]
fn a_ring_works_without_its_descriptor_registered() {
    let mut ring = Ring::builder()
        .register_ring(false)
        .build()
        .expect("a ring");
    assert!(!ring.features().registered_ring);
    assert_eq!(perform(&mut ring, Op::nop().token(3)).token, 3);
}

#[test]
fn rings_come_and_go_without_using_up_the_threads_places() {
    // A thread has sixteen places for registered rings; each drop gives one back.
    for _ in 0..100 {
        let mut ring = Ring::builder().entries(1).build().expect("a ring");
        assert!(ring.features().registered_ring);
        assert_eq!(perform(&mut ring, Op::nop().token(4)).token, 4);
    }
    // And when they are all taken, rings work without.
    let mut rings: Vec<_> = (0..20)
        .map(|_| Ring::builder().entries(1).build().expect("a ring"))
        .collect();
    assert!(!rings[19].features().registered_ring);
    for ring in &mut rings {
        assert_eq!(perform(ring, Op::nop().token(5)).token, 5);
    }
}

#[test]
fn sizes_out_of_range_name_the_setting() {
    for entries in [0, MAX_ENTRIES + 1] {
        let error = Ring::builder()
            .entries(entries)
            .build()
            .expect_err("out of range");
        assert!(matches!(error, SetupError::Config { .. }));
        assert!(error.to_string().contains("ring entries"), "{error}");
        assert!(!error.wants_fallback());
    }
    for (entries, completions) in [(8, 4), (8, MAX_CQ_ENTRIES + 1)] {
        let builder = Ring::builder().entries(entries).cq_entries(completions);
        let error = builder.build().expect_err("out of range");
        assert!(error.to_string().contains("completion entries"), "{error}");
    }
    let ring = Ring::builder().entries(5).build().expect("rounded up");
    assert_eq!(ring.sizes(), (8, 32));
}

#[test]
fn a_refused_io_uring_asks_for_the_fallback() {
    // The filter stays with the thread, which ends with the test.
    std::thread::spawn(|| {
        for (errno, word) in [(libc::EPERM, "not permitted"), (libc::ENOSYS, "no usable")] {
            if let Err(error) = zcn_sys::refusal::refuse_io_uring(errno) {
                return skipped(&format!("no seccomp filters: {error}"));
            }
            let error = Ring::builder().build().expect_err("refused");
            assert!(error.wants_fallback());
            assert!(
                error.to_string().contains(word) || errno == libc::ENOSYS,
                "{error}"
            );
        }
    })
    .join()
    .expect("the thread");
}

#[test]
fn napi_is_asked_for_and_its_absence_is_told() {
    let builder = Ring::builder().napi_busy_poll(std::time::Duration::from_micros(20));
    let mut ring = builder.build().expect("a ring either way");
    if !ring.features().napi {
        skipped("no busy polling of network devices");
    }
    assert_eq!(perform(&mut ring, Op::nop().token(6)).token, 6);
}
