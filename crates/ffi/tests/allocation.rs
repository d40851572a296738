//! A server in its steady state allocates nothing, whichever way C sends.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io::{Read, Write};
use std::thread;

use common::*;
use zero_copy_net::*;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything to the system's allocator and counts what the thread asks for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers by a copy, by what arrived, and by a buffer of its own, in turn.
unsafe extern "C-unwind" fn answer(user_data: *mut c_void, fd: c_int, data: *const u8, len: usize) {
    // SAFETY: registered with a log, and called with bytes.
    let (log, bytes) = unsafe { (log(user_data), slice(data, len)) };
    log.count += 1;
    let code = match log.count % 3 {
        0 => send(log.server, fd, bytes),
        1 => {
            let mut buf = empty_buf();
            assert_eq!(retain(log.of, &mut buf), ZCN_SUCCESS);
            send_buf(log.of, fd, &mut buf)
        }
        _ => send_buf(log.of, fd, &mut filled(log.of, bytes)),
    };
    assert_eq!(code, ZCN_SUCCESS);
    // A refusal costs nothing either.
    assert_eq!(send(log.server, -1, bytes), ZCN_ERROR_CONNECTION_NOT_FOUND);
}

#[test]
fn the_steady_state_allocates_nothing() {
    let server = server();
    let mut log = Log::for_server(server);
    zcn_server_set_callbacks(server, log.user_data(), None, Some(answer), None);
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    let port = zcn_server_port(server);
    const WARM: usize = 300;
    const ROUNDS: usize = 1000;
    let client = thread::spawn(move || {
        let mut client = peer(port);
        let mut room = [0; 64];
        for _ in 0..ROUNDS {
            client.write_all(&[7; 64]).unwrap();
            client.read_exact(&mut room).unwrap();
        }
    });
    let mut before = None;
    poll_until(log.of, || {
        if log.count >= WARM && before.is_none() {
            before = Some(ALLOCATIONS.get());
        }
        log.count >= ROUNDS
    });
    let allocated = ALLOCATIONS.get() - before.expect("it got warm");
    assert_eq!(allocated, 0, "allocations in {} rounds", ROUNDS - WARM);
    poll_until(log.of, || client.is_finished());
    client.join().unwrap();
    zcn_server_destroy(server);
}
