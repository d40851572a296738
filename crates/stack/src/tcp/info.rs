//! What a connection tells of itself, in the names of Linux's `struct tcp_info`.

use super::state::State;

/// `tcpi_options`: timestamps are in use.
pub const TCPI_OPT_TIMESTAMPS: u8 = 1;
/// `tcpi_options`: SACK is in use.
pub const TCPI_OPT_SACK: u8 = 2;
/// `tcpi_options`: window scaling is in use.
pub const TCPI_OPT_WSCALE: u8 = 4;

/// A snapshot of a connection. Times are in microseconds unless a field is said to be in
/// milliseconds, sizes in bytes unless it counts segments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "documented in tcp(7) and linux/tcp.h; ours differ nowhere"
)]
pub struct TcpInfo {
    pub tcpi_state: State,
    /// 0 open, 1 disorder, 2 congestion window reduced, 3 recovery, 4 loss.
    pub tcpi_ca_state: u8,
    /// Retransmission timeouts of the oldest segment.
    pub tcpi_retransmits: u8,
    /// Probes without an answer, of a zero window or a silent peer.
    pub tcpi_probes: u8,
    pub tcpi_backoff: u8,
    /// [`TCPI_OPT_TIMESTAMPS`] and the others.
    pub tcpi_options: u8,
    pub tcpi_snd_wscale: u8,
    pub tcpi_rcv_wscale: u8,
    pub tcpi_rto: u32,
    pub tcpi_ato: u32,
    pub tcpi_snd_mss: u32,
    pub tcpi_rcv_mss: u32,
    /// Segments in flight; of a listener, connections waiting to be accepted.
    pub tcpi_unacked: u32,
    /// Segments that the peer reported by SACK; of a listener, its backlog.
    pub tcpi_sacked: u32,
    pub tcpi_lost: u32,
    pub tcpi_retrans: u32,
    /// Milliseconds since data was sent.
    pub tcpi_last_data_sent: u32,
    /// Milliseconds since data arrived.
    pub tcpi_last_data_recv: u32,
    /// Milliseconds since an ACK arrived.
    pub tcpi_last_ack_recv: u32,
    pub tcpi_pmtu: u32,
    pub tcpi_rcv_ssthresh: u32,
    pub tcpi_rtt: u32,
    pub tcpi_rttvar: u32,
    /// Segments; `0x7fff_ffff` before the first loss.
    pub tcpi_snd_ssthresh: u32,
    /// Segments.
    pub tcpi_snd_cwnd: u32,
    pub tcpi_advmss: u32,
    pub tcpi_reordering: u32,
    pub tcpi_rcv_rtt: u32,
    pub tcpi_rcv_space: u32,
    pub tcpi_total_retrans: u32,
    /// Bytes per second; `u64::MAX`: not paced.
    pub tcpi_pacing_rate: u64,
    pub tcpi_bytes_acked: u64,
    pub tcpi_bytes_received: u64,
    pub tcpi_segs_out: u32,
    pub tcpi_segs_in: u32,
    pub tcpi_notsent_bytes: u32,
    pub tcpi_min_rtt: u32,
    pub tcpi_data_segs_in: u32,
    pub tcpi_data_segs_out: u32,
    pub tcpi_delivered: u32,
    pub tcpi_bytes_sent: u64,
    pub tcpi_bytes_retrans: u64,
    pub tcpi_dsack_dups: u32,
    pub tcpi_snd_wnd: u32,
    pub tcpi_rcv_wnd: u32,
}
