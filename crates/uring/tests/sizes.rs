//! Rings of every size do the same: what the other tests show of 64-byte entries and 16-byte
//! completions holds of the larger ones.

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{GUARD, bytes, pool, shared, target};
use zcn_uring::{
    Completion, CompletionSize, Consumption, EntrySize, Op, Payload, Ring, RingBuilder,
};

/// Runs a test with a small ring of each size on each rung of the ladder.
macro_rules! for_each_size {
    ($test:ident) => {
        for rung in 0..=3 {
            let builder = || Ring::builder().entries(8).skip_rungs(rung);
            $test(builder());
            $test(builder().entries_of_128_bytes());
            $test(builder().completions_of_32_bytes());
            $test(builder().entries_of_128_bytes().completions_of_32_bytes());
        }
    };
}

/// Waits until `count` completions have come; gives token, result and payload of each.
fn reap<E: EntrySize, C: CompletionSize>(
    ring: &mut Ring<E, C>,
    count: usize,
) -> Vec<(u64, i32, Option<Payload>)> {
    let deadline = Instant::now() + GUARD;
    let mut all = Vec::new();
    while all.len() < count {
        assert!(Instant::now() < deadline, "hangs with {all:?}");
        ring.wait(1, Some(Duration::from_millis(200)))
            .expect("a wait");
        all.extend(
            ring.completions()
                .map(|done| (done.token, done.raw_result(), done.payload)),
        );
    }
    all
}

#[test]
fn a_batch_larger_than_the_queue_comes_back_in_order() {
    fn test<E: EntrySize, C: CompletionSize>(builder: RingBuilder<E, C>) {
        let mut ring = builder.build().expect("a ring");
        for round in 0..3 {
            for token in 0..100 {
                ring.push(Op::nop().token(token)).expect("a push");
            }
            let all = reap(&mut ring, 100);
            let tokens: Vec<_> = all.iter().map(|done| done.0).collect();
            assert_eq!(tokens, (0..100).collect::<Vec<_>>(), "round {round}");
            assert!(all.iter().all(|done| done.1 == 0));
        }
        assert_eq!(ring.in_flight(), 0);
    }
    for_each_size!(test);
}

#[test]
fn an_overflown_queue_loses_nothing() {
    fn test<E: EntrySize, C: CompletionSize>(builder: RingBuilder<E, C>) {
        let mut ring = builder.cq_entries(8).build().expect("a ring");
        for token in 0..64 {
            ring.push(Op::nop().token(token)).expect("a push");
            ring.submit().expect("a submit");
        }
        let all = reap(&mut ring, 64);
        let tokens: Vec<_> = all.iter().map(|done| done.0).collect();
        assert_eq!(tokens, (0..64).collect::<Vec<_>>());
    }
    for_each_size!(test);
}

#[test]
fn groups_sends_and_cancels_work() {
    fn test<E: EntrySize, C: CompletionSize>(builder: RingBuilder<E, C>) {
        let pool = pool(32);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let id = ring
            .push(Op::recv_multi(target(&ours), group).token(1))
            .expect("a push");
        for text in [b"first", b"again"] {
            theirs.write_all(text).expect("a write");
            let all = reap(&mut ring, 1);
            assert_eq!((all[0].0, bytes(&all[0].2)), (1, text.to_vec()));
        }
        ring.push(Op::send(target(&theirs), shared(&pool, b"sent")).token(2))
            .expect("a push");
        let mut tokens: Vec<_> = reap(&mut ring, 2).iter().map(|done| done.0).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, [1, 2], "the send, and what it brought");
        ring.cancel(id, 3).expect("a cancel");
        let all = reap(&mut ring, 2);
        let receive = all.iter().find(|done| done.0 == 1).expect("the receive");
        assert_eq!(receive.1, -libc::ECANCELED);
        drop(all);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    }
    for_each_size!(test);
}

#[test]
fn a_dropped_ring_gives_everything_back() {
    fn test<E: EntrySize, C: CompletionSize>(builder: RingBuilder<E, C>) {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        for _ in 0..4 {
            let buf = pool.acquire().expect("a buffer");
            ring.push(Op::recv(target(&ours), buf)).expect("a push");
        }
        ring.submit().expect("a submit");
        assert_eq!(pool.stats().in_use, 4);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
        drop(theirs);
    }
    for_each_size!(test);
}

#[test]
fn what_nobody_fills_of_a_large_completion_is_zero() {
    let mut ring = Ring::builder()
        .completions_of_32_bytes()
        .build()
        .expect("a ring");
    for token in 0..1000 {
        ring.push(Op::nop().token(token)).expect("a push");
    }
    ring.wait(1000, None).expect("a wait");
    let mut seen = 0;
    for done in ring.completions() {
        assert_eq!((done.token, done.extra()), (seen, [0, 0]));
        seen += 1;
    }
    assert_eq!(seen, 1000);
}

#[test]
fn the_smaller_sizes_cost_nothing_for_the_larger() {
    // Token, payload, word, outcome: as it was before there were other sizes.
    assert_eq!(
        size_of::<Completion<[u64; 2]>>(),
        size_of::<Completion>() + 16
    );
}
