//! The memory goes exactly when nobody can reach it any more.
//!
//! One test function: it looks for the map's address in the process, and other tests of
//! the same process could map something there.

use std::thread;

use bytes::Bytes;
use zcn_pool::{Buf, BufferPool, SharedBuf};

fn is_mapped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let parse = |hex| usize::from_str_radix(hex, 16).unwrap();
        (parse(from)..parse(to)).contains(&address)
    })
}

/// Runs `scenario`, which gets the only handle of a pool and returns the last owner of
/// anything; the map must be there until that is dropped, and not after.
#[track_caller]
fn check<T>(scenario: impl FnOnce(BufferPool) -> T) {
    let pool = BufferPool::builder().count(64).build().unwrap();
    let address = pool.region().0.as_ptr().addr();
    let last = scenario(pool);
    assert!(is_mapped(address));
    drop(last);
    assert!(!is_mapped(address));
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

#[test]
#[cfg_attr(miri, ignore = "reads /proc")]
fn memory_goes_with_the_last_owner() {
    // Handles.
    check(|pool| pool);
    check(|pool| pool.clone());
    check(|pool| pool.local());
    check(|pool| {
        let (a, b) = (pool.local(), pool.local());
        drop(pool);
        drop(a);
        b
    });
    // Buffers of all kinds.
    check(|pool| pool.acquire());
    check(|pool| pool.local().acquire());
    check(|pool| pool.acquire().map(SharedBuf::from));
    check(|pool| pool.acquire().map(Bytes::from));
    check(|pool| {
        let mut shared = SharedBuf::from(pool.acquire().unwrap());
        shared.truncate(0);
        (shared.clone(), Bytes::from(shared))
    });
    check(|pool| std::iter::from_fn(|| pool.acquire()).collect::<Vec<Buf>>());
    check(|pool| {
        let local = pool.local();
        std::iter::from_fn(|| local.acquire()).collect::<Vec<Buf>>()
    });
    // Buffers that change threads: acquired through magazines here, released without
    // them there, and the other way round.
    check(|pool| {
        let local = pool.local();
        let mut held: Vec<_> = std::iter::from_fn(|| local.acquire()).collect();
        let last = held.pop();
        on_thread(|| drop(held));
        last
    });
    check(|pool| {
        let held: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
        on_thread(|| {
            let _magazines = pool.local();
            drop(held);
        });
        pool
    });
    check(|pool| {
        let buf = pool.acquire();
        let local = pool.local();
        drop(pool);
        drop(buf);
        local
    });
    // The last owner dies on a thread of its own.
    check(|pool| {
        let (first, last) = (pool.acquire(), pool.acquire());
        drop(pool);
        on_thread(|| drop(first));
        last
    });
    let pool = BufferPool::builder().count(64).build().unwrap();
    let address = pool.region().0.as_ptr().addr();
    let buf = pool.local().acquire();
    drop(pool);
    on_thread(|| drop(buf));
    assert!(!is_mapped(address));

    // Handles, magazines and buffers that all go at about the same time.
    for _ in 0..500 {
        let pool = BufferPool::builder().count(16).build().unwrap();
        let address = pool.region().0.as_ptr().addr();
        thread::scope(|scope| {
            let threads: [_; 3] = std::array::from_fn(|_| {
                let (pool, buf) = (pool.clone(), pool.acquire());
                scope.spawn(move || {
                    let local = pool.local();
                    let other = local.acquire();
                    drop((local, buf, pool, other));
                })
            });
            drop(pool);
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert!(!is_mapped(address));
    }
}
