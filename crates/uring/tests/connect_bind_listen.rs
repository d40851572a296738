//! Connections from nothing: socket, bind, listen, connect, all through the ring.
#![allow(unsafe_code)]

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};

use common::{bytes, errno, for_each_rung, perform, pool, push, reap, shared, skipped, target};
use socket2::SockAddr;
use zcn_uring::{Completion, NewFd, Op, Payload};

fn descriptor(done: &Completion) -> OwnedFd {
    // SAFETY: opened for this completion, taken once.
    unsafe { OwnedFd::from_raw_fd(done.result().expect("a descriptor") as i32) }
}

#[test]
fn a_connection_is_made_and_used_by_the_ring_alone() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().bind_listen {
            return skipped("no bind and listen");
        }
        let socket = || Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Ordinary);
        let server = descriptor(&perform(&mut ring, socket()));
        let any = SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let done = perform(&mut ring, Op::bind(target(&server), any));
        assert_eq!(errno(&done), 0);
        assert!(matches!(done.payload, Some(Payload::Addr(_))));
        assert_eq!(
            errno(&perform(&mut ring, Op::listen(target(&server), 16))),
            0
        );
        let address = socket2::SockRef::from(&server)
            .local_addr()
            .expect("its address");

        let client = descriptor(&perform(&mut ring, socket()));
        push(
            &mut ring,
            Op::accept(target(&server), NewFd::Ordinary).token(1),
        );
        push(&mut ring, Op::connect(target(&client), address).token(2));
        let all = reap(&mut ring, 2);
        assert_eq!(errno(common::by_token(&all, 2)), 0);
        let peer = descriptor(common::by_token(&all, 1));
        push(
            &mut ring,
            Op::send(target(&client), shared(&pool, b"all by ring")).token(3),
        );
        push(
            &mut ring,
            Op::recv(target(&peer), pool.acquire().expect("one")).token(4),
        );
        let all = reap(&mut ring, 2);
        assert_eq!(bytes(&common::by_token(&all, 4).payload), b"all by ring");
    });
}

#[test]
fn nobody_listening_is_a_refused_connection() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let free = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port that is free again");
        let op = Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Ordinary);
        let client = descriptor(&perform(&mut ring, op));
        let done = perform(
            &mut ring,
            Op::connect(target(&client), SockAddr::from(free)),
        );
        assert_eq!(errno(&done), libc::ECONNREFUSED);
        assert!(matches!(done.payload, Some(Payload::Addr(_))));
    });
}

#[test]
fn an_address_in_use_is_an_error_of_the_bind() {
    let mut ring = common::ring();
    if !ring.features().bind_listen {
        return skipped("no bind and listen");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let op = Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Ordinary);
    let server = descriptor(&perform(&mut ring, op));
    let address = SockAddr::from(taken.local_addr().expect("its address"));
    let done = perform(&mut ring, Op::bind(target(&server), address));
    assert_eq!(errno(&done), libc::EADDRINUSE);
}

#[test]
fn a_unix_socket_connects_by_path() {
    let mut ring = common::ring();
    let folder = std::env::temp_dir().join(format!("zcn-uring-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a listener");
    let op = Op::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0, NewFd::Ordinary);
    let client = descriptor(&perform(&mut ring, op));
    let address = SockAddr::unix(&path).expect("an address");
    assert_eq!(
        errno(&perform(&mut ring, Op::connect(target(&client), address))),
        0
    );
    drop(listener);
    std::fs::remove_dir_all(&folder).expect("tidy");
}

#[test]
fn an_abandoned_socket_is_closed() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let op = Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Ordinary);
        let id = push(&mut ring, op);
        ring.abandon(id);
        common::run_until(&mut ring, |ring| ring.in_flight() == 0);
        assert_eq!(ring.counters().descriptors_reclaimed, 1);
    });
}
