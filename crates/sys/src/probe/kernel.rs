//! Which kernel this is.

use std::fmt;

use crate::check::Check;

/// A kernel release, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 in 6.18.44.
    pub major: u16,
    /// 18 in 6.18.44.
    pub minor: u16,
    /// 44 in 6.18.44; 0 where a release does not name it.
    pub patch: u16,
}

impl KernelVersion {
    /// The oldest kernel on which zcn drives io_uring.
    pub const RING_FLOOR: KernelVersion = KernelVersion::new(6, 1, 0);

    /// A version from its numbers.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads a release string such as `6.1.0-18-amd64`; whatever follows the
    /// numbers is ignored. `None` when it does not begin with two numbers.
    pub fn parse(release: &str) -> Option<Self> {
        let mut parts = release.trim().splitn(3, '.');
        let major = parts.next()?.parse().ok()?;
        let minor = leading_number(parts.next()?)?;
        let patch = parts.next().and_then(leading_number).unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }

    /// The running kernel; `None` when its release string is unreadable.
    pub fn running() -> Option<Self> {
        let uname = rustix::system::uname();
        Self::parse(uname.release().to_str().ok()?)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn leading_number(text: &str) -> Option<u16> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The release and machine, judged against what zcn needs.
pub fn check() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let value = format!("{release} {}", uname.machine().to_string_lossy());
    judge(KernelVersion::parse(&release), value)
}

fn judge(version: Option<KernelVersion>, value: String) -> Check {
    match version {
        None => Check::unknown("kernel", value),
        Some(version) if version < KernelVersion::RING_FLOOR => Check::warn(
            "kernel",
            value,
            format!(
                "io_uring is used from Linux {} on; below that zcn runs on epoll. \
                 Update the kernel to use the ring",
                KernelVersion::RING_FLOOR
            ),
        ),
        Some(_) => Check::ok("kernel", value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    #[test]
    fn releases_of_distributions() {
        let parsed = |release| KernelVersion::parse(release);
        let version = |a, b, c| Some(KernelVersion::new(a, b, c));
        assert_eq!(parsed("6.18.44-fc-v657"), version(6, 18, 44));
        assert_eq!(parsed("6.1.0-18-amd64\n"), version(6, 1, 0));
        assert_eq!(
            parsed("5.15.153.1-microsoft-standard-WSL2"),
            version(5, 15, 153)
        );
        assert_eq!(parsed("6.9-rc3"), version(6, 9, 0));
        assert_eq!(parsed("6.8.0+"), version(6, 8, 0));
        assert_eq!(parsed("7.0"), version(7, 0, 0));
    }

    #[test]
    fn nonsense_is_no_release() {
        for release in ["", "6", "six.one", ".1", "6.", "6.x", "99999999.1"] {
            assert_eq!(KernelVersion::parse(release), None, "{release:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(KernelVersion::new(6, 9, 0) < KernelVersion::new(6, 10, 0));
        assert!(KernelVersion::new(5, 19, 200) < KernelVersion::RING_FLOOR);
    }

    #[test]
    fn an_old_kernel_gets_a_remedy() {
        let check = judge(Some(KernelVersion::new(5, 10, 0)), "5.10.0".into());
        assert_eq!(check.status, Status::Warn);
        assert!(check.remedy.expect("a remedy").contains("epoll"));
        assert_eq!(judge(None, "?".into()).status, Status::Unknown);
    }

    #[test]
    fn the_running_kernel_is_readable() {
        assert!(KernelVersion::running().is_some());
    }
}
