//! Zero-copy sends: two completions, and the slice belongs to the kernel until the second.

mod common;

use std::io::Read;
use std::net::UdpSocket;

use common::{
    bytes, errno, for_each_rung, pool, push, reap_until, ring, run_until, shared, skipped, target,
    tcp_pair,
};
use zcn_uring::{Completion, Op, Payload};

fn over(all: &[Completion]) -> bool {
    all.iter().any(|done| !done.more())
}

#[test]
fn success_is_reported_before_the_slice_is_free() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().send_zc {
            return skipped("no zero-copy send");
        }
        let (ours, mut theirs) = tcp_pair();
        for round in 0..20u8 {
            let id = push(
                &mut ring,
                Op::send_zc(target(&ours), shared(&pool, &[round; 4000])),
            );
            let mut all = Vec::new();
            reap_until(&mut ring, &mut all, |all| !all.is_empty());
            assert_eq!(all[0].result().expect("sent"), 4000);
            assert!(all[0].more() && all[0].payload.is_none());
            let mut got = [0; 4000];
            theirs.read_exact(&mut got).expect("a read");
            assert_eq!(got, [round; 4000]);
            reap_until(&mut ring, &mut all, over);
            let last = all.pop().expect("the notification");
            assert!(last.notification());
            assert!(last.copied(), "loopback always copies, and says so");
            assert_eq!(last.id(), id);
            assert!(matches!(last.payload, Some(Payload::Shared(_))));
            drop(last);
            assert_eq!(pool.stats().in_use, 0);
        }
        assert_eq!(ring.counters().zc_notifications, 20);
        assert_eq!(ring.counters().zc_copied, 20);
    });
}

#[test]
fn an_abandoned_zero_copy_send_keeps_its_slice_until_the_notification() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().send_zc {
            return skipped("no zero-copy send");
        }
        let (ours, mut theirs) = tcp_pair();
        let id = push(
            &mut ring,
            Op::send_zc(target(&ours), shared(&pool, b"orphan")),
        );
        ring.submit().expect("a submit");
        ring.abandon(id);
        assert_eq!(pool.stats().in_use, 1);
        theirs.read_exact(&mut [0; 6]).expect("a read");
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        assert_eq!(pool.stats().in_use, 0);
        assert_eq!(ring.counters().orphans_reclaimed, 1);
    });
}

#[test]
fn a_gathered_message_goes_out_as_one() {
    for_each_rung(|builder| {
        let pool = pool(32);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().sendmsg_zc {
            return skipped("no zero-copy sendmsg");
        }
        let (ours, mut theirs) = tcp_pair();
        for zero_copy in [false, true] {
            let mut msg = ring.take_msg();
            for part in 0..16u8 {
                msg.push(shared(&pool, &[part; 100])).expect("room");
            }
            msg.push(shared(&pool, b"17th")).expect_err("no room");
            let op = match zero_copy {
                false => Op::sendmsg(target(&ours), msg),
                true => Op::sendmsg_zc(target(&ours), msg),
            };
            push(&mut ring, op);
            let mut all = Vec::new();
            reap_until(&mut ring, &mut all, over);
            assert_eq!(all[0].result().expect("sent"), 1600);
            let mut got = [0; 1600];
            theirs.read_exact(&mut got).expect("a read");
            assert!(
                got.chunks(100)
                    .enumerate()
                    .all(|(part, chunk)| chunk == [part as u8; 100])
            );
            let last = all.pop().expect("the final one");
            assert_eq!(last.notification(), zero_copy);
            let Some(Payload::Msg(msg)) = last.payload else {
                panic!("no message");
            };
            assert_eq!(msg.slice_count(), 16);
            ring.give_msg(msg);
            assert_eq!(pool.stats().in_use, 0);
        }
    });
}

#[test]
fn a_send_to_nowhere_gives_the_slice_back() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().send_zc {
            return skipped("no zero-copy send");
        }
        // Not connected: the error comes before any of the slice is lent to the network.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        push(
            &mut ring,
            Op::send_zc(target(&socket), shared(&pool, b"whereto")),
        );
        let mut all = Vec::new();
        reap_until(&mut ring, &mut all, over);
        assert_eq!(errno(&all[0]), libc::EDESTADDRREQ);
        let last = all.last().expect("the final one");
        assert!(matches!(last.payload, Some(Payload::Shared(_))));
        assert_eq!(bytes(&last.payload), b"whereto");
        drop(all);
        assert_eq!((ring.in_flight(), pool.stats().in_use), (0, 0));
    });
}

#[test]
fn a_ring_dropped_between_the_two_completions_waits_for_the_second() {
    let pool = pool(8);
    let mut ring = ring();
    if !ring.features().send_zc {
        return skipped("no zero-copy send");
    }
    let (ours, theirs) = tcp_pair();
    push(
        &mut ring,
        Op::send_zc(target(&ours), shared(&pool, b"between")),
    );
    let mut all = Vec::new();
    reap_until(&mut ring, &mut all, |all| !all.is_empty());
    drop(all);
    drop(ring);
    assert_eq!(pool.stats().in_use, 0);
    assert_eq!(zcn_uring::leaked_ops(), 0);
    drop(theirs);
}
