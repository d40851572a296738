//! Receiving: once, many, messages, ends of streams, fairness.

mod common;

use std::io::Write;
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;

use common::{
    bytes, errno, for_each_rung, message_pair, perform, pool, push, reap, reap_until, target,
    tcp_pair,
};
use zcn_uring::{Consumption, Msg, Op, Payload, recv_msg};

#[test]
fn a_buffer_is_filled_behind_its_bytes() {
    for_each_rung(|builder| {
        let pool = pool(4);
        let mut ring = builder.build().expect("a ring");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut buf = pool.acquire().expect("one");
        buf.extend_from_slice(b"head:").expect("room");
        theirs.write_all(b"body").expect("a write");
        let done = perform(&mut ring, Op::recv(target(&ours), buf));
        assert_eq!(done.result().expect("a count"), 4);
        assert_eq!(bytes(&done.payload), b"head:body");
        // The end of the stream is 0 and leaves the buffer as it was.
        theirs.shutdown(Shutdown::Write).expect("a shutdown");
        let done = perform(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")),
        );
        assert_eq!(done.result().expect("the end"), 0);
        assert_eq!(bytes(&done.payload), b"");
    });
}

#[test]
fn a_multishot_receive_brings_everything_in_order_and_ends_with_the_stream() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(32, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, mut theirs) = tcp_pair();
        push(&mut ring, Op::recv_multi(target(&ours), group));
        ring.submit().expect("a submit");
        let data: Vec<u8> = (0..1_000_000u32).map(|at| (at / 5) as u8).collect();
        let expected = data.clone();
        let writer = std::thread::spawn(move || {
            for chunk in data.chunks(777) {
                theirs.write_all(chunk).expect("a write");
            }
        });
        let mut got = Vec::new();
        let mut over = false;
        while !over {
            for done in reap(&mut ring, 1) {
                got.extend(bytes(&done.payload));
                if !done.more() {
                    over = done.raw_result() == 0;
                    if !over {
                        assert_ne!(done.raw_result(), -libc::ECANCELED);
                        push(&mut ring, Op::recv_multi(target(&ours), group));
                    }
                }
            }
        }
        writer.join().expect("the writer");
        assert!(got == expected);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_busy_socket_does_not_starve_a_quiet_one() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(32, pool.local(), Consumption::Whole)
            .expect("a group");
        let (busy, busy_peer) = message_pair();
        let (quiet, quiet_peer) = message_pair();
        let (mut busy_peer, mut quiet_peer) = (
            std::fs::File::from(busy_peer),
            std::fs::File::from(quiet_peer),
        );
        push(&mut ring, Op::recv_multi(target(&busy), group).token(1));
        push(&mut ring, Op::recv_multi(target(&quiet), group).token(2));
        ring.submit().expect("a submit");
        let mut all = Vec::new();
        let mut turns = 0;
        quiet_peer.write_all(b"quiet").expect("a write");
        while !all.contains(&2) {
            busy_peer.write_all(b"busy").expect("a write");
            for done in reap(&mut ring, 1) {
                if !done.more() {
                    let ours = if done.token == 1 { &busy } else { &quiet };
                    push(
                        &mut ring,
                        Op::recv_multi(target(ours), group).token(done.token),
                    );
                }
                all.push(done.token);
            }
            turns += 1;
            assert!(turns < 1000, "starved");
        }
    });
}

#[test]
fn a_drained_operation_comes_after_everything_before_it() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        push(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")).token(1),
        );
        push(&mut ring, Op::nop().token(2).drain());
        push(&mut ring, Op::nop().token(3));
        ring.submit().expect("a submit");
        assert_eq!(ring.completions().count(), 0, "all wait for the receive");
        (&theirs).write_all(b"go").expect("a write");
        let tokens: Vec<_> = reap(&mut ring, 3).iter().map(|done| done.token).collect();
        // Linux 6.1 tells the ends of those that waited in the reverse order.
        assert_eq!(tokens[0], 1);
        assert!(tokens.contains(&2) && tokens.contains(&3), "{tokens:?}");
    });
}

#[test]
fn a_shutdown_that_races_with_data_loses_none() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(16, pool.local(), Consumption::Whole)
            .expect("a group");
        for _ in 0..100 {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            push(&mut ring, Op::recv_multi(target(&ours), group));
            ring.submit().expect("a submit");
            let writer = std::thread::spawn(move || {
                theirs.write_all(b"last words").expect("a write");
                theirs.shutdown(Shutdown::Both).expect("a shutdown");
            });
            let mut all = Vec::new();
            reap_until(&mut ring, &mut all, |all| {
                all.iter().any(|done| !done.more())
            });
            let got: Vec<u8> = all.iter().flat_map(|done| bytes(&done.payload)).collect();
            assert_eq!(got, b"last words");
            assert_eq!(all.last().expect("the end").raw_result(), 0);
            writer.join().expect("the writer");
        }
        assert_eq!(
            ring.counters().multishot_ended,
            0,
            "an end of stream is no reason to arm again"
        );
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_reset_connection_is_an_error_with_no_buffer_lost() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(4, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, theirs) = tcp_pair();
        push(&mut ring, Op::recv_multi(target(&ours), group));
        ring.submit().expect("a submit");
        socket2::SockRef::from(&theirs)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("linger");
        drop(theirs);
        let done = reap(&mut ring, 1).remove(0);
        assert_eq!((errno(&done), done.more()), (libc::ECONNRESET, false));
        drop((done, ring));
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn truncated_datagrams_are_no_bundles() {
    // With MSG_TRUNC the kernel reports more bytes than there are in the buffer.
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("a group");
        let ours = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let theirs = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        theirs
            .connect(ours.local_addr().expect("it"))
            .expect("connected");
        for round in 0..20u8 {
            theirs.send(&[round; 9000]).expect("a datagram");
            let op = Op::recv_from_group(target(&ours), group).msg_flags(libc::MSG_TRUNC);
            let done = perform(&mut ring, op);
            assert!(matches!(done.payload, Some(Payload::Buf(_))));
            assert_eq!(bytes(&done.payload), [round; 4096]);
            // Into a buffer of its own the true length is reported and the bytes are cut.
            theirs.send(&[round; 9000]).expect("a datagram");
            let op = Op::recv(target(&ours), pool.acquire().expect("one"));
            let done = perform(&mut ring, op.msg_flags(libc::MSG_TRUNC));
            assert_eq!(done.result().expect("a length"), 9000);
            assert_eq!(bytes(&done.payload), [round; 4096]);
        }
        assert_eq!(ring.group_stats(group).expect("stats").available, 8);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn datagrams_come_with_their_senders() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let group = ring
            .register_group(8, pool.local(), Consumption::Whole)
            .expect("a group");
        let ours = UdpSocket::bind("[::1]:0").expect("a socket");
        let address = ours.local_addr().expect("its address");
        let theirs = UdpSocket::bind("[::1]:0").expect("a socket");
        let sender = theirs.local_addr().expect("its address");

        theirs.send_to(b"one by one", address).expect("a datagram");
        let mut msg = ring.take_msg();
        msg.set_buf(pool.acquire().expect("one"));
        let done = perform(&mut ring, Op::recvmsg(target(&ours), msg));
        let Some(Payload::Msg(mut msg)) = done.payload else {
            panic!("no message");
        };
        assert_eq!(msg.peer(), Some(sender));
        assert!(!msg.is_truncated());
        assert_eq!(&msg.take_buf().expect("the buffer")[..], b"one by one");
        ring.give_msg(msg);

        let template = ring.take_msg();
        push(
            &mut ring,
            Op::recvmsg_multi(target(&ours), group, template).token(1),
        );
        ring.submit().expect("a submit");
        for number in 0..5u8 {
            theirs.send_to(&[number; 100], address).expect("a datagram");
        }
        let mut all = Vec::new();
        reap_until(&mut ring, &mut all, |all| all.len() == 5);
        for (number, done) in all.iter().enumerate() {
            let raw = bytes(&done.payload);
            let datagram = recv_msg::parse(&raw).expect("it holds together");
            assert_eq!(datagram.peer, Some(sender));
            assert_eq!(&raw[datagram.offset..], [number as u8; 100]);
        }
        let id = all[0].id();
        drop(all);
        let cancel = ring.cancel(id, 2).expect("a cancel").expect("it is armed");
        ring.hide(cancel);
        let done = reap(&mut ring, 1).remove(0);
        assert_eq!(errno(&done), libc::ECANCELED);
        assert!(
            matches!(done.payload, Some(Payload::Msg(_))),
            "the template is back"
        );
        drop((done, ring));
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_failed_recvmsg_names_no_peer() {
    let pool = pool(4);
    let mut ring = common::ring();
    let ours = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let theirs = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    theirs
        .send_to(b"x", ours.local_addr().expect("it"))
        .expect("a datagram");
    let mut msg = Msg::new();
    msg.set_buf(pool.acquire().expect("one"));
    let done = perform(&mut ring, Op::recvmsg(target(&ours), msg));
    let Some(Payload::Msg(mut msg)) = done.payload else {
        panic!("no message");
    };
    assert!(msg.peer().is_some());
    // The same box again, this time in vain: the old sender must be gone.
    msg.clear();
    msg.set_buf(pool.acquire().expect("one"));
    let op = Op::recvmsg(target(&ours), msg).msg_flags(libc::MSG_DONTWAIT);
    let done = perform(&mut ring, op);
    assert_eq!(errno(&done), libc::EAGAIN);
    let Some(Payload::Msg(msg)) = done.payload else {
        panic!("no message");
    };
    assert_eq!(msg.peer(), None);
    assert_eq!(msg.control(), b"");
}
