//! Bytes between sockets and the kernel's pipes and files: splice(2), sendfile(2). The kernel
//! cannot reach into the stack's sockets, so they are carried across.

#![allow(unsafe_code)]

use libc::{c_int, c_uint, c_void, loff_t, off_t, size_t, ssize_t};

use super::{answer, length};
use crate::descriptor;
use crate::errno::{Errno, Result, WOULD_BLOCK};
use crate::world::World;

/// Most bytes that one call carries: what a pipe holds.
const CHUNK: usize = 65_536;

/// Bytes that wait in a pipe.
fn waiting(pipe: c_int) -> Result<usize> {
    let mut count: c_int = 0;
    // SAFETY: FIONREAD stores an int.
    let result = unsafe { libc::ioctl(pipe, libc::FIONREAD, &raw mut count) };
    if result < 0 {
        return Err(Errno(libc::EINVAL));
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Reads at most `max` bytes.
fn read(from: c_int, max: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; max];
    // SAFETY: room for as many.
    let count = unsafe { libc::read(from, bytes.as_mut_ptr().cast::<c_void>(), max) };
    let count = usize::try_from(count).map_err(|_| descriptor::last())?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Out of a socket into a pipe; what the pipe does not take stays in the socket.
fn splice_out(world: &World, socket: c_int, pipe: c_int, len: usize, wait: c_int) -> Result<usize> {
    // SAFETY: no pointer is passed.
    let size = unsafe { libc::fcntl(pipe, libc::F_GETPIPE_SZ) };
    let size = usize::try_from(size).map_err(|_| Errno(libc::EINVAL))?;
    let room = size.saturating_sub(waiting(pipe)?);
    if room == 0 {
        return Err(WOULD_BLOCK);
    }
    let max = len.min(room).min(CHUNK);
    let found = world.receive(socket, max, libc::MSG_PEEK | wait)?;
    if found.bytes.is_empty() {
        return Ok(0);
    }
    // SAFETY: as many bytes are there.
    let written = unsafe {
        let bytes = found.bytes.as_ptr().cast::<c_void>();
        libc::write(pipe, bytes, found.bytes.len())
    };
    let written = usize::try_from(written).map_err(|_| descriptor::last())?;
    world.receive(socket, written, libc::MSG_DONTWAIT)?;
    Ok(written)
}

/// Out of a pipe into a socket; what the socket does not take stays in the pipe.
fn splice_in(world: &World, pipe: c_int, socket: c_int, len: usize, flags: c_int) -> Result<usize> {
    let ready = waiting(pipe)?;
    // An empty pipe without writers ends, else one has to wait for them.
    let max = len.min(CHUNK).min(if ready == 0 { 1 } else { ready });
    let max = max.min(world.room(socket, flags)?);
    let bytes = read(pipe, max)?;
    if bytes.is_empty() {
        return Ok(0);
    }
    world.send(socket, bytes, flags, None, None)
}

pub(super) unsafe extern "C" fn splice(
    world: *mut c_void,
    from: c_int,
    from_offset: *mut loff_t,
    to: c_int,
    to_offset: *mut loff_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    answer(world, |world| {
        let (out, into) = (world.knows(from), world.knows(to));
        if !out && !into {
            // SAFETY: C's contract of splice(2).
            let count = unsafe { libc::splice(from, from_offset, to, to_offset, len, flags) };
            return super::receive::passed(count);
        }
        if out && into {
            return Err(Errno(libc::EINVAL)); // one end is a pipe
        }
        if !from_offset.is_null() || !to_offset.is_null() {
            return Err(Errno(libc::ESPIPE));
        }
        let wait = if flags & libc::SPLICE_F_NONBLOCK != 0 {
            libc::MSG_DONTWAIT
        } else {
            0
        };
        let count = if out {
            splice_out(world, from, to, len, wait)?
        } else {
            let more = flags & libc::SPLICE_F_MORE != 0;
            let more = if more { libc::MSG_MORE } else { 0 };
            splice_in(world, from, to, len, wait | more)?
        };
        Ok(length(count))
    })
}

/// sendfile(2) to one of our sockets.
///
/// # Safety
/// `offset` is NULL or good for reading and writing.
pub(crate) unsafe fn send_file(
    world: &World,
    socket: c_int,
    file: c_int,
    offset: *mut off_t,
    len: size_t,
) -> Result<ssize_t> {
    let max = len.min(super::COUNT_MAX).min(world.room(socket, 0)?);
    let bytes = if offset.is_null() {
        read(file, max)?
    } else {
        let mut bytes = vec![0; max];
        // SAFETY: room for as many; the caller's contract for the offset.
        let count = unsafe { libc::pread(file, bytes.as_mut_ptr().cast(), max, *offset) };
        let count = usize::try_from(count).map_err(|_| descriptor::last())?;
        bytes.truncate(count);
        bytes
    };
    if bytes.is_empty() {
        return Ok(0);
    }
    let sent = world.send(socket, bytes, 0, None, None)?;
    if !offset.is_null() {
        // SAFETY: the caller's contract.
        unsafe { *offset += sent as off_t };
    }
    Ok(length(sent))
}
