//! How often something may be done.

use core::time::Duration;

use crate::time::Instant;

/// A token bucket: up to `burst` at once, and `rate` a second in the long run.
///
/// Tokens are kept as a point in time (the generic cell rate algorithm): the instant at
/// which the bucket is full again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    /// Between two tokens, in nanoseconds.
    interval: u64,
    /// How long it takes to fill an empty bucket, in nanoseconds.
    depth: u64,
    full_at: Instant,
}

impl RateLimit {
    /// A full bucket. A rate of 0 allows nothing at all.
    pub(crate) const fn new(rate: u32, burst: u32) -> Self {
        let interval = match rate {
            0 => 0,
            _ => 1_000_000_000 / rate as u64,
        };
        Self {
            interval,
            depth: interval * burst as u64,
            full_at: Instant::ZERO,
        }
    }

    /// Takes a token, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + Duration::from_nanos(self.interval);
        let allowed = self.interval != 0
            && full_at.saturating_duration_since(now) <= Duration::from_nanos(self.depth);
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }

    /// When it is full again if nothing more is taken; in the past if it is full.
    pub(crate) const fn full_at(&self) -> Instant {
        self.full_at
    }

    /// Whether there is a token.
    pub(crate) fn has_token(&self, now: Instant) -> bool {
        Self { ..*self }.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut limit = RateLimit::new(10, 5);
        let start = Instant::from_secs(3);
        let burst = (0..100).filter(|_| limit.take(start)).count();
        assert_eq!(burst, 5);
        let second = (0..1_000)
            .filter(|&milli| limit.take(start + Duration::from_millis(milli)))
            .count();
        assert_eq!(second, 9);
        assert!(limit.has_token(start + Duration::from_secs(10)));
        let again = (0..100)
            .filter(|_| limit.take(start + Duration::from_secs(10)))
            .count();
        assert_eq!(again, 5);
        assert!(!RateLimit::new(0, 5).take(start));
    }
}
