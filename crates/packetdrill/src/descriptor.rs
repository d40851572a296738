//! Numbers for sockets: real descriptors of the null device, as the tool cleans up with the
//! C library's `close`.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::IntoRawFd;

use libc::c_int;

use crate::errno::{Errno, Result};

/// A new descriptor. It is the tool's: it may be closed behind our back.
pub(crate) fn open() -> Result<c_int> {
    let file = File::options().read(true).write(true).open("/dev/null");
    file.map(IntoRawFd::into_raw_fd)
        .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EMFILE)))
}

/// Closes a descriptor of the tool, one of ours or not.
pub(crate) fn close(descriptor: c_int) -> Result<()> {
    // SAFETY: the tool asks for it, and answers for a descriptor of its own; ours are owned
    // by nothing else.
    if unsafe { libc::close(descriptor) } == 0 {
        Ok(())
    } else {
        Err(last())
    }
}

/// The C library's error of this thread.
pub(crate) fn last() -> Errno {
    Errno(
        std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    )
}
