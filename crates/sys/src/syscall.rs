//! Raw calls to io_uring that no library offers with the arguments we need.
//!
//! Each is the bare system call with the errno turned into an [`io::Error`];
//! nothing is checked or remembered here. Pointers are read by the kernel
//! during the call; some opcodes also keep them (see each `# Safety`).

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Performs `io_uring_register(2)` on an already open ring.
///
/// `nr_args` counts whatever `opcode` counts (entries, descriptors, one for a
/// single structure). The non-negative result of the kernel is handed back:
/// zero for most opcodes, a count for some.
///
/// # Errors
/// The errno of the kernel, unchanged. `EINVAL` usually means that this
/// kernel does not know `opcode`.
///
/// # Safety
/// `arg` must point to what `opcode` expects, `nr_args` long, readable and,
/// where the kernel writes back (probes, maps, statuses), writable for the
/// duration of the call. Memory that the opcode hands over for longer
/// (registered buffers, provided-buffer rings) must stay mapped until it is
/// unregistered or the ring is gone.
pub unsafe fn io_uring_register(
    fd: BorrowedFd<'_>,
    opcode: u32,
    arg: *const c_void,
    nr_args: u32,
) -> io::Result<i32> {
    // SAFETY: the caller vouches for `arg` and `nr_args`; the descriptor is
    // open for the length of the borrow.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd.as_raw_fd(),
            opcode,
            arg,
            nr_args,
        )
    };
    errno_or_value(result)
}

/// Performs `io_uring_enter(2)` with the extended argument of the kernel
/// (`IORING_ENTER_EXT_ARG` and its relatives), or with a null one.
///
/// Returns how many submissions the kernel took.
///
/// # Errors
/// The errno of the kernel, unchanged; `ETIME` and `EINTR` are ordinary ends
/// of a wait.
///
/// # Safety
/// `arg` must be null, or point to `arg_len` readable bytes of the shape that
/// `flags` announces. Every submission that becomes visible to the kernel by
/// this call must own what it points to until its final completion.
pub unsafe fn io_uring_enter(
    fd: BorrowedFd<'_>,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    arg: *const c_void,
    arg_len: usize,
) -> io::Result<i32> {
    // SAFETY: the caller vouches for `arg`, `arg_len` and the submissions;
    // the descriptor is open for the length of the borrow.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            fd.as_raw_fd(),
            to_submit,
            min_complete,
            flags,
            arg,
            arg_len,
        )
    };
    errno_or_value(result)
}

/// Performs `io_uring_setup(2)` and owns the descriptor of the new ring.
///
/// # Errors
/// The errno of the kernel, unchanged: `EPERM` when forbidden, `ENOSYS` when
/// absent or filtered, `EINVAL` for flags it does not know, `ENOMEM` when the
/// memory may not be locked.
///
/// # Safety
/// `params` must point to a readable and writable `struct io_uring_params`
/// (120 bytes), and with `IORING_SETUP_NO_MMAP` the addresses in it must stay
/// mapped until the ring is gone.
pub unsafe fn io_uring_setup(entries: u32, params: *mut c_void) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for `params`.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params) };
    let fd: RawFd = errno_or_value(result)?;
    // SAFETY: the kernel has just opened this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn errno_or_value(result: libc::c_long) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel's own type for these results is `int`.
    i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn register_on_an_ordinary_file_keeps_the_errno() {
        let file = File::open("/dev/null").expect("/dev/null opens");
        // SAFETY: the argument is null and the descriptor is no ring, so the
        // kernel refuses before it reads anything.
        let error = unsafe { io_uring_register(file.as_fd(), 8, std::ptr::null(), 0) }
            .expect_err("a file is no ring");
        let errno = error.raw_os_error().expect("an errno");
        assert!(
            [libc::EOPNOTSUPP, libc::EBADF, libc::EPERM, libc::ENOSYS].contains(&errno),
            "{error}"
        );
    }
}
