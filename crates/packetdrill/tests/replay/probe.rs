//! What a socket and the system tell about a connection: `TCP_INFO`, and under `/proc`.

use std::fs::read_to_string;

/// Fields of `struct tcp_info` of linux/tcp.h: name, place, bytes.
const FIELDS: [(&str, usize, usize); 59] = [
    ("state", 0, 1),
    ("ca_state", 1, 1),
    ("retransmits", 2, 1),
    ("probes", 3, 1),
    ("backoff", 4, 1),
    ("options", 5, 1),
    ("rto", 8, 4),
    ("ato", 12, 4),
    ("snd_mss", 16, 4),
    ("rcv_mss", 20, 4),
    ("unacked", 24, 4),
    ("sacked", 28, 4),
    ("lost", 32, 4),
    ("retrans", 36, 4),
    ("last_data_sent", 44, 4),
    ("last_data_recv", 52, 4),
    ("last_ack_recv", 56, 4),
    ("pmtu", 60, 4),
    ("rcv_ssthresh", 64, 4),
    ("rtt", 68, 4),
    ("rttvar", 72, 4),
    ("snd_ssthresh", 76, 4),
    ("snd_cwnd", 80, 4),
    ("advmss", 84, 4),
    ("reordering", 88, 4),
    ("rcv_rtt", 92, 4),
    ("rcv_space", 96, 4),
    ("total_retrans", 100, 4),
    ("pacing_rate", 104, 8),
    ("bytes_acked", 120, 8),
    ("bytes_received", 128, 8),
    ("segs_out", 136, 4),
    ("segs_in", 140, 4),
    ("notsent_bytes", 144, 4),
    ("min_rtt", 148, 4),
    ("data_segs_in", 152, 4),
    ("data_segs_out", 156, 4),
    ("delivery_rate", 160, 8),
    ("busy_time", 168, 8),
    ("rwnd_limited", 176, 8),
    ("sndbuf_limited", 184, 8),
    ("delivered", 192, 4),
    ("delivered_ce", 196, 4),
    ("bytes_sent", 200, 8),
    ("bytes_retrans", 208, 8),
    ("dsack_dups", 216, 4),
    ("reord_seen", 220, 4),
    ("rcv_ooopack", 224, 4),
    ("snd_wnd", 228, 4),
    ("rcv_wnd", 232, 4),
    ("received_ce", 248, 4),
    ("delivered_e1_bytes", 252, 4),
    ("delivered_e0_bytes", 256, 4),
    ("delivered_ce_bytes", 260, 4),
    ("received_e1_bytes", 264, 4),
    ("received_e0_bytes", 268, 4),
    ("received_ce_bytes", 272, 4),
    ("accecn_fail_mode", 276, 2),
    ("accecn_opt_seen", 278, 2),
];

/// How the last word of `struct tcp_info` tells of ECN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EcnWord {
    /// Two numbers of 16 bits: Linux before 7.0, and the plugin.
    Halves,
    /// Bits, two of them for a mode that is new: Linux 7.0 and later.
    Bits,
}

impl EcnWord {
    /// That of the running kernel, by its release.
    pub(crate) fn of_the_kernel() -> Self {
        let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self::of(&release)
    }

    fn of(release: &str) -> Self {
        let major = release
            .split('.')
            .next()
            .and_then(|major| major.parse().ok());
        match major {
            Some(7_u32..) => Self::Bits,
            _ => Self::Halves,
        }
    }
}

/// A field of what `TCP_INFO` answers, with or without its prefix.
pub(crate) fn field(info: &[u8], name: &str, ecn: EcnWord) -> Result<u64, String> {
    let name = name.strip_prefix("tcpi_").unwrap_or(name);
    let bits = |at: usize, first: u8, count: u8| {
        let byte = info.get(at).ok_or("TCP_INFO is short")?;
        Ok(u64::from(byte >> first & ((1 << count) - 1)))
    };
    match (name, ecn) {
        ("snd_wscale", _) => return bits(6, 0, 4),
        ("rcv_wscale", _) => return bits(6, 4, 4),
        ("accecn_opt_seen", EcnWord::Bits) => return bits(276, 2, 2),
        ("accecn_fail_mode", EcnWord::Bits) => return bits(276, 4, 4),
        _ => {}
    }
    let field = FIELDS.iter().find(|(known, _, _)| *known == name);
    let (_, at, len) = *field.ok_or(format!("no field {name}"))?;
    let mut bytes = [0; 8];
    let found = info.get(at..at + len).ok_or("TCP_INFO is short")?;
    bytes[..len].copy_from_slice(found);
    Ok(u64::from_le_bytes(bytes))
}

/// The name of a state by its number in `TCP_INFO`.
pub(crate) fn state(number: u8) -> &'static str {
    match number {
        1 => "ESTABLISHED",
        2 => "SYN-SENT",
        3 => "SYN-RECEIVED",
        4 => "FIN-WAIT-1",
        5 => "FIN-WAIT-2",
        6 => "TIME-WAIT",
        7 => "CLOSED",
        8 => "CLOSE-WAIT",
        9 => "LAST-ACK",
        10 => "LISTEN",
        11 => "CLOSING",
        _ => "unknown",
    }
}

/// Counters of scripts that the kernel lacks.
pub(crate) const LACKING: [&str; 1] = ["tcpChallengeACKLimited"];

/// A counter of the thread's network namespace by its name in scripts, `tcp` and then as the kernel
/// has it.
pub(crate) fn counter(name: &str) -> Result<u64, String> {
    let bare = name.strip_prefix("tcp").unwrap_or(name);
    let names = [bare.to_owned(), format!("TCP{bare}")];
    let found = ["snmp", "netstat"].iter().find_map(|file| {
        let text = read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks_exact(2).find_map(|pair| {
            if !pair[0].starts_with("Tcp") {
                return None;
            }
            let mut columns = pair[0].split_whitespace().zip(pair[1].split_whitespace());
            let found = columns.find(|(column, _)| names.iter().any(|name| name == column));
            found.and_then(|(_, value)| value.parse().ok())
        })
    });
    found.ok_or_else(|| format!("the kernel has no counter {name}"))
}

/// How many sockets of the thread's network namespace are in a state that `wanted` names.
pub(crate) fn count(wanted: &str) -> Result<u64, String> {
    let counts = match wanted {
        "connections" => |state: &str| !matches!(state, "03" | "06" | "0A"),
        "time-waits" => |state: &str| state == "06",
        _ => return Err(format!("nobody counts {wanted}")),
    };
    let mut found = 0;
    for file in ["tcp", "tcp6"] {
        let name = format!("/proc/thread-self/net/{file}");
        let text = read_to_string(&name).map_err(|error| format!("{name}: {error}"))?;
        let states = text.lines().skip(1);
        let states = states.filter_map(|line| line.split_whitespace().nth(3));
        found += states.filter(|state| counts(state)).count() as u64;
    }
    Ok(found)
}

#[test]
fn what_tcp_info_tells_of_ecn_is_read_as_the_kernel_writes_it() {
    let mut info = [0; 280];
    // Mode 2, counters seen (2), segments with the option lost (4).
    info[276] = 2 | 2 << 2 | 4 << 4;
    // A bit of the options beside them.
    info[277] = 1;
    let new = EcnWord::of("7.2.3-amd64\n");
    assert_eq!(field(&info, "tcpi_accecn_opt_seen", new), Ok(2));
    assert_eq!(field(&info, "accecn_fail_mode", new), Ok(4));
    info[276..].copy_from_slice(&[4, 0, 2, 0]);
    for release in ["6.18.44-fc-v657\n", "6.1.0"] {
        let old = EcnWord::of(release);
        assert_eq!(field(&info, "accecn_opt_seen", old), Ok(2));
        assert_eq!(field(&info, "accecn_fail_mode", old), Ok(4));
    }
}
