//! Whether a peer takes what it is sent, while a send is under way that reports only its end.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// `tcpi_bytes_acked` in the kernel's `struct tcp_info` (4.1); what comes before it never changes.
const BYTES_ACKED_AT: usize = 120;

/// A number that changes when the peer takes something: of a TCP socket the bytes that it has
/// acknowledged (low half), of another one the bytes that it has left unread.
///
/// The second can be the same by chance after the peer has read and the kernel has sent more. A
/// Unix socket takes more only when three quarters of what it holds have been read, so that a slow
/// peer is seen at one of several looks.
pub(crate) fn taken(fd: BorrowedFd<'_>) -> Option<u32> {
    acknowledged(fd).or_else(|| unread(fd))
}

/// `SIOCOUTQ` (unix(7), tcp(7)).
fn unread(fd: BorrowedFd<'_>) -> Option<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one `int`, which lives past the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    (result == 0).then_some(bytes as u32)
}

/// Low half of the number of bytes that the peer has acknowledged; `None` if this is no TCP socket.
fn acknowledged(fd: BorrowedFd<'_>) -> Option<u32> {
    let mut info = [0u8; BYTES_ACKED_AT + 8];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: `info` is writable for `len` bytes, and both live past the call, which writes no
    // more than `len`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 || (len as usize) < info.len() {
        return None;
    }
    let word = info.last_chunk::<8>()?;
    // The low half in either byte order.
    Some(u64::from_ne_bytes(*word) as u32)
}
