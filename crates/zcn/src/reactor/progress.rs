//! Whether a peer takes what it is sent, while a send is under way that reports only its end.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// `tcpi_bytes_acked` in the kernel's `struct tcp_info` (4.1); what comes before it never changes.
const BYTES_ACKED_AT: usize = 120;

/// Low half of the number of bytes that the peer has acknowledged; `None` if this is no TCP socket.
pub(crate) fn acknowledged(fd: BorrowedFd<'_>) -> Option<u32> {
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
