//! How long things take, in histograms.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The greatest time told apart, in nanoseconds; longer ones count as it.
const LONGEST: u64 = 3_600_000_000_000;

/// A step in the life of a job or of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// From the completion that brought the job to the end of its parsing.
    Parse,
    /// From there until the work is handed over: coinbase, merkle root, header.
    Dispatch,
    /// From the hand-over until a worker has left what it did and its first hash is under way.
    HandOver,
    /// From the completion until the first hash is under way: the three above.
    PacketToHash,
    /// From the completion until the first hashes are done, a batch of them.
    FirstHash,
    /// From the find of a share to the pool's answer.
    Acknowledge,
}

impl Stage {
    /// All of them, in the order in which they come.
    pub const ALL: [Self; 6] = [
        Self::Parse,
        Self::Dispatch,
        Self::HandOver,
        Self::PacketToHash,
        Self::FirstHash,
        Self::Acknowledge,
    ];

    /// A name for tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Dispatch => "dispatch",
            Self::HandOver => "hand_over",
            Self::PacketToHash => "packet_to_hash",
            Self::FirstHash => "first_hash",
            Self::Acknowledge => "acknowledge",
        }
    }
}

/// When a job came and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct JobTimes {
    /// When the completion that brought its last byte was seen.
    pub received: Instant,
    /// When its message was parsed.
    pub parsed: Instant,
    /// When the first worker was handed the work.
    pub dispatched: Instant,
}

/// Times of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many there are.
    pub count: u64,
    /// Half are not longer.
    pub p50: Duration,
    /// 99 of 100 are not longer.
    pub p99: Duration,
    /// 999 of 1000 are not longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

/// Histograms of all stages, with three significant digits.
///
/// All memory is taken when it is made.
#[derive(Clone, Debug)]
pub struct Latencies {
    stages: [Histogram<u64>; Stage::ALL.len()],
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// Empty histograms.
    pub fn new() -> Self {
        Self {
            // 1 to LONGEST with three digits is what `new_with_bounds` takes.
            stages: std::array::from_fn(|_| {
                Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| unreachable!())
            }),
        }
    }

    /// Takes one time.
    pub fn record(&mut self, stage: Stage, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.stages[stage as usize].saturating_record(nanoseconds.clamp(1, LONGEST));
    }

    /// Takes the times of a job whose first hash was under way at `begun`, and whose first
    /// hashes were done at `hashed`.
    pub fn record_job(&mut self, times: &JobTimes, begun: Instant, hashed: Instant) {
        let JobTimes {
            received,
            parsed,
            dispatched,
        } = *times;
        let spans = [
            (Stage::Parse, received, parsed),
            (Stage::Dispatch, parsed, dispatched),
            (Stage::HandOver, dispatched, begun),
            (Stage::PacketToHash, received, begun),
            (Stage::FirstHash, received, hashed),
        ];
        for (stage, from, to) in spans {
            self.record(stage, to.saturating_duration_since(from));
        }
    }

    /// What was recorded of a stage.
    pub fn percentiles(&self, stage: Stage) -> Percentiles {
        let histogram = &self.stages[stage as usize];
        if histogram.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        Percentiles {
            count: histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_nanos(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_fills_five_stages() {
        let mut latencies = Latencies::new();
        let received = Instant::now();
        let after = |us| received + Duration::from_micros(us);
        let times = JobTimes {
            received,
            parsed: after(10),
            dispatched: after(30),
        };
        latencies.record_job(&times, after(60), after(100));
        let p50 = |stage| latencies.percentiles(stage).p50.as_micros();
        assert_eq!(p50(Stage::Parse), 10);
        assert_eq!(p50(Stage::Dispatch), 20);
        assert_eq!(p50(Stage::HandOver), 30);
        assert_eq!(p50(Stage::PacketToHash), 60);
        assert_eq!(p50(Stage::FirstHash), 100);
        assert_eq!(
            latencies.percentiles(Stage::Acknowledge),
            Percentiles::default()
        );
    }

    #[test]
    fn percentiles_of_a_row_of_times() {
        let mut latencies = Latencies::new();
        for ms in 1..=1000 {
            latencies.record(Stage::Acknowledge, Duration::from_millis(ms));
        }
        let seen = latencies.percentiles(Stage::Acknowledge);
        let near = |time: Duration, ms: f64| (time.as_secs_f64() * 1e3 / ms - 1.0).abs() < 0.002;
        assert_eq!(seen.count, 1000);
        assert!(near(seen.p50, 500.0), "{seen:?}");
        assert!(near(seen.p99, 990.0), "{seen:?}");
        assert!(near(seen.max, 1000.0), "{seen:?}");
        // Neither nothing nor an eternity is lost.
        latencies.record(Stage::Acknowledge, Duration::ZERO);
        latencies.record(Stage::Acknowledge, Duration::MAX);
        assert_eq!(latencies.percentiles(Stage::Acknowledge).count, 1002);
    }
}
