//! `sendfile` behind the tool's back; in a process of its own, as the symbol is global.

#![allow(unsafe_code)]

mod driver;

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use driver::{ACK, PSH, Segment, Tool, accepted, pattern};

/// The symbol asks the stack that was made last: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file in memory.
fn file(bytes: &[u8]) -> File {
    // SAFETY: a text that ends with a NUL; the descriptor is nobody else's.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"sendfile".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    };
    file.write_all(bytes).expect("written");
    file
}

/// sendfile(2) from the file's position, or from an offset.
fn send(to: i32, from: &File, offset: Option<&mut i64>, len: usize) -> Result<usize, i32> {
    let offset = offset.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the offset is ours, or there is none.
    let sent = unsafe { zcn_packetdrill::sendfile(to, from.as_raw_fd(), offset, len) };
    usize::try_from(sent).map_err(|_| {
        let error = std::io::Error::last_os_error();
        error.raw_os_error().expect("an error of the system")
    })
}

#[test]
fn a_file_is_sent_from_an_offset_to_our_sockets_and_to_the_kernels() {
    let _alone = alone();
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    let source = file(b"not this, but that");
    let target = file(b"");
    for to in [connection, target.as_raw_fd()] {
        let mut offset = 10;
        let sent = send(to, &source, Some(&mut offset), 100);
        assert_eq!((sent, offset), (Ok(8), 18));
    }
    assert_eq!(tool.expect().0.payload, b"but that");
    assert_eq!(target.metadata().expect("a file").len(), 8);
}

/// The file's position, or the offset, is where the socket stopped.
#[test]
fn sendfile_loses_nothing_that_the_socket_does_not_take() {
    let _alone = alone();
    let source = file(&pattern(60_000));
    for waits in [false, true] {
        for size in [4_144, 1_000] {
            let tool = Tool::new("");
            let (_listener, connection, _) = accepted(&tool);
            tool.set_send_buffer(connection, size);
            if waits {
                tool.set_send_timeout(connection, 2);
            } else {
                tool.nonblocking(connection);
            }
            (&source).rewind().expect("a file");
            let mut sent = 0;
            let full = loop {
                match send(connection, &source, None, 60_000) {
                    Ok(0) => break 0,
                    Ok(count) => sent += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(full, libc::EAGAIN);
            assert!((1..60_000).contains(&sent), "{sent}");
            assert_eq!(tool.ioctl(connection, 0x5411), Ok(sent as i32), "SIOCOUTQ");
            let position = (&source).stream_position().expect("a file");
            assert_eq!(position, sent as u64, "waits: {waits}, {size}");
            let mut offset = 7;
            let none = send(connection, &source, Some(&mut offset), 60_000);
            assert_eq!((none, offset), (Err(libc::EAGAIN), 7));
        }
    }
}

#[test]
fn a_long_file_goes_in_one_call() {
    let _alone = alone();
    const LEN: usize = 150_000;
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    tool.set_send_buffer(connection, 2 * LEN as i32);
    let source = file(&pattern(LEN));
    (&source).rewind().expect("a file");
    // Longer than the file: more than any memory.
    let sent = send(connection, &source, None, 1 << 40);
    assert_eq!(sent, Ok(LEN));
    let mut data = Vec::new();
    while data.len() < LEN {
        let (segment, _) = tool.expect();
        let last = data.len() + segment.payload.len() == LEN;
        assert!(last || segment.payload.len() == 1_460, "{segment:?}");
        assert!(!last || segment.flags & PSH != 0);
        data.extend(segment.payload);
        let seen = seq.wrapping_add(data.len() as u32);
        tool.inject(&Segment::new(ACK, 1, seen).v4());
    }
    assert!(data == pattern(LEN));
}

/// Memory behind a file's end cannot be read, and `/proc/self/mem` says so.
#[test]
fn what_was_sent_before_a_read_failed_is_told() {
    let _alone = alone();
    const LEN: usize = 65_536;
    let bytes = file(&pattern(LEN));
    // SAFETY: a mapping of its own, one page longer than the file.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            LEN + 4_096,
            libc::PROT_READ,
            libc::MAP_SHARED,
            bytes.as_raw_fd(),
            0,
        )
    };
    assert_ne!(mapped, libc::MAP_FAILED);
    let memory = File::open("/proc/self/mem").expect("our own memory");
    let begin = mapped as i64;
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    tool.set_send_buffer(connection, 4 * LEN as i32);
    let mut offset = begin;
    let sent = send(connection, &memory, Some(&mut offset), 2 * LEN);
    assert_eq!((sent, offset - begin), (Ok(LEN), LEN as i64));
    let sent = send(connection, &memory, Some(&mut offset), LEN);
    assert_eq!((sent, offset - begin), (Err(libc::EIO), LEN as i64));
    assert_eq!(tool.ioctl(connection, 0x5411), Ok(LEN as i32), "SIOCOUTQ");
    // SAFETY: the mapping made above, which nobody uses any more.
    assert_eq!(unsafe { libc::munmap(mapped, LEN + 4_096) }, 0);
}

#[test]
fn what_cannot_be_read_again_is_refused() {
    let _alone = alone();
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    let (reader, writer) = tool.pipe();
    File::from(writer).write_all(b"kept").expect("written");
    let pipe = File::from(reader);
    assert_eq!(send(connection, &pipe, None, 4), Err(libc::EINVAL));
}
