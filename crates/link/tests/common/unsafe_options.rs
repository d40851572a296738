//! A socket option that no library of ours has.

#![allow(unsafe_code)]

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Lets the kernel take one large write as datagrams of `size` bytes (`UDP_SEGMENT`).
pub(crate) fn segment_datagrams(socket: &UdpSocket, size: u16) {
    let value = libc::c_int::from(size);
    // SAFETY: the option reads an `int`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
