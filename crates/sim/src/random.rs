//! Choices that a seed replays.

use std::time::Duration;

use zcn_stack::random::{Random, Seed};

/// Draws from a seed, for one purpose.
#[derive(Debug)]
pub struct Dice(Random);

/// The 32 bytes that a stack wants, of a number.
pub fn seed_bytes(seed: u64) -> Seed {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

impl Dice {
    /// Dice of a seed; another purpose gives other numbers.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(Random::new(&seed_bytes(seed), purpose))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly from `low` to `high`, both included.
    ///
    /// # Panics
    /// If `high` is below `low`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "{low} to {high} is no range");
        let width = u128::from(high - low) + 1;
        low + ((u128::from(self.bits()) * width) >> 64) as u64
    }

    /// From `low` to `high`, each power of two as likely as any other.
    ///
    /// # Panics
    /// If `high` is below `low`.
    pub fn scale(&mut self, low: u64, high: u64) -> u64 {
        let doublings = (high.max(1) / low.max(1)).ilog2();
        let shift = self.between(0, u64::from(doublings));
        let base = low.max(1) << shift;
        self.between(base, (base * 2).min(high).max(base)).min(high)
    }

    /// Yes, in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of them.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }

    /// Evenly between two lengths of time in milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low * 1_000, high * 1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_and_stays_in_range() {
        let (mut a, mut b) = (Dice::new(7, "test"), Dice::new(7, "test"));
        for _ in 0..1_000 {
            let drawn = a.scale(10, 5_000);
            assert!((10..=5_000).contains(&drawn), "{drawn}");
            assert_eq!(drawn, b.scale(10, 5_000));
            assert!((3..=5).contains(&a.between(3, 5)));
            b.bits();
        }
        assert_ne!(Dice::new(7, "test").bits(), Dice::new(8, "test").bits());
    }
}
