//! Nothing is left behind. Counts the process's descriptors, so this test has a process of its own.
#![allow(unsafe_code)]

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{open_descriptors, pool, push, shared, target, tcp_pair};
use zcn_uring::{Consumption, NewFd, Op, Ring, Waker, leaked_ops};

#[test]
fn a_ring_dropped_with_every_kind_in_flight_leaves_nothing_behind() {
    let before = open_descriptors();
    for round in 0..40 {
        for rung in 0..=3 {
            one_round(round, rung);
            assert_eq!(open_descriptors(), before, "round {round}, rung {rung}");
        }
    }
    assert_eq!(leaked_ops(), 0);
}

/// Token of the operations that open an ordinary descriptor.
const OPENS: u64 = 99;

fn one_round(round: usize, rung: usize) {
    let pool = pool(128);
    let mut ring = Ring::builder()
        .entries([4, 64][round % 2])
        .skip_rungs(rung)
        .build()
        .expect("a ring");
    let group = ring
        .register_group(16, pool.local(), Consumption::Whole)
        .expect("a group");
    let pieces = ring
        .register_group(4, pool.local(), Consumption::Incremental)
        .ok();
    ring.register_pool(&pool).expect("registered");
    ring.register_files(8).expect("a file table");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let (tcp, mut peer) = tcp_pair();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let waker = Waker::new().expect("a waker");
    let client =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let closing = OwnedFd::from(udp.try_clone().expect("a clone"));
    let address = listener.local_addr().expect("its address");
    // Waiting connections become descriptors that nobody ever sees.
    let _waiting: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).expect("a peer"))
        .collect();
    peer.write_all(&[1; 10_000]).expect("data under way");

    let mut msg = ring.take_msg();
    msg.set_buf(pool.acquire().expect("one"));
    let mut gathered = ring.take_msg();
    gathered.push(shared(&pool, b"gathered")).expect("room");
    let mut lent = ring.take_msg();
    lent.push(shared(&pool, b"lent")).expect("room");
    let template = ring.take_msg();
    let hour = Duration::from_secs(3600);
    let buf = || pool.acquire().expect("one");
    let mut ops = vec![
        Op::nop(),
        Op::recv(target(&ours), buf()),
        Op::recv_from_group(target(&ours), group),
        Op::recv_multi(target(&tcp), group),
        Op::recv_bundle(target(&ours), group),
        Op::recvmsg(target(&udp), msg),
        Op::recvmsg_multi(target(&udp), group, template),
        Op::send(target(&tcp), shared(&pool, b"sent")),
        Op::send_zc(target(&tcp), shared(&pool, b"lent")),
        Op::sendmsg(target(&tcp), gathered),
        Op::sendmsg_zc(target(&tcp), lent),
        Op::accept(target(&listener), NewFd::Ordinary).token(OPENS),
        Op::accept_multi(target(&listener), NewFd::DirectAuto),
        Op::accept_multi(target(&listener), NewFd::Ordinary).token(OPENS),
        Op::connect(target(&client), address.into()),
        Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Ordinary).token(OPENS),
        Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Direct(2)),
        Op::close(closing),
        Op::poll(target(&reader), libc::POLLIN),
        Op::poll_multi(target(&reader), libc::POLLIN),
        Op::read(target(&reader), buf(), u64::MAX),
        Op::read(target(&reader), buf(), u64::MAX).force_async(),
        Op::write(target(&writer), shared(&pool, b""), u64::MAX),
        Op::timeout(hour, 0),
        Op::recv(target(&ours), buf()).link(),
        Op::link_timeout(hour),
    ];
    if let Some(pieces) = pieces {
        ops.push(Op::recv_multi(target(&ours), pieces));
    }
    ring.arm_waker(&waker, 1).expect("armed");
    for (number, op) in ops.into_iter().enumerate() {
        let id = push(&mut ring, op);
        // In each round others are abandoned, cancelled, submitted, reaped.
        match (number + round) % 11 {
            0 => ring.abandon(id),
            1 => drop(ring.cancel(id, 0)),
            2 => ring.submit().expect("a submit"),
            3 if round.is_multiple_of(3) => close_what_was_accepted(&mut ring),
            _ => {}
        }
    }
    drop(ring);
    assert_eq!(pool.stats().in_use, 0, "round {round}, rung {rung}");
    assert_eq!(leaked_ops(), 0, "round {round}, rung {rung}");
    drop((theirs, peer));
}

/// Whoever takes a completion takes its descriptor.
fn close_what_was_accepted(ring: &mut Ring) {
    use std::os::fd::FromRawFd;
    ring.wait(0, Some(Duration::from_millis(1)))
        .expect("a wait");
    for done in ring.completions() {
        if let (OPENS, Ok(fd)) = (done.token, done.result()) {
            // SAFETY: an ordinary descriptor, opened for this completion, taken once.
            drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        }
    }
}
