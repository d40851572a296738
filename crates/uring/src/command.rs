//! How commands fail, and what to do about it.

use std::io;

use crate::completion::Completion;

/// Why a `URING_CMD` did not do what it was asked to, by whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The file, its driver or the kernel does not have this command.
    #[error(
        "not a command of this file under this kernel ({source}): check what it is a file of, and \
         the version in which the command came"
    )]
    Unsupported {
        /// `EOPNOTSUPP` (also called `ENOTSUP`), `ENOTTY`, or the kernel's own `ENOTSUPP` (524).
        source: io::Error,
    },
    /// An argument is out of range, or the ring's entries are too small for the command.
    #[error(
        "the command's arguments were refused ({source}): check them, and whether it needs 128-byte \
         entries or 32-byte completions"
    )]
    Invalid {
        /// `EINVAL`, `ERANGE`, `EFAULT`, `ENOPROTOOPT` or `EDOM`.
        source: io::Error,
    },
    /// The process lacks a right.
    #[error(
        "the command is not permitted ({source}): open the file with the rights it needs, or run as root"
    )]
    NotPermitted {
        /// `EPERM` or `EACCES`.
        source: io::Error,
    },
    /// The device, mount or connection behind the file is gone, or was never there.
    #[error("nothing is behind this file any more ({source}): open it again")]
    Gone {
        /// `ENODEV`, `ENXIO`, `ENOTCONN`, `ESHUTDOWN`, `ENOTSOCK` or `EBADF`.
        source: io::Error,
    },
    /// Cancelled before it was done.
    #[error("the command was cancelled ({source})")]
    Cancelled {
        /// `ECANCELED` or `EINTR`.
        source: io::Error,
    },
    /// Anything else.
    #[error("the command failed: {source}")]
    Failed {
        /// The kernel's error.
        source: io::Error,
    },
}

/// `ENOTSUPP` of the kernel: not meant for programs, and some drivers return it all the same.
const KERNEL_ENOTSUPP: i32 = 524;

impl CommandError {
    /// Sorts an errno.
    pub fn from_errno(errno: i32) -> Self {
        let source = io::Error::from_raw_os_error(errno);
        match errno {
            libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | KERNEL_ENOTSUPP => {
                Self::Unsupported { source }
            }
            libc::EINVAL | libc::ERANGE | libc::EFAULT | libc::ENOPROTOOPT | libc::EDOM => {
                Self::Invalid { source }
            }
            libc::EPERM | libc::EACCES => Self::NotPermitted { source },
            libc::ENODEV
            | libc::ENXIO
            | libc::ENOTCONN
            | libc::ESHUTDOWN
            | libc::ENOTSOCK
            | libc::EBADF => Self::Gone { source },
            libc::ECANCELED | libc::EINTR => Self::Cancelled { source },
            _ => Self::Failed { source },
        }
    }

    /// What the kernel answered.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Unsupported { source }
            | Self::Invalid { source }
            | Self::NotPermitted { source }
            | Self::Gone { source }
            | Self::Cancelled { source }
            | Self::Failed { source } => source.raw_os_error(),
        }
    }
}

impl<X: Copy> Completion<X> {
    /// The result of a command.
    ///
    /// # Errors
    /// [`CommandError`], by whose fault it is.
    pub fn command_result(&self) -> Result<u32, CommandError> {
        match self.raw_result() {
            errno if errno < 0 => Err(CommandError::from_errno(errno.saturating_neg())),
            value => Ok(value as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_and_keep_their_errno() {
        for (errno, says) in [
            (libc::EOPNOTSUPP, "not a command of this file"),
            (libc::ENOTTY, "not a command of this file"),
            (KERNEL_ENOTSUPP, "not a command of this file"),
            (libc::EINVAL, "arguments were refused"),
            (libc::ENOPROTOOPT, "arguments were refused"),
            (libc::EACCES, "not permitted"),
            (libc::ENODEV, "nothing is behind this file"),
            (libc::ECANCELED, "cancelled"),
            (libc::EIO, "failed"),
        ] {
            let error = CommandError::from_errno(errno);
            assert!(error.to_string().contains(says), "{errno}: {error}");
            assert_eq!(error.raw_os_error(), Some(errno));
        }
    }
}
