//! The ring does the simplest things.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use zcn_pool::BufferPool;
use zcn_uring::{Consumption, Kind, Op, Payload, Ring, Target};

#[test]
fn nops_come_back_with_their_tokens() {
    let mut ring = Ring::builder().entries(8).build().unwrap();
    for token in 0..100 {
        ring.push(Op::nop().token(token)).unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 100 {
        ring.wait(1, None).unwrap();
        seen.extend(ring.completions().map(|c| c.token));
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_group_receive_carries_a_pool_buffer() {
    let pool = BufferPool::builder().count(16).build().unwrap();
    let mut ring = Ring::builder().entries(8).build().unwrap();
    let group = ring
        .register_group(8, pool.local(), Consumption::Whole)
        .unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.push(Op::recv_multi(Target::from(ours.as_fd()), group).token(5))
        .unwrap();
    ring.submit().unwrap();
    theirs.write_all(b"hello").unwrap();
    ring.wait(1, None).unwrap();
    let done = ring.completions().next().unwrap();
    assert_eq!(
        (done.kind(), done.token, done.more()),
        (Kind::RecvMulti, 5, true)
    );
    assert_eq!(
        &done.payload.and_then(Payload::into_buf).unwrap()[..],
        b"hello"
    );
    drop(ring);
    assert_eq!(pool.stats().in_use, 0);
}
