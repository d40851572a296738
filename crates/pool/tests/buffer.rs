//! The bytes of one buffer.

use zcn_pool::{Buf, BufferPool, CapacityError};

fn buf() -> Buf {
    let pool = BufferPool::builder().count(4).build().unwrap();
    pool.acquire().unwrap()
}

#[test]
fn bytes_are_written_after_and_before() {
    let mut buf = buf().with_headroom(16);
    assert_eq!((buf.headroom(), buf.capacity(), buf.len()), (16, 4080, 0));
    buf.extend_from_slice(b"body").unwrap();
    buf.prepend(b"head ").unwrap();
    assert_eq!(&buf[..], b"head body");
    assert_eq!((buf.headroom(), buf.capacity()), (11, 4085));
    buf.advance(5);
    buf.truncate(3);
    buf.truncate(usize::MAX);
    assert_eq!((&buf[..], buf.headroom()), (&b"bod"[..], 16));
    buf[0] = b'B';
    assert_eq!(buf.as_ref(), b"Bod");
    buf.clear();
    assert_eq!((buf.headroom(), buf.capacity(), buf.len()), (0, 4096, 0));
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let mut buf = buf().with_headroom(4000);
    buf.extend_from_slice(&[1; 90]).unwrap();
    let error = buf.extend_from_slice(&[2; 7]).unwrap_err();
    let expected = CapacityError {
        needed: 7,
        available: 6,
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("7 bytes"));
    assert_eq!(buf[..], [1; 90]);
    buf.advance(buf.len());
    let error = buf.prepend(&[3; 4091]).unwrap_err();
    assert_eq!((error.needed, error.available), (4091, 4090));
    buf.prepend(&[3; 4090]).unwrap();
    assert_eq!((buf.headroom(), buf[..] == [3; 4090]), (0, true));
}

#[test]
fn kernel_style_access() {
    let mut buf = buf().with_headroom(6);
    assert_eq!(buf.as_mut_ptr(), buf.as_mut_capacity().as_mut_ptr());
    buf.as_mut_capacity()[..3].copy_from_slice(b"abc");
    buf.set_len(3);
    buf.spare_capacity()[..2].copy_from_slice(b"de");
    buf.set_len(5);
    assert_eq!(&buf[..], b"abcde");
    assert_eq!(buf.spare_capacity().len(), 4096 - 6 - 5);
}

#[test]
#[should_panic(expected = "set_len beyond the capacity")]
fn length_beyond_the_capacity_panics() {
    buf().with_headroom(1).set_len(4096);
}

#[test]
#[should_panic(expected = "advance beyond the bytes")]
fn advance_beyond_the_bytes_panics() {
    buf().advance(1);
}

#[test]
#[should_panic(expected = "headroom above the buffer's size")]
fn headroom_beyond_the_buffer_panics() {
    let _ = buf().with_headroom(4097);
}

#[test]
#[should_panic(expected = "before the first byte")]
fn headroom_of_a_filled_buffer_panics() {
    let mut buf = buf();
    buf.set_len(1);
    let _ = buf.with_headroom(1);
}

#[test]
fn buffers_know_their_pool() {
    let (ours, other) = (buf(), BufferPool::builder().count(1).build().unwrap());
    assert!(!ours.belongs_to(&other));
    assert_ne!(ours.pool_id(), other.id());
    let theirs = other.acquire().unwrap();
    assert!(theirs.belongs_to(&other.clone()));
    assert_eq!(theirs.pool_id(), other.id());
    assert_eq!(other, other.clone());
}

#[test]
fn sizes_and_markers_are_as_promised() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Buf>();
    is_send_and_sync::<zcn_pool::SharedBuf>();
    is_send_and_sync::<BufferPool>();
    assert_eq!(size_of::<Buf>(), 24);
    assert_eq!(size_of::<Option<Buf>>(), 24);
    assert!(size_of::<zcn_pool::SharedBuf>() <= 32);
}
