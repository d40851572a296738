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
///
/// A difficulty holds for later jobs only. What is measured is therefore the difficulty of the
/// job that was given last, and no step follows another until a job has brought the first into
/// force.
#[derive(Debug)]
pub(crate) struct Vardiff {
    config: VardiffConfig,
    /// The difficulty of the last job.
    given: Option<f64>,
    /// Since when shares of that are counted.
    since: Instant,
    shares: u32,
}

impl Vardiff {
    pub(crate) fn new(config: VardiffConfig, now: Instant) -> Self {
        Self {
            config,
            given: None,
            since: now,
            shares: 0,
        }
    }

    /// A job of that difficulty was given.
    pub(crate) fn give(&mut self, now: Instant, difficulty: f64) {
        if self.given != Some(difficulty) {
            self.given = Some(difficulty);
            self.restart(now);
        }
    }

    fn restart(&mut self, now: Instant) {
        (self.since, self.shares) = (now, 0);
    }

    /// A share of a job of that difficulty was found; those of jobs before the last step say
    /// nothing about it.
    pub(crate) fn count(&mut self, difficulty: f64) {
        self.shares = self
            .shares
            .saturating_add(u32::from(self.given == Some(difficulty)));
    }

    /// When the window is over; `None` as long as no job has brought `difficulty`.
    pub(crate) fn deadline(&self, difficulty: f64) -> Option<Instant> {
        (self.given == Some(difficulty)).then(|| self.since + self.config.window)
    }

    /// Another difficulty than `difficulty`, if it is time for one; a new window then begins.
    pub(crate) fn retarget(&mut self, now: Instant, difficulty: f64) -> Option<f64> {
        let over = now >= self.deadline(difficulty)?;
        if !over && self.shares < ENOUGH {
            return None;
        }
        // None at all means: at most half a share.
        let shares = f64::from(self.shares).max(0.5);
        let elapsed = now.saturating_duration_since(self.since);
        let expected = elapsed.as_secs_f64() / self.config.interval.as_secs_f64();
        let ratio = (shares / expected).clamp(1.0 / MAX_STEP, MAX_STEP);
        if !over && ratio < TOLERANCE {
            return None;
        }
        self.restart(now);
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
        vardiff.give(begin, difficulty);
        let mut now = 0.0;
        let end = f64::from(rounds) * 30.0;
        while now < end {
            let wait = (seconds * difficulty).min(30.0);
            let found = wait == seconds * difficulty;
            now += wait;
            if found {
                vardiff.count(difficulty);
            }
            let at = begin + Duration::from_secs_f64(now);
            difficulty = vardiff.retarget(at, difficulty).unwrap_or(difficulty);
            vardiff.give(at, difficulty);
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

    #[test]
    fn no_step_follows_another_before_a_job() {
        let mut now = Instant::now();
        let mut vardiff = Vardiff::new(VardiffConfig::default(), now);
        let many = |vardiff: &mut Vardiff, now| {
            (0..200).for_each(|_| vardiff.count(1.0));
            vardiff.retarget(now, 1.0)
        };
        now += Duration::from_secs(1);
        assert_eq!(many(&mut vardiff, now), None, "no job yet");
        assert_eq!(vardiff.deadline(1.0), None);
        vardiff.give(now, 1.0);
        now += Duration::from_secs(1);
        assert_eq!(many(&mut vardiff, now), Some(4.0));
        // Told, but not in force: neither up nor, when nothing comes, down.
        now += Duration::from_secs(1000);
        (0..200).for_each(|_| vardiff.count(1.0));
        assert_eq!(vardiff.deadline(4.0), None);
        assert_eq!(vardiff.retarget(now, 4.0), None);
        vardiff.give(now, 4.0);
        // Late ones of the easy job are none of the hard one.
        (0..200).for_each(|_| vardiff.count(1.0));
        now += Duration::from_secs(1);
        assert_eq!(vardiff.retarget(now, 4.0), None);
        // Other jobs of the same difficulty do not disturb the window.
        let deadline = vardiff.deadline(4.0);
        vardiff.give(now, 4.0);
        assert_eq!(vardiff.deadline(4.0), deadline);
        let deadline = deadline.expect("in force");
        assert_eq!(vardiff.retarget(deadline, 4.0), Some(1.0));
    }
}
