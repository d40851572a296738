//! Why a file system could not be mounted, and what to do about it.

use std::io;
use std::path::PathBuf;

use zcn_uring::{CommandError, SetupError};

/// Why [`Session::mount`](crate::Session::mount) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The kernel has no FUSE, or `/dev/fuse` was not made.
    #[error(
        "/dev/fuse cannot be opened ({source}): load the module fuse, or pass the device into the container"
    )]
    NoDevice {
        /// The error of open(2).
        source: io::Error,
    },
    /// The process lacks a right.
    #[error(
        "{what} is not permitted ({source}): run as root, or in a user and mount namespace (unshare -Urm)"
    )]
    NotPermitted {
        /// What was to be done.
        what: &'static str,
        /// `EPERM` or `EACCES`.
        source: io::Error,
    },
    /// The mount point is no folder that something can be mounted on.
    #[error("{} cannot be mounted on: {source}", at.display())]
    MountPoint {
        /// The mount point.
        at: PathBuf,
        /// The error of mount(2).
        source: io::Error,
    },
    /// The kernel has no FUSE over io_uring.
    #[error(
        "this kernel has no FUSE over io_uring ({source}): Linux 6.14 with CONFIG_FUSE_IO_URING is needed, or serve by reads"
    )]
    UringUnsupported {
        /// Why the module's parameter cannot be read.
        source: io::Error,
    },
    /// The kernel has it switched off.
    #[error(
        "FUSE over io_uring is switched off: write Y to {}, or serve by reads",
        crate::switch::PATH
    )]
    UringDisabled,
    /// A ring could not be made.
    #[error("a ring for the file system: {0}")]
    Ring(#[from] SetupError),
    /// The kernel refused a ring's entries.
    #[error("the kernel does not send requests to this ring: {0}")]
    Refused(#[from] CommandError),
    /// A setting is out of range.
    #[error("{setting} = {value} is out of range: {range}")]
    Config {
        /// Name of the setting.
        setting: &'static str,
        /// What was asked.
        value: u64,
        /// What is possible.
        range: &'static str,
    },
    /// Threads, memory, descriptors.
    #[error("{what}: {source}")]
    Resources {
        /// What was to be had.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
    /// The file system was unmounted before it was served, or the kernel spoke another protocol.
    #[error("the mount ended before it was served")]
    Ended,
}

impl MountError {
    /// Sorts an error of a call that needs rights.
    pub(crate) fn of(what: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { what, source },
            _ => Self::Resources { what, source },
        }
    }

    /// What the kernel answered, if it was asked.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::NoDevice { source }
            | Self::NotPermitted { source, .. }
            | Self::MountPoint { source, .. }
            | Self::UringUnsupported { source }
            | Self::Resources { source, .. } => source.raw_os_error(),
            Self::Ring(error) => error.raw_os_error(),
            Self::Refused(error) => error.raw_os_error(),
            Self::UringDisabled | Self::Config { .. } | Self::Ended => None,
        }
    }
}
