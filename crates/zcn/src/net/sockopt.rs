//! Socket options that no library wraps.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `UDP_GRO`: datagrams of one sender and size arrive glued together.
pub(super) fn set_gro(socket: &impl AsFd, yes: bool) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, yes.into())
}

/// `SO_TIMESTAMPNS`: each datagram comes with the time of its arrival.
pub(super) fn set_timestamps(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// `TCP_FASTOPEN`: as many connections may be open before their handshake is complete.
pub(super) fn set_fast_open(socket: &impl AsFd, connections: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(connections).unwrap_or(libc::c_int::MAX);
    set(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, value)
}

/// `TCP_FASTOPEN_CONNECT`: what is sent first goes with the SYN.
pub(super) fn set_fast_open_connect(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)
}

fn set(socket: &impl AsFd, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is a live int and the length given is its size; the descriptor is open while
    // it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Datagrams that the kernel dropped because the socket's buffer was full (`SO_MEMINFO`).
pub(super) fn kernel_drops(socket: &impl AsFd) -> io::Result<u32> {
    /// Words that `SO_MEMINFO` has; the drops are the last one (`SK_MEMINFO_DROPS`).
    const WORDS: usize = 9;
    let mut words = [0_u32; WORDS];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: `words` is writable for `len` bytes, which is its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(words[WORDS - 1]),
        _ => Err(io::Error::last_os_error()),
    }
}
