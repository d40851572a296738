//! Delivery rate samples (draft-cheng-iccrg-delivery-rate-estimation).

use core::time::Duration;

use super::records::Record;
use super::rtt::micros;
use crate::tcp::congestion::RateSample;
use crate::time::Instant;

/// What the connection has delivered, and when.
#[derive(Clone, Debug)]
pub(super) struct RateEstimator {
    /// Bytes delivered so far.
    delivered: u64,
    delivered_at: Instant,
    /// When the segment that was delivered last had left.
    first_sent_at: Instant,
    /// Samples are application-limited until this many bytes are delivered; zero: they are
    /// not.
    app_limited_until: u64,
    last: Option<RateSample>,
}

/// The newest segment that one acknowledgment delivered: it gives the sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    prior_delivered: u32,
    sent_at: Instant,
    send_elapsed_us: u32,
    delivered_age_us: u32,
    app_limited: bool,
}

impl RateEstimator {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            app_limited_until: 0,
            last: None,
        }
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The last sample.
    pub(super) fn last(&self) -> Option<RateSample> {
        self.last
    }

    #[inline]
    pub(super) fn is_app_limited(&self) -> bool {
        self.app_limited_until != 0
    }

    /// The application has nothing more to send while the window has room.
    #[inline]
    pub(super) fn set_app_limited(&mut self, in_flight: u32) {
        self.app_limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// Writes into `record`, about to leave, what its delivery is later compared with.
    #[inline]
    pub(super) fn stamp(&mut self, record: &mut Record, was_idle: bool, now: Instant) {
        if was_idle {
            self.first_sent_at = now;
            self.delivered_at = now;
            (record.send_elapsed_us, record.delivered_age_us) = (0, 0);
        } else {
            record.send_elapsed_us = micros(now.saturating_duration_since(self.first_sent_at));
            record.delivered_age_us = micros(now.saturating_duration_since(self.delivered_at));
        }
        record.delivered = self.delivered as u32; // Modulo 2^32; only differences are used.
        record.set_app_limited(self.is_app_limited());
    }

    /// A piece of `record` was delivered.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        record: &Record,
        now: Instant,
        candidate: &mut Option<Candidate>,
    ) {
        self.delivered += u64::from(record.len);
        self.delivered_at = now;
        let newer = candidate.is_none_or(|c| {
            record
                .delivered
                .wrapping_sub(c.prior_delivered)
                .cast_signed()
                > 0
                || (record.delivered == c.prior_delivered && record.sent_at > c.sent_at)
        });
        if newer {
            self.first_sent_at = record.sent_at;
            *candidate = Some(Candidate {
                prior_delivered: record.delivered,
                sent_at: record.sent_at,
                send_elapsed_us: record.send_elapsed_us,
                delivered_age_us: record.delivered_age_us,
                app_limited: record.is_app_limited(),
            });
        }
    }

    /// The sample of this acknowledgment. One shorter than the least round-trip time would
    /// mislead: segments cannot have been sent and acknowledged within it.
    #[inline]
    pub(super) fn sample(
        &mut self,
        candidate: Option<Candidate>,
        min_rtt_us: u32,
        now: Instant,
    ) -> Option<RateSample> {
        if self.is_app_limited() && self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let candidate = candidate?;
        let sending = u64::from(candidate.send_elapsed_us) * 1_000;
        let since = now.nanos_since(candidate.sent_at);
        let acking = since.saturating_add(u64::from(candidate.delivered_age_us) * 1_000);
        let interval = sending.max(acking);
        if interval < u64::from(min_rtt_us) * 1_000 || interval == 0 {
            return None;
        }
        let interval = Duration::from_nanos(interval);
        let sample = RateSample {
            delivered: (self.delivered as u32).wrapping_sub(candidate.prior_delivered),
            interval,
            prior_delivered: candidate.prior_delivered,
            app_limited: candidate.app_limited,
        };
        self.last = Some(sample);
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use zcn_wire::SeqNum;

    use super::*;

    /// Ten segments leave, one a millisecond, and are acknowledged 20 ms later one by one:
    /// a segment a millisecond is what was delivered.
    #[test]
    fn a_steady_path_is_measured() {
        let start = Instant::from_secs(1);
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = RateEstimator::new(start);
        let mut records = Vec::new();
        for n in 0..10 {
            let mut record = Record::new(SeqNum(1_000 * n), 1_000, 1_000, false, at(n.into()));
            rate.stamp(&mut record, n == 0, at(n.into()));
            records.push(record);
        }
        for n in 0..10 {
            let mut record = Record::new(SeqNum(10_000 + 1_000 * n), 1_000, 1_000, false, start);
            let mut candidate = None;
            let now = at(20 + u64::from(n));
            rate.deliver(&records[n as usize], now, &mut candidate);
            rate.stamp(&mut record, false, now);
            record.sent_at = now;
            records.push(record);
            assert_eq!(rate.delivered(), 1_000 * (u64::from(n) + 1));
            rate.sample(candidate, 0, now).expect("a sample");
        }
        for n in 10..20_u64 {
            let mut candidate = None;
            let now = at(30 + n);
            rate.deliver(&records[n as usize], now, &mut candidate);
            let sample = rate.sample(candidate, 0, now).expect("a sample");
            let share = sample.bytes_per_second() as f64 / 1_000_000.0;
            assert!((0.45..=1.0).contains(&share), "{sample:?}");
            assert!(!sample.app_limited);
        }
    }

    #[test]
    fn samples_shorter_than_a_round_trip_are_none() {
        let start = Instant::from_secs(1);
        let mut rate = RateEstimator::new(start);
        let mut record = Record::new(SeqNum(0), 1_000, 1_000, false, start);
        rate.stamp(&mut record, true, start);
        let mut candidate = None;
        let now = start + Duration::from_millis(1);
        rate.deliver(&record, now, &mut candidate);
        assert_eq!(rate.sample(candidate, 2_000, now), None);
    }

    #[test]
    fn application_limits_are_noted_until_what_was_in_flight_is_delivered() {
        let start = Instant::from_secs(1);
        let mut rate = RateEstimator::new(start);
        rate.set_app_limited(1_000);
        for (n, limited) in [true, true, false].into_iter().enumerate() {
            let sent = start + Duration::from_millis(10 * n as u64);
            let mut record = Record::new(SeqNum(n as u32), 1_000, 1_000, false, sent);
            rate.stamp(&mut record, true, sent);
            let mut candidate = None;
            let now = sent + Duration::from_millis(5);
            rate.deliver(&record, now, &mut candidate);
            let sample = rate.sample(candidate, 0, now).expect("a sample");
            assert_eq!(
                (sample.app_limited, sample.delivered),
                (limited, 1_000),
                "{n}"
            );
            assert_eq!(sample.bytes_per_second(), 200_000);
        }
    }
}
