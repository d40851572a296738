//! Targets: the number that the hash of a header must not exceed.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

use crate::hash::Hash;

/// Why there is no target.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The difficulty is zero, negative, infinite or no number.
    #[error("a difficulty of {0} is no difficulty")]
    Difficulty(f64),
    /// No hash is low enough.
    #[error("no hash is low enough for a difficulty of {0:e}")]
    TooHard(f64),
    /// The compact form has its sign bit set, is zero, or is beyond 256 bits.
    #[error("{0:08x} is no target in compact form")]
    Compact(u32),
}

/// A number of 256 bits that is not zero.
///
/// What a difficulty means is fixed by everybody's use of it: difficulty 1 is 0xffff times 2 to
/// the 208, and the target of a difficulty is that divided by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// Lowest first.
    limbs: [u64; 4],
}

/// How far the mantissa 0xffff of difficulty 1 is shifted up.
const DIFFICULTY_1_SHIFT: u32 = 208;
const DIFFICULTY_1_MANTISSA: u64 = 0xffff;

impl Target {
    /// Every hash meets it.
    pub const MAX: Self = Self {
        limbs: [u64::MAX; 4],
    };

    /// The hardest: next to no hash meets it.
    pub const MIN: Self = Self {
        limbs: [1, 0, 0, 0],
    };

    /// The target of a difficulty, exact and rounded down, so that no share passes here that a
    /// pool would find too easy; difficulties too small for 256 bits give [`MAX`](Self::MAX).
    ///
    /// # Errors
    /// A difficulty that is no positive number, or so large that only zero would meet it.
    pub fn from_difficulty(difficulty: f64) -> Result<Self, TargetError> {
        if !(difficulty.is_finite() && difficulty > 0.0) {
            return Err(TargetError::Difficulty(difficulty));
        }
        // difficulty = mantissa · 2^exponent, without rounding.
        let bits = difficulty.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let biased = (bits >> 52) as i32;
        let (mantissa, exponent) = if biased == 0 {
            (fraction, -1074)
        } else {
            (fraction | 1 << 52, biased - 1075)
        };
        // Long division of 0xffff · 2^(208 − exponent) by the mantissa, a bit at a time; a
        // negative shift takes from the mantissa 0xffff what it has (at most 16 bits count).
        let shift = DIFFICULTY_1_SHIFT as i32 - exponent;
        if shift < 0 {
            return Err(TargetError::TooHard(difficulty));
        }
        let mut quotient = Self { limbs: [0; 4] };
        let mut rest = 0;
        for place in (0..16 + shift).rev() {
            let bit = place >= shift && DIFFICULTY_1_MANTISSA >> (place - shift) & 1 == 1;
            rest = rest << 1 | u64::from(bit);
            let one = rest >= mantissa;
            if one {
                rest -= mantissa;
            }
            if quotient.push_bit(one) {
                return Ok(Self::MAX);
            }
        }
        if quotient.limbs == [0; 4] {
            return Err(TargetError::TooHard(difficulty));
        }
        Ok(quotient)
    }

    /// Shifts up by one; whether a bit fell out.
    fn push_bit(&mut self, one: bool) -> bool {
        let mut carry = u64::from(one);
        for limb in &mut self.limbs {
            (*limb, carry) = (*limb << 1 | carry, *limb >> 63);
        }
        carry == 1
    }

    /// The target that the field `nbits` of a header says: a byte of length, three of mantissa,
    /// whose highest bit is a sign.
    ///
    /// # Errors
    /// Negative, zero, or beyond 256 bits.
    pub fn from_compact(nbits: u32) -> Result<Self, TargetError> {
        let error = TargetError::Compact(nbits);
        let len = (nbits >> 24) as usize;
        let mantissa = nbits & 0x007f_ffff;
        if nbits & 0x0080_0000 != 0 {
            return Err(error);
        }
        let mut bytes = [0; 32];
        for (index, byte) in mantissa.to_le_bytes()[..3].iter().enumerate() {
            match (index + len).checked_sub(3) {
                Some(at) if at < 32 => bytes[at] = *byte,
                Some(_) if *byte != 0 => return Err(error),
                _ => {}
            }
        }
        Self::from_le_bytes(bytes).ok_or(error)
    }

    /// A target as a number of 32 bytes, the lowest first, as hashes are read; `None` for zero.
    pub fn from_le_bytes(bytes: Hash) -> Option<Self> {
        let this = Self {
            limbs: limbs(&bytes),
        };
        (this.limbs != [0; 4]).then_some(this)
    }

    /// The number in 32 bytes, the lowest first.
    pub fn to_le_bytes(self) -> Hash {
        let mut bytes = [0; 32];
        for (to, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.limbs) {
            *to = limb.to_le_bytes();
        }
        bytes
    }

    /// Whether a hash is low enough.
    pub fn is_met_by(&self, hash: &Hash) -> bool {
        self.limbs.iter().rev().cmp(limbs(hash).iter().rev()) != Ordering::Less
    }

    /// The difficulty, as near as a float can say it.
    pub fn difficulty(&self) -> f64 {
        difficulty(&self.limbs)
    }
}

fn limbs(bytes: &Hash) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*bytes);
    }
    limbs
}

fn difficulty(limbs: &[u64; 4]) -> f64 {
    let number = limbs
        .iter()
        .rev()
        .fold(0.0, |sum, limb| sum * 2f64.powi(64) + *limb as f64);
    DIFFICULTY_1_MANTISSA as f64 * 2f64.powi(DIFFICULTY_1_SHIFT as i32) / number
}

/// The difficulty that a hash would just meet; infinite for a hash of zero.
pub fn hash_difficulty(hash: &Hash) -> f64 {
    difficulty(&limbs(hash))
}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Target {
    fn cmp(&self, other: &Self) -> Ordering {
        self.limbs.iter().rev().cmp(other.limbs.iter().rev())
    }
}

/// As people write it: 64 digits, the highest first.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limbs
            .iter()
            .rev()
            .try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(difficulty: f64) -> String {
        Target::from_difficulty(difficulty)
            .expect("a difficulty")
            .to_string()
    }

    #[test]
    fn well_known_targets() {
        let one = format!("00000000ffff{}", "0".repeat(52));
        assert_eq!(shown(1.0), one);
        let compact = Target::from_compact(0x1d00_ffff).expect("a target");
        assert_eq!(compact.to_string(), one);
        assert_eq!(compact.difficulty(), 1.0);
        // Powers of two are shifts.
        assert_eq!(shown(0.5), format!("00000001fffe{}", "0".repeat(52)));
        assert_eq!(
            shown(65536.0),
            format!("000000000000ffff{}", "0".repeat(48))
        );
        // 0xffff · 2^208 / 3 and / 1000, worked out elsewhere with whole numbers.
        assert_eq!(shown(3.0), format!("0000000055550{}", "0".repeat(51)));
        assert_eq!(
            shown(1000.0),
            "00000000004188f5c28f5c28f5c28f5c28f5c28f5c28f5c28f5c28f5c28f5c28",
        );
        // Regtest, and the block of the slush session.
        let regtest = Target::from_compact(0x207f_ffff).expect("a target");
        assert_eq!(regtest.to_string(), format!("7fffff{}", "0".repeat(58)));
        let slush = Target::from_compact(0x1c2a_c4af).expect("a target");
        assert_eq!(
            slush.to_string(),
            format!("000000002ac4af{}", "0".repeat(50))
        );
    }

    #[test]
    fn what_is_no_difficulty_is_refused() {
        for wrong in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = Target::from_difficulty(wrong).expect_err("no difficulty");
            assert!(matches!(error, TargetError::Difficulty(_)), "{wrong}");
        }
        for wrong in [1e68, 1e100, f64::MAX] {
            let error = Target::from_difficulty(wrong).expect_err("too hard");
            assert_eq!(error, TargetError::TooHard(wrong));
        }
        for easy in [f64::MIN_POSITIVE, 5e-324, 1e-10] {
            assert_eq!(Target::from_difficulty(easy), Ok(Target::MAX));
        }
    }

    #[test]
    fn what_is_no_compact_target_is_refused() {
        for wrong in [
            0,
            0x1d00_0000,
            0x1d80_ffff,
            0x2101_0000,
            0xff00_0001,
            0x0000_ffff,
        ] {
            let error = Target::from_compact(wrong).expect_err("no target");
            assert_eq!(error, TargetError::Compact(wrong));
        }
        let small = Target::from_compact(0x0200_1200).expect("a target");
        assert_eq!(small.to_le_bytes()[..2], [0x12, 0]);
        assert!(Target::from_compact(0x2100_00ff).is_ok());
    }

    proptest! {
        #[test]
        fn a_target_times_its_difficulty_is_difficulty_one(difficulty in 1e-9..1e30f64) {
            let target = Target::from_difficulty(difficulty).expect("a difficulty");
            let ratio = target.difficulty() / difficulty;
            prop_assert!((ratio - 1.0).abs() < 1e-12, "{ratio}");
        }

        #[test]
        fn harder_means_lower(a in 1e-9..1e30f64, b in 1e-9..1e30f64) {
            let [a_target, b_target] = [a, b].map(|difficulty| {
                Target::from_difficulty(difficulty).expect("a difficulty")
            });
            if a < b {
                prop_assert!(a_target >= b_target);
            }
        }

        #[test]
        fn a_hash_meets_what_is_not_below_it(target: [u8; 32], hash: [u8; 32], shared in 0..32usize) {
            let mut hash = hash;
            hash[shared..].copy_from_slice(&target[shared..]);
            let Some(met) = Target::from_le_bytes(target) else { return Ok(()) };
            prop_assert_eq!(met.to_le_bytes(), target);
            let expected = hash.iter().rev().cmp(target.iter().rev()) != Ordering::Greater;
            prop_assert_eq!(met.is_met_by(&hash), expected);
            prop_assert!(met.is_met_by(&target));
        }

        #[test]
        fn a_share_that_passes_here_passes_a_pool_that_divides(
            difficulty in 1e-3..1e12f64,
            below: [u8; 8],
        ) {
            // The highest hash that passes, and some below it: the pool's figure is not lower.
            let target = Target::from_difficulty(difficulty).expect("a difficulty");
            let mut hash = target.to_le_bytes();
            hash[..8].copy_from_slice(&below);
            prop_assume!(target.is_met_by(&hash));
            prop_assert!(hash_difficulty(&hash) >= difficulty * (1.0 - 1e-15));
        }
    }
}
