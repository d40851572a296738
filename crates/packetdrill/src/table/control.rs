//! What a descriptor is told and asked: flags, requests, options; and pipes, which are not ours.

#![allow(unsafe_code)]

use libc::{c_int, c_long, c_ulong, c_void, socklen_t};

use super::memory::{bytes, store};
use super::{COUNT_MAX, answer};
use crate::descriptor;
use crate::errno::{Errno, Result};
use crate::world::{SIOCINQ, World};

/// `FIONBIO`.
const FIONBIO: c_ulong = 0x5421;

pub(super) unsafe extern "C" fn fcntl(
    world: *mut c_void,
    fd: c_int,
    command: c_int,
    argument: c_long,
) -> c_int {
    answer(world, |world| {
        let known = world.knows(fd);
        match command {
            libc::F_GETFL if known => {
                let nonblocking = world.nonblocking(fd, None)?;
                Ok(libc::O_RDWR | if nonblocking { libc::O_NONBLOCK } else { 0 })
            }
            libc::F_SETFL if known => {
                let set = argument & c_long::from(libc::O_NONBLOCK) != 0;
                world.nonblocking(fd, Some(set)).map(|_| 0)
            }
            _ => {
                // SAFETY: the tool's own call, passed on as it is.
                let result = unsafe { libc::fcntl(fd, command, argument) };
                if result < 0 {
                    Err(descriptor::last())
                } else {
                    Ok(result)
                }
            }
        }
    })
}

pub(super) unsafe extern "C" fn ioctl(
    world: *mut c_void,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_void,
) -> c_int {
    answer(world, |world| {
        if argument.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let number = argument.cast::<c_int>();
        if !world.knows(fd) {
            if request != SIOCINQ {
                return Err(Errno(libc::EBADF));
            }
            // SAFETY: FIONREAD stores an int where C has room for it.
            let result = unsafe { libc::ioctl(fd, request, number) };
            return if result < 0 {
                Err(descriptor::last())
            } else {
                Ok(result)
            };
        }
        if request == FIONBIO {
            // SAFETY: C's contract of ioctl(2): FIONBIO reads an int.
            let set = unsafe { number.read_unaligned() } != 0;
            return world.nonblocking(fd, Some(set)).map(|_| 0);
        }
        let value = world.ioctl(fd, request)?;
        // SAFETY: C's contract of ioctl(2): these requests store an int.
        unsafe { number.write_unaligned(value) };
        Ok(0)
    })
}

/// getsockopt(2) on one of ours; `TCP_INFO` fills all the room there is.
///
/// # Safety
/// `len` is the room at `value`.
pub(crate) unsafe fn get_option(
    world: &World,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Result<c_int> {
    if value.is_null() || len.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's contract.
    unsafe {
        let room = *len as usize;
        let bytes = world.option(fd, level, name, room.min(COUNT_MAX))?;
        let count = bytes.len().min(room);
        store(value, &bytes[..count]);
        *len = count as socklen_t;
    }
    Ok(0)
}

pub(super) unsafe extern "C" fn getsockopt(
    world: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: C's contract of getsockopt(2).
    answer(world, |world| unsafe {
        get_option(world, fd, level, name, value, len)
    })
}

pub(super) unsafe extern "C" fn setsockopt(
    world: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    answer(world, |world| {
        // SAFETY: C's contract of setsockopt(2).
        let value = unsafe { bytes(value, len as usize) }?;
        world.set_option(fd, level, name, value).map(|()| 0)
    })
}

pub(super) unsafe extern "C" fn pipe(_world: *mut c_void, ends: *mut c_int) -> c_int {
    // SAFETY: C's contract of pipe(2).
    unsafe { libc::pipe(ends) }
}
