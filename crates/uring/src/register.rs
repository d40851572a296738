//! Register calls that the `io-uring` crate ties to a borrowed submitter, or does not have.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use zcn_sys::syscall::io_uring_register;

const REGISTER_EVENTFD: u32 = 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    resv: u32,
    data: u64,
}

/// `struct io_uring_file_index_range`.
#[repr(C)]
struct FileIndexRange {
    off: u32,
    len: u32,
    resv: u64,
}

/// Registers a ring's descriptor with the calling thread; returns its index (16 per thread).
pub(crate) fn ring_fd(ring: BorrowedFd<'_>) -> io::Result<u32> {
    let mut update = RsrcUpdate {
        offset: u32::MAX,
        resv: 0,
        data: ring.as_raw_fd() as u64,
    };
    // SAFETY: one update that lives past the call; the kernel writes the index back into it.
    unsafe { io_uring_register(ring, REGISTER_RING_FDS, (&raw mut update).cast(), 1) }?;
    Ok(update.offset)
}

/// Gives the index back; otherwise the thread runs out of its 16 as rings come and go.
pub(crate) fn unregister_ring_fd(ring: BorrowedFd<'_>, index: u32) {
    let update = RsrcUpdate {
        offset: index,
        resv: 0,
        data: 0,
    };
    // SAFETY: one update that lives past the call and is only read.
    let _ = unsafe { io_uring_register(ring, UNREGISTER_RING_FDS, (&raw const update).cast(), 1) };
}

/// Has an eventfd signalled for every completion, and for work that waits to become one.
pub(crate) fn eventfd(ring: BorrowedFd<'_>, event: BorrowedFd<'_>) -> io::Result<()> {
    let fd = event.as_raw_fd();
    // SAFETY: one descriptor that lives past the call and is only read.
    unsafe { io_uring_register(ring, REGISTER_EVENTFD, (&raw const fd).cast(), 1) }.map(drop)
}

/// Limits the kernel's own choice of direct descriptors.
pub(crate) fn file_alloc_range(ring: BorrowedFd<'_>, off: u32, len: u32) -> io::Result<()> {
    let range = FileIndexRange { off, len, resv: 0 };
    // SAFETY: one range that lives past the call and is only read; the call takes no count.
    unsafe {
        io_uring_register(
            ring,
            crate::constants::REGISTER_FILE_ALLOC_RANGE,
            (&raw const range).cast(),
            0,
        )
    }
    .map(drop)
}
