//! A ring at work allocates nothing. Counts every allocation of the process, so this test has a
//! process of its own.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{pool, push, target};
use zcn_pool::SharedBuf;
use zcn_uring::{Consumption, Op, Payload};

/// `Relaxed`: one thread allocates and reads it.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_hundred_thousand_receives_and_sends_allocate_nothing() {
    const ROUNDS: u64 = 100_000;
    let pool = pool(64);
    let local = pool.local();
    let mut ring = common::ring();
    let group = ring
        .register_group(16, pool.local(), Consumption::Whole)
        .expect("a group");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let (ours, theirs) = (target(&ours), target(&theirs));
    let mut before = 0;
    let mut received = 0u64;
    let mut bytes = 0u64;
    for round in 0..ROUNDS + 1000 {
        if round == 1000 {
            // By now every table has its size.
            (before, received, bytes) = (ALLOCATIONS.load(Ordering::Relaxed), 0, 0);
        }
        let mut buf = local.acquire().expect("a buffer");
        buf.extend_from_slice(&round.to_ne_bytes()).expect("room");
        push(&mut ring, Op::send(ours, SharedBuf::from(buf)).token(1));
        // By turns from a group, with a buffer of its own, gathered, and given up.
        let op = match round % 4 {
            0 | 3 => Op::recv_from_group(theirs, group),
            1 => Op::recv(theirs, local.acquire().expect("a buffer")),
            _ => {
                let mut msg = ring.take_msg();
                msg.set_buf(local.acquire().expect("a buffer"));
                Op::recvmsg(theirs, msg)
            }
        };
        push(&mut ring, op.token(2));
        if round % 4 == 3 {
            let id = push(&mut ring, Op::recv_from_group(ours, group));
            ring.abandon(id);
        }
        let mut open = 2;
        while open > 0 {
            ring.wait(1, None).expect("a wait");
            let mut finished = None;
            for done in ring.completions() {
                open -= 1;
                if done.token == 2 {
                    received += 1;
                    bytes += u64::from(done.result().expect("bytes"));
                    finished = Some(done.payload);
                }
            }
            if let Some(Some(Payload::Msg(msg))) = finished {
                ring.give_msg(msg);
            }
        }
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!((received, bytes), (ROUNDS, 8 * ROUNDS));
    assert_eq!(allocations, 0);
}
