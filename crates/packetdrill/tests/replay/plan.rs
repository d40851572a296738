//! What a script's settings mean for sockets: sysctls, options, or that there is no counterpart.

use libc::{IPPROTO_IP, IPPROTO_TCP, SOL_SOCKET, c_int};

use super::action::{Action, Script};

/// `TCP_NOTSENT_LOWAT` of linux/tcp.h.
const TCP_NOTSENT_LOWAT: c_int = 25;

/// What has to be set up before a script.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) mtu: u32,
    pub(crate) ipv6: bool,
    pub(crate) congestion: String,
    /// Initial sequence number of the peer.
    pub(crate) peer_isn: u32,
    pub(crate) initial_window: Option<u32>,
    /// Room of the table of half-open connections.
    pub(crate) half_open: Option<i32>,
    pub(crate) quick_ack: bool,
    /// Super-frames, and PSH at their ends, are as Linux makes them.
    pub(crate) autosize: bool,
    /// Under `net.ipv4`, name and value.
    pub(crate) sysctls: Vec<(&'static str, String)>,
    /// Of every socket to come.
    pub(crate) options: Vec<Setting>,
    /// Nanoseconds by which a segment may leave beside its time.
    pub(crate) tolerance: u64,
}

/// An option of setsockopt(2).
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) level: c_int,
    pub(crate) name: c_int,
    pub(crate) value: Vec<u8>,
}

fn number(value: &str) -> Result<i32, String> {
    value.parse().map_err(|_| format!("not a number: {value}"))
}

fn switch(value: &str) -> Result<i32, String> {
    match value {
        "on" => Ok(1),
        "off" => Ok(0),
        _ => Err(format!("neither on nor off: {value}")),
    }
}

/// Seconds as a script writes them.
fn seconds(value: &str) -> Result<f64, String> {
    value.parse().map_err(|_| format!("not seconds: {value}"))
}

/// The sysctl that a setting stands for, and its value.
fn sysctl(name: &str, value: &str) -> Result<(&'static str, String), String> {
    let words: &[(&str, &str)] = match name {
        "ecn" => &[
            ("never", "0"),
            ("offer", "1"),
            ("accept", "2"),
            ("accurate", "3"),
            ("accept-accurate-offer-classic", "4"),
            ("accept-accurate", "5"),
        ],
        "acc_ecn_option" => &[
            ("never", "0"),
            ("sparingly", "1"),
            ("always", "2"),
            ("persistently", "3"),
        ],
        "cookies" => &[("never", "0"), ("when-full", "1"), ("always", "2")],
        "sack_compression" => &[("off", "0"), ("on", "44")],
        "loss_probes" => &[("off", "0"), ("on", "3")],
        _ => &[("off", "0"), ("on", "1")],
    };
    let word = words.iter().find(|(word, _)| *word == value);
    let value = word.map_or(value, |(_, number)| number).to_owned();
    let name = match name {
        "ecn" => "tcp_ecn",
        "acc_ecn_option" => "tcp_ecn_option",
        "acc_ecn_beacon" => "tcp_ecn_option_beacon",
        "ecn_fallback" => "tcp_ecn_fallback",
        "timestamps" => "tcp_timestamps",
        "sack" => "tcp_sack",
        "window_scaling" => "tcp_window_scaling",
        "cookies" => "tcp_syncookies",
        "time_waits" => "tcp_max_tw_buckets",
        "abort_on_overflow" => "tcp_abort_on_overflow",
        "syn_retries" => "tcp_syn_retries",
        "syn_linear_timeouts" => "tcp_syn_linear_timeouts",
        "syn_ack_retries" => "tcp_synack_retries",
        "retries" => "tcp_retries2",
        "orphan_retries" => "tcp_orphan_retries",
        "challenge_acks" => "tcp_challenge_ack_limit",
        "sack_compression" => "tcp_comp_sack_nr",
        "slow_start_after_idle" => "tcp_slow_start_after_idle",
        "loss_probes" => "tcp_early_retrans",
        "rfc1337" => "tcp_rfc1337",
        "min_mss" => "tcp_min_snd_mss",
        _ => return Err(format!("no socket has the setting {name}")),
    };
    Ok((name, value))
}

/// An option by its name in scripts.
pub(crate) fn option(name: &str, value: &str) -> Result<Setting, String> {
    let int = |level, name, value: i32| Setting {
        level,
        name,
        value: value.to_ne_bytes().to_vec(),
    };
    let tcp = |name, value| Ok(int(IPPROTO_TCP, name, value));
    match name {
        "nodelay" => tcp(libc::TCP_NODELAY, switch(value)?),
        "cork" => tcp(libc::TCP_CORK, switch(value)?),
        "quickack" => tcp(libc::TCP_QUICKACK, switch(value)?),
        "keepalive" => Ok(int(SOL_SOCKET, libc::SO_KEEPALIVE, switch(value)?)),
        "keepidle" => tcp(libc::TCP_KEEPIDLE, seconds(value)? as i32),
        "keepintvl" => tcp(libc::TCP_KEEPINTVL, seconds(value)? as i32),
        "keepcnt" => tcp(libc::TCP_KEEPCNT, number(value)?),
        "user_timeout" if value == "off" => tcp(libc::TCP_USER_TIMEOUT, 0),
        "user_timeout" => tcp(libc::TCP_USER_TIMEOUT, (seconds(value)? * 1e3) as i32),
        "linger" => {
            let (on, time) = match value {
                "off" => (0, 0),
                _ => (1, seconds(value)? as i32),
            };
            if time > 0 {
                return Err("a close that waits would stop the script".into());
            }
            Ok(Setting {
                level: SOL_SOCKET,
                name: libc::SO_LINGER,
                value: [i32::to_ne_bytes(on), i32::to_ne_bytes(time)].concat(),
            })
        }
        "linger2" if value == "off" => tcp(libc::TCP_LINGER2, 0),
        "linger2" => tcp(libc::TCP_LINGER2, seconds(value)? as i32),
        "syncnt" => tcp(libc::TCP_SYNCNT, number(value)?),
        "sndbuf" => Err("the kernel counts more than bytes in a send buffer".into()),
        "rcvbuf" => Err("the kernel counts more than bytes in a receive buffer".into()),
        "window_clamp" => tcp(libc::TCP_WINDOW_CLAMP, number(value)?),
        "defer_accept" => tcp(libc::TCP_DEFER_ACCEPT, seconds(value)? as i32),
        "fast_open" => tcp(libc::TCP_FASTOPEN, number(value)?),
        "fast_open_connect" => tcp(libc::TCP_FASTOPEN_CONNECT, switch(value)?),
        "rcvlowat" => Ok(int(SOL_SOCKET, libc::SO_RCVLOWAT, number(value)?)),
        "notsent_lowat" => tcp(TCP_NOTSENT_LOWAT, number(value)?),
        "maxseg" => tcp(libc::TCP_MAXSEG, number(value)?),
        "ttl" => Ok(int(IPPROTO_IP, libc::IP_TTL, number(value)?)),
        "congestion" => Ok(Setting {
            level: IPPROTO_TCP,
            name: libc::TCP_CONGESTION,
            value: value.as_bytes().to_vec(),
        }),
        _ => Err(format!("no socket has the option {name}")),
    }
}

impl Plan {
    /// What a script needs; the error says what sockets have no counterpart of.
    pub(crate) fn new(script: &Script) -> Result<Self, String> {
        let mut plan = Self {
            mtu: 1500,
            ipv6: false,
            congestion: "cubic".into(),
            peer_isn: 0xffff_f000,
            initial_window: None,
            half_open: None,
            quick_ack: true,
            autosize: false,
            // Where the stack itself begins with something else than Linux.
            sysctls: [
                ("tcp_rfc1337", "1"),
                ("tcp_comp_sack_nr", "0"),
                ("tcp_syn_linear_timeouts", "0"),
                ("tcp_syncookies", "1"),
                ("tcp_fastopen", "3"),
                ("tcp_challenge_ack_limit", "1000"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
            options: vec![option("nodelay", "on")?],
            tolerance: 5_000_000,
        };
        let batch = script.lines.iter().any(|line| match &line.action {
            Action::In(segment) => segment.segments > 1,
            _ => false,
        });
        if batch {
            return Err("a batch that was put together on its way".into());
        }
        for (_, name, value) in &script.config {
            match name.as_str() {
                "mtu" => plan.mtu = number(value)? as u32,
                "ipv6" => plan.ipv6 = switch(value)? == 1,
                "peer_isn" => plan.peer_isn = value.parse().map_err(|_| "not a number")?,
                "initial_window" => plan.initial_window = Some(number(value)? as u32),
                // As many as wait in the accept queue may be half open (inet_connection_sock.h).
                "half_open" => plan.half_open = Some(number(value)? - 1),
                "quick_ack" => plan.quick_ack = switch(value)? == 1,
                "tolerance" => plan.tolerance = (seconds(value)? * 1e9) as u64,
                "tso_autosize" => plan.autosize = switch(value)? == 1,
                // How frames are cut, and acknowledgements that Linux delays, are not settings.
                "gso" | "push_ack" => {}
                "fast_open_key" => {
                    let parts: Vec<&str> = (0..4)
                        .filter_map(|part| value.get(8 * part..8 * part + 8))
                        .collect();
                    plan.sysctls.push(("tcp_fastopen_key", parts.join("-")));
                }
                _ => plan.sysctls.push(sysctl(name, value)?),
            }
        }
        for (_, name, value) in &script.options {
            if name == "congestion" {
                plan.congestion.clone_from(value);
            }
            plan.options.push(option(name, value)?);
        }
        Ok(plan)
    }
}
