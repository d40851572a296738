//! The sixteen rules, each of which has bitten a public project: one test for each.
#![allow(unsafe_code)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{
    by_token, bytes, errno, for_each_rung, message_pair, perform, pool, push, reap, reap_until,
    ring, run_until, shared, skipped, target, tcp_pair,
};
use zcn_pool::SharedBuf;
use zcn_uring::sqe::Sqe;
use zcn_uring::{Consumption, Kind, NewFd, Op, Payload, PushReason, Ring, Target, leaked_ops};

/// Makes `from` post a completion of our choice on `to`; one with flags needs Linux 6.3.
#[must_use]
fn forge(from: &mut Ring, to: &Ring, user_data: u64, result: i32, flags: u32) -> bool {
    const FLAGS_PASS: u32 = 1 << 1;
    let sqe = Sqe {
        opcode: zcn_uring::constants::opcode::MSG_RING,
        fd: to.as_fd().as_raw_fd(),
        len: result as u32,
        off: user_data,
        op_flags: if flags == 0 { 0 } else { FLAGS_PASS },
        file_index: flags,
        ..Sqe::default()
    };
    // SAFETY: the entry points to nothing.
    let op = unsafe { Op::raw(sqe, None) };
    let done = perform(from, op);
    if flags != 0 && errno(&done) == libc::EINVAL {
        return false;
    }
    assert_eq!(done.result().expect("message sent"), 0);
    true
}

fn user_data(kind: Kind, generation: u64, group: u64, slot: u64) -> u64 {
    (kind as u64) << 56 | generation << 32 | group << 24 | slot
}

#[test]
fn rule_01_reactor_owns_every_buffer_until_the_final_completion() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let buf = pool.acquire().expect("a buffer");
        let id = push(&mut ring, Op::recv(target(&ours), buf));
        ring.submit().expect("a submit");
        ring.abandon(id);
        ring.abandon(id);
        assert!(ring.is_in_flight(id), "abandoned is not ended");
        assert_eq!(pool.stats().in_use, 1, "the kernel may still write there");
        assert_eq!(ring.counters().orphaned, 1, "abandoned once, counted once");
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        assert_eq!(ring.counters().orphans_reclaimed, 1);
        assert_eq!(pool.stats().in_use, 0);
        drop(theirs);
    });
}

#[test]
fn rule_02_a_failed_submit_still_owns_its_slot() {
    const UNREGISTER_RING_FDS: u32 = 21;
    const REGISTER_RING_FDS: u32 = 20;
    #[repr(C)]
    struct Update {
        offset: u32,
        resv: u32,
        data: u64,
    }
    let pool = pool(8);
    let mut ring = ring();
    if !ring.features().registered_ring {
        return skipped("the ring's descriptor could not be registered");
    }
    let change = |ring: &Ring, opcode, data| {
        // This thread's first ring has the first place.
        let mut update = Update {
            offset: 0,
            resv: 0,
            data,
        };
        // SAFETY: one update that lives past the call.
        unsafe {
            zcn_sys::syscall::io_uring_register(ring.as_fd(), opcode, (&raw mut update).cast(), 1)
        }
        .expect("register call");
    };
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.write_all(b"later").expect("a write");
    let id = push(
        &mut ring,
        Op::recv(target(&ours), pool.acquire().expect("one")).token(9),
    );
    // The ring goes by its registered index, which means nothing any more.
    change(&ring, UNREGISTER_RING_FDS, 0);
    let error = ring.submit().expect_err("a submit to nowhere");
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    assert!(ring.is_in_flight(id));
    assert_eq!((ring.in_flight(), ring.queued()), (1, 1));
    assert_eq!(pool.stats().in_use, 1);
    change(&ring, REGISTER_RING_FDS, ring.as_fd().as_raw_fd() as u64);
    let done = reap(&mut ring, 1);
    assert_eq!((done[0].token, done[0].id()), (9, id));
    assert_eq!(bytes(&done[0].payload), b"later");
}

#[test]
fn rule_03_final_is_told_by_the_more_flag_and_never_by_the_result() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().send_zc {
            return skipped("no zero-copy send");
        }
        let (ours, _theirs) = tcp_pair();
        ours.shutdown(Shutdown::Write).expect("a shutdown");
        let id = push(
            &mut ring,
            Op::send_zc(target(&ours), shared(&pool, b"in vain")).token(1),
        );
        let mut all = Vec::new();
        reap_until(&mut ring, &mut all, |all| {
            all.iter().any(|done| !done.more())
        });
        assert_eq!(errno(&all[0]), libc::EPIPE);
        if all[0].more() {
            // As seen on 6.18: the failure is not the end.
            assert!(all[0].payload.is_none(), "not free before the notification");
            assert_eq!(all.len(), 2);
            assert!(all[1].notification() && !all[1].more());
            assert_eq!(all[1].raw_result(), 0, "a notification is no failure");
            assert_eq!(ring.counters().zc_notifications, 1);
        }
        let last = all.pop().expect("the final one");
        assert_eq!(bytes(&last.payload), b"in vain");
        assert!(!ring.is_in_flight(id));
        drop(last);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn rule_04_the_drop_of_a_ring_drains_it() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let (tcp, _peer) = tcp_pair();
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        push(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")),
        );
        push(&mut ring, Op::recv_multi(target(&tcp), group));
        // A kernel worker blocks in this one: closing the ring would be no barrier.
        let read = Op::read(target(&reader), pool.acquire().expect("one"), u64::MAX);
        push(&mut ring, read.force_async());
        push(&mut ring, Op::timeout(Duration::from_secs(3600), 0));
        push(&mut ring, Op::poll_multi(target(&reader), libc::POLLIN));
        ring.submit().expect("a submit");
        // And one that the kernel has not even seen.
        push(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")),
        );
        assert_eq!(ring.in_flight(), 6);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
    assert_eq!(leaked_ops(), 0);
}

#[test]
fn rule_05_a_stale_completion_gives_back_what_it_brings_and_is_counted() {
    let mut ring = ring();
    let mut other = common::ring();
    let first = push(&mut ring, Op::nop().token(1));
    assert_eq!(reap(&mut ring, 1)[0].token, 1);
    let second = push(&mut ring, Op::nop().token(2));
    assert_ne!(first, second, "the slot is reused, the identity is not");
    assert!(!ring.is_in_flight(first) && ring.is_in_flight(second));
    assert_eq!(ring.cancel(first, 3).expect("a cancel"), None);
    assert_eq!(reap(&mut ring, 1)[0].token, 2);

    // Slot 0 is at its third generation; this is an accept of its first.
    let (end, mut peer) = UnixStream::pair().expect("a pair");
    let fd = OwnedFd::from(end).into_raw_fd();
    assert!(forge(
        &mut other,
        &ring,
        user_data(Kind::Accept, 1, 0, 0),
        fd,
        0
    ));
    run_until(&mut ring, |ring| ring.counters().stale == 1);
    assert_eq!(ring.counters().descriptors_reclaimed, 1);
    assert_eq!(peer.read(&mut [0]).expect("a read"), 0, "it was closed");

    // Words that were never given out.
    for word in [0, u64::MAX, user_data(Kind::Raw, 5, 0, 0xff_fffe)] {
        let before = ring.counters().stale;
        assert!(forge(&mut other, &ring, word, 7, 0));
        run_until(&mut ring, |ring| ring.counters().stale > before);
    }
}

#[test]
fn rule_06_close_is_shutdown_cancel_await_close() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("a group");

        // In order: the peer sees the end.
        let (ours, mut theirs) = tcp_pair();
        push(&mut ring, Op::recv_multi(target(&ours), group).token(1));
        ring.submit().expect("a submit");
        let done = perform(
            &mut ring,
            Op::shutdown(target(&ours), Shutdown::Write).token(2),
        );
        assert_eq!(errno(&done), 0);
        push(&mut ring, Op::cancel_target(target(&ours)).token(3));
        let all = reap(&mut ring, 2);
        assert_eq!(errno(by_token(&all, 1)), libc::ECANCELED);
        assert!(!by_token(&all, 1).more());
        assert_eq!(by_token(&all, 3).result().expect("a count"), 1);
        assert_eq!(ring.counters().multishot_ended, 0, "cancelled is not ended");
        let done = perform(&mut ring, Op::close(OwnedFd::from(ours)));
        assert_eq!(errno(&done), 0);
        assert!(done.payload.is_none(), "the kernel has closed it");
        assert_eq!(theirs.read(&mut [0]).expect("a read"), 0);

        // What goes wrong otherwise: the armed receive keeps the socket open.
        let (ours, mut theirs) = tcp_pair();
        let id = push(&mut ring, Op::recv_multi(target(&ours), group).token(4));
        ring.submit().expect("a submit");
        assert_eq!(
            errno(&perform(&mut ring, Op::close(OwnedFd::from(ours)))),
            0
        );
        theirs.write_all(b"still there").expect("a write");
        let all = reap(&mut ring, 1);
        assert_eq!((all[0].token, all[0].more()), (4, true));
        assert_eq!(bytes(&all[0].payload), b"still there");
        drop(all);
        ring.abandon(id);
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn rule_07_a_cancelled_operation_may_have_succeeded() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        // Data is there: the receive wins and its bytes are adopted.
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(b"won").expect("a write");
        let id = push(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")).token(1),
        );
        let cancel = ring.cancel(id, 2).expect("a cancel");
        assert!(cancel.is_some());
        let all = reap(&mut ring, 2);
        assert_eq!(bytes(&by_token(&all, 1).payload), b"won");
        assert_eq!(
            errno(by_token(&all, 2)),
            libc::ENOENT,
            "nothing left to cancel"
        );
        drop(all);

        // No data: the cancel wins, and the buffer still comes back with the receive.
        let id = push(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")).token(3),
        );
        ring.submit().expect("a submit");
        ring.cancel(id, 4).expect("a cancel");
        let all = reap(&mut ring, 2);
        assert_eq!(errno(by_token(&all, 3)), libc::ECANCELED);
        assert!(matches!(by_token(&all, 3).payload, Some(Payload::Buf(_))));
        assert_eq!(errno(by_token(&all, 4)), 0);
        drop(all);

        // An accept that succeeded after its owner had gone: the descriptor is closed.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let mut peer = TcpStream::connect(listener.local_addr().expect("it")).expect("a peer");
        let id = push(&mut ring, Op::accept(target(&listener), NewFd::Ordinary));
        ring.abandon(id);
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        if ring.counters().descriptors_reclaimed == 1 {
            assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
        }
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn rule_08_want_of_buffers_ends_a_multishot_and_loses_no_data() {
    for_each_rung(|builder| {
        let pool = pool(2);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(2, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, theirs) = message_pair();
        let mut theirs = std::fs::File::from(theirs);
        push(&mut ring, Op::recv_multi(target(&ours), group).token(1));
        ring.submit().expect("a submit");
        for word in [&b"one"[..], b"two", b"three"] {
            theirs.write_all(word).expect("a write");
        }
        let mut all = Vec::new();
        reap_until(&mut ring, &mut all, |all| {
            all.iter().any(|done| !done.more())
        });
        assert_eq!(all.len(), 3);
        assert_eq!(bytes(&all[0].payload), b"one");
        assert_eq!(bytes(&all[1].payload), b"two");
        assert_eq!(errno(&all[2]), libc::ENOBUFS);
        assert_eq!(ring.counters().no_buffers, 1);
        assert_eq!(ring.counters().multishot_ended, 1);
        assert_eq!(ring.group_stats(group).expect("stats").available, 0);

        // An idle socket gets the same answer, at once.
        let (idle, _peer) = message_pair();
        let done = perform(&mut ring, Op::recv_multi(target(&idle), group).token(2));
        assert_eq!((errno(&done), done.more()), (libc::ENOBUFS, false));

        // Half the buffers are back (when to arm again is for the reactor above to decide).
        all.remove(0);
        assert_eq!(pool.stats().in_use, 1);
        push(&mut ring, Op::recv_multi(target(&ours), group).token(3));
        let rest = reap(&mut ring, 1);
        assert_eq!(
            bytes(&rest[0].payload),
            b"three",
            "it had stayed in the socket"
        );
        drop((all, rest));
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn rule_09_an_overflow_ends_a_multishot_and_loses_nothing() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.entries(2).cq_entries(2).build().expect("a ring");
        let group = ring
            .register_group(32, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, theirs) = message_pair();
        let mut theirs = std::fs::File::from(theirs);
        push(&mut ring, Op::recv_multi(target(&ours), group).token(1));
        ring.submit().expect("a submit");
        for number in 0..10 {
            theirs.write_all(&[number]).expect("a write");
        }
        let mut got = Vec::new();
        let mut ends = 0;
        while got.len() < 10 {
            let all = reap(&mut ring, 1);
            let ended = all.iter().any(|done| !done.more());
            got.extend(all.iter().flat_map(|done| bytes(&done.payload)));
            if ended {
                ends += 1;
                push(&mut ring, Op::recv_multi(target(&ours), group).token(1));
            }
        }
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        assert!(ends > 0, "ten completions do not fit into two places");
        assert!(ring.counters().cq_overflows > 0);
        assert_eq!(ring.counters().multishot_ended, ends);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn rule_10_short_sends_are_seen_and_continued() {
    const BYTES: usize = 8 << 20;
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let (ours, mut theirs) = tcp_pair();
        let data: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
        let expected = data.clone();
        let mut rest = SharedBuf::from(bytes::Bytes::from(data));
        // Nobody reads yet, so the first send must be short.
        let op = Op::send(target(&ours), rest.clone()).msg_flags(libc::MSG_DONTWAIT);
        let done = perform(&mut ring, op);
        let sent = done.result().expect("a part") as usize;
        assert!(sent < BYTES);
        assert_eq!(ring.counters().short_sends, 1);
        rest.advance(sent);
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; BYTES];
            theirs.read_exact(&mut got).expect("all of it");
            got
        });
        // The rest in one go: `MSG_WAITALL` makes the kernel continue.
        let left = rest.len();
        let done = perform(&mut ring, Op::send(target(&ours), rest));
        assert_eq!(done.result().expect("the rest") as usize, left);
        assert_eq!(ring.counters().short_sends, 1);
        assert!(reader.join().expect("reader") == expected, "in order");
    });
}

#[test]
fn rule_11_a_full_direct_table_is_an_error_that_ends_the_accept() {
    // That descriptors run out (EMFILE) has a process of its own: tests/descriptors.rs.
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        ring.register_files(4).expect("a file table");
        // Two places are the caller's own; the kernel may choose among the others.
        ring.reserve_file_range(2, 2).expect("a range");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        push(
            &mut ring,
            Op::accept_multi(target(&listener), NewFd::DirectAuto).token(1),
        );
        ring.submit().expect("a submit");
        let mut peers: Vec<_> = (0..3)
            .map(|_| TcpStream::connect(address).expect("a peer"))
            .collect();
        let mut all = Vec::new();
        reap_until(&mut ring, &mut all, |all| {
            all.iter().any(|done| !done.more())
        });
        let mut slots: Vec<_> = all[..2].iter().map(|done| done.raw_result()).collect();
        slots.sort_unstable();
        assert_eq!(slots, [2, 3], "only from the range");
        assert_eq!(errno(&all[2]), libc::ENFILE);
        assert_eq!(ring.counters().multishot_ended, 1);
        // The kernel has dropped that peer: slots must be reserved before connections come.
        let mut last = peers.pop().expect("the third");
        match last.read(&mut [0]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        // Room again, and accepting goes on.
        assert_eq!(errno(&perform(&mut ring, Op::close_direct(2))), 0);
        let _fourth = TcpStream::connect(address).expect("a peer");
        push(
            &mut ring,
            Op::accept_multi(target(&listener), NewFd::DirectAuto).token(2),
        );
        let all = reap(&mut ring, 1);
        assert_eq!((all[0].raw_result(), all[0].more()), (2, true));
    });
}

#[test]
fn rule_12_bundles_span_buffers_and_pieces_share_them() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let whole = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let data: Vec<u8> = (0..10_000u32).map(|at| (at / 3) as u8).collect();
        if ring.features().bundles {
            theirs.write_all(&data).expect("a write");
            let mut got = Vec::new();
            while got.len() < data.len() {
                let done = perform(&mut ring, Op::recv_bundle(target(&ours), whole));
                let Some(Payload::Bufs(bufs)) = &done.payload else {
                    panic!("no bundle: {done:?}");
                };
                assert!(bufs[..bufs.len() - 1].iter().all(|buf| buf.len() == 4096));
                assert!(bufs.len() > 1 || !got.is_empty(), "spans several at first");
                got.extend(bytes(&done.payload));
            }
            assert_eq!(got, data);
            // A bundle of one is a bundle, too.
            theirs.write_all(b"small").expect("a write");
            let done = perform(&mut ring, Op::recv_bundle(target(&ours), whole));
            assert!(matches!(&done.payload, Some(Payload::Bufs(bufs)) if bufs.len() == 1));
        } else {
            skipped("no bundles");
        }
        let Ok(pieces) = ring.register_group(1, pool.local(), Consumption::Incremental) else {
            return skipped("no incremental consumption");
        };
        let error = ring
            .push(Op::recv_bundle(target(&ours), pieces))
            .expect_err("a bundle of pieces");
        assert_eq!(error.reason, PushReason::BundleOfPieces);
        let available = |ring: &Ring| ring.group_stats(pieces).expect("stats").available;
        push(&mut ring, Op::recv_multi(target(&ours), pieces).token(1));
        ring.submit().expect("a submit");
        let mut kept = Vec::new();
        for round in 0..4u8 {
            theirs.write_all(&[round; 1024]).expect("a write");
            let all = reap(&mut ring, 1);
            assert!(matches!(all[0].payload, Some(Payload::Shared(_))));
            assert_eq!(bytes(&all[0].payload), [round; 1024]);
            assert_eq!(
                available(&ring),
                u32::from(round < 3),
                "home only when it is full"
            );
            kept.extend(all);
        }
        let addresses: Vec<_> = kept
            .iter()
            .map(|done| match &done.payload {
                Some(Payload::Shared(piece)) => piece.as_ptr() as usize,
                _ => 0,
            })
            .collect();
        assert!(addresses.windows(2).all(|pair| pair[1] == pair[0] + 1024));
        drop(kept);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn rule_13_another_thread_cannot_submit() {
    // That the compiler forbids it is tested beside `Ring` (compile_fail).
    let mut ring = ring();
    if !ring.features().single_issuer {
        return skipped("no single issuer");
    }
    push(&mut ring, Op::nop());
    let fd = ring.as_fd().try_clone_to_owned().expect("a descriptor");
    let error = std::thread::spawn(move || {
        // SAFETY: no argument is passed.
        unsafe { zcn_sys::syscall::io_uring_enter(fd.as_fd(), 1, 0, 0, std::ptr::null(), 0) }
            .expect_err("a stranger")
    })
    .join()
    .expect("the thread");
    assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
    assert_eq!(reap(&mut ring, 1).len(), 1);
}

#[test]
fn rule_14_a_failed_receive_may_carry_a_buffer() {
    const F_BUFFER: u32 = 1;
    let pool = pool(8);
    let mut ring = ring();
    let mut other = common::ring();
    let group = ring
        .register_group(1, pool.local(), Consumption::Whole)
        .expect("a group");
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    push(
        &mut ring,
        Op::recv_from_group(target(&ours), group).token(1),
    );
    ring.submit().expect("a submit");
    // Slot 0, generation 1, group 0, buffer 0.
    let word = user_data(Kind::Recv, 1, 0, 0);
    if !forge(&mut other, &ring, word, -libc::EIO, F_BUFFER) {
        return common::skipped("a message cannot carry flags");
    }
    let done = reap(&mut ring, 1);
    assert_eq!(errno(&done[0]), libc::EIO);
    assert!(matches!(&done[0].payload, Some(Payload::Buf(buf)) if buf.is_empty()));
    drop(done);
    // What the kernel has to say of that receive is stale now.
    let id = push(&mut ring, Op::cancel_target(target(&ours)));
    ring.hide(id);
    run_until(&mut ring, |ring| ring.counters().stale == 1);
    drop(ring);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn rule_15_a_link_timeout_and_its_operation_come_in_either_order() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let pair = |ring: &mut Ring, after| {
            let buf = pool.acquire().expect("one");
            push(ring, Op::recv(target(&ours), buf).token(1).link());
            push(ring, Op::link_timeout(after).token(2));
        };
        pair(&mut ring, Duration::from_millis(5));
        let all = reap(&mut ring, 2);
        assert_eq!(errno(by_token(&all, 1)), libc::ECANCELED);
        assert!(matches!(by_token(&all, 1).payload, Some(Payload::Buf(_))));
        assert_eq!(errno(by_token(&all, 2)), libc::ETIME);
        drop(all);

        theirs.write_all(b"in time").expect("a write");
        pair(&mut ring, Duration::from_secs(3600));
        let all = reap(&mut ring, 2);
        assert_eq!(bytes(&by_token(&all, 1).payload), b"in time");
        assert_eq!(errno(by_token(&all, 2)), libc::ECANCELED);
        drop(all);
        assert_eq!((ring.in_flight(), pool.stats().in_use), (0, 0));
    });
}

#[test]
fn rule_16_completions_are_collected_before_anything_is_done() {
    // That nothing can be pushed from inside the loop is the compiler's to say (compile_fail
    // beside `Completions`); that handlers run outside of it is for the server above.
    let mut ring = ring();
    for token in 0..4 {
        push(&mut ring, Op::nop().token(token));
    }
    ring.wait(4, None).expect("a wait");
    assert_eq!(ring.completions().next().map(|done| done.token), Some(0));
    // Breaking off loses nothing, and new operations go behind the old ones.
    push(&mut ring, Op::nop().token(4));
    let tokens: Vec<_> = reap(&mut ring, 4).iter().map(|done| done.token).collect();
    assert_eq!(tokens, [1, 2, 3, 4]);
    assert_eq!(ring.queued(), 0);
    let _ = Target::Direct(0);
}
