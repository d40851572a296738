//! Accepting: once, many, under stress, and again on the same address.
#![allow(unsafe_code)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;

use common::{errno, for_each_rung, perform, push, reap, reap_until, run_until, target};
use zcn_uring::{Completion, NewFd, Op};

/// The connection that an accept brought.
fn connection(done: &Completion) -> TcpStream {
    let fd = done.result().expect("a descriptor") as i32;
    // SAFETY: the descriptor was opened for this completion, and each is turned into a stream once.
    TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[test]
fn one_accept_takes_one_connection() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let listener = TcpListener::bind("[::1]:0").expect("a listener");
        let mut peer = TcpStream::connect(listener.local_addr().expect("it")).expect("a peer");
        let done = perform(&mut ring, Op::accept(target(&listener), NewFd::Ordinary));
        assert!(!done.more());
        let mut ours = connection(&done);
        peer.write_all(b"hello").expect("a write");
        let mut got = [0; 5];
        ours.read_exact(&mut got).expect("a read");
        assert_eq!(&got, b"hello");
    });
}

#[test]
fn accept_poll_first_is_the_accepts_own_flag() {
    // On an accept the bit that means poll-first elsewhere means multishot.
    let mut ring = common::ring();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let op = Op::accept(target(&listener), NewFd::Ordinary).poll_first();
    push(&mut ring, op);
    ring.submit().expect("a submit");
    let _peer = TcpStream::connect(listener.local_addr().expect("it")).expect("a peer");
    let done = reap(&mut ring, 1).remove(0);
    if errno(&done) == libc::EINVAL {
        return common::skipped("no poll-first for accepts");
    }
    assert!(!done.more(), "one accept, not many");
    drop(connection(&done));
}

#[test]
fn a_multishot_accept_takes_a_storm_of_connections() {
    const PEERS: usize = 400;
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        push(
            &mut ring,
            Op::accept_multi(target(&listener), NewFd::Ordinary).token(1),
        );
        ring.submit().expect("a submit");
        let storms: Vec<_> = (0..2)
            .map(|_| {
                thread::spawn(move || {
                    for number in 0..PEERS / 2 {
                        let mut peer = TcpStream::connect(address).expect("a peer");
                        peer.write_all(&(number as u32).to_ne_bytes())
                            .expect("a write");
                        assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
                    }
                })
            })
            .collect();
        let mut served = 0;
        while served < PEERS {
            for done in reap(&mut ring, 1) {
                if !done.more() {
                    push(
                        &mut ring,
                        Op::accept_multi(target(&listener), NewFd::Ordinary).token(1),
                    );
                }
                let mut ours = connection(&done);
                ours.read_exact(&mut [0; 4]).expect("its number");
                served += 1;
            }
        }
        for storm in storms {
            storm.join().expect("a storm");
        }
        assert_eq!(served, PEERS);
    });
}

#[test]
fn an_accept_can_be_pushed_again_and_the_address_used_again() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        for round in 0..20 {
            push(
                &mut ring,
                Op::accept(target(&listener), NewFd::Ordinary).token(round),
            );
            ring.submit().expect("a submit");
            let peer = TcpStream::connect(address).expect("a peer");
            let done = reap(&mut ring, 1).remove(0);
            assert_eq!(done.token, round);
            drop((connection(&done), peer));
        }
        let mut all = Vec::new();
        push(
            &mut ring,
            Op::accept_multi(target(&listener), NewFd::Ordinary).token(1),
        );
        ring.submit().expect("a submit");
        push(&mut ring, Op::cancel_target(target(&listener)).token(2));
        reap_until(&mut ring, &mut all, |all| all.len() == 2);
        drop(listener);
        let listener = TcpListener::bind(address).expect("the same address");
        let peer = TcpStream::connect(address).expect("a peer");
        let done = perform(&mut ring, Op::accept(target(&listener), NewFd::Ordinary));
        drop((connection(&done), peer));
    });
}

#[test]
fn an_abandoned_multishot_accept_closes_what_comes_late() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let id = push(
            &mut ring,
            Op::accept_multi(target(&listener), NewFd::Ordinary),
        );
        ring.submit().expect("a submit");
        let mut peers: Vec<_> = (0..3)
            .map(|_| TcpStream::connect(address).expect("a peer"))
            .collect();
        // Abandoned with connections waiting to be reaped.
        ring.abandon(id);
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        drop(listener);
        for peer in &mut peers {
            // Closed by us, or reset with the listener's queue.
            assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
        }
        assert_eq!(ring.counters().orphans_reclaimed, 1);
    });
}

#[test]
fn accepting_on_what_does_not_listen_is_an_error() {
    let mut ring = common::ring();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let done = perform(&mut ring, Op::accept(target(&socket), NewFd::Ordinary));
    assert_eq!(errno(&done), libc::EOPNOTSUPP);
}
