//! What the kernel's own network offers: sockets, buffers, congestion
//! control.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use super::proc;
use crate::check::Check;
use crate::limits::{self, Limit};

/// Descriptors without which not even a small server is of use.
const FEWEST_DESCRIPTORS: u64 = 64;
/// Descriptors from which on nothing is said about them.
const ENOUGH_DESCRIPTORS: u64 = 4096;

/// The ways of TCP to share a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CongestionControl {
    /// What sockets get that ask for nothing.
    pub current: String,
    /// What sockets may ask for.
    pub available: Vec<String>,
}

impl CongestionControl {
    /// Reads the settings; `None` where they are hidden (some network
    /// namespaces show only a part).
    pub fn current() -> Option<Self> {
        let setting = |name| proc::text(&format!("/proc/sys/net/ipv4/{name}"));
        Some(Self {
            current: setting("tcp_congestion_control")?,
            available: setting("tcp_available_congestion_control")
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// One line each for the event loop, loopback, descriptors and settings.
pub fn checks() -> Vec<Check> {
    vec![
        event_loop(),
        loopback_v4(),
        loopback_v6(),
        open_files(limits::open_files()),
        congestion(CongestionControl::current()),
        backlog(proc::number("/proc/sys/net/core/somaxconn")),
        buffers(),
        zero_copy_budget(proc::number("/proc/sys/net/core/optmem_max")),
    ]
}

fn event_loop() -> Check {
    match rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC) {
        Ok(_) => Check::ok("network.epoll", "works"),
        Err(errno) => Check::fail(
            "network.epoll",
            io::Error::from(errno).to_string(),
            "zcn needs epoll where io_uring is refused: lift the seccomp filter, or raise \
             ulimit -n if descriptors are exhausted",
        ),
    }
}

fn loopback_v4() -> Check {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    match bound {
        Ok(_) => Check::ok("network.loopback_v4", "TCP and UDP bind"),
        Err(error) => Check::fail(
            "network.loopback_v4",
            error.to_string(),
            "sockets are refused, or the loopback interface is down: ip link set lo up",
        ),
    }
}

fn loopback_v6() -> Check {
    match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Check::ok("network.loopback_v6", "TCP binds"),
        Err(error) => Check::warn(
            "network.loopback_v6",
            error.to_string(),
            "only IPv4 addresses will work; to enable IPv6: sysctl -w \
             net.ipv6.conf.lo.disable_ipv6=0 (docker: --sysctl)",
        ),
    }
}

fn open_files(limit: Limit) -> Check {
    let value = limit.to_string();
    if limit.allows(ENOUGH_DESCRIPTORS) {
        return Check::ok("network.descriptors", value);
    }
    let how = if limit.could_allow(ENOUGH_DESCRIPTORS) {
        "ulimit -n up to the hard limit (the zcn program does so itself)"
    } else {
        "raise nofile in limits.conf, LimitNOFILE= in the systemd unit, or docker run --ulimit \
         nofile=65536"
    };
    let remedy = format!("each connection takes one descriptor: {how}");
    if limit.could_allow(FEWEST_DESCRIPTORS) {
        Check::warn("network.descriptors", value, remedy)
    } else {
        Check::fail("network.descriptors", value, remedy)
    }
}

fn congestion(control: Option<CongestionControl>) -> Check {
    match control {
        None => Check::unknown("network.congestion_control", "not stated"),
        Some(control) => Check::ok(
            "network.congestion_control",
            format!("{} of {}", control.current, control.available.join(" ")),
        ),
    }
}

fn backlog(somaxconn: Option<u64>) -> Check {
    match somaxconn {
        None => Check::unknown("network.somaxconn", "not stated"),
        Some(most) if most < 1024 => Check::warn(
            "network.somaxconn",
            most.to_string(),
            "longer queues of unaccepted connections are cut to this: sysctl -w \
             net.core.somaxconn=4096",
        ),
        Some(most) => Check::ok("network.somaxconn", most.to_string()),
    }
}

fn buffers() -> Check {
    let setting = |name| {
        proc::number(&format!("/proc/sys/net/core/{name}"))
            .map_or("not stated".to_owned(), |bytes| bytes.to_string())
    };
    Check::ok(
        "network.socket_buffers",
        format!(
            "receive at most {} bytes, send {}",
            setting("rmem_max"),
            setting("wmem_max")
        ),
    )
}

fn zero_copy_budget(optmem_max: Option<u64>) -> Check {
    match optmem_max {
        None => Check::unknown("network.optmem", "not stated"),
        Some(bytes) if bytes < 65_536 => Check::warn(
            "network.optmem",
            format!("{bytes} bytes"),
            "zero-copy sends in flight are charged to this and fail with ENOBUFS beyond it: \
             sysctl -w net.core.optmem_max=131072",
        ),
        Some(bytes) => Check::ok("network.optmem", format!("{bytes} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    fn limit(soft: u64, hard: u64) -> Limit {
        Limit {
            soft: Some(soft),
            hard: Some(hard),
        }
    }

    #[test]
    fn descriptors_are_judged_by_what_they_could_be() {
        assert_eq!(open_files(limit(65_536, 65_536)).status, Status::Ok);
        let raisable = open_files(limit(1024, 1_048_576));
        assert_eq!(raisable.status, Status::Warn);
        assert!(raisable.remedy.expect("a remedy").contains("ulimit -n"));
        let fixed = open_files(limit(1024, 1024));
        assert_eq!(fixed.status, Status::Warn);
        assert!(fixed.remedy.expect("a remedy").contains("limits.conf"));
        assert_eq!(open_files(limit(16, 16)).status, Status::Fail);
    }

    #[test]
    fn a_short_backlog_and_a_small_budget_warn() {
        assert_eq!(backlog(Some(128)).status, Status::Warn);
        assert_eq!(backlog(Some(4096)).status, Status::Ok);
        assert_eq!(backlog(None).status, Status::Unknown);
        assert_eq!(zero_copy_budget(Some(20_480)).status, Status::Warn);
        assert_eq!(zero_copy_budget(Some(131_072)).status, Status::Ok);
    }
}
