//! What there is to be known of a sender from outside.

use core::time::Duration;

use super::Sender;
use super::recovery::CaState;
use super::tlp::Probe;
use crate::tcp::congestion::{Algorithm, RateSample};
use crate::time::Instant;

/// The sending half's part of `TCP_INFO`, in Linux's names and units: windows and counts of
/// segments in segments of `snd_mss`, times in microseconds unless their type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SenderInfo {
    /// State of loss recovery.
    pub ca_state: CaState,
    /// Timeouts in a row.
    pub retransmits: u8,
    /// Doublings of the timeout in force.
    pub backoff: u8,
    /// Retransmission timeout.
    pub rto: u32,
    /// Payload of a full segment.
    pub snd_mss: u32,
    /// Segments in flight or delivered out of order.
    pub unacked: u32,
    /// Of these, SACKed; without SACK, told by duplicate acknowledgments.
    pub sacked: u32,
    /// Of these, deemed lost.
    pub lost: u32,
    /// Retransmissions in flight.
    pub retrans: u32,
    /// Milliseconds since data was last sent.
    pub last_data_sent: u32,
    /// Smoothed round-trip time.
    pub rtt: u32,
    /// Its deviation.
    pub rttvar: u32,
    /// Slow start threshold; `i32::MAX` stands for none, as in Linux.
    pub snd_ssthresh: u32,
    /// Congestion window.
    pub snd_cwnd: u32,
    /// Reordering degree.
    pub reordering: u32,
    /// Segments sent again, ever.
    pub total_retrans: u32,
    /// Bytes per second at which data leaves; `u64::MAX` until there is a round-trip time.
    pub pacing_rate: u64,
    /// Bytes sent again, ever.
    pub bytes_retrans: u64,
    /// Least round-trip time of the last minutes; `u32::MAX` until there is one.
    pub min_rtt: u32,
    /// Bytes per second delivered, by the last sample; zero until there is one.
    pub delivery_rate: u64,
    /// That sample was limited by the application.
    pub delivery_rate_app_limited: bool,
    /// Segments delivered, SACKed ones included.
    pub delivered: u32,
    /// Of these, the segments that acknowledgments with ECE delivered.
    pub delivered_ce: u32,
    /// Segments that the peer reported as duplicates.
    pub dsack_dups: u32,
    /// Times that reordering was seen.
    pub reord_seen: u32,
    /// The peer's window, bytes.
    pub snd_wnd: u32,
    /// Segments with data that left, ever.
    pub data_segs_out: u32,
    /// Time with something to send or unacknowledged.
    pub busy_time: u64,
    /// Of it, limited by the peer's window.
    pub rwnd_limited: u64,
    /// Of it, limited by the send buffer.
    pub sndbuf_limited: u64,
    /// Timeouts, ever.
    pub total_rto: u32,
    /// Fast recoveries, ever. Not in Linux.
    pub total_recoveries: u32,
    /// Tail loss probes, ever. Not in Linux.
    pub total_probes: u32,
    /// Reductions found wrong and undone, ever. Not in Linux.
    pub total_undone: u32,
    /// Bytes ever deemed lost. Not in Linux.
    pub bytes_lost: u64,
}

impl Sender {
    /// Bytes that were sent again.
    pub fn bytes_retrans(&self) -> u64 {
        self.episode.retransmitted_bytes
    }

    /// A snapshot for `TCP_INFO`. Walks the records.
    pub fn info(&self, now: Instant) -> SenderInfo {
        let mut segments = [0u32; 4];
        for record in self.records.iter() {
            let marks = [
                true,
                record.is_sacked(),
                record.is_lost(),
                record.is_retransmitted(),
            ];
            for (count, marked) in segments.iter_mut().zip(marks) {
                *count += if marked { record.segments() } else { 0 };
            }
        }
        let [unacked, sacked, lost, retrans] = segments;
        let micros = |length: Duration| u32::try_from(length.as_micros()).unwrap_or(u32::MAX);
        let long = |length: Duration| u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let times = self.episode.chronograph.times(now);
        let idle = now.saturating_duration_since(self.last_sent_at).as_millis();
        let mss = self.window.mss;
        let rate: Option<RateSample> = self.episode.rate.last();
        SenderInfo {
            ca_state: self.state,
            retransmits: self.retransmits,
            backoff: self.rtt.backoff(),
            rto: micros(self.rtt.rto()),
            snd_mss: mss,
            unacked,
            sacked: if self.sack {
                sacked
            } else {
                self.records.sacked_segments()
            },
            lost,
            // As Linux, a tail loss probe is none of the retransmissions in flight.
            retrans: match self.probe {
                Probe::Retransmission(_) => retrans.saturating_sub(1),
                _ => retrans,
            },
            last_data_sent: u32::try_from(idle).unwrap_or(u32::MAX),
            rtt: micros(self.rtt.srtt()),
            rttvar: micros(self.rtt.rttvar()),
            snd_ssthresh: match self.window.ssthresh {
                u32::MAX => i32::MAX.unsigned_abs(),
                bytes => bytes / mss,
            },
            snd_cwnd: self.window.cwnd / mss,
            reordering: u32::from(self.rack.reordering()),
            total_retrans: self.episode.retransmitted_segments,
            pacing_rate: self.pacing_rate().unwrap_or(u64::MAX),
            bytes_retrans: self.bytes_retrans(),
            min_rtt: match micros(self.rtt.min_rtt()) {
                0 => u32::MAX,
                rtt => rtt,
            },
            delivery_rate: rate.map_or(0, |r| r.bytes_per_second()),
            delivery_rate_app_limited: rate.is_some_and(|r| r.app_limited),
            delivered: self.episode.delivered_segments,
            delivered_ce: self.episode.delivered_ce_segments,
            dsack_dups: self.episode.dsack_segments,
            reord_seen: self.episode.reorderings,
            snd_wnd: self.snd_wnd,
            data_segs_out: self.episode.data_segments,
            busy_time: long(times.busy),
            rwnd_limited: long(times.window_limited),
            sndbuf_limited: long(times.buffer_limited),
            total_rto: self.episode.timeouts,
            total_recoveries: self.episode.recoveries,
            total_probes: self.episode.probes,
            total_undone: self.episode.undone,
            bytes_lost: self.episode.lost_bytes,
        }
    }

    /// Segments with data left.
    #[inline]
    pub(crate) fn count_data_segments(&mut self, segments: u32) {
        let count = &mut self.episode.data_segments;
        *count = count.wrapping_add(segments);
    }

    /// Congestion window, bytes.
    #[inline]
    pub fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    /// Slow start threshold, bytes; `u32::MAX` until the first reduction.
    #[inline]
    pub fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    /// Bytes thought to be in the network (pipe of RFC 6675).
    #[inline]
    pub fn bytes_in_flight(&self) -> u32 {
        self.records.pipe()
    }

    /// State of loss recovery.
    #[inline]
    pub fn ca_state(&self) -> CaState {
        self.state
    }

    /// Which congestion control is in force.
    pub fn congestion(&self) -> Algorithm {
        self.congestion.algorithm()
    }

    /// Retransmission timeout, backed off. Timers of the connection that pace by it (persist,
    /// FIN-WAIT) start from here.
    #[inline]
    pub fn rto(&self) -> Duration {
        self.rtt.rto()
    }

    /// Smoothed round-trip time, once there is one.
    #[inline]
    pub fn srtt(&self) -> Option<Duration> {
        self.rtt.has_sample().then(|| self.rtt.srtt())
    }

    /// Least round-trip time of the last minutes, once there is one.
    #[inline]
    pub fn min_rtt(&self) -> Option<Duration> {
        Some(self.rtt.min_rtt()).filter(|rtt| !rtt.is_zero())
    }

    /// Timeouts in a row without an acknowledgment that advances.
    #[inline]
    pub fn retransmits(&self) -> u8 {
        self.retransmits
    }

    /// Bytes delivered, ever: acknowledged or SACKed.
    #[inline]
    pub fn delivered(&self) -> u64 {
        self.episode.rate.delivered()
    }

    /// When something was last sent or sent again.
    #[inline]
    pub fn last_sent_at(&self) -> Instant {
        self.last_sent_at
    }

    /// Replaces the congestion control. The window stays.
    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        if self.congestion.algorithm() != algorithm {
            self.congestion = algorithm.build();
        }
    }
}
