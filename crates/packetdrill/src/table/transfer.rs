//! Bytes between sockets and the kernel's pipes and files: splice(2), sendfile(2). The kernel
//! cannot reach into the stack's sockets, so they are carried across.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_uint, c_void, loff_t, off_t, size_t, ssize_t};

use super::{answer, length};
use crate::descriptor;
use crate::errno::{Errno, Result};
use crate::world::World;

/// Most bytes that are carried at once: what a pipe holds.
const CHUNK: usize = 65_536;

const DO_NOT_WAIT: c_uint = libc::SPLICE_F_NONBLOCK;

/// A pipe of our own, empty between two uses: it holds what goes on if it is taken, and is
/// forgotten if not.
struct Aside {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Aside {
    fn new() -> Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, which are nobody else's.
        unsafe {
            if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
                return Err(descriptor::last());
            }
            let [reader, writer] = ends.map(|fd| OwnedFd::from_raw_fd(fd));
            Ok(Self { reader, writer })
        }
    }

    /// What waits in another pipe, and still waits there afterwards: at most `max` bytes, none
    /// if nobody writes there any more.
    fn copy_of(&self, pipe: c_int, max: usize, wait: c_uint) -> Result<Vec<u8>> {
        // SAFETY: no pointer is passed.
        let count = unsafe { libc::tee(pipe, self.writer.as_raw_fd(), max, wait) };
        let mut bytes = vec![0; counted(count)?];
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = &mut bytes[filled..];
            // SAFETY: room for as many.
            let count = unsafe {
                libc::read(
                    self.reader.as_raw_fd(),
                    rest.as_mut_ptr().cast::<c_void>(),
                    rest.len(),
                )
            };
            filled += counted(count)?;
        }
        Ok(bytes)
    }

    /// Takes the first bytes out of another pipe, in which so many wait.
    fn take_from(&self, pipe: c_int, mut count: usize) -> Result<()> {
        while count > 0 {
            let taken = move_on(pipe, self.writer.as_raw_fd(), count, DO_NOT_WAIT)?;
            if taken == 0 {
                break;
            }
            count -= taken;
        }
        Ok(())
    }

    /// Gives another pipe as many of the bytes as it has room for, at least one if it is to wait.
    fn give_to(&self, pipe: c_int, bytes: &[u8], wait: c_uint) -> Result<usize> {
        // SAFETY: no pointer is passed.
        let room = unsafe { libc::fcntl(self.writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
        let room = usize::try_from(room).map_err(|_| descriptor::last())?;
        // SAFETY: as many bytes are there.
        let written = unsafe {
            libc::write(
                self.writer.as_raw_fd(),
                bytes.as_ptr().cast::<c_void>(),
                bytes.len().min(room),
            )
        };
        move_on(self.reader.as_raw_fd(), pipe, counted(written)?, wait)
    }
}

/// From pipe to pipe.
fn move_on(from: c_int, to: c_int, max: usize, wait: c_uint) -> Result<usize> {
    let none = ptr::null_mut();
    // SAFETY: pipes have no offsets.
    counted(unsafe { libc::splice(from, none, to, none, max, wait) })
}

/// Whether splice(2) waits for the pipe. For the socket it waits as its other calls do, by
/// O_NONBLOCK and its time limits.
fn wait_of(flags: c_uint) -> c_uint {
    flags & DO_NOT_WAIT
}

/// A number of bytes, or the C library's error.
fn counted(count: ssize_t) -> Result<usize> {
    usize::try_from(count).map_err(|_| descriptor::last())
}

/// Out of a socket into a pipe; what the pipe does not take stays in the socket.
fn splice_out(
    world: &World,
    socket: c_int,
    pipe: c_int,
    len: usize,
    flags: c_uint,
) -> Result<usize> {
    let found = world.receive(socket, len.min(CHUNK), libc::MSG_PEEK)?;
    if found.bytes.is_empty() {
        return Ok(0);
    }
    let given = Aside::new()?.give_to(pipe, &found.bytes, wait_of(flags))?;
    world.receive(socket, given, libc::MSG_DONTWAIT)?;
    Ok(given)
}

/// Out of a pipe into a socket; what the socket does not take stays in the pipe.
fn splice_in(
    world: &World,
    pipe: c_int,
    socket: c_int,
    len: usize,
    flags: c_uint,
) -> Result<usize> {
    let aside = Aside::new()?;
    let bytes = aside.copy_of(pipe, len.min(CHUNK), wait_of(flags))?;
    if bytes.is_empty() {
        return Ok(0);
    }
    let more = flags & libc::SPLICE_F_MORE != 0;
    let more = if more { libc::MSG_MORE } else { 0 };
    let sent = world.send(socket, bytes, more, None, None)?;
    aside.take_from(pipe, sent)?;
    Ok(sent)
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
        let count = if out {
            splice_out(world, from, to, len, flags)?
        } else {
            splice_in(world, from, to, len, flags)?
        };
        Ok(length(count))
    })
}

/// A part of a file.
fn read_at(file: c_int, position: off_t, max: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; max];
    // SAFETY: room for as many.
    let count = unsafe { libc::pread(file, bytes.as_mut_ptr().cast(), max, position) };
    bytes.truncate(counted(count)?);
    Ok(bytes)
}

/// sendfile(2) to one of our sockets. What the socket does not take was not read: neither the
/// offset nor the file's position goes beyond what was sent.
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
    let begin = if offset.is_null() {
        // SAFETY: no pointer is passed.
        let position = unsafe { libc::lseek(file, 0, libc::SEEK_CUR) };
        match (position, descriptor::last()) {
            (0.., _) => position,
            // As Linux: what was read from a pipe could not be put back.
            (_, Errno(libc::ESPIPE)) => return Err(Errno(libc::EINVAL)),
            (_, error) => return Err(error),
        }
    } else {
        // SAFETY: the caller's contract.
        unsafe { *offset }
    };
    let len = len.min(super::COUNT_MAX);
    let mut sent = 0;
    let mut next = read_at(file, begin, len.min(CHUNK))?;
    while !next.is_empty() {
        let bytes = next;
        let (count, end) = (bytes.len(), sent + bytes.len());
        // What cannot be read ends the call with what was sent, as Linux; the next call tells.
        next = read_at(file, begin + end as off_t, (len - end).min(CHUNK)).unwrap_or_default();
        let more = if next.is_empty() { 0 } else { libc::MSG_MORE };
        match world.send(socket, bytes, more, None, None) {
            Ok(taken) => {
                sent += taken;
                if taken < count {
                    break;
                }
            }
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    let end = begin + sent as off_t;
    // SAFETY: the caller's contract for the offset; otherwise no pointer is passed.
    unsafe {
        if offset.is_null() {
            libc::lseek(file, end, libc::SEEK_SET);
        } else {
            *offset = end;
        }
    }
    Ok(length(sent))
}
