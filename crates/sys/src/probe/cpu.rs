//! The cores: how many, which of them, what they can compute, how much of
//! them a control group grants.

use super::proc;
use crate::affinity;
use crate::check::Check;

/// The share of processor time that a control group grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuQuota {
    /// Microseconds of processor time per period.
    pub quota_us: u64,
    /// Length of a period in microseconds.
    pub period_us: u64,
}

impl CpuQuota {
    /// The quota of the control group of this process; `None` without one.
    pub fn current() -> Option<Self> {
        let groups = proc::text("/proc/self/cgroup").unwrap_or_default();
        let unified = groups
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap_or("/")
            .trim_end_matches('/');
        // In a container the own group is mounted at the root.
        [format!("/sys/fs/cgroup{unified}"), "/sys/fs/cgroup".into()]
            .iter()
            .find_map(|root| proc::text(&format!("{root}/cpu.max")))
            .map_or_else(Self::legacy, |setting| Self::parse(&setting))
    }

    /// Reads a setting of version 2 such as `50000 100000`; `None` for `max`.
    pub fn parse(setting: &str) -> Option<Self> {
        let (quota, period) = setting.trim().split_once(' ')?;
        Some(Self {
            quota_us: quota.parse().ok()?,
            period_us: period.parse().ok().filter(|&period| period > 0)?,
        })
    }

    /// Control groups of version 1, where -1 stands for no quota.
    fn legacy() -> Option<Self> {
        let file = |name| proc::number(&format!("/sys/fs/cgroup/cpu/{name}"));
        Some(Self {
            quota_us: file("cpu.cfs_quota_us")?,
            period_us: file("cpu.cfs_period_us").filter(|&period| period > 0)?,
        })
    }

    /// The quota in cores.
    pub fn cores(&self) -> f64 {
        self.quota_us as f64 / self.period_us as f64
    }
}

/// Names of the processor features that zcn has code for and this machine
/// has, in a fixed order.
pub fn features() -> Vec<&'static str> {
    let mut names = Vec::new();
    let mut note = |name, there: bool| {
        if there {
            names.push(name);
        }
    };
    #[cfg(target_arch = "x86_64")]
    {
        note("sse4.2", std::is_x86_feature_detected!("sse4.2"));
        note("avx2", std::is_x86_feature_detected!("avx2"));
        note("avx512f", std::is_x86_feature_detected!("avx512f"));
        note("aes", std::is_x86_feature_detected!("aes"));
        note("pclmulqdq", std::is_x86_feature_detected!("pclmulqdq"));
        note("sha", std::is_x86_feature_detected!("sha"));
    }
    #[cfg(target_arch = "aarch64")]
    {
        note("neon", std::arch::is_aarch64_feature_detected!("neon"));
        note("aes", std::arch::is_aarch64_feature_detected!("aes"));
        note("sha2", std::arch::is_aarch64_feature_detected!("sha2"));
        note("crc", std::arch::is_aarch64_feature_detected!("crc"));
    }
    // On other machines nothing is noted.
    note("", false);
    names
}

/// The cores taken from the scheduler (`isolcpus=`), for threads that are
/// pinned to them.
pub fn isolated_cores() -> Option<Vec<usize>> {
    proc::list(&proc::text("/sys/devices/system/cpu/isolated")?)
}

/// The memory nodes that are online.
pub fn numa_nodes() -> Option<Vec<usize>> {
    proc::list(&proc::text("/sys/devices/system/node/online")?)
}

/// One line each for cores, features, isolation, quota and memory nodes.
pub fn checks() -> Vec<Check> {
    vec![
        cores(),
        Check::ok("cpu.features", words_or_none(&features())),
        isolation(isolated_cores()),
        quota(CpuQuota::current()),
        match numa_nodes() {
            Some(nodes) => Check::ok("cpu.numa_nodes", nodes.len().max(1).to_string()),
            None => Check::unknown("cpu.numa_nodes", "not stated"),
        },
    ]
}

fn cores() -> Check {
    let model = proc::text("/proc/cpuinfo")
        .and_then(|info| proc::field(&info, "model name").map(str::to_owned))
        .unwrap_or_else(|| "model not stated".to_owned());
    let siblings = match proc::number("/sys/devices/system/cpu/smt/active") {
        Some(1) => "; SMT siblings active",
        _ => "",
    };
    match affinity::allowed_cores() {
        Err(error) => Check::unknown("cpu.cores", error.to_string()),
        Ok(allowed) => {
            let value = format!("{} usable; {model}{siblings}", allowed.len());
            if allowed.len() > 1 {
                return Check::ok("cpu.cores", value);
            }
            Check::warn(
                "cpu.cores",
                value,
                "one core serves client, server and kernel in turn: do not spin, and do not \
                 trust latency measured on it",
            )
        }
    }
}

fn isolation(isolated: Option<Vec<usize>>) -> Check {
    match isolated {
        None => Check::unknown("cpu.isolated", "not stated"),
        Some(cores) if cores.is_empty() => Check::ok("cpu.isolated", "none"),
        Some(cores) => Check::ok("cpu.isolated", format!("{cores:?}")),
    }
}

fn quota(quota: Option<CpuQuota>) -> Check {
    match quota {
        None => Check::ok("cpu.quota", "none"),
        Some(quota) => Check::warn(
            "cpu.quota",
            format!("{:.2} cores", quota.cores()),
            "a spinning thread burns the quota and is then stopped for the rest of the period: \
             run without --spin, or lift the limit (docker run --cpus, cpu.max)",
        ),
    }
}

fn words_or_none(words: &[&str]) -> String {
    if words.is_empty() {
        "none that zcn has code for".to_owned()
    } else {
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    #[test]
    fn quotas_of_control_groups() {
        let half = CpuQuota::parse("50000 100000\n").expect("a quota");
        assert!((half.cores() - 0.5).abs() < 1e-9);
        assert_eq!(quota(Some(half)).status, Status::Warn);
        for none in ["max 100000", "", "50000", "50000 0", "-1 100000"] {
            assert_eq!(CpuQuota::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn features_have_names() {
        assert!(features().iter().all(|name| !name.is_empty()));
    }

    #[test]
    fn an_empty_list_is_no_isolation() {
        assert_eq!(isolation(Some(vec![])).value, "none");
        assert_eq!(isolation(Some(vec![2, 3])).value, "[2, 3]");
        assert_eq!(isolation(None).status, Status::Unknown);
    }
}
