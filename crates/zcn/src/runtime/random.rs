//! The runtime's own random choices: where many would otherwise do the same thing at once.

use std::cell::Cell;

/// A sequence that a seed determines. Not for secrets.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// From a seed, or from one that the kernel draws.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(Cell::new(seed.unwrap_or_else(drawn)))
    }

    /// The next word (SplitMix64).
    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut word = self.0.get();
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

fn drawn() -> u64 {
    let mut seed = [0; 8];
    // Before the kernel's pool is ready it may answer nothing; any seed will do then.
    let _ = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_ne_bytes(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(seed: Option<u64>) -> [u64; 4] {
        let random = Random::new(seed);
        std::array::from_fn(|_| random.next())
    }

    #[test]
    fn a_seed_determines_the_choices() {
        assert_eq!(words(Some(7)), words(Some(7)));
        assert_ne!(words(Some(7)), words(Some(8)));
        assert_ne!(words(None), words(None));
    }
}
