//! Calls that send.

#![allow(unsafe_code)]

use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use super::memory::{bytes, destination, gather, vector};
use super::receive::passed;
use super::{answer, length};
use crate::errno::Errno;

pub(super) unsafe extern "C" fn write(
    world: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: size_t,
) -> ssize_t {
    answer(world, |world| {
        if !world.knows(fd) {
            // SAFETY: C's contract of write(2).
            let count = unsafe { libc::write(fd, data, len) };
            return passed(count);
        }
        // SAFETY: C's contract of write(2).
        let data = unsafe { bytes(data, len) }?;
        world.send(fd, data, 0, None, None).map(length)
    })
}

pub(super) unsafe extern "C" fn writev(
    world: *mut c_void,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
) -> ssize_t {
    answer(world, |world| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: C's contract of writev(2).
        let data = unsafe { gather(&vector(parts, count)?) }?;
        world.send(fd, data, 0, None, None).map(length)
    })
}

pub(super) unsafe extern "C" fn send(
    world: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of send(2).
        let data = unsafe { bytes(data, len) }?;
        world.send(fd, data, flags, None, None).map(length)
    })
}

pub(super) unsafe extern "C" fn sendto(
    world: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_len: socklen_t,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of sendto(2).
        let (data, to) = unsafe { (bytes(data, len)?, destination(address, address_len)?) };
        world.send(fd, data, flags, to, None).map(length)
    })
}

/// What a message asks for itself of SO_TIMESTAMPING, as ancillary data.
///
/// # Safety
/// `msg_control` is good for reading `msg_controllen` bytes, or NULL.
unsafe fn stamps(message: &msghdr) -> Option<u32> {
    // SAFETY: the caller's contract; headers are looked for only inside.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = header.as_ref() {
            let wanted = found.cmsg_level == libc::SOL_SOCKET
                && found.cmsg_type == libc::SO_TIMESTAMPING
                && found.cmsg_len >= libc::CMSG_LEN(4) as usize;
            if wanted {
                return Some(libc::CMSG_DATA(header).cast::<u32>().read_unaligned());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
        None
    }
}

pub(super) unsafe extern "C" fn sendmsg(
    world: *mut c_void,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of sendmsg(2): header, parts and name are good for reading.
        let (data, to, stamps) = unsafe {
            let message = message.as_ref().ok_or(Errno(libc::EFAULT))?;
            let parts = vector(message.msg_iov, message.msg_iovlen)?;
            let to = destination(message.msg_name.cast(), message.msg_namelen)?;
            (gather(&parts)?, to, stamps(message))
        };
        world.send(fd, data, flags, to, stamps).map(length)
    })
}
