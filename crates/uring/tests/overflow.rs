//! More completions than there is room for.

mod common;

use std::os::unix::net::UnixStream;

use common::{for_each_rung, pool, push, reap, target};
use zcn_uring::Op;

#[test]
fn completions_beyond_the_queue_are_held_and_delivered_in_order() {
    for_each_rung(|builder| {
        let mut ring = builder.entries(4).cq_entries(4).build().expect("a ring");
        assert_eq!(ring.sizes(), (4, 4));
        for token in 0..50 {
            push(&mut ring, Op::nop().token(token));
            ring.submit().expect("a submit");
        }
        let all = reap(&mut ring, 50);
        let tokens: Vec<_> = all.iter().map(|done| done.token).collect();
        assert_eq!(tokens, (0..50).collect::<Vec<_>>());
        assert_eq!(ring.in_flight(), 0);
    });
}

#[test]
fn an_overflow_is_counted_once_however_often_one_looks() {
    for_each_rung(|builder| {
        let mut ring = builder.entries(2).cq_entries(2).build().expect("a ring");
        for token in 0..8 {
            push(&mut ring, Op::nop().token(token));
            ring.submit().expect("a submit");
        }
        if !ring.features().defer_taskrun {
            // Without deferred work the completions are posted at once, and do not fit.
            for _ in 0..5 {
                let _ = ring.completions();
            }
            assert_eq!(ring.counters().cq_overflows, 1);
        }
        assert_eq!(reap(&mut ring, 8).len(), 8);
    });
}

#[test]
fn a_wait_for_more_than_the_queue_holds_is_a_wait_for_a_full_queue() {
    for_each_rung(|builder| {
        let mut ring = builder.entries(4).cq_entries(8).build().expect("a ring");
        for token in 0..20 {
            push(&mut ring, Op::nop().token(token));
        }
        let mut got = 0;
        while got < 20 {
            ring.wait(1000.min(20 - got), None).expect("a wait");
            got += ring.completions().count() as u32;
        }
        assert_eq!(ring.in_flight(), 0);
    });
}

#[test]
fn cancelling_into_a_full_queue_brings_every_buffer_home() {
    for_each_rung(|builder| {
        let pool = pool(128);
        let mut ring = builder.entries(2).cq_entries(2).build().expect("a ring");
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        for _ in 0..100 {
            push(
                &mut ring,
                Op::recv(target(&ours), pool.acquire().expect("one")),
            );
        }
        assert_eq!(pool.stats().in_use, 100);
        assert_eq!(ring.drain(common::GUARD), 0);
        assert_eq!(pool.stats().in_use, 0);
        assert!(ring.counters().cq_overflows > 0);
    });
}
