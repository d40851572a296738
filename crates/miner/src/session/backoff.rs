//! How long a pool that failed is left alone.

use std::time::{Duration, Instant};

/// Doubles with every failure, up to a limit; a quarter of it is spread, so that many miners do
/// not come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    min: Duration,
    max: Duration,
    seed: u64,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            failures: 0,
            until: None,
            min,
            max,
            seed,
        }
    }

    /// Counts a failure: how long to stay away.
    pub(super) fn fail(&mut self, now: Instant) -> Duration {
        let whole = self
            .min
            .saturating_mul(1 << self.failures.min(20))
            .min(self.max);
        self.failures += 1;
        // SplitMix64: the spread needs to differ, not to be a secret.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ self.seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let spread = (mixed >> 40) as f64 / f64::from(1 << 24);
        let wait = whole.mul_f64(0.75 + 0.25 * spread);
        self.until = Some(now + wait);
        wait
    }

    /// The pool has worked; the next failure is the first again.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    /// When it may be tried again.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        self.until.unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_limit_and_starts_over() {
        let now = Instant::now();
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut backoff = Backoff::new(min, max, 7);
        assert_eq!(backoff.ready_at(now), now);
        for whole in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let wait = backoff.fail(now).as_secs_f64();
            assert!((0.75 * whole..=whole).contains(&wait), "{wait} of {whole}");
        }
        assert!(backoff.ready_at(now) > now);
        backoff.succeed();
        assert!(backoff.fail(now) <= min);
        for _ in 0..100 {
            assert!(backoff.fail(now) <= max);
        }
    }
}
