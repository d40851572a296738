//! A past moment in four bytes.

use core::time::Duration;

use crate::time::Instant;

/// A past moment to the millisecond, or never; told apart for 49 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// No moment.
    pub(crate) const NEVER: Self = Self(0);

    pub(crate) fn of(now: Instant) -> Self {
        Self((now.as_millis() as u32).max(1))
    }

    /// Time since; `MAX` since never.
    pub(crate) fn elapsed(self, now: Instant) -> Duration {
        if self == Self::NEVER {
            return Duration::MAX;
        }
        Duration::from_millis(u64::from(self.elapsed_ms(now)))
    }

    /// Milliseconds since; `MAX` since never.
    #[inline]
    pub(crate) fn elapsed_ms(self, now: Instant) -> u32 {
        if self == Self::NEVER {
            return u32::MAX;
        }
        let ms = (now.as_millis() as u32).wrapping_sub(self.0);
        if ms > u32::MAX - 2 { 0 } else { ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_is_to_the_millisecond() {
        let then = Stamp::of(Instant::from_millis(5));
        assert_eq!(
            then.elapsed(Instant::from_millis(12)),
            Duration::from_millis(7)
        );
        assert_eq!(
            Stamp::NEVER.elapsed(Instant::from_millis(12)),
            Duration::MAX
        );
        assert_eq!(
            Stamp::of(Instant::ZERO).elapsed(Instant::ZERO),
            Duration::ZERO
        );
    }
}
