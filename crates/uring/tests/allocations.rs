//! A ring at work allocates nothing. Counts every allocation of the thread.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::net::UnixStream;

use common::{pool, push, target};
use zcn_pool::SharedBuf;
use zcn_uring::{Consumption, Op, Payload, SharedRing};

thread_local! {
    /// By thread, because tests run beside each other.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends allocates no more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
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
            (before, received, bytes) = (allocations(), 0, 0);
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
    let allocations = allocations() - before;
    assert_eq!((received, bytes), (ROUNDS, 8 * ROUNDS));
    assert_eq!(allocations, 0);
}

#[test]
fn a_hundred_thousand_commands_allocate_nothing() {
    const BATCH: u64 = 50;
    const ROUNDS: u64 = 100_000 / BATCH;
    let pool = pool(64);
    let local = pool.local();
    let ring = SharedRing::new(
        zcn_uring::Ring::builder()
            .entries_of_128_bytes()
            .completions_of_32_bytes()
            .build()
            .expect("a ring"),
    );
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let on = target(&socket);
    let mut handles = Vec::with_capacity(BATCH as usize);
    let (mut before, mut ended) = (0, 0);
    for round in 0..ROUNDS + 100 {
        if round == 100 {
            (before, ended) = (allocations(), 0);
        }
        for number in 0..BATCH {
            let mut buf = local.acquire().expect("a buffer");
            let op = match number % 4 {
                0 => Op::socket_inq(on),
                1 => Op::socket_outq(on),
                2 => Op::getsockopt(on, libc::SOL_SOCKET, libc::SO_KEEPALIVE, buf),
                _ => {
                    buf.extend_from_slice(&1_i32.to_ne_bytes()).expect("room");
                    let value = SharedBuf::from(buf);
                    Op::setsockopt(on, libc::SOL_SOCKET, libc::SO_KEEPALIVE, value)
                }
            };
            handles.push(ring.prepare_async(op).expect("a push"));
        }
        // Three in four are waited for, the last ones are given up.
        for (number, mut handle) in handles.drain(..).enumerate() {
            if number as u64 * 4 < BATCH * 3 {
                // Whether the kernel has the command: both ways end here.
                let done = handle.wait().expect("a completion");
                ended += u64::from(!done.more());
            }
        }
    }
    assert_eq!(ended, ROUNDS * (BATCH * 3).div_ceil(4));
    assert_eq!(allocations() - before, 0);
}
