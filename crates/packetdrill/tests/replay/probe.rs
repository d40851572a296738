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

/// A field of what `TCP_INFO` answers, with or without its prefix.
pub(crate) fn field(info: &[u8], name: &str) -> Result<u64, String> {
    let name = name.strip_prefix("tcpi_").unwrap_or(name);
    match name {
        "snd_wscale" => return Ok(u64::from(info[6] & 15)),
        "rcv_wscale" => return Ok(u64::from(info[6] >> 4)),
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

/// A counter of the thread's network namespace by its name in scripts, `tcp` and then as the kernel
/// has it.
pub(crate) fn counter(name: &str) -> Option<u64> {
    let bare = name.strip_prefix("tcp")?;
    let names = [bare.to_owned(), format!("TCP{bare}")];
    ["snmp", "netstat"].iter().find_map(|file| {
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
    })
}

/// How many sockets of the thread's network namespace are in a state that `wanted` names.
pub(crate) fn count(wanted: &str) -> Option<u64> {
    let counts = |state: &str| match wanted {
        "connections" => !matches!(state, "03" | "06" | "0A"),
        "half-open" => state == "03",
        "time-waits" => state == "06",
        _ => false,
    };
    let mut found = 0;
    for file in ["tcp", "tcp6"] {
        let text = read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        let states = text.lines().skip(1);
        let states = states.filter_map(|line| line.split_whitespace().nth(3));
        found += states.filter(|state| counts(state)).count() as u64;
    }
    Some(found)
}
