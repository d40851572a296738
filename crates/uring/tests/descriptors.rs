//! Running out of descriptors. The limit is the process's, so this test has a process of its own.
#![allow(unsafe_code)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use common::{errno, push, reap, ring, target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zcn_uring::{NewFd, Op, Ring, SetupError};

#[test]
fn want_of_descriptors_ends_the_accept_and_drops_no_peer() {
    let mut ring = ring();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let mut peers: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(address).expect("a peer"))
        .collect();
    let old = getrlimit(Resource::Nofile);
    let limit = |current| {
        let limit = Rlimit {
            current: Some(current),
            maximum: old.maximum,
        };
        setrlimit(Resource::Nofile, limit).expect("a lower limit");
    };
    // Room for two: the two lowest free numbers tell where it ends.
    let free = [(); 2].map(|()| std::fs::File::open("/dev/null").expect("a descriptor"));
    let last = free.iter().map(AsRawFd::as_raw_fd).max().expect("two");
    drop(free);
    limit(last as u64 + 1);
    push(
        &mut ring,
        Op::accept_multi(target(&listener), NewFd::Ordinary).token(1),
    );
    let mut all = Vec::new();
    common::reap_until(&mut ring, &mut all, |all| {
        all.iter().any(|done| !done.more())
    });
    assert_eq!(all.len(), 3);
    assert_eq!(errno(&all[2]), libc::EMFILE);
    assert_eq!(ring.counters().multishot_ended, 1);

    let error = Ring::builder().build().expect_err("no descriptor");
    assert!(matches!(error, SetupError::Descriptors { .. }), "{error}");
    assert!(error.to_string().contains("ulimit -n"), "{error}");

    // The others wait in the queue; with descriptors again they are served.
    setrlimit(Resource::Nofile, old).expect("the old limit");
    push(
        &mut ring,
        Op::accept_multi(target(&listener), NewFd::Ordinary).token(2),
    );
    let more = reap(&mut ring, 2);
    for done in all[..2].iter().chain(&more) {
        // SAFETY: opened for this completion, taken once.
        let fd = unsafe { OwnedFd::from_raw_fd(done.result().expect("a connection") as i32) };
        let mut stream = TcpStream::from(fd);
        std::io::Write::write_all(&mut stream, b"served").expect("a write");
    }
    for peer in &mut peers {
        let mut got = [0; 6];
        std::io::Read::read_exact(peer, &mut got).expect("a read");
        assert_eq!(&got, b"served");
    }
}
