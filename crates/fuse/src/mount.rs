//! The mount of a file system.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{getegid, geteuid};

use crate::error::MountError;

/// Opens the device that a mount's requests come from.
pub(crate) fn open_device() -> Result<File, MountError> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).open("/dev/fuse");
    opened.map_err(|source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => MountError::of("opening /dev/fuse", source),
        _ => MountError::NoDevice { source },
    })
}

/// A mount in the mount namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts what is served through `device`.
    pub(crate) fn new(device: &File, at: &Path) -> Result<Self, MountError> {
        let wrong = |source: std::io::Error| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => MountError::of("mounting", source),
            _ => MountError::MountPoint {
                at: at.to_owned(),
                source,
            },
        };
        let at = at.canonicalize().map_err(wrong)?;
        let options = format!(
            "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
            device.as_fd().as_raw_fd(),
            geteuid().as_raw(),
            getegid().as_raw(),
        );
        let options = CString::new(options).map_err(|error| wrong(error.into()))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("zcn", &at, "fuse.zcn", flags, Some(options.as_c_str()))
            .map_err(|errno| wrong(errno.into()))?;
        Ok(Self { at })
    }

    /// Unmounts it, if nobody uses it.
    pub(crate) fn unmount(&self) -> rustix::io::Result<()> {
        unmount(&self.at, UnmountFlags::NOFOLLOW)
    }

    /// Unmounts it in any case: requests that are under way end with an error, and so do all calls
    /// on files that are still open.
    pub(crate) fn abort(&self) -> rustix::io::Result<()> {
        let flags = UnmountFlags::NOFOLLOW | UnmountFlags::FORCE | UnmountFlags::DETACH;
        unmount(&self.at, flags)
    }
}
