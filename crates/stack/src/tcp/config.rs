//! Settings of the whole TCP layer.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use thiserror::Error;

use super::sender::MIN_RTO;

/// When SYN cookies (RFC 4987 section 3.6) are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SynCookies {
    /// Never: SYNs beyond the table of half-open connections are dropped.
    Never,
    /// When that table is full.
    #[default]
    WhenFull,
    /// For every SYN; nothing is kept for a half-open connection.
    Always,
}

/// Explicit congestion notification, in the numbers of Linux's `tcp_ecn`: classic (RFC 3168), or
/// accurate (AccECN, RFC 9768). A peer that knows the classic one only gets that; who knows none
/// gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ecn {
    /// Neither offered nor taken (0).
    Never,
    /// The classic one is taken when a peer's SYN offers it (2).
    #[default]
    Accept,
    /// The classic one is offered with our SYN, too (1). A SYN that is sent again offers it no
    /// more, in case that was what lost it.
    Offer,
    /// The accurate one is offered and taken (3). A SYN that is sent again a second time offers it
    /// no more.
    Accurate,
    /// The accurate one is taken, the classic one offered (4).
    AcceptAccurateOfferClassic,
    /// The accurate one is taken, and none offered (5).
    AcceptAccurate,
}

impl Ecn {
    /// All, with the names that settings have for them.
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Never, "never"),
        (Self::Accept, "accept"),
        (Self::Offer, "offer"),
        (Self::Accurate, "accurate"),
        (
            Self::AcceptAccurateOfferClassic,
            "accept-accurate-offer-classic",
        ),
        (Self::AcceptAccurate, "accept-accurate"),
    ];

    /// Whether a peer's offer of the accurate one is taken.
    pub(crate) fn takes_accurate(self) -> bool {
        matches!(
            self,
            Self::Accurate | Self::AcceptAccurateOfferClassic | Self::AcceptAccurate
        )
    }

    /// Whether our SYN offers the classic one.
    pub(crate) fn offers_classic(self) -> bool {
        matches!(self, Self::Offer | Self::AcceptAccurateOfferClassic)
    }
}

impl fmt::Display for Ecn {
    /// The name in settings: `accept`, `accurate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(kind, _)| kind == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// No kind of ECN has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no kind of ECN is named {0:?}; there are {names}",
    names = Ecn::NAMES.map(|(_, name)| name).join(", ")
)]
pub struct UnknownEcn(pub String);

impl FromStr for Ecn {
    type Err = UnknownEcn;

    /// Takes the names that [`Display`](fmt::Display) gives.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(_, known)| *known == name);
        known
            .map(|(kind, _)| *kind)
            .ok_or_else(|| UnknownEcn(name.to_owned()))
    }
}

/// When segments carry the AccECN option, which counts bytes (RFC 9768 section 3.2.3), in the
/// numbers of Linux's `tcp_ecn_option`. It is sent only to a peer that has sent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AccEcnOption {
    /// Never, and not in a SYN-ACK either (0).
    Never,
    /// When the network's marks change, for every 4 MiB, and several times a round trip (1); in
    /// acknowledgements and in segments of data with room for it.
    Sparingly,
    /// In every segment that has room; segments of data are made smaller for it (2).
    #[default]
    Always,
    /// The same, also where such segments seem to be lost on the way (3).
    Persistently,
}

/// How a segment with PSH is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PushAck {
    /// At the next output, so that a peer that waits for it (Nagle's algorithm on its
    /// side) never waits for a timer. An application that answers before that output
    /// still has the acknowledgement carried by its answer.
    #[default]
    AtOnce,
    /// As Linux: delayed once the application has shown that it answers requests.
    UnlessInteractive,
}

/// Settings of the TCP layer, for all connections; what a connection can choose is in
/// [`SocketOptions`](super::SocketOptions). Defaults are those of Linux unless said
/// otherwise. Sizes are in bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpConfig {
    /// Offer and accept timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer and accept selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Offer and accept window scaling (RFC 7323).
    pub window_scaling: bool,
    /// Shift count offered; `None`: what the largest receive buffer needs.
    pub window_scale: Option<u8>,
    /// Explicit congestion notification. A connection that begins with a SYN cookie has none.
    pub ecn: Ecn,
    /// When the AccECN option is sent.
    pub acc_ecn_option: AccEcnOption,
    /// How many times in a round trip it is sent at least, where it is sent sparingly
    /// (`tcp_ecn_option_beacon`); 0: no such least.
    pub acc_ecn_beacon: u8,
    /// Whether ECN is given up where the way seems not to bear it: SYNs that are sent again do
    /// not offer it, but the accurate one once, and data is not marked as capable after bits of IP
    /// or TCP were changed on the way (`tcp_ecn_fallback`; RFC 3168 section 6.1.1.1, RFC 9768
    /// sections 3.1.4.1 and 3.2.2.3).
    pub ecn_fallback: bool,
    /// Acknowledge the first segments of a connection, and those after a long silence,
    /// without delay.
    pub quick_ack: bool,
    /// How PSH is acknowledged.
    pub push_ack: PushAck,
    /// Whether, after three that left at once, one duplicate acknowledgement with SACK stands
    /// for what arrives behind a hole within a millisecond or a twentieth of a round trip
    /// (Linux's `tcp_comp_sack_nr`, `tcp_comp_sack_delay_ns`). Off, unlike Linux: RFC 5681
    /// section 4.2 asks for each at once.
    pub sack_compression: bool,
    /// Whether a super-frame is no more than what leaves in a millisecond at the pace of the
    /// congestion window, and at least two segments, as Linux sizes them; a part of one may
    /// wait for the next acknowledgement. Off: as large as link and window allow, at once.
    pub tso_autosize: bool,
    /// Whether a congestion window that is not used for a retransmission timeout shrinks, down
    /// to the initial one (RFC 5681 section 4.1, `tcp_slow_start_after_idle`).
    pub slow_start_after_idle: bool,
    /// Whether tail loss probes are sent (RFC 8985 section 7, `tcp_early_retrans`).
    pub loss_probes: bool,
    /// Least retransmission timeout of a connection with a round-trip time (`tcp_rto_min_us`; RFC
    /// 6298 section 2.4 would have a second).
    pub rto_min: Duration,
    /// How long an acknowledgement waits at least for data to travel with.
    pub delayed_ack_min: Duration,
    /// How long an acknowledgement waits at most (RFC 9293 section 3.8.6.3: below 500 ms).
    pub delayed_ack_max: Duration,

    /// Receive window at first, before it grows with what the application reads.
    pub receive_buffer: u32,
    /// Receive window at most.
    pub receive_buffer_max: u32,
    /// Memory for data to send at first, before it grows with the congestion window.
    pub send_buffer: u32,
    /// Memory for data to send at most.
    pub send_buffer_max: u32,
    /// Slices of data that one connection keeps out of order.
    pub out_of_order_slices: usize,
    /// Unsent bytes below which a connection with a full send buffer is writable again,
    /// as a part of the buffer: 1/n.
    pub writable_fraction: u32,

    /// Smallest MSS that a peer's option, or a path, can bring us to. A tiny one makes
    /// every byte cost a packet (CVE-2019-11479).
    pub min_mss: u16,
    /// Times a SYN is sent again before the connect fails.
    pub syn_retries: u8,
    /// Times a SYN is sent again without a longer wait before waits double, and before
    /// [`syn_retries`](Self::syn_retries) counts (Linux's `tcp_syn_linear_timeouts`, 4 there).
    /// 0 as RFC 6298 has it.
    pub syn_linear_timeouts: u8,
    /// Times a SYN-ACK is sent again before a half-open connection is forgotten.
    pub syn_ack_retries: u8,
    /// First wait for an answer to SYN or SYN-ACK; doubles (RFC 6298 section 2.1).
    pub syn_timeout: Duration,
    /// Times data is sent again, or a zero window probed, before a connection is given up
    /// (RFC 9293 section 3.8.3, R2), counted as the time that many doublings from 200 ms
    /// on take: 15 are 924.6 seconds.
    pub retries: u8,
    /// The same for connections that the application has closed.
    pub orphan_retries: u8,
    /// Waits between retransmissions, and between probes, at most.
    pub timeout_max: Duration,
    /// FIN-WAIT-2 of a connection that the application has closed.
    pub fin_timeout: Duration,
    /// TIME-WAIT.
    pub time_wait: Duration,

    /// Connections, established or not, with an application or without.
    pub connections: usize,
    /// Connections that the application has closed and that are not over.
    pub orphans: usize,
    /// Half-open connections of passive opens.
    pub half_open: usize,
    /// Entries of TIME-WAIT.
    pub time_waits: usize,
    /// When cookies are sent.
    pub syn_cookies: SynCookies,
    /// The key of the cookies that servers give out (RFC 7413 section 4.1.2), for machines that
    /// are to take each other's; `None`: one of its own. Change it from time to time.
    pub fast_open_key: Option<[u8; 16]>,
    /// Servers whose cookies are remembered for connects with fast open.
    pub fast_open_servers: usize,
    /// Whether a full accept queue answers with RST instead of silence
    /// (`tcp_abort_on_overflow`).
    pub abort_on_overflow: bool,
    /// Challenge ACKs in a second, of all connections together, on average; the limit of
    /// each second is drawn around it, so that it cannot be counted (RFC 5961 section 7).
    pub challenge_acks: u32,
    /// Least time between two answers of one connection to segments that are not
    /// acceptable (`tcp_invalid_ratelimit`).
    pub invalid_interval: Duration,
    /// RSTs in a second for segments that no connection knows.
    pub resets: u32,
    /// First and last port of connections whose application asked for none.
    pub ports: (u16, u16),
    /// Whether TIME-WAIT outlives an RST (RFC 1337). On, unlike Linux's `tcp_rfc1337`.
    pub rfc1337: bool,
    /// Connect to an address and port that are in TIME-WAIT here, after a second and with
    /// timestamps (RFC 6191).
    pub time_wait_reuse: bool,
    /// Data that one connection may send before the next one has its turn.
    pub quantum: u32,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            timestamps: true,
            sack: true,
            window_scaling: true,
            window_scale: None,
            ecn: Ecn::Accept,
            acc_ecn_option: AccEcnOption::Always,
            acc_ecn_beacon: 3,
            ecn_fallback: true,
            quick_ack: true,
            push_ack: PushAck::AtOnce,
            sack_compression: false,
            tso_autosize: false,
            slow_start_after_idle: true,
            loss_probes: true,
            rto_min: MIN_RTO,
            delayed_ack_min: Duration::from_millis(40),
            delayed_ack_max: Duration::from_millis(200),
            receive_buffer: 65_536,
            receive_buffer_max: 3 << 20,
            send_buffer: 256 << 10,
            send_buffer_max: 4 << 20,
            out_of_order_slices: 4096,
            writable_fraction: 3,
            min_mss: 48,
            syn_retries: 6,
            syn_linear_timeouts: 0,
            syn_ack_retries: 5,
            syn_timeout: Duration::from_secs(1),
            retries: 15,
            orphan_retries: 8,
            timeout_max: Duration::from_secs(120),
            fin_timeout: Duration::from_secs(60),
            time_wait: Duration::from_secs(60),
            connections: 1 << 20,
            orphans: 1 << 16,
            half_open: 4096,
            time_waits: 1 << 16,
            syn_cookies: SynCookies::WhenFull,
            fast_open_key: None,
            fast_open_servers: 1024,
            abort_on_overflow: false,
            challenge_acks: 1000,
            invalid_interval: Duration::from_millis(500),
            resets: 10_000,
            ports: (32_768, 60_999),
            rfc1337: true,
            time_wait_reuse: true,
            quantum: 64 << 10,
        }
    }
}

impl TcpConfig {
    /// The shift count to offer (RFC 7323 section 2.2), 0 if none is offered.
    pub(crate) fn offered_window_scale(&self) -> u8 {
        if !self.window_scaling {
            return 0;
        }
        let needed = zcn_wire::WindowScale::for_window(self.receive_buffer_max).shift();
        self.window_scale.unwrap_or(needed).min(14)
    }

    /// How long `retries` doublings from 200 ms on take: the limit R2 as a time, so that it
    /// does not depend on the round-trip time.
    pub(crate) fn retries_time(&self, retries: u8) -> Duration {
        let mut wait = Duration::from_millis(200);
        let mut sum = Duration::ZERO;
        for _ in 0..=retries {
            sum += wait;
            wait = (wait * 2).min(self.timeout_max);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_ecn_have_names() {
        for (kind, name) in Ecn::NAMES {
            assert_eq!(
                (name.parse(), kind.to_string()),
                (Ok(kind), name.to_owned())
            );
        }
        let error = "exact".parse::<Ecn>().unwrap_err().to_string();
        assert!(error.contains("\"exact\"") && error.contains("accept-accurate"));
    }

    #[test]
    fn fifteen_retries_are_924_seconds() {
        let config = TcpConfig::default();
        assert_eq!(config.retries_time(15), Duration::from_millis(924_600));
    }

    #[test]
    fn the_window_scale_fits_the_largest_window() {
        let mut config = TcpConfig::default();
        assert_eq!(config.offered_window_scale(), 6);
        config.window_scale = Some(200);
        assert_eq!(config.offered_window_scale(), 14);
        config.window_scaling = false;
        assert_eq!(config.offered_window_scale(), 0);
    }
}
