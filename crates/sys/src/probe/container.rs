//! Whether the process lives in a container, which decides who can lift a
//! limit.

use std::path::Path;

use super::proc;
use crate::check::Check;

/// What betrays a container, or `None` on what looks like a whole system.
pub fn detect() -> Option<String> {
    if Path::new("/.dockerenv").exists() {
        return Some("docker (/.dockerenv)".to_owned());
    }
    if Path::new("/run/.containerenv").exists() {
        return Some("podman (/run/.containerenv)".to_owned());
    }
    if let Some(kind) = std::env::var("container")
        .ok()
        .filter(|kind| !kind.is_empty())
    {
        return Some(format!("{kind} (environment)"));
    }
    from_groups(&proc::text("/proc/1/cgroup")?).map(|kind| format!("{kind} (control group)"))
}

fn from_groups(groups: &str) -> Option<&'static str> {
    ["kubepods", "docker", "containerd", "libpod", "lxc"]
        .into_iter()
        .find(|kind| groups.contains(kind))
}

/// The kind of container, and where limits are lifted then.
pub fn check() -> Check {
    match detect() {
        None => Check::ok("process.container", "none seen"),
        Some(kind) => {
            let mut check = Check::ok("process.container", kind);
            check.remedy =
                Some("sysctls, huge pages and cpu limits are set on the host".to_owned());
            check
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_name_their_keeper() {
        assert_eq!(from_groups("0::/"), None);
        assert_eq!(from_groups("0::/init.scope"), None);
        assert_eq!(from_groups("5:cpu:/docker/0f3a"), Some("docker"));
        assert_eq!(
            from_groups("0::/kubepods/besteffort/pod1"),
            Some("kubepods")
        );
    }
}
