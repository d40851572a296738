//! `io_uring_enter` with every argument in the caller's hand.
//!
//! The crate's `Submitter` forgets a registered ring descriptor when it is dropped and sets the
//! flags itself; the reactor wants the registered index on every call and GETEVENTS exactly when
//! deferred work may be waiting.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// `IORING_ENTER_GETEVENTS`: run deferred work and wait for `min_complete`.
pub(crate) const GETEVENTS: u32 = 1 << 0;
const EXT_ARG: u32 = 1 << 3;
/// `IORING_ENTER_REGISTERED_RING`: `fd` is an index from `IORING_REGISTER_RING_FDS`.
pub(crate) const REGISTERED_RING: u32 = 1 << 4;

#[repr(C)]
struct KernelTimespec {
    tv_sec: i64,
    tv_nsec: i64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_sz: u32,
    min_wait_usec: u32,
    ts: u64,
}

/// How long a wait may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Longest wait; `None` = for ever.
    pub(crate) timeout: Option<Duration>,
    /// Settle for a single completion after this many microseconds (6.12); 0 = off.
    pub(crate) min_wait_us: u32,
}

/// Enters the kernel: submits `to_submit` entries and, with `want > 0` or GETEVENTS, reaps.
pub(crate) fn enter(
    fd: RawFd,
    to_submit: u32,
    want: u32,
    mut flags: u32,
    limits: Limits,
) -> io::Result<u32> {
    let time;
    let argument;
    let (arg, len) = if limits.timeout.is_some() || limits.min_wait_us > 0 {
        flags |= EXT_ARG;
        time = limits.timeout.map(|timeout| KernelTimespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        argument = GetEventsArg {
            sigmask: 0,
            sigmask_sz: 0,
            min_wait_usec: limits.min_wait_us,
            ts: time
                .as_ref()
                .map_or(0, |time| std::ptr::from_ref(time) as u64),
        };
        (
            std::ptr::from_ref(&argument).cast::<libc::c_void>(),
            size_of::<GetEventsArg>(),
        )
    } else {
        (std::ptr::null(), 0)
    };
    // SAFETY: `arg` is null or points to a `GetEventsArg` that lives past the call, whose `ts` is
    // 0 or points to a timespec that does too. The entries that become visible were filled by
    // `Ring::push`, whose slots own everything they point to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            fd,
            to_submit,
            want,
            flags,
            arg,
            len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as u32)
}
