//! Descriptors that live in the ring's own table.
#![allow(unsafe_code)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use common::{
    bytes, errno, for_each_rung, perform, pool, push, reap, run_until, shared, skipped, target,
};
use zcn_uring::{NewFd, Op, Target};

#[test]
fn a_direct_connection_lives_and_dies_in_the_table() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        ring.register_files(8).expect("a file table");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        push(
            &mut ring,
            Op::accept(target(&listener), NewFd::Direct(5)).token(1),
        );
        ring.submit().expect("a submit");
        let mut peer = TcpStream::connect(listener.local_addr().expect("it")).expect("a peer");
        assert_eq!(
            reap(&mut ring, 1)[0].raw_result(),
            0,
            "the place was chosen by us"
        );
        let ours = Target::Direct(5);
        peer.write_all(b"ping").expect("a write");
        let done = perform(&mut ring, Op::recv(ours, pool.acquire().expect("one")));
        assert_eq!(bytes(&done.payload), b"ping");
        perform(&mut ring, Op::send(ours, shared(&pool, b"pong")));
        let mut got = [0; 4];
        peer.read_exact(&mut got).expect("a read");
        assert_eq!(&got, b"pong");
        // By descriptor, and the descriptor is a place in the table.
        push(
            &mut ring,
            Op::recv(ours, pool.acquire().expect("one")).token(2),
        );
        ring.submit().expect("a submit");
        push(&mut ring, Op::cancel_target(ours).token(3));
        let all = reap(&mut ring, 2);
        assert_eq!(errno(common::by_token(&all, 2)), libc::ECANCELED);
        assert_eq!(errno(&perform(&mut ring, Op::close_direct(5))), 0);
        assert_eq!(peer.read(&mut got).expect("the end"), 0);
        assert_eq!(errno(&perform(&mut ring, Op::close_direct(5))), libc::EBADF);
    });
}

#[test]
fn a_direct_descriptor_becomes_an_ordinary_one() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        if !ring.features().install_fd {
            return skipped("direct descriptors cannot be installed");
        }
        ring.register_files(2).expect("a file table");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ring.update_files(1, &[ours.as_fd()]).expect("an update");
        drop(ours);
        let done = perform(&mut ring, Op::install_fd(1));
        // SAFETY: opened for this completion, taken once.
        let fd = unsafe { OwnedFd::from_raw_fd(done.result().expect("a descriptor") as i32) };
        theirs.write_all(b"both").expect("a write");
        let mut got = [0; 4];
        UnixStream::from(fd).read_exact(&mut got).expect("a read");
        assert_eq!(&got, b"both");
        let error = ring
            .update_files(2, &[theirs.as_fd()])
            .expect_err("beyond the table");
        assert!(error.to_string().contains("file slot"), "{error}");
    });
}

#[test]
fn the_chosen_place_of_an_orphan_is_emptied_and_no_other() {
    // The result of an accept into a chosen place is 0, which is not the place.
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        ring.register_files(4).expect("a file table");
        let (bystander, mut its_peer) = UnixStream::pair().expect("a pair");
        ring.update_files(0, &[bystander.as_fd()])
            .expect("an update");
        drop(bystander);
        let op = Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Direct(3));
        let id = push(&mut ring, op);
        ring.abandon(id);
        run_until(&mut ring, |ring| ring.in_flight() == 0);
        assert_eq!(ring.counters().descriptors_reclaimed, 1);
        assert_eq!(
            errno(&perform(&mut ring, Op::close_direct(3))),
            libc::EBADF,
            "emptied"
        );
        its_peer
            .write_all(b"x")
            .expect("the bystander is still there");
        assert_eq!(errno(&perform(&mut ring, Op::close_direct(0))), 0);
    });
}

#[test]
fn the_kernels_choice_of_an_orphan_is_emptied() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        ring.register_files(1).expect("a file table");
        for _ in 0..20 {
            let op = Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::DirectAuto);
            let id = push(&mut ring, op);
            ring.abandon(id);
            run_until(&mut ring, |ring| ring.in_flight() == 0);
        }
        assert_eq!(
            ring.counters().descriptors_reclaimed,
            20,
            "the only place, again and again"
        );
    });
}

#[test]
fn a_full_table_and_a_second_one_are_errors() {
    let mut ring = common::ring();
    ring.register_files(1).expect("a file table");
    let socket = || Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::DirectAuto);
    assert_eq!(perform(&mut ring, socket()).raw_result(), 0);
    assert_eq!(errno(&perform(&mut ring, socket())), libc::ENFILE);
    let error = ring.register_files(1).expect_err("there is one");
    assert!(error.to_string().contains("file table"), "{error}");
}
