//! The parts of a run: warm-up, measured part, end.

use std::time::{Duration, Instant};

use super::Window;

/// Where in a run a moment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not measured yet.
    WarmUp,
    /// The measured part begins here. Said once.
    Begins,
    /// In the measured part.
    Measured,
    /// Behind it.
    Over,
}

/// Tells the stages apart. The warm-up takes a tenth of the duration; the measured part
/// takes all of it, counted from its real beginning, however late that was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stages {
    duration: Duration,
    warm: Instant,
    end: Option<Instant>,
}

impl Stages {
    /// A run that starts at `now`.
    pub(super) fn starting(now: Instant, duration: Duration) -> Self {
        Self {
            duration,
            warm: now + duration / 10,
            end: None,
        }
    }

    /// The stage at `now`.
    #[inline]
    pub(super) fn at(&mut self, now: Instant) -> Stage {
        match self.end {
            Some(end) if now >= end => Stage::Over,
            Some(_) => Stage::Measured,
            None if now >= self.warm => {
                self.end = Some(now + self.duration);
                Stage::Begins
            }
            None => Stage::WarmUp,
        }
    }
}

/// The measured part of a load that counts what comes back.
#[derive(Debug)]
pub(super) struct Counted {
    stages: Stages,
    before: u64,
}

impl Counted {
    /// A run that starts at `now`.
    pub(super) fn starting(now: Instant, duration: Duration) -> Self {
        Self {
            stages: Stages::starting(now, duration),
            before: 0,
        }
    }

    /// Follows the clock, with `done` counted so far: opens the window at its time, and answers
    /// what the measured part has brought once its time is over. A load goes on while that is
    /// nothing: a machine too busy to finish anything in time is given the time.
    #[inline]
    pub(super) fn over(&mut self, now: Instant, done: u64, window: &mut Window<'_>) -> Option<u64> {
        match self.stages.at(now) {
            Stage::WarmUp | Stage::Measured => None,
            Stage::Begins => {
                self.before = done;
                window.begin();
                None
            }
            Stage::Over => Some(done - self.before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_beginning_does_not_shorten_the_measured_part() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut stages = Stages::starting(start, Duration::from_millis(100));
        assert_eq!(stages.at(after(9)), Stage::WarmUp);
        assert_eq!(stages.at(after(300)), Stage::Begins);
        assert_eq!(stages.at(after(300)), Stage::Measured);
        assert_eq!(stages.at(after(399)), Stage::Measured);
        assert_eq!(stages.at(after(400)), Stage::Over);
    }
}
