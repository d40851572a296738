//! Limits on answers to segments that may be forged (RFC 5961 sections 7 and 10).

use core::time::Duration;

use crate::random::{Random, Seed};
use crate::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// So many things in a second, counted from the first one.
#[derive(Debug)]
pub(crate) struct PerSecond {
    since: Instant,
    left: u32,
}

impl PerSecond {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::ZERO,
            left: 0,
        }
    }

    /// Takes one; `limit` is asked when a new second begins.
    pub(crate) fn take(&mut self, now: Instant, limit: impl FnOnce() -> u32) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= SECOND || self.since == Instant::ZERO {
            self.since = now.max(Instant::from_nanos(1));
            self.left = limit();
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

/// The limit on challenge ACKs of the whole shard.
///
/// A fixed limit would be a side channel: an attacker who uses it up on a connection of
/// his own sees whether a guess at another one consumed some (CVE-2016-5696). So the limit
/// of each second is drawn between half of the mean and one and a half of it, as Linux
/// does; and each connection has a limit in time of its own before this one counts.
#[derive(Debug)]
pub(crate) struct Challenges {
    random: Random,
    second: PerSecond,
    mean: u32,
}

impl Challenges {
    pub(crate) fn new(seed: &Seed, mean: u32) -> Self {
        Self {
            random: Random::new(seed, "tcp challenge"),
            second: PerSecond::new(),
            mean,
        }
    }

    /// Whether one more may be sent now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let (mean, random) = (self.mean, &mut self.random);
        self.second
            .take(now, || mean.div_ceil(2) + random.below(mean.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_one_second(challenges: &mut Challenges, now: Instant) -> u32 {
        (0..10_000).map(|_| u32::from(challenges.take(now))).sum()
    }

    #[test]
    fn the_limit_is_bounded_and_drawn_anew() {
        let mut challenges = Challenges::new(&[9; 32], 100);
        let counts: Vec<u32> = (1..20)
            .map(|second| in_one_second(&mut challenges, Instant::from_secs(second)))
            .collect();
        assert!(counts.iter().all(|n| (50..150).contains(n)), "{counts:?}");
        assert!(counts.iter().any(|n| *n != counts[0]), "{counts:?}");
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through() {
        let mut second = PerSecond::new();
        assert!(!second.take(Instant::from_secs(1), || 0));
    }
}
