//! Round-trip time and the retransmission timeout (RFC 6298).

use core::time::Duration;

use zcn_wire::SeqNum;

use crate::time::Instant;

/// Timeout before the first sample (RFC 6298, section 2.1).
pub const INITIAL_RTO: Duration = Duration::from_secs(1);
/// Timeout of data when the SYN had to be sent again and nothing was measured (section 5.7).
pub const FALLBACK_RTO: Duration = Duration::from_secs(3);
/// Least timeout over the round-trip time, as in Linux. RFC 6298 asks for a second and
/// explains that for clocks coarser than this one.
pub const MIN_RTO: Duration = Duration::from_millis(200);
/// Largest timeout, backed off or not, as in Linux.
pub const MAX_RTO: Duration = Duration::from_secs(120);

/// How long a least round-trip time is believed, in milliseconds, as in Linux.
const MIN_RTT_WINDOW_MS: u32 = 300_000;

/// Timeout number `attempt` of a timer that starts at `initial` and doubles: what a SYN or
/// SYN-ACK waits (RFC 6298, section 5.5). Never above [`MAX_RTO`].
pub fn backed_off(initial: Duration, attempt: u8) -> Duration {
    let factor = 1u32.checked_shl(u32::from(attempt)).unwrap_or(u32::MAX);
    initial.saturating_mul(factor).min(MAX_RTO)
}

/// Microseconds of a length, rounded up, so that a time that passed is never zero.
pub(super) fn micros(length: Duration) -> u32 {
    u32::try_from(length.as_nanos().div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// The estimator. All times are microseconds.
#[derive(Clone, Debug)]
pub(super) struct RttEstimator {
    /// Eight times the smoothed round-trip time; zero before the first sample.
    srtt_x8: u32,
    /// Four times the smoothed deviation.
    deviation_x4: u32,
    /// Largest `deviation_x4` of this round, at least `min_rto`.
    round_deviation: u32,
    /// What is added to `srtt`: the largest deviation of recent rounds.
    rttvar_x4: u32,
    /// The round ends when this is acknowledged.
    round_end: SeqNum,
    min_rtt: u32,
    min_rtt_at_ms: u32,
    min_rto: u32,
    /// Without backoff.
    rto: u32,
    backoff: u8,
}

impl RttEstimator {
    pub(super) fn new(initial: Duration, min_rto: Duration, snd_una: SeqNum) -> Self {
        Self {
            srtt_x8: 0,
            deviation_x4: 0,
            round_deviation: 0,
            rttvar_x4: 0,
            round_end: snd_una,
            min_rtt: 0,
            min_rtt_at_ms: 0,
            min_rto: micros(min_rto).max(1),
            rto: micros(initial.min(MAX_RTO)),
            backoff: 0,
        }
    }

    /// Takes a measurement in (RFC 6298, section 2), and ends the backoff (Karn).
    ///
    /// With several samples a round the deviation would decay too fast (RFC 7323, appendix
    /// G), so what counts is the largest smoothed deviation of a round, and it falls by a
    /// quarter of the difference a round, as in Linux.
    pub(super) fn sample(&mut self, rtt: Duration, snd_una: SeqNum, snd_nxt: SeqNum) {
        // Ten minutes: beyond all timeouts, and eight times it fits.
        let rtt = micros(rtt).clamp(1, 500_000_000);
        if self.srtt_x8 == 0 {
            self.srtt_x8 = rtt * 8;
            self.deviation_x4 = rtt * 2;
            self.rttvar_x4 = self.deviation_x4.max(self.min_rto);
            self.round_deviation = self.rttvar_x4;
            self.round_end = snd_nxt;
        } else {
            let srtt = self.srtt_x8 / 8;
            let mut error = rtt.abs_diff(srtt);
            if rtt < srtt {
                self.srtt_x8 -= error;
                // A falling round-trip time is no reason to wait longer.
                if error > self.deviation_x4 / 4 {
                    error = self.deviation_x4 / 4 + (error - self.deviation_x4 / 4) / 8;
                }
            } else {
                self.srtt_x8 += error;
            }
            self.deviation_x4 = self.deviation_x4 - self.deviation_x4 / 4 + error;
            if self.deviation_x4 > self.round_deviation {
                self.round_deviation = self.deviation_x4;
                self.rttvar_x4 = self.rttvar_x4.max(self.round_deviation);
            }
            if snd_una.after(self.round_end) {
                if self.round_deviation < self.rttvar_x4 {
                    self.rttvar_x4 -= (self.rttvar_x4 - self.round_deviation) / 4;
                }
                self.round_end = snd_nxt;
                self.round_deviation = self.min_rto;
            }
        }
        self.rto = (self.srtt_x8 / 8)
            .saturating_add(self.rttvar_x4)
            .min(micros(MAX_RTO));
        self.backoff = 0;
    }

    /// Keeps the least round-trip time; one older than five minutes gives way.
    pub(super) fn note_min(&mut self, rtt: Duration, now: Instant) {
        let rtt = micros(rtt).max(1);
        let now_ms = now.as_millis() as u32; // Wraps; only differences are used.
        let expired = now_ms.wrapping_sub(self.min_rtt_at_ms) > MIN_RTT_WINDOW_MS;
        if self.min_rtt == 0 || rtt <= self.min_rtt || expired {
            self.min_rtt = rtt;
            self.min_rtt_at_ms = now_ms;
        }
    }

    /// The timeout, backed off.
    pub(super) fn rto(&self) -> Duration {
        backed_off(self.rto_without_backoff(), self.backoff)
    }

    pub(super) fn rto_without_backoff(&self) -> Duration {
        Duration::from_micros(u64::from(self.rto))
    }

    /// Doubles the timeout from here on (section 5.5).
    pub(super) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(31);
    }

    pub(super) fn backoff(&self) -> u8 {
        self.backoff
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub(super) fn srtt(&self) -> Duration {
        // Divided in nanoseconds, so that short times keep their fraction.
        Duration::from_nanos(u64::from(self.srtt_x8) * 125)
    }

    pub(super) fn has_sample(&self) -> bool {
        self.srtt_x8 != 0
    }

    /// Smoothed deviation.
    pub(super) fn rttvar(&self) -> Duration {
        Duration::from_micros(u64::from(self.deviation_x4 / 4))
    }

    /// Zero before the first sample.
    pub(super) fn min_rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.min_rtt))
    }

    pub(super) fn min_rto(&self) -> Duration {
        Duration::from_micros(u64::from(self.min_rto))
    }
}
