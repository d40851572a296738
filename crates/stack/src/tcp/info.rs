//! What a connection tells of itself, in the names of Linux's `struct tcp_info`.

use super::accurate::AccurateEcn;
use super::connection::{Connection, Flags};
use super::state::State;
use crate::time::Instant;

/// `tcpi_options`: timestamps are in use.
pub const TCPI_OPT_TIMESTAMPS: u8 = 1;
/// `tcpi_options`: SACK is in use.
pub const TCPI_OPT_SACK: u8 = 2;
/// `tcpi_options`: window scaling is in use.
pub const TCPI_OPT_WSCALE: u8 = 4;

/// `tcpi_options`: ECN is in use (RFC 3168, or RFC 9768).
pub const TCPI_OPT_ECN: u8 = 8;
/// `tcpi_options`: a segment of an ECN-capable transport came.
pub const TCPI_OPT_ECN_SEEN: u8 = 16;
/// `tcpi_options`: the data of the SYN was taken (RFC 7413).
pub const TCPI_OPT_SYN_DATA: u8 = 32;
/// `tcpi_options`: a passive open whose SYN brought a good cookie.
pub const TCPI_OPT_TFO_CHILD: u8 = 128;

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
    /// Why the data of our SYN was not taken (RFC 7413): 0, it was, or there was none; 1, there was
    /// no cookie; 2, the SYN-ACK did not acknowledge it; 3, the SYN had to be sent again.
    pub tcpi_fastopen_client_fail: u8,
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
    /// Of these, the segments that acknowledgements with ECE told of; with accurate ECN, how many
    /// segments of any kind arrived marked.
    pub tcpi_delivered_ce: u32,
    pub tcpi_bytes_sent: u64,
    pub tcpi_bytes_retrans: u64,
    pub tcpi_dsack_dups: u32,
    pub tcpi_snd_wnd: u32,
    pub tcpi_rcv_wnd: u32,
    /// Bytes per second.
    pub tcpi_delivery_rate: u64,
    pub tcpi_delivery_rate_app_limited: bool,
    pub tcpi_reord_seen: u32,
    /// Segments that came out of order.
    pub tcpi_rcv_ooopack: u32,
    /// Time with something to send or unacknowledged.
    pub tcpi_busy_time: u64,
    /// Of it, limited by the peer's window.
    pub tcpi_rwnd_limited: u64,
    /// Of it, limited by the send buffer.
    pub tcpi_sndbuf_limited: u64,
    /// Retransmission timeouts.
    pub tcpi_total_rto: u32,
    /// Accurate ECN (RFC 9768): segments that came marked.
    pub tcpi_received_ce: u32,
    /// Bytes of ours that arrived as ECT(1), by the peer's option.
    pub tcpi_delivered_e1_bytes: u32,
    /// As ECT(0).
    pub tcpi_delivered_e0_bytes: u32,
    /// Marked.
    pub tcpi_delivered_ce_bytes: u32,
    /// Bytes that came as ECT(1).
    pub tcpi_received_e1_bytes: u32,
    /// As ECT(0).
    pub tcpi_received_e0_bytes: u32,
    /// Marked.
    pub tcpi_received_ce_bytes: u32,
    /// What of it does not work, bit by bit: 1 and 2, our data is not marked as of a capable
    /// transport, as a segment of the handshake had no ECN, or the peer's feedback cannot be
    /// relied on; 4, the option is not sent, as it seems to get lost; 8, the peer's is not read.
    pub tcpi_accecn_fail_mode: u8,
    /// Of the peer's option was seen: 0 nothing, 1 an empty one, 2 counters, 3 broken ones.
    pub tcpi_accecn_opt_seen: u8,
}

impl Connection {
    /// A snapshot.
    pub(super) fn info(&self, now: Instant) -> TcpInfo {
        let sender = self.sender.info(now);
        let millis =
            |time: core::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let micros =
            |time: core::time::Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let mut options = 0;
        for (on, bit) in [
            (self.timestamps.enabled, TCPI_OPT_TIMESTAMPS),
            (self.has(Flags::SACK), TCPI_OPT_SACK),
            (self.has(Flags::SCALING), TCPI_OPT_WSCALE),
            (self.has(Flags::ECN | Flags::ACC_ECN), TCPI_OPT_ECN),
            (self.has(Flags::ECN_SEEN), TCPI_OPT_ECN_SEEN),
            (self.has(Flags::SYN_DATA), TCPI_OPT_SYN_DATA),
            (self.has(Flags::FAST_OPEN), TCPI_OPT_TFO_CHILD),
        ] {
            // Of what our SYN only offers nothing is agreed yet.
            if on && self.state != State::SynSent {
                options |= bit;
            }
        }
        let opening = self.state == State::SynSent;
        let accurate = self.accurate.as_deref();
        let [delivered_e1, delivered_e0, delivered_ce] =
            accurate.map_or([0; 3], |accurate| accurate.marks.bytes());
        let [received_e1, received_e0, received_ce] =
            accurate.map_or([0; 3], AccurateEcn::received);
        TcpInfo {
            tcpi_state: self.state,
            tcpi_ca_state: sender.ca_state as u8,
            tcpi_retransmits: if opening {
                self.probes
            } else {
                sender.retransmits
            },
            tcpi_probes: if opening { 0 } else { self.probes },
            tcpi_backoff: sender.backoff.max(self.backoff),
            tcpi_options: options,
            tcpi_fastopen_client_fail: self.fast_open_failure(),
            tcpi_snd_wscale: self.snd_scale,
            tcpi_rcv_wscale: self.window.scale,
            tcpi_rto: sender.rto,
            tcpi_ato: micros(self.ack.ato()),
            tcpi_snd_mss: sender.snd_mss,
            tcpi_rcv_mss: u32::from(self.ack.rcv_mss),
            tcpi_unacked: if opening { 1 } else { sender.unacked },
            tcpi_sacked: sender.sacked,
            tcpi_lost: sender.lost,
            tcpi_retrans: sender.retrans,
            tcpi_last_data_sent: sender.last_data_sent,
            tcpi_last_data_recv: millis(self.ack.last_data().elapsed(now)),
            tcpi_last_ack_recv: millis(self.last_ack_in.elapsed(now)),
            tcpi_pmtu: self.mtu,
            tcpi_rcv_ssthresh: self.window.buffer(),
            tcpi_rtt: sender.rtt,
            tcpi_rttvar: sender.rttvar,
            tcpi_snd_ssthresh: sender.snd_ssthresh,
            tcpi_snd_cwnd: sender.snd_cwnd,
            tcpi_advmss: u32::from(self.advertised_mss)
                - if self.timestamps.enabled { 12 } else { 0 },
            tcpi_reordering: sender.reordering,
            tcpi_rcv_rtt: micros(self.window.rtt()),
            tcpi_rcv_space: self.window.space(),
            tcpi_total_retrans: sender.total_retrans,
            tcpi_pacing_rate: sender.pacing_rate,
            tcpi_bytes_acked: self.bytes_acked(),
            tcpi_bytes_received: self.received,
            tcpi_segs_out: self.counters.segs_out,
            tcpi_segs_in: self.counters.segs_in,
            // The FIN counts, as on Linux.
            tcpi_notsent_bytes: self.unsent(),
            tcpi_min_rtt: sender.min_rtt,
            tcpi_data_segs_in: self.counters.data_segs_in,
            tcpi_data_segs_out: sender.data_segs_out,
            // Our SYN was delivered, too.
            tcpi_delivered: sender.delivered + u32::from(self.state.is_synchronised()),
            tcpi_delivered_ce: match accurate {
                Some(accurate) => accurate.marks.segments(),
                None => sender.delivered_ce,
            },
            tcpi_bytes_sent: self.bytes_sent(),
            tcpi_bytes_retrans: sender.bytes_retrans,
            tcpi_dsack_dups: sender.dsack_dups,
            tcpi_snd_wnd: self.sender.snd_wnd(),
            tcpi_rcv_wnd: self.rcv_wnd(),
            tcpi_delivery_rate: sender.delivery_rate,
            tcpi_delivery_rate_app_limited: sender.delivery_rate_app_limited,
            tcpi_reord_seen: sender.reord_seen,
            tcpi_rcv_ooopack: self.counters.out_of_order,
            tcpi_busy_time: sender.busy_time,
            tcpi_rwnd_limited: sender.rwnd_limited,
            tcpi_sndbuf_limited: sender.sndbuf_limited,
            tcpi_total_rto: sender.total_rto,
            tcpi_received_ce: accurate.map_or(0, AccurateEcn::received_ce),
            tcpi_delivered_e1_bytes: delivered_e1,
            tcpi_delivered_e0_bytes: delivered_e0,
            tcpi_delivered_ce_bytes: delivered_ce,
            tcpi_received_e1_bytes: received_e1,
            tcpi_received_e0_bytes: received_e0,
            tcpi_received_ce_bytes: received_ce,
            tcpi_accecn_fail_mode: accurate.map_or(0, AccurateEcn::fail_mode),
            tcpi_accecn_opt_seen: accurate.map_or(0, |accurate| accurate.marks.option_seen()),
        }
    }
}
