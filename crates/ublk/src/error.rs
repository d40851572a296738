//! What can go wrong with a device, and what to do about it.

use std::io;
use std::path::PathBuf;

use zcn_uring::{CommandError, SetupError};

/// Why a device could not be made, served, listed or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UblkError {
    /// The driver is not there.
    #[error(
        "there is no ublk driver ({path}: {source}): load it (`modprobe ublk_drv`); it is part of \
         Linux since 6.0, where CONFIG_BLK_DEV_UBLK is set"
    )]
    NoDriver {
        /// The control device.
        path: PathBuf,
        /// `ENOENT`, `ENXIO` or `ENODEV`.
        source: io::Error,
    },
    /// A device of the driver may not be opened.
    #[error("{path} may not be opened ({source}): run as root (CAP_SYS_ADMIN)")]
    NotPermitted {
        /// The control device, or the character device of a block device.
        path: PathBuf,
        /// `EACCES` or `EPERM`.
        source: io::Error,
    },
    /// The driver does not know the commands that are needed here.
    #[error("the ublk driver of this kernel is too old: Linux 6.5 or newer is needed ({source})")]
    TooOld {
        /// How it refused to tell what it can.
        source: CommandError,
    },
    /// No device has this id.
    #[error("there is no ublk device {id}: list those there are")]
    NoDevice {
        /// The id that was asked for.
        id: u32,
    },
    /// A device has this id already.
    #[error("there is a ublk device {id} already: delete it, or leave the choice to the driver")]
    Exists {
        /// The id that was asked for.
        id: u32,
    },
    /// Another process serves the device, or is just going away.
    #[error(
        "ublk device {id} is being served ({source}): end its server, or wait until it is gone"
    )]
    Served {
        /// The device.
        id: u32,
        /// `EBUSY`.
        source: io::Error,
    },
    /// The driver refused a command.
    #[error("{command} of ublk device {id}: {source}")]
    Command {
        /// Name of the command, as in the kernel's header.
        command: &'static str,
        /// The device.
        id: u32,
        /// By whose fault.
        source: CommandError,
    },
    /// The character device of a block device could not be opened or mapped.
    #[error("{path}: {source}; is /dev a devtmpfs?")]
    Device {
        /// `/dev/ublkcN`.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
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
    /// The file behind a device cannot be used.
    #[error(
        "{path}: {source}; a file of the size of the device is needed, readable and, unless the device is read-only, writable"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A device that is taken over has another size than what shall stand behind it.
    #[error(
        "ublk device {id} has {device} bytes, and {target} bytes shall stand behind it: name the file that it had"
    )]
    Size {
        /// The device.
        id: u32,
        /// Its bytes.
        device: u64,
        /// Those of the target.
        target: u64,
    },
    /// A ring could not be made.
    #[error(transparent)]
    Ring(#[from] SetupError),
    /// Memory or threads for the queues could not be had, or a ring could not be entered.
    #[error("{what}: {source}; fewer queues, or a smaller depth, need less")]
    Resources {
        /// What was asked for.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl UblkError {
    /// What the kernel answered, if it was asked.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::NoDriver { source, .. }
            | Self::NotPermitted { source, .. }
            | Self::Served { source, .. }
            | Self::Device { source, .. }
            | Self::File { source, .. }
            | Self::Resources { source, .. } => source.raw_os_error(),
            Self::TooOld { source } | Self::Command { source, .. } => source.raw_os_error(),
            Self::NoDevice { .. } => Some(libc::ENODEV),
            Self::Exists { .. } => Some(libc::EEXIST),
            Self::Ring(source) => source.raw_os_error(),
            Self::Config { .. } | Self::Size { .. } => None,
        }
    }

    /// Sorts the errno of opening one of the driver's devices.
    pub(crate) fn opening(path: PathBuf, id: Option<u32>, source: io::Error) -> Self {
        match (source.raw_os_error(), id) {
            (Some(libc::EACCES | libc::EPERM), _) => Self::NotPermitted { path, source },
            (Some(libc::EBUSY), Some(id)) => Self::Served { id, source },
            (Some(libc::ENOENT | libc::ENXIO | libc::ENODEV), None) => {
                Self::NoDriver { path, source }
            }
            _ => Self::Device { path, source },
        }
    }

    /// Sorts the errno of a command about a device.
    pub(crate) fn command(command: &'static str, id: u32, source: CommandError) -> Self {
        match source.raw_os_error() {
            Some(libc::ENODEV) => Self::NoDevice { id },
            Some(libc::EEXIST) => Self::Exists { id },
            Some(libc::EBUSY) => Self::Served {
                id,
                source: io::Error::from_raw_os_error(libc::EBUSY),
            },
            _ => Self::Command {
                command,
                id,
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_driver_are_told_apart() {
        let command = |errno| UblkError::command("ADD_DEV", 7, CommandError::from_errno(errno));
        for (errno, says) in [
            (libc::ENODEV, "there is no ublk device 7"),
            (libc::EEXIST, "there is a ublk device 7 already"),
            (libc::EBUSY, "being served"),
            (libc::EPERM, "not permitted"),
            (libc::EOPNOTSUPP, "not a command of this file"),
            (libc::EINVAL, "arguments were refused"),
            (libc::ENOMEM, "failed"),
        ] {
            let error = command(errno);
            assert!(error.to_string().contains(says), "{errno}: {error}");
            assert_eq!(error.raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn what_keeps_a_device_from_being_opened_is_told_apart() {
        let open = |errno, id| {
            let source = io::Error::from_raw_os_error(errno);
            UblkError::opening("/dev/ublk".into(), id, source)
        };
        assert!(matches!(
            open(libc::ENOENT, None),
            UblkError::NoDriver { .. }
        ));
        assert!(matches!(
            open(libc::ENOENT, Some(1)),
            UblkError::Device { .. }
        ));
        assert!(matches!(
            open(libc::EACCES, None),
            UblkError::NotPermitted { .. }
        ));
        assert!(matches!(
            open(libc::EBUSY, Some(1)),
            UblkError::Served { id: 1, .. }
        ));
    }
}
