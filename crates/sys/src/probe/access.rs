//! Whether this process may use io_uring, and if not, who forbids it.

use std::fmt;
use std::io;

use super::{proc, ring};
use crate::check::Check;

/// What came of the attempt to set up a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// A ring could be set up.
    Allowed,
    /// `EPERM` with `kernel.io_uring_disabled` at 1: only privileged
    /// processes and members of `kernel.io_uring_group` may.
    GroupOnly,
    /// `EPERM` with `kernel.io_uring_disabled` at 2: nobody may.
    Disabled,
    /// `EPERM` or `EACCES` although the setting allows it: a seccomp filter
    /// or a security module.
    Filtered,
    /// `ENOSYS`: a kernel built without io_uring, or a filter that says so.
    Absent,
    /// `ENOMEM`: the memory of the ring may not be locked or allotted.
    OutOfMemory,
    /// `EMFILE` or `ENFILE`: no descriptor left for the ring.
    OutOfDescriptors,
    /// Any other errno.
    Refused(i32),
}

impl Access {
    /// Tries to set up a ring of two entries and closes it again.
    pub fn probe() -> Self {
        match ring::try_setup(0) {
            Ok(_) => Access::Allowed,
            Err(error) => Access::from_error(&error),
        }
    }

    /// Reads the reason out of an error of `io_uring_setup(2)`, asking the
    /// kernel's settings where the errno alone does not tell.
    pub fn from_error(error: &io::Error) -> Self {
        let setting = proc::number("/proc/sys/kernel/io_uring_disabled");
        Self::from_errno(error.raw_os_error().unwrap_or(0), setting)
    }

    fn from_errno(errno: i32, setting: Option<u64>) -> Self {
        match (errno, setting) {
            (libc::EPERM, Some(2)) => Access::Disabled,
            (libc::EPERM, Some(1)) => Access::GroupOnly,
            (libc::EPERM | libc::EACCES, _) => Access::Filtered,
            (libc::ENOSYS, _) => Access::Absent,
            (libc::ENOMEM, _) => Access::OutOfMemory,
            (libc::EMFILE | libc::ENFILE, _) => Access::OutOfDescriptors,
            (other, _) => Access::Refused(other),
        }
    }

    /// Whether the epoll reactor should take over: the refusal is lasting
    /// and says nothing about memory or descriptors, which epoll needs too.
    pub fn calls_for_fallback(self) -> bool {
        matches!(
            self,
            Access::GroupOnly | Access::Disabled | Access::Filtered | Access::Absent
        )
    }

    /// What to do to be allowed; `None` when nothing stands in the way.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Access::Allowed => return None,
            Access::GroupOnly => {
                "sysctl kernel.io_uring_disabled=1 limits io_uring to root and one group: join \
                 the group named by sysctl kernel.io_uring_group, or set \
                 kernel.io_uring_disabled=0; until then zcn runs on epoll"
            }
            Access::Disabled => {
                "io_uring is switched off for everybody: sysctl -w kernel.io_uring_disabled=0 \
                 (in a container: on the host); until then zcn runs on epoll"
            }
            Access::Filtered => {
                "a seccomp profile or security module forbids io_uring_setup. Docker: run with \
                 a --security-opt seccomp=<profile> that allows io_uring_setup, io_uring_enter \
                 and io_uring_register; until then zcn runs on epoll"
            }
            Access::Absent => {
                "the kernel was built without CONFIG_IO_URING, or a sandbox (gVisor, an old \
                 container runtime) hides it; zcn runs on epoll"
            }
            Access::OutOfMemory => {
                "the memory of a ring could not be had: raise the memory limit of the cgroup or \
                 ulimit -l (RLIMIT_MEMLOCK), or use smaller rings"
            }
            Access::OutOfDescriptors => {
                "no descriptor is left: raise ulimit -n (RLIMIT_NOFILE) or fs.file-max"
            }
            Access::Refused(_) => "see io_uring_setup(2) for this errno; zcn can run on epoll",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Allowed => f.write_str("allowed"),
            Access::GroupOnly => f.write_str("only for root and kernel.io_uring_group (EPERM)"),
            Access::Disabled => f.write_str("disabled by sysctl (EPERM)"),
            Access::Filtered => f.write_str("forbidden by a filter (EPERM)"),
            Access::Absent => f.write_str("not there (ENOSYS)"),
            Access::OutOfMemory => f.write_str("out of lockable memory (ENOMEM)"),
            Access::OutOfDescriptors => f.write_str("out of descriptors"),
            Access::Refused(errno) => {
                write!(f, "refused: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

/// The outcome of [`Access::probe`] and the setting behind it.
pub fn check(access: Access) -> Check {
    let setting = match proc::number("/proc/sys/kernel/io_uring_disabled") {
        Some(value) => format!("; kernel.io_uring_disabled={value}"),
        None => String::new(),
    };
    let value = format!("{access}{setting}");
    match access.remedy() {
        None => Check::ok("ring.access", value),
        Some(remedy) => Check::warn("ring.access", value, remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_its_own_reason() {
        let reason = Access::from_errno;
        assert_eq!(reason(libc::EPERM, Some(2)), Access::Disabled);
        assert_eq!(reason(libc::EPERM, Some(1)), Access::GroupOnly);
        assert_eq!(reason(libc::EPERM, Some(0)), Access::Filtered);
        assert_eq!(reason(libc::EPERM, None), Access::Filtered);
        assert_eq!(reason(libc::EACCES, Some(0)), Access::Filtered);
        assert_eq!(reason(libc::ENOSYS, None), Access::Absent);
        assert_eq!(reason(libc::ENOMEM, Some(0)), Access::OutOfMemory);
        assert_eq!(reason(libc::EMFILE, Some(0)), Access::OutOfDescriptors);
        assert_eq!(reason(libc::EINVAL, Some(0)), Access::Refused(libc::EINVAL));
    }

    #[test]
    fn every_refusal_has_a_remedy() {
        for access in [
            Access::GroupOnly,
            Access::Disabled,
            Access::Filtered,
            Access::Absent,
            Access::OutOfMemory,
            Access::OutOfDescriptors,
            Access::Refused(libc::EINVAL),
        ] {
            assert!(access.remedy().is_some(), "{access}");
        }
        assert_eq!(Access::Allowed.remedy(), None);
    }

    #[test]
    fn memory_and_descriptors_are_no_reason_to_fall_back() {
        assert!(Access::Disabled.calls_for_fallback());
        assert!(Access::Absent.calls_for_fallback());
        assert!(!Access::OutOfMemory.calls_for_fallback());
        assert!(!Access::OutOfDescriptors.calls_for_fallback());
        assert!(!Access::Allowed.calls_for_fallback());
    }
}
