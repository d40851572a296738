//! Calls that receive.

#![allow(unsafe_code)]

use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use super::ancillary;
use super::memory::{room, scatter, store, store_address, vector};
use super::{COUNT_MAX, answer, length};
use crate::descriptor;
use crate::errno::{Errno, Result};
use crate::socket::Received;
use crate::world::World;

/// Receives into a buffer.
///
/// # Safety
/// `buffer` is good for writing `len` bytes.
pub(super) unsafe fn receive(
    world: &World,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
) -> Result<(ssize_t, Received)> {
    let received = world.receive(fd, len.min(COUNT_MAX), flags)?;
    // SAFETY: the caller's contract; no more bytes came than were asked for.
    unsafe { store(buffer, &received.bytes) };
    let count = if flags & libc::MSG_TRUNC != 0 {
        received.len
    } else {
        received.len.min(len)
    };
    Ok((length(count), received))
}

pub(super) unsafe extern "C" fn read(
    world: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
) -> ssize_t {
    answer(world, |world| {
        if !world.knows(fd) {
            // SAFETY: C's contract of read(2).
            let count = unsafe { libc::read(fd, buffer, len) };
            return passed(count);
        }
        // SAFETY: C's contract of read(2).
        unsafe { receive(world, fd, buffer, len, 0) }.map(|received| received.0)
    })
}

/// The answer of a call that went on to the C library.
pub(super) fn passed(count: ssize_t) -> Result<ssize_t> {
    if count < 0 {
        return Err(descriptor::last());
    }
    Ok(count)
}

/// Receives into the parts of a vector.
///
/// # Safety
/// They are good for writing.
pub(super) unsafe fn receive_parts(
    world: &World,
    fd: c_int,
    parts: &[iovec],
    flags: c_int,
) -> Result<(ssize_t, Received)> {
    let room = room(parts);
    let received = world.receive(fd, room, flags)?;
    // SAFETY: the caller's contract; no more bytes came than there is room for.
    unsafe { scatter(parts, &received.bytes) };
    let whole = flags & libc::MSG_TRUNC != 0;
    let count = if whole {
        received.len
    } else {
        received.len.min(room)
    };
    Ok((length(count), received))
}

pub(super) unsafe extern "C" fn readv(
    world: *mut c_void,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
) -> ssize_t {
    answer(world, |world| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: C's contract of readv(2).
        unsafe { receive_parts(world, fd, &vector(parts, count)?, 0) }.map(|received| received.0)
    })
}

pub(super) unsafe extern "C" fn recv(
    world: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of recv(2).
        unsafe { receive(world, fd, buffer, len, flags) }.map(|received| received.0)
    })
}

pub(super) unsafe extern "C" fn recvfrom(
    world: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of recvfrom(2).
        unsafe {
            let (count, received) = receive(world, fd, buffer, len, flags)?;
            store_address(address, address_len, &received.from);
            Ok(count)
        }
    })
}

pub(super) unsafe extern "C" fn recvmsg(
    world: *mut c_void,
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of recvmsg(2): header and parts are good for writing.
        unsafe {
            let message = message.as_mut().ok_or(Errno(libc::EFAULT))?;
            let parts = vector(message.msg_iov, message.msg_iovlen)?;
            let (count, received) = receive_parts(world, fd, &parts, flags)?;
            let mut len = message.msg_namelen;
            store_address(message.msg_name.cast(), &raw mut len, &received.from);
            message.msg_namelen = if received.from.is_empty() { 0 } else { len };
            let cut = !received.from.is_empty() && received.len > room(&parts);
            message.msg_flags = if cut { libc::MSG_TRUNC } else { 0 };
            message.msg_flags |= flags & libc::MSG_ERRQUEUE;
            ancillary::store(message, &received.beside);
            Ok(count)
        }
    })
}
