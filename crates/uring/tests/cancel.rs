//! Cancelling: by operation, by descriptor, in a race, of every kind.

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{by_token, bytes, errno, for_each_rung, pool, push, reap, run_until, shared, target};
use zcn_uring::{Consumption, NewFd, Op, Payload};

#[test]
fn cancelling_by_descriptor_ends_everything_on_it_and_nothing_else() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let (ours, _a) = UnixStream::pair().expect("a pair");
        let (other, mut b) = UnixStream::pair().expect("a pair");
        for token in 0..4 {
            push(
                &mut ring,
                Op::recv(target(&ours), pool.acquire().expect("one")).token(token),
            );
        }
        push(
            &mut ring,
            Op::recv(target(&other), pool.acquire().expect("one")).token(4),
        );
        ring.submit().expect("a submit");
        push(&mut ring, Op::cancel_target(target(&ours)).token(5));
        let all = reap(&mut ring, 5);
        for token in 0..4 {
            assert_eq!(errno(by_token(&all, token)), libc::ECANCELED);
        }
        assert_eq!(by_token(&all, 5).result().expect("a count"), 4);
        b.write_all(b"untouched").expect("a write");
        assert_eq!(bytes(&reap(&mut ring, 1)[0].payload), b"untouched");
        // Nothing left.
        push(&mut ring, Op::cancel_target(target(&ours)));
        assert_eq!(reap(&mut ring, 1)[0].raw_result(), 0);
        drop(all);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_cancel_that_races_with_data_loses_neither_bytes_nor_buffers() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (start, started) = std::sync::mpsc::channel();
        let mut writing = theirs.try_clone().expect("a clone");
        let writer = std::thread::spawn(move || {
            for number in started {
                writing.write_all(&[number]).expect("a write");
            }
        });
        let mut got = Vec::new();
        let (mut won, mut lost) = (0, 0);
        for number in 0..200u8 {
            let id = push(
                &mut ring,
                Op::recv(target(&ours), pool.acquire().expect("one")).token(1),
            );
            ring.submit().expect("a submit");
            start.send(number).expect("the writer");
            ring.cancel(id, 2).expect("a cancel");
            let all = reap(&mut ring, 2);
            let done = by_token(&all, 1);
            match errno(done) {
                0 => won += 1,
                libc::ECANCELED => lost += 1,
                errno => panic!("errno {errno}"),
            }
            // Whatever the cancel says, the receive alone tells what became of it.
            assert!([0, libc::ENOENT, libc::EALREADY].contains(&errno(by_token(&all, 2))));
            got.extend(bytes(&done.payload));
        }
        drop(start);
        writer.join().expect("the writer");
        assert_eq!(won + lost, 200);
        while got.len() < 200 {
            let op = Op::recv(target(&ours), pool.acquire().expect("one"));
            got.extend(bytes(&common::perform(&mut ring, op).payload));
        }
        assert_eq!(got, (0..200).collect::<Vec<_>>());
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn operations_of_every_kind_can_be_abandoned() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let unconnected = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)
            .expect("a socket");
        // Fill the way out, so that a send must wait.
        ours.set_nonblocking(true).expect("non-blocking");
        while (&ours).write(&[0; 4096]).is_ok() {}
        ours.set_nonblocking(false).expect("blocking");
        let template = ring.take_msg();
        let mut msg = ring.take_msg();
        msg.set_buf(pool.acquire().expect("one"));
        let ops = [
            Op::recv(target(&ours), pool.acquire().expect("one")),
            Op::recv_from_group(target(&ours), group),
            Op::recv_multi(target(&ours), group),
            Op::recvmsg(target(&unconnected), msg),
            Op::recvmsg_multi(target(&unconnected), group, template),
            Op::send(target(&ours), shared(&pool, b"no room")),
            Op::accept(target(&listener), NewFd::Ordinary),
            Op::accept_multi(target(&listener), NewFd::Ordinary),
            Op::poll(target(&reader), libc::POLLIN),
            Op::poll_multi(target(&reader), libc::POLLIN),
            Op::read(target(&reader), pool.acquire().expect("one"), u64::MAX),
            Op::read(target(&reader), pool.acquire().expect("one"), u64::MAX).force_async(),
            Op::timeout(Duration::from_secs(3600), 0),
        ];
        let count = ops.len();
        // Some before the kernel has seen them, some after.
        let ids: Vec<_> = ops
            .into_iter()
            .enumerate()
            .map(|(number, op)| {
                if number % 3 == 0 {
                    ring.submit().expect("a submit");
                }
                push(&mut ring, op)
            })
            .collect();
        for id in ids {
            ring.abandon(id);
        }
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        let counters = ring.counters();
        assert_eq!(counters.orphaned, count as u64);
        assert_eq!(counters.orphans_reclaimed, count as u64);
        assert!(ring.unregister_group(group));
        assert_eq!(pool.stats().in_use, 0);
        drop(theirs);
    });
}

#[test]
fn cancelling_twice_and_too_late_is_harmless() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let id = push(
            &mut ring,
            Op::timeout(Duration::from_secs(3600), 0).token(1),
        );
        ring.submit().expect("a submit");
        ring.cancel(id, 2).expect("a cancel");
        ring.cancel(id, 3).expect("another");
        let all = reap(&mut ring, 3);
        assert_eq!(errno(by_token(&all, 1)), libc::ECANCELED);
        assert!(matches!(
            by_token(&all, 1).payload,
            Some(Payload::Timespec(_))
        ));
        assert_eq!(errno(by_token(&all, 2)), 0);
        assert!([libc::ENOENT, libc::EALREADY].contains(&errno(by_token(&all, 3))));
        assert_eq!(ring.cancel(id, 4).expect("too late"), None);
        ring.abandon(id);
        assert_eq!((ring.in_flight(), ring.counters().orphaned), (0, 0));
    });
}

#[test]
fn drain_accounts_for_what_it_orphans() {
    let pool = pool(8);
    let mut ring = common::ring();
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    for _ in 0..3 {
        push(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")),
        );
    }
    let hidden = push(&mut ring, Op::nop());
    ring.hide(hidden);
    assert_eq!(ring.drain(common::GUARD), 0);
    let counters = ring.counters();
    assert_eq!((counters.orphaned, counters.orphans_reclaimed), (3, 3));
    assert_eq!(pool.stats().in_use, 0);
    // And the ring is as good as new.
    assert_eq!(common::perform(&mut ring, Op::nop().token(6)).token, 6);
}

#[test]
fn an_orphan_that_its_cancel_missed_is_pursued() {
    // A read on its way to a kernel worker is in none of the lists that a cancel searches: one
    // cancel alone would leave it there until the pipe is closed.
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        for _ in 0..50 {
            let buf = pool.acquire().expect("one");
            let op = Op::read(target(&reader), buf, u64::MAX).force_async();
            let id = push(&mut ring, op);
            ring.abandon(id);
        }
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        assert_eq!(ring.counters().orphans_reclaimed, 50);
        assert_eq!(pool.stats().in_use, 0);
    });
}
