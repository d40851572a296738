//! What this process may do: capabilities, seccomp, new privileges.

use super::proc;
use crate::check::Check;

/// The capabilities that zcn can make use of: bit, name, and what for.
const USEFUL: &[(u8, &str, &str)] = &[
    (12, "CAP_NET_ADMIN", "TAP devices and network interfaces"),
    (13, "CAP_NET_RAW", "packet sockets and raw sockets"),
    (
        14,
        "CAP_IPC_LOCK",
        "registered buffers beyond the memlock limit",
    ),
    (23, "CAP_SYS_NICE", "real-time priority of busy loops"),
    (39, "CAP_BPF", "AF_XDP programs"),
];

/// How system calls of the process are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// Not at all.
    Off,
    /// Only read, write, exit and sigreturn.
    Strict,
    /// By so many filters.
    Filtered(u32),
}

/// The rights of a process, read from `/proc/self/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStatus {
    /// The effective capabilities, one bit each.
    pub capabilities: u64,
    /// `None` on a kernel without seccomp.
    pub seccomp: Option<Seccomp>,
    /// Whether the process has given up gaining privileges by exec.
    pub no_new_privs: bool,
}

impl ProcessStatus {
    /// Reads the rights of the calling process; `None` without `/proc`.
    pub fn current() -> Option<Self> {
        Self::parse(&proc::text("/proc/self/status")?)
    }

    /// Reads the rights out of the text of `/proc/<pid>/status`; `None` when
    /// it names no effective capabilities.
    pub fn parse(status: &str) -> Option<Self> {
        let capabilities = u64::from_str_radix(proc::field(status, "CapEff")?, 16).ok()?;
        let filters = proc::field(status, "Seccomp_filters").and_then(|n| n.parse().ok());
        let seccomp = match proc::field(status, "Seccomp") {
            Some("0") => Some(Seccomp::Off),
            Some("1") => Some(Seccomp::Strict),
            // Kernels before 5.9 do not count the filters.
            Some("2") => Some(Seccomp::Filtered(filters.unwrap_or(1))),
            _ => None,
        };
        Some(Self {
            capabilities,
            seccomp,
            no_new_privs: proc::field(status, "NoNewPrivs") == Some("1"),
        })
    }

    /// Whether the process has the capability with this number.
    pub fn has(&self, capability: u8) -> bool {
        capability < 64 && self.capabilities & (1 << capability) != 0
    }
}

/// One line for the capabilities and one for seccomp.
pub fn checks() -> Vec<Check> {
    match ProcessStatus::current() {
        None => vec![
            Check::unknown("process.capabilities", "/proc/self/status is not readable"),
            Check::unknown("process.seccomp", "/proc/self/status is not readable"),
        ],
        Some(status) => vec![capabilities(&status), seccomp(&status)],
    }
}

fn capabilities(status: &ProcessStatus) -> Check {
    let have: Vec<&str> = named(status, true).map(|(_, name, _)| *name).collect();
    let lack: Vec<String> = named(status, false)
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    let value = if have.is_empty() {
        "none of those zcn can use".to_owned()
    } else {
        have.join(" ")
    };
    if lack.is_empty() {
        return Check::ok("process.capabilities", value);
    }
    // Nothing of the kernel half needs any: their absence is no warning.
    let mut check = Check::ok("process.capabilities", value);
    check.remedy = Some(format!(
        "not needed for sockets; to use them: sudo setcap cap_net_admin,cap_net_raw+ep \
         <program>. Lacking: {}",
        lack.join(", ")
    ));
    check
}

fn named(
    status: &ProcessStatus,
    wanted: bool,
) -> impl Iterator<Item = &'static (u8, &'static str, &'static str)> {
    USEFUL
        .iter()
        .filter(move |(bit, _, _)| status.has(*bit) == wanted)
}

fn seccomp(status: &ProcessStatus) -> Check {
    let privs = if status.no_new_privs {
        "; no_new_privs"
    } else {
        ""
    };
    match status.seccomp {
        None => Check::unknown("process.seccomp", format!("not stated{privs}")),
        Some(Seccomp::Off) => Check::ok("process.seccomp", format!("off{privs}")),
        Some(Seccomp::Filtered(count)) => {
            Check::ok("process.seccomp", format!("{count} filter(s){privs}"))
        }
        Some(Seccomp::Strict) => Check::fail(
            "process.seccomp",
            "strict",
            "no socket can be opened in strict mode: start the process without it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Name:\tcat\nNoNewPrivs:\t0\nCapInh:\t0000000000000000\n\
        CapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\nSeccomp:\t0\nSeccomp_filters:\t0\n";
    const DOCKER: &str = "Name:\tsh\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\n\
        Seccomp:\t2\nSeccomp_filters:\t1\n";
    const PLAIN: &str = "CapEff:\t0000000000000000\nSeccomp:\t2\n";

    #[test]
    fn root_has_them_all() {
        let status = ProcessStatus::parse(ROOT).expect("a status");
        assert!(USEFUL.iter().all(|(bit, _, _)| status.has(*bit)));
        assert_eq!(status.seccomp, Some(Seccomp::Off));
        assert!(!status.no_new_privs);
        assert_eq!(capabilities(&status).remedy, None);
    }

    #[test]
    fn a_container_has_some_and_a_filter() {
        let status = ProcessStatus::parse(DOCKER).expect("a status");
        assert!(status.has(13) && !status.has(12) && !status.has(39));
        assert_eq!(status.seccomp, Some(Seccomp::Filtered(1)));
        assert!(status.no_new_privs);
        let check = capabilities(&status);
        assert_eq!(check.value, "CAP_NET_RAW");
        assert!(check.remedy.expect("a remedy").contains("CAP_NET_ADMIN"));
    }

    #[test]
    fn an_old_kernel_does_not_count_filters() {
        let status = ProcessStatus::parse(PLAIN).expect("a status");
        assert_eq!(status.seccomp, Some(Seccomp::Filtered(1)));
        assert!(!status.has(64), "a number beyond the mask is no right");
    }

    #[test]
    fn text_without_capabilities_is_no_status() {
        assert_eq!(ProcessStatus::parse(""), None);
        assert_eq!(ProcessStatus::parse("CapEff:\tnothing\n"), None);
    }
}
