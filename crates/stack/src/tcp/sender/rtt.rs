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
    // Not by `as_nanos`: dividing 128 bits costs more than all else here.
    let micros = u64::from(length.subsec_nanos().div_ceil(1_000));
    let seconds = length.as_secs().min(u64::from(u32::MAX));
    u32::try_from(seconds * 1_000_000 + micros).unwrap_or(u32::MAX)
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

    /// The handshake took a second attempt, and measured nothing (RFC 6298, section 5.7).
    pub(super) fn fall_back(&mut self) {
        self.rto = micros(FALLBACK_RTO);
    }

    /// Takes a measurement in (RFC 6298, section 2), and ends the backoff (Karn).
    ///
    /// With several samples a round the deviation would decay too fast (RFC 7323, appendix
    /// G), so what counts is the largest smoothed deviation of a round, and it falls by a
    /// quarter of the difference a round, as in Linux.
    pub(super) fn sample(&mut self, rtt: Duration, snd_una: SeqNum, snd_nxt: SeqNum) {
        self.sample_us(micros(rtt), snd_una, snd_nxt);
    }

    /// As [`sample`](Self::sample), in microseconds.
    #[inline]
    pub(super) fn sample_us(&mut self, rtt_us: u32, snd_una: SeqNum, snd_nxt: SeqNum) {
        // Ten minutes: beyond all timeouts, and eight times it fits.
        let rtt = rtt_us.clamp(1, 500_000_000);
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
        self.note_min_us(micros(rtt), now);
    }

    /// As [`note_min`](Self::note_min), in microseconds.
    #[inline]
    pub(super) fn note_min_us(&mut self, rtt_us: u32, now: Instant) {
        let rtt = rtt_us.max(1);
        let now_ms = now.as_millis() as u32; // Wraps; only differences are used.
        let expired = now_ms.wrapping_sub(self.min_rtt_at_ms) > MIN_RTT_WINDOW_MS;
        if self.min_rtt == 0 || rtt <= self.min_rtt || expired {
            self.min_rtt = rtt;
            self.min_rtt_at_ms = now_ms;
        }
    }

    /// The timeout, backed off.
    #[inline]
    pub(super) fn rto(&self) -> Duration {
        if self.backoff == 0 {
            return self.rto_without_backoff();
        }
        backed_off(self.rto_without_backoff(), self.backoff)
    }

    /// The same in nanoseconds.
    #[inline]
    pub(super) fn rto_nanos(&self) -> u64 {
        if self.backoff == 0 {
            return self.rto_nanos_without_backoff();
        }
        self.rto().as_nanos() as u64 // at most MAX_RTO
    }

    #[inline]
    pub(super) fn rto_nanos_without_backoff(&self) -> u64 {
        u64::from(self.rto) * 1_000
    }

    #[inline]
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
    #[inline]
    pub(super) fn srtt(&self) -> Duration {
        // Divided in nanoseconds, so that short times keep their fraction.
        Duration::from_nanos(self.srtt_nanos())
    }

    /// The same in nanoseconds.
    #[inline]
    pub(super) fn srtt_nanos(&self) -> u64 {
        u64::from(self.srtt_x8) * 125
    }

    #[inline]
    pub(super) fn has_sample(&self) -> bool {
        self.srtt_x8 != 0
    }

    /// Smoothed deviation.
    pub(super) fn rttvar(&self) -> Duration {
        Duration::from_micros(u64::from(self.deviation_x4 / 4))
    }

    /// The least round-trip time in microseconds; zero before the first sample.
    #[inline]
    pub(super) fn min_rtt_us(&self) -> u32 {
        self.min_rtt
    }

    /// Zero before the first sample.
    #[inline]
    pub(super) fn min_rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.min_rtt))
    }

    /// Least timeout over the round-trip time, in nanoseconds.
    #[inline]
    pub(super) fn min_rto_nanos(&self) -> u64 {
        u64::from(self.min_rto) * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn estimator() -> RttEstimator {
        RttEstimator::new(INITIAL_RTO, MIN_RTO, SeqNum(0))
    }

    /// RFC 6298, sections 2.1 and 2.2.
    #[test]
    fn the_first_sample_sets_srtt_and_half_of_it_as_deviation() {
        let mut rtt = estimator();
        assert_eq!(rtt.rto(), ms(1_000));
        rtt.sample(ms(1_000), SeqNum(0), SeqNum(1));
        assert_eq!((rtt.srtt(), rtt.rttvar()), (ms(1_000), ms(500)));
        assert_eq!(rtt.rto(), ms(3_000));
    }

    /// RFC 6298, section 2.3: an eighth and a quarter.
    #[test]
    fn later_samples_are_smoothed() {
        let mut rtt = estimator();
        rtt.sample(ms(800), SeqNum(0), SeqNum(1));
        rtt.sample(ms(1_600), SeqNum(0), SeqNum(1));
        assert_eq!(rtt.srtt(), ms(900));
        // 3/4 of 400 and 1/4 of 800.
        assert_eq!(rtt.rttvar(), ms(500));
        assert_eq!(rtt.rto(), ms(900 + 4 * 500));
    }

    /// However steady the path, the timeout stays 200 ms above the round-trip time.
    #[test]
    fn the_least_timeout_is_over_the_round_trip_time() {
        let mut rtt = estimator();
        for n in 1..200 {
            rtt.sample(ms(40), SeqNum(n), SeqNum(n + 1));
        }
        assert_eq!(rtt.rto(), ms(240));
        let mut tight = RttEstimator::new(INITIAL_RTO, ms(5), SeqNum(0));
        for n in 1..200 {
            tight.sample(Duration::from_micros(100), SeqNum(n), SeqNum(n + 1));
        }
        assert_eq!(tight.rto(), Duration::from_micros(5_100));
    }

    /// RFC 7323, appendix G: many samples a round must not make the deviation forget what
    /// the last round saw.
    #[test]
    fn the_deviation_falls_by_rounds_not_by_samples() {
        let mut rtt = estimator();
        rtt.sample(ms(100), SeqNum(0), SeqNum(1_000));
        rtt.sample(ms(500), SeqNum(1), SeqNum(1_000));
        let high = rtt.rto() - rtt.srtt();
        for n in 2..1_000 {
            rtt.sample(ms(100), SeqNum(n), SeqNum(1_000));
        }
        let now = rtt.rto() - rtt.srtt();
        assert!(now.abs_diff(high) < ms(1), "within the round: {now:?}");
        for round in 1..40 {
            rtt.sample(
                ms(100),
                SeqNum(1_000 * round + 1),
                SeqNum(1_000 * round + 1_000),
            );
        }
        assert!(rtt.rto() - rtt.srtt() < ms(210));
    }

    /// Section 5.5 to 5.7 and Karn.
    #[test]
    fn backoff_doubles_until_a_sample() {
        let mut rtt = estimator();
        rtt.sample(ms(100), SeqNum(0), SeqNum(1));
        let rtos: Vec<u128> = (0..12)
            .map(|_| {
                rtt.back_off();
                rtt.rto().as_millis()
            })
            .collect();
        assert_eq!(rtos[..4], [600, 1_200, 2_400, 4_800]);
        assert_eq!(rtos[11], 120_000);
        rtt.sample(ms(100), SeqNum(0), SeqNum(1));
        assert_eq!(rtt.backoff(), 0);
    }

    #[test]
    fn microseconds_round_up_and_saturate() {
        for (length, expected) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_nanos(1_000), 1),
            (Duration::from_nanos(1_001), 2),
            (Duration::from_millis(2_500), 2_500_000),
            (Duration::from_secs(4_294), 4_294_000_000),
            (Duration::from_secs(4_295), u32::MAX),
            (Duration::MAX, u32::MAX),
        ] {
            assert_eq!(micros(length), expected, "{length:?}");
        }
    }

    #[test]
    fn absurd_samples_do_not_overflow() {
        let mut rtt = estimator();
        for n in 0..50 {
            rtt.sample(Duration::MAX, SeqNum(n), SeqNum(n + 1));
            assert_eq!(rtt.rto(), MAX_RTO);
        }
        for n in 50..100 {
            rtt.sample(Duration::ZERO, SeqNum(n), SeqNum(n + 1));
        }
        assert!(rtt.rto() <= MAX_RTO);
    }

    #[test]
    fn the_least_round_trip_time_expires() {
        let mut rtt = estimator();
        let start = Instant::from_secs(50);
        rtt.note_min(ms(10), start);
        rtt.note_min(ms(30), start + Duration::from_secs(299));
        assert_eq!(rtt.min_rtt(), ms(10));
        rtt.note_min(ms(30), start + Duration::from_secs(301));
        assert_eq!(rtt.min_rtt(), ms(30));
    }
}
