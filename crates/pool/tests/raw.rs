//! Handles that know no ownership.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use zcn_pool::{BufferPool, RawBuf, RawError};

fn pool() -> BufferPool {
    BufferPool::builder().count(8).build().unwrap()
}

#[test]
fn bytes_and_headroom_survive_the_trip() {
    let pool = pool();
    let mut buf = pool.acquire().unwrap().with_headroom(10);
    buf.extend_from_slice(b"content").unwrap();
    let index = buf.index();
    let raw = buf.into_raw();
    assert_eq!((raw.index, pool.stats().in_use), (index, 1));
    let buf = pool.from_raw(raw).unwrap();
    assert_eq!((&buf[..], buf.headroom()), (&b"content"[..], 10));
    drop(buf);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn double_release_is_an_error() {
    let pool = pool();
    let raw = pool.acquire().unwrap().into_raw();
    let index = raw.index;
    assert_eq!(pool.release_raw(raw), Ok(()));
    assert_eq!(pool.release_raw(raw), Err(RawError::Released { index }));
    assert!(pool.from_raw(raw).is_err());
    assert_eq!(pool.stats().released, 1);
    let all: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
    assert_eq!(all.len(), 8);
}

#[test]
fn stale_generation_is_an_error() {
    let pool = pool();
    let old = pool.acquire().unwrap().into_raw();
    pool.release_raw(old).unwrap();
    let new = pool.acquire().unwrap().into_raw();
    assert_eq!(new.index, old.index);
    let error = pool.release_raw(old).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, RawError::Stale { got, current, .. }
        if got == old.generation && current == new.generation));
    assert!(text.contains("generation"), "{text}");
    assert_eq!(pool.stats().in_use, 1);
    pool.release_raw(new).unwrap();
}

#[test]
fn forged_handles_are_errors() {
    let pool = pool();
    let raw = pool.acquire().unwrap().into_raw();
    for index in [8, 9, u32::MAX] {
        let forged = RawBuf { index, ..raw };
        let error = pool.release_raw(forged).unwrap_err();
        assert_eq!(error, RawError::OutOfRange { index, count: 8 });
    }
    for index in 0..8 {
        for generation in [0, 1, raw.generation - 1, raw.generation + 1, u32::MAX] {
            assert!(pool.release_raw(RawBuf { index, generation }).is_err());
        }
    }
    let unsent = RawBuf {
        index: raw.index + 1,
        ..raw
    };
    assert!(pool.release_raw(unsent).is_err());
    pool.release_raw(raw).unwrap();
}

#[test]
fn handle_of_a_foreign_pool_is_an_error() {
    let (ours, theirs) = (pool(), pool());
    let raw = theirs.acquire().unwrap().into_raw();
    let own = ours.acquire().unwrap().into_raw();
    assert_eq!(raw.index, own.index);
    assert!(matches!(ours.release_raw(raw), Err(RawError::Stale { .. })));
    ours.release_raw(own).unwrap();
    theirs.release_raw(raw).unwrap();
}

#[test]
fn only_one_of_many_threads_gets_the_buffer() {
    let pool = pool();
    for _ in 0..if cfg!(miri) { 5 } else { 500 } {
        let raw = pool.acquire().unwrap().into_raw();
        let granted = AtomicUsize::new(0);
        thread::scope(|s| {
            let threads: [_; 4] = std::array::from_fn(|_| {
                s.spawn(|| match pool.release_raw(raw) {
                    Ok(()) => granted.fetch_add(1, Ordering::Relaxed),
                    Err(_) => 0,
                })
            });
            // Joined one by one: the end of a scope alone is no order that ThreadSanitizer sees.
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert_eq!(granted.into_inner(), 1);
    }
    assert_eq!(pool.stats().free, 8);
}
