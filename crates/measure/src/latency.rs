//! Latencies in nanoseconds, kept in a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies of many requests. Values are kept to three significant digits, up to a minute.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

const MOST_NS: u64 = 60_000_000_000;

impl Default for Latency {
    fn default() -> Self {
        // Invariant: 1 <= lowest, 2 * lowest <= highest, digits <= 5.
        let histogram = Histogram::new_with_bounds(1, MOST_NS, 3).expect("valid bounds");
        Self { histogram }
    }
}

impl Latency {
    /// Records one request.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(latency.as_nanos() as u64);
    }

    /// The latency in nanoseconds that `share` of the requests did not exceed; 0 when
    /// there are none.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        self.histogram.value_at_quantile(share)
    }

    /// Requests recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_ramp() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_ns(0.5), 0);
        for us in 1..=1000 {
            latency.record(Duration::from_micros(us));
        }
        assert_eq!(latency.count(), 1000);
        let near = |ns: u64, us: u64| ns.abs_diff(us * 1000) <= us;
        assert!(near(latency.quantile_ns(0.5), 500));
        assert!(near(latency.quantile_ns(0.99), 990));
    }
}
