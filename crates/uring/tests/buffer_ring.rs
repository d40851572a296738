//! Provided-buffer rings: registering, running dry, refilling, coming home.

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;

use common::{
    bytes, errno, for_each_rung, message_pair, perform, pool, push, reap, reap_until, ring,
    run_until, skipped, target,
};
use zcn_uring::{Consumption, Op, Payload, PushReason, RegisterError};

#[test]
fn sizes_that_cannot_be_are_refused_with_the_setting_named() {
    let pool = pool(4);
    let mut ring = ring();
    for entries in [0, 3, 1000] {
        let error = ring
            .register_group(entries, pool.local(), Consumption::Whole)
            .expect_err("no power of two");
        assert!(error.to_string().contains("buffer-ring entries"), "{error}");
    }
    let held: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
    let error = ring
        .register_group(4, pool.local(), Consumption::Whole)
        .expect_err("an empty pool");
    assert!(
        matches!(error, RegisterError::PoolExhausted { .. }),
        "{error}"
    );
    drop(held);
    ring.register_group(4, pool.local(), Consumption::Whole)
        .expect("room again");
}

#[test]
fn there_can_be_256_groups_and_not_one_more() {
    let pool = pool(1024);
    let mut ring = ring();
    let mut groups: Vec<_> = (0..256)
        .map(|_| {
            ring.register_group(1, pool.local(), Consumption::Whole)
                .expect("a group")
        })
        .collect();
    for _ in 0..3 {
        let error = ring
            .register_group(1, pool.local(), Consumption::Whole)
            .expect_err("one too many");
        assert!(error.to_string().contains("buffer groups"), "{error}");
    }
    let last = groups.pop().expect("one");
    assert_eq!(last.number(), 255);
    // The last one works like the first.
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.write_all(b"255").expect("a write");
    let done = perform(&mut ring, Op::recv_from_group(target(&ours), last));
    assert_eq!(bytes(&done.payload), b"255");
    assert!(ring.unregister_group(last));
    assert!(!ring.unregister_group(last), "it is gone already");
    ring.register_group(1, pool.local(), Consumption::Whole)
        .expect("its place is free");
    drop((done, ring));
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_group_is_kept_while_a_receive_picks_from_it() {
    // Otherwise a completion could name a buffer of the group that took the number over.
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(4, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        push(&mut ring, Op::recv_multi(target(&ours), group).token(1));
        ring.submit().expect("a submit");
        theirs.write_all(b"on its way").expect("a write");
        assert!(!ring.unregister_group(group), "a receive is armed");
        let all = reap(&mut ring, 1);
        assert_eq!(bytes(&all[0].payload), b"on its way");
        let id = all[0].id();
        ring.abandon(id);
        assert!(!ring.unregister_group(group), "its end has not come");
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        // A receive with a buffer of its own is no reason.
        let id = push(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")),
        );
        assert!(ring.unregister_group(group));
        ring.abandon(id);
        drop((ring, all));
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_receive_from_a_group_that_is_not_there_is_refused_at_the_push() {
    let pool = pool(4);
    let (mut ring, mut other) = (ring(), common::ring());
    let group = other
        .register_group(1, pool.local(), Consumption::Whole)
        .expect("a group");
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let error = ring
        .push(Op::recv_multi(target(&ours), group).token(77))
        .expect_err("no group");
    assert_eq!(error.reason, PushReason::NoSuchGroup);
    assert_eq!(error.op.user_token(), 77);
    assert_eq!(ring.in_flight(), 0);
    other
        .push(Op::recv_from_group(target(&ours), group))
        .expect("its own ring knows it");
}

#[test]
fn an_exhausted_pool_is_an_error_of_the_receive_and_a_refill_heals_it() {
    for_each_rung(|builder| {
        let pool = pool(4);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("more places than buffers");
        assert_eq!(ring.group_stats(group).expect("stats").available, 4);
        let (ours, theirs) = message_pair();
        let mut theirs = std::fs::File::from(theirs);
        let mut held = Vec::new();
        for number in 0..4u8 {
            theirs.write_all(&[number]).expect("a write");
            held.push(perform(
                &mut ring,
                Op::recv_from_group(target(&ours), group),
            ));
        }
        theirs.write_all(&[4]).expect("a write");
        let done = perform(&mut ring, Op::recv_from_group(target(&ours), group));
        assert_eq!(errno(&done), libc::ENOBUFS);
        assert!(done.payload.is_none());
        assert_eq!(ring.counters().no_buffers, 1);
        held.remove(2);
        let done = perform(&mut ring, Op::recv_from_group(target(&ours), group));
        assert_eq!(bytes(&done.payload), [4]);
        drop((held, done, ring));
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn many_rounds_over_few_buffers_keep_bytes_and_buffers_apart() {
    // Buffers wrap around the ring many times and are held for different times.
    for_each_rung(|builder| {
        let pool = pool(24);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(16, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, theirs) = message_pair();
        let mut theirs = std::fs::File::from(theirs);
        push(&mut ring, Op::recv_multi(target(&ours), group));
        let mut held = std::collections::VecDeque::new();
        for round in 0..3000u32 {
            theirs.write_all(&round.to_ne_bytes()).expect("a write");
            for done in reap(&mut ring, 1) {
                if !done.more() {
                    push(&mut ring, Op::recv_multi(target(&ours), group));
                }
                if done.payload.is_none() {
                    assert_eq!(errno(&done), libc::ENOBUFS);
                    continue;
                }
                held.push_back((round, done));
            }
            while held.len() > (round % 7) as usize {
                let (round, done) = held.pop_front().expect("one");
                assert_eq!(bytes(&done.payload), round.to_ne_bytes());
            }
        }
        drop((held, ring));
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn two_sockets_share_incremental_buffers_out_of_order() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let Ok(group) = ring.register_group(4, pool.local(), Consumption::Incremental) else {
            return skipped("no incremental consumption");
        };
        let mut pairs: Vec<_> = (0..2)
            .map(|_| UnixStream::pair().expect("a pair"))
            .collect();
        for (token, (ours, _)) in pairs.iter().enumerate() {
            push(
                &mut ring,
                Op::recv_multi(target(ours), group).token(token as u64),
            );
        }
        ring.submit().expect("a submit");
        let mut random = common::Random(7);
        let (mut sent, mut got) = ([vec![], vec![]], [vec![], vec![]]);
        let mut held = Vec::new();
        for _ in 0..400 {
            let which = random.below(2) as usize;
            let chunk: Vec<u8> = (0..1 + random.below(900))
                .map(|_| random.next() as u8)
                .collect();
            pairs[which].1.write_all(&chunk).expect("a write");
            sent[which].extend_from_slice(&chunk);
            let deadline = std::time::Instant::now() + common::GUARD;
            while got[which].len() < sent[which].len() {
                assert!(std::time::Instant::now() < deadline, "hangs");
                for done in reap(&mut ring, 1) {
                    let token = done.token as usize;
                    if !done.more() {
                        push(
                            &mut ring,
                            Op::recv_multi(target(&pairs[token].0), group).token(done.token),
                        );
                    }
                    got[token].extend(bytes(&done.payload));
                    // Held for a while: the buffer must not come home before its last piece.
                    held.push((token, got[token].len(), done));
                }
                if held.len() > 20 {
                    let (token, end, done) = held.remove(random.below(20) as usize);
                    let piece = bytes(&done.payload);
                    assert_eq!(piece, got[token][end - piece.len()..end]);
                }
            }
        }
        assert!(got == sent);
        drop((held, ring));
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn bundles_that_complete_out_of_order_keep_their_own_buffers() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().bundles {
            return skipped("no bundles");
        }
        let group = ring
            .register_group(4, pool.local(), Consumption::Whole)
            .expect("a group");
        let pairs: Vec<_> = (0..3)
            .map(|_| UnixStream::pair().expect("a pair"))
            .collect();
        let mut random = common::Random(3);
        let (mut sent, mut got) = (vec![vec![]; 3], vec![vec![]; 3]);
        for _ in 0..200 {
            // All three armed, data in an order of its own: short ones among them.
            for (token, (ours, _)) in pairs.iter().enumerate() {
                push(
                    &mut ring,
                    Op::recv_bundle(target(ours), group).token(token as u64),
                );
            }
            ring.submit().expect("a submit");
            for at in 0..3 {
                let which = (at + random.below(3) as usize) % 3;
                let chunk: Vec<u8> = (0..1 + random.below(6000))
                    .map(|_| random.next() as u8)
                    .collect();
                (&pairs[which].1).write_all(&chunk).expect("a write");
                sent[which].extend_from_slice(&chunk);
            }
            // Who has got nothing is told to stop.
            for (ours, _) in &pairs {
                let id = push(&mut ring, Op::cancel_target(target(ours)));
                ring.hide(id);
            }
            let mut all = Vec::new();
            reap_until(&mut ring, &mut all, |all| all.len() == 3);
            for done in all {
                match errno(&done) {
                    0 => assert!(matches!(done.payload, Some(Payload::Bufs(_)))),
                    errno => assert!([libc::ECANCELED, libc::ENOBUFS].contains(&errno)),
                }
                got[done.token as usize].extend(bytes(&done.payload));
                if let Some(Payload::Bufs(bufs)) = done.payload {
                    ring.give_bundle(bufs);
                }
            }
        }
        for which in 0..3 {
            while got[which].len() < sent[which].len() {
                let op = Op::recv_bundle(target(&pairs[which].0), group);
                got[which].extend(bytes(&perform(&mut ring, op).payload));
            }
        }
        assert!(got == sent);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_bundle_received_by_a_kernel_worker_is_whole() {
    for_each_rung(|builder| {
        let pool = pool(32);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().bundles {
            return skipped("no bundles");
        }
        let group = ring
            .register_group(16, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, mut theirs) = common::tcp_pair();
        let sent: Vec<u8> = (0..40_000_u32).map(|at| (at * 7 % 251) as u8).collect();
        let mut received = Vec::new();
        for (round, chunk) in sent.chunks(10_000).enumerate() {
            // The first of each round waits in the worker for what is sent only then.
            push(
                &mut ring,
                Op::recv_bundle(target(&ours), group).force_async(),
            );
            ring.submit().expect("a submit");
            theirs.write_all(chunk).expect("a write");
            loop {
                let done = reap(&mut ring, 1).remove(0);
                assert_eq!(errno(&done), 0, "{done:?}");
                assert!(matches!(done.payload, Some(Payload::Bufs(_))), "{done:?}");
                received.extend(bytes(&done.payload));
                if received.len() == (round + 1) * 10_000 {
                    break;
                }
                push(
                    &mut ring,
                    Op::recv_bundle(target(&ours), group).force_async(),
                );
            }
        }
        assert!(received == sent, "bytes differ");
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}
