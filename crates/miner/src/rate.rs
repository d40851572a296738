//! How fast it goes, over several spans of time.

use std::time::{Duration, Instant};

/// Counts of a quarter of an hour, second by second.
const SECONDS: usize = 15 * 60;

/// Hashes per second over the last ten seconds, minute and quarter of an hour.
///
/// It is fed the running count of hashes, about once a second, and reads no clock. Two
/// readings less than a second apart count as one. It takes 14 KB and never more.
#[derive(Clone, Debug)]
pub struct RateMeter {
    /// Running counts with the seconds since `start` at which they were read, oldest
    /// first from `next`, once it is full.
    readings: Box<[(Duration, u64)]>,
    next: usize,
    count: usize,
    start: Instant,
}

/// Hashes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Over the last ten seconds.
    pub ten_seconds: f64,
    /// Over the last minute.
    pub minute: f64,
    /// Over the last fifteen minutes.
    pub quarter: f64,
}

impl RateMeter {
    /// A meter that starts `now`, with nothing done.
    pub fn new(now: Instant) -> Self {
        let mut meter = Self {
            readings: vec![(Duration::ZERO, 0); SECONDS + 1].into_boxed_slice(),
            next: 0,
            count: 0,
            start: now,
        };
        meter.push(Duration::ZERO, 0);
        meter
    }

    /// Takes the number of hashes done since the start.
    pub fn record(&mut self, now: Instant, hashes: u64) {
        let at = now.saturating_duration_since(self.start);
        let close = self.count >= 2 && {
            let ((newest, _), (before, _)) = (self.reading(0), self.reading(1));
            newest < before + Duration::from_secs(1)
        };
        if close {
            // The newest reading is replaced, until a second lies behind the one before.
            self.next = (self.next + self.readings.len() - 1) % self.readings.len();
            self.count -= 1;
        }
        self.push(at, hashes);
    }

    /// The rates up to the newest reading. Before a span is over, the rate since the start.
    pub fn rates(&self) -> Rates {
        Rates {
            ten_seconds: self.over(Duration::from_secs(10)),
            minute: self.over(Duration::from_secs(60)),
            quarter: self.over(Duration::from_secs(SECONDS as u64)),
        }
    }

    fn push(&mut self, at: Duration, hashes: u64) {
        self.readings[self.next] = (at, hashes);
        self.next = (self.next + 1) % self.readings.len();
        self.count = (self.count + 1).min(self.readings.len());
    }

    /// The reading `back` places before the newest.
    fn reading(&self, back: usize) -> (Duration, u64) {
        let length = self.readings.len();
        self.readings[(self.next + 2 * length - 1 - back) % length]
    }

    fn over(&self, span: Duration) -> f64 {
        let (end, hashes) = self.reading(0);
        let from = end.saturating_sub(span);
        // The newest reading that is at least `span` old, or the oldest there is.
        let mut low = 0;
        let mut high = self.count - 1;
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.reading(middle).0 <= from {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let (start, before) = self.reading(low);
        let seconds = (end - start).as_secs_f64();
        if seconds > 0.0 {
            hashes.saturating_sub(before) as f64 / seconds
        } else {
            0.0
        }
    }
}

/// The rate of a miner at work. Its time stands still while there is no work: a pool that chooses a
/// difficulty by the rate is told how fast the miner is, not how long it had nothing to do.
#[derive(Clone, Debug)]
pub(crate) struct WorkRate {
    meter: RateMeter,
    start: Instant,
    /// Time with work, up to `since`.
    worked: Duration,
    /// Since when there is work.
    since: Option<Instant>,
}

impl WorkRate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            meter: RateMeter::new(now),
            start: now,
            worked: Duration::ZERO,
            since: None,
        }
    }

    /// There is work from now on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// There is none any more.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.worked = self.worked(now);
        self.since = None;
    }

    fn worked(&self, now: Instant) -> Duration {
        let since = self.since.unwrap_or(now);
        self.worked + now.saturating_duration_since(since)
    }

    /// As [`RateMeter::record`].
    pub(crate) fn record(&mut self, now: Instant, hashes: u64) {
        self.meter.record(self.start + self.worked(now), hashes);
    }

    /// Hashes per second over the last ten seconds of work; 0 before there was any.
    pub(crate) fn rate(&self) -> f64 {
        self.meter.rates().ten_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < expected * 0.01 + 1e-9
    }

    #[test]
    fn each_span_sees_its_own_time() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start);
        assert_eq!(meter.rates(), Rates::default());
        let mut hashes = 0;
        // 1000 a second for 1000 s, 3000 for 50 s, 5000 for 10 s.
        for second in 1..=1060_u64 {
            hashes += match second {
                ..=1000 => 1000,
                1001..=1050 => 3000,
                _ => 5000,
            };
            meter.record(start + Duration::from_secs(second), hashes);
        }
        let rates = meter.rates();
        assert!(near(rates.ten_seconds, 5000.0), "{rates:?}");
        assert!(near(rates.minute, (50.0 * 3000.0 + 10.0 * 5000.0) / 60.0));
        let quarter = (840.0 * 1000.0 + 50.0 * 3000.0 + 10.0 * 5000.0) / 900.0;
        assert!(near(rates.quarter, quarter), "{rates:?}");
    }

    #[test]
    fn a_young_meter_tells_the_rate_since_its_start() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start);
        meter.record(start + Duration::from_millis(500), 100);
        assert!(near(meter.rates().ten_seconds, 200.0));
        meter.record(start + Duration::from_secs(2), 1000);
        let rates = meter.rates();
        assert!(near(rates.ten_seconds, 500.0), "{rates:?}");
        assert!(near(rates.quarter, 500.0));
    }

    #[test]
    fn frequent_readings_keep_no_more_than_one_a_second() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start);
        for tick in 1..=2_000_u64 {
            meter.record(start + Duration::from_millis(100 * tick), 10 * tick);
        }
        assert!(meter.count <= 202, "{}", meter.count);
        let rates = meter.rates();
        assert!(near(rates.ten_seconds, 100.0), "{rates:?}");
        assert!(near(rates.minute, 100.0), "{rates:?}");
    }

    #[test]
    fn a_break_leaves_the_rate_at_work_as_it_was() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut meter = WorkRate::new(start);
        let mut hashes = 0;
        meter.record(at(5), hashes);
        assert_eq!(meter.rate(), 0.0, "nobody knows");
        // The first work is long in coming.
        for second in 20..=40 {
            meter.begin(at(20));
            hashes += 1000 * u64::from(second > 20);
            meter.record(at(second), hashes);
        }
        assert!(near(meter.rate(), 1000.0), "{meter:?}");
        meter.rest(at(40));
        for second in 41..100 {
            meter.record(at(second), hashes);
            assert!(near(meter.rate(), 1000.0), "{meter:?}");
        }
        meter.begin(at(100));
        for second in 101..=120 {
            hashes += 2000;
            meter.record(at(second), hashes);
            assert!(meter.rate() > 999.0, "{meter:?}");
        }
        assert!(near(meter.rate(), 2000.0), "{meter:?}");
    }

    #[test]
    fn a_pause_longer_than_the_span_counts_as_time() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start);
        meter.record(start + Duration::from_secs(1), 1000);
        meter.record(start + Duration::from_secs(101), 1000);
        assert!(near(meter.rates().ten_seconds, 0.0));
    }
}
