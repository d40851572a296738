//! Why a driver could not be opened.

use std::io;

use zcn_pool::PoolError;

/// Why a device or socket could not be opened or set up. Nothing is left open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No name for an interface.
    #[error("{name:?} is no name for an interface: it takes 1 to 15 bytes, no '/', ':' or space")]
    Name {
        /// What was given.
        name: String,
    },
    /// A setting is outside its range.
    #[error("{setting} {got} cannot be used: {range}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was given.
        got: u64,
        /// What can be used.
        range: &'static str,
    },
    /// There is no such interface.
    #[error("there is no interface {name:?} in this network namespace; `ip link` lists them")]
    NoInterface {
        /// What was given.
        name: String,
    },
    /// `/dev/net/tun` is not there.
    #[error(
        "there is no /dev/net/tun: {source}; `modprobe tun`, or give the container the device \
         (`--device /dev/net/tun`)"
    )]
    NoTun {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The process may not.
    #[error(
        "not allowed to {action}: {source}; run as root or with {capability}, or in a user namespace of your own"
    )]
    Privilege {
        /// What was tried.
        action: &'static str,
        /// What allows it.
        capability: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another process holds the device, or it exists with other settings.
    #[error(
        "interface {name:?} is in use, or was made with other settings: {source}; stop its \
         user, choose another name, or ask for the same kind and number of queues"
    )]
    Busy {
        /// The device.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device does not take such packets.
    #[error("{name:?} takes no MTU of {mtu}; `ip -d link show {name}` shows its minmtu and maxmtu")]
    Mtu {
        /// The interface.
        name: String,
        /// What was asked for, in bytes.
        mtu: u32,
    },
    /// Anything else that the kernel refused.
    #[error("cannot {action} on {name:?}: {source}")]
    Kernel {
        /// The interface.
        name: String,
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The receive buffers could not be had.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl OpenError {
    /// Sorts the kernel's answer to `action` on the interface `name`.
    pub(crate) fn from_kernel(
        name: &str,
        action: &'static str,
        capability: &'static str,
        source: io::Error,
    ) -> Self {
        let name = name.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege {
                action,
                capability,
                source,
            },
            Some(libc::ENODEV | libc::ENXIO) => Self::NoInterface { name },
            Some(libc::EBUSY) => Self::Busy { name, source },
            _ => Self::Kernel {
                name,
                action,
                source,
            },
        }
    }

    /// The kernel's error number, if it was the kernel.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NoTun { source }
            | Self::Privilege { source, .. }
            | Self::Busy { source, .. }
            | Self::Kernel { source, .. } => source.raw_os_error(),
            Self::Mtu { .. } => Some(libc::EINVAL),
            _ => None,
        }
    }
}
