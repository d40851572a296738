//! Batches: several operations, one system call.

mod common;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{for_each_rung, pool, reap, run_until, target};
use zcn_uring::{Op, PushReason, Ring};

#[test]
fn a_batch_of_64_is_one_system_call() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let before = ring.counters().enters;
        let mut batch = ring.batch();
        assert!(batch.is_empty());
        for token in 0..64 {
            batch.prepare(Op::nop().token(token)).expect("room");
        }
        assert_eq!(batch.len(), 64);
        batch.flush_and_wait(None).expect("a flush");
        assert_eq!(ring.counters().enters, before + 1);
        let tokens: Vec<_> = ring.completions().map(|done| done.token).collect();
        assert_eq!(tokens, (0..64).collect::<Vec<_>>());
        // Nothing in it, nothing to do.
        ring.batch().flush().expect("a flush");
        assert_eq!(ring.counters().enters, before + 1);
    });
}

#[test]
fn a_batch_refuses_what_needs_another_system_call() {
    let pool = pool(4);
    let mut ring = Ring::builder().entries(8).build().expect("a ring");
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    ring.push(Op::nop().token(100)).expect("a push before");
    let mut batch = ring.batch();
    for token in 0..7 {
        batch.prepare(Op::nop().token(token)).expect("room");
    }
    let buf = pool.acquire().expect("one");
    let error = batch
        .prepare(Op::recv(target(&ours), buf))
        .expect_err("full");
    assert_eq!(error.reason, PushReason::BatchFull);
    assert!(error.to_string().contains("flush"), "{error}");
    assert_eq!(pool.stats().in_use, 1, "the operation came back");
    drop(error);
    assert_eq!(pool.stats().in_use, 0);
    assert_eq!(batch.len(), 7);
    batch.flush().expect("a flush");
    let tokens: Vec<_> = reap(&mut ring, 8).iter().map(|done| done.token).collect();
    assert_eq!(tokens, [100, 0, 1, 2, 3, 4, 5, 6]);
    // Room again.
    let mut batch = ring.batch();
    batch.prepare(Op::nop().token(9)).expect("room");
    batch.flush().expect("a flush");
    assert_eq!(reap(&mut ring, 1)[0].token, 9);
}

#[test]
fn a_batch_dropped_without_a_flush_goes_with_the_next_submit() {
    let mut ring = common::ring();
    let mut batch = ring.batch();
    batch.prepare(Op::nop().token(1)).expect("room");
    drop(batch);
    assert_eq!((ring.queued(), ring.in_flight()), (1, 1));
    ring.submit().expect("a submit");
    assert_eq!(reap(&mut ring, 1)[0].token, 1);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_batch_that_waits_gives_up_when_its_time_has_passed() {
    let mut ring = common::ring();
    let mut batch = ring.batch();
    batch.prepare(Op::nop().token(1)).expect("room");
    let id = batch
        .prepare(Op::timeout(Duration::from_secs(3600), 0))
        .expect("room");
    batch
        .flush_and_wait(Some(Duration::from_millis(5)))
        .expect("a flush");
    assert_eq!(reap(&mut ring, 1)[0].token, 1);
    assert!(ring.is_in_flight(id));
    ring.abandon(id);
    run_until(&mut ring, |ring| ring.in_flight() == 0);
}

#[test]
fn completions_fill_the_callers_places_and_no_more() {
    let mut ring = common::ring();
    for token in 0..10 {
        ring.push(Op::nop().token(token)).expect("a push");
    }
    ring.wait(10, None).expect("a wait");
    let mut places = [const { None }; 4];
    let mut seen = Vec::new();
    for expected in [4, 4, 2, 0] {
        assert_eq!(ring.reap_into(&mut places), expected);
        seen.extend(places[..expected].iter_mut().filter_map(Option::take));
    }
    let tokens: Vec<_> = seen.iter().map(|done| done.token).collect();
    assert_eq!(tokens, (0..10).collect::<Vec<_>>());
}
