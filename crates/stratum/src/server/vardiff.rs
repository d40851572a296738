//! A difficulty that follows the miner.

use std::time::{Duration, Instant};

/// How often a miner should find a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VardiffConfig {
    /// The time between shares to aim at.
    pub interval: Duration,
    /// How long is measured before the difficulty is changed.
    pub window: Duration,
}

impl Default for VardiffConfig {
    /// A share every four seconds, measured for thirty.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(4),
            window: Duration::from_secs(30),
        }
    }
}

/// Shares that are enough to know more before the window is over.
const ENOUGH: u32 = 16;
/// The difficulty moves by at most this factor at a time.
const MAX_STEP: f64 = 4.0;
/// And only when it is off by more than this.
const TOLERANCE: f64 = 1.5;

/// Counts shares, and says which difficulty their rate asks for.
#[derive(Debug)]
pub(crate) struct Vardiff {
    config: VardiffConfig,
    since: Instant,
    shares: u32,
}

impl Vardiff {
    pub(crate) fn new(config: VardiffConfig, now: Instant) -> Self {
        let (since, shares) = (now, 0);
        Self {
            config,
            since,
            shares,
        }
    }

    pub(crate) fn count(&mut self) {
        self.shares = self.shares.saturating_add(1);
    }

    /// When the window is over.
    pub(crate) fn deadline(&self) -> Instant {
        self.since + self.config.window
    }

    /// Another difficulty than `difficulty`, if it is time for one; a new window then begins.
    pub(crate) fn retarget(&mut self, now: Instant, difficulty: f64) -> Option<f64> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < self.config.window && self.shares < ENOUGH {
            return None;
        }
        // None at all means: at most half a share.
        let shares = f64::from(self.shares).max(0.5);
        let expected = elapsed.as_secs_f64() / self.config.interval.as_secs_f64();
        let ratio = (shares / expected).clamp(1.0 / MAX_STEP, MAX_STEP);
        if self.shares >= ENOUGH && elapsed < self.config.window && ratio < TOLERANCE {
            return None;
        }
        (self.since, self.shares) = (now, 0);
        (!(1.0 / TOLERANCE..TOLERANCE).contains(&ratio)).then_some(difficulty * ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The difficulty after `rounds` windows of a miner that finds a share of difficulty 1
    /// every `seconds`.
    fn settle(seconds: f64, mut difficulty: f64, rounds: u32) -> f64 {
        let begin = Instant::now();
        let mut vardiff = Vardiff::new(VardiffConfig::default(), begin);
        let mut now = 0.0;
        let end = f64::from(rounds) * 30.0;
        while now < end {
            let wait = (seconds * difficulty).min(30.0);
            let found = wait == seconds * difficulty;
            now += wait;
            if found {
                vardiff.count();
            }
            let at = begin + Duration::from_secs_f64(now);
            difficulty = vardiff.retarget(at, difficulty).unwrap_or(difficulty);
        }
        difficulty
    }

    #[test]
    fn it_settles_from_both_sides() {
        for begin in [1e-6, 1.0, 1e6] {
            let settled = settle(0.001, begin, 200);
            let interval = 0.001 * settled;
            assert!(
                (4.0 / 1.6..4.0 * 1.6).contains(&interval),
                "{begin}: {interval}"
            );
        }
    }

    #[test]
    fn it_leaves_what_is_right() {
        assert_eq!(settle(4.0, 1.0, 50), 1.0);
    }
}
