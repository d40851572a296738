//! Slices that share a buffer, and `Bytes`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use bytes::Bytes;
use zcn_pool::{Buf, BufferPool, SharedBuf};

fn pool() -> BufferPool {
    BufferPool::builder().count(4).build().unwrap()
}

fn filled(pool: &BufferPool, bytes: &[u8]) -> Buf {
    let mut buf = pool.acquire().unwrap();
    buf.extend_from_slice(bytes).unwrap();
    buf
}

#[test]
fn buffer_goes_home_with_the_last_slice() {
    let pool = pool();
    let mut rest = SharedBuf::from(filled(&pool, b"one two three"));
    let one = rest.split_to(3);
    let three = rest.split_off(5);
    let two = rest.slice(1..=3);
    assert_eq!(
        (&one[..], &two[..], &three[..]),
        (&b"one"[..], &b"two"[..], &b"three"[..])
    );
    assert_eq!(&rest[..], b" two ");
    for slice in [rest, one, two] {
        drop(slice);
        assert_eq!(pool.stats().in_use, 1);
    }
    drop(three);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn the_last_slice_keeps_all_of_its_buffer() {
    let pool = pool();
    let mut rest = SharedBuf::from(filled(&pool, b"one two three"));
    let one = rest.split_to(1);
    // Both keep it.
    assert_eq!((one.footprint(), rest.footprint()), (None, None));
    drop(one);
    rest.truncate(0);
    assert_eq!(rest.footprint(), Some(pool.buffer_size()));
    for foreign in [SharedBuf::new(), SharedBuf::from(Bytes::from(vec![1; 9]))] {
        assert_eq!(foreign.footprint(), None);
    }
}

#[test]
fn only_slice_becomes_a_buffer_again() {
    let pool = pool();
    let mut buf = pool.acquire().unwrap().with_headroom(8);
    buf.extend_from_slice(b"header body tail").unwrap();
    let mut shared = SharedBuf::from(buf);
    let other = shared.clone();
    assert!(!shared.is_unique());
    shared = shared.try_into_buf().unwrap_err();
    drop(other);
    assert!(shared.is_unique());
    shared.advance(7);
    shared.truncate(4);
    let mut buf = shared.try_into_buf().unwrap();
    assert_eq!((&buf[..], buf.headroom()), (&b"body"[..], 15));
    buf.prepend(b"new ").unwrap();
    assert_eq!(&buf[..], b"new body");
    drop(buf);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn whole_or_nothing_is_split_without_a_share() {
    let pool = pool();
    let mut shared = SharedBuf::from(filled(&pool, b"abc"));
    assert!(shared.split_to(0).is_empty());
    assert!(shared.split_off(3).is_empty());
    assert!(shared.slice(1..1).is_empty());
    assert!(shared.is_unique());
    let whole = shared.split_to(3);
    assert!(whole.is_unique() && shared.is_empty() && !shared.is_unique());
}

#[test]
fn ranges_beyond_the_bytes_panic_and_change_nothing() {
    let pool = pool();
    let mut shared = SharedBuf::from(filled(&pool, b"abc"));
    let mut panics = |act: &mut dyn FnMut(&mut SharedBuf)| {
        assert!(catch_unwind(AssertUnwindSafe(|| act(&mut shared))).is_err());
        assert_eq!(&shared[..], b"abc");
    };
    panics(&mut |s| s.advance(4));
    panics(&mut |s| drop(s.split_to(4)));
    panics(&mut |s| drop(s.split_off(4)));
    panics(&mut |s| drop(s.slice(2..5)));
    panics(&mut |s| drop(s.slice(..=usize::MAX)));
    #[expect(clippy::reversed_empty_ranges, reason = "the point of the test")]
    panics(&mut |s| drop(s.slice(2..1)));
    drop(shared);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn buffers_become_bytes_without_a_copy() {
    let pool = pool();
    let buf = filled(&pool, b"hello world");
    let place = buf.as_ptr();
    let bytes = Bytes::from(buf);
    assert_eq!((bytes.as_ptr(), &bytes[..]), (place, &b"hello world"[..]));
    let world = bytes.slice(6..);
    drop(bytes);
    assert_eq!(pool.stats().in_use, 1);
    drop(world);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn slices_become_bytes_without_a_copy() {
    let pool = pool();
    let mut shared = SharedBuf::from(filled(&pool, b"hello world"));
    let place = shared[6..].as_ptr();
    let bytes = Bytes::from(shared.split_off(6));
    assert_eq!((bytes.as_ptr(), &bytes[..]), (place, &b"world"[..]));
    drop(shared);
    assert_eq!(pool.stats().in_use, 1);
    drop(bytes);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn bytes_become_slices_and_come_back_the_same() {
    let bytes = Bytes::from(b"hello world".to_vec());
    let place = bytes.as_ptr();
    let mut shared = SharedBuf::from(bytes);
    assert!(!shared.is_unique());
    assert_eq!(shared.as_ptr(), place);
    let hello = shared.split_to(5);
    shared.advance(1);
    shared.truncate(3);
    assert_eq!((&hello[..], &shared[..]), (&b"hello"[..], &b"wor"[..]));
    shared = shared.try_into_buf().unwrap_err();
    let back = Bytes::from(shared);
    assert_eq!((back.as_ptr().addr(), back.len()), (place.addr() + 6, 3));
    assert_eq!(Bytes::from(hello).as_ptr(), place);
}

#[test]
fn static_bytes_cost_nothing() {
    static TEXT: &[u8] = b"always there";
    const SHARED: SharedBuf = SharedBuf::from_static(TEXT);
    let shared = SHARED;
    assert_eq!(shared.as_ptr(), TEXT.as_ptr());
    assert_eq!(Bytes::from(shared.clone()).as_ptr(), TEXT.as_ptr());
    assert_eq!(shared, SharedBuf::from(TEXT));
    assert!(SharedBuf::new().is_empty());
}

#[test]
fn slices_may_be_dropped_and_cloned_on_many_threads() {
    let pool = pool();
    let rounds = if cfg!(miri) { 20 } else { 2000 };
    thread::scope(|s| {
        let shared = SharedBuf::from(filled(&pool, b"0123456789"));
        let threads: [_; 8] = std::array::from_fn(|at| {
            let mine = shared.clone();
            s.spawn(move || {
                for _ in 0..rounds {
                    let part = mine.slice(at..at + 2);
                    assert_eq!(part[0], b'0' + at as u8);
                    drop(Bytes::from(part.clone()));
                }
            })
        });
        drop(shared);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(pool.stats().in_use, 0);
    assert_eq!(pool.stats().acquired, 1);
}

#[test]
fn bytes_may_outlive_the_pool() {
    let pool = pool();
    let bytes = Bytes::from(filled(&pool, b"late"));
    let shared = SharedBuf::from(filled(&pool, b"later"));
    drop(pool);
    assert_eq!((&bytes[..], &shared[..]), (&b"late"[..], &b"later"[..]));
}
