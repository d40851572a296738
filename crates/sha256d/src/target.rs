//! The bound that a hash has to stay at or below.

use std::fmt;

use thiserror::Error;

/// A 256-bit target. A hash, read as a little-endian number, meets it when it is not
/// greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Most significant byte first, so that the derived order is that of numbers.
    bytes: [u8; 32],
}

/// A compact target (`nbits`) that stands for no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The sign bit is set: consensus rejects such a block.
    #[error("the compact target {0:#010x} is negative")]
    Negative(u32),
    /// More than 256 bits.
    #[error("the compact target {0:#010x} is greater than 256 bits can hold")]
    Overflow(u32),
}

impl Target {
    /// Met by every hash.
    pub const MAX: Self = Self { bytes: [0xff; 32] };

    /// From a number, most significant byte first.
    pub const fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes }
    }

    /// From a number, least significant byte first, as Stratum V2 sends it.
    pub const fn from_le_bytes(mut bytes: [u8; 32]) -> Self {
        let (mut low, mut high) = (0, 31);
        while low < high {
            (bytes[low], bytes[high]) = (bytes[high], bytes[low]);
            low += 1;
            high -= 1;
        }
        Self { bytes }
    }

    /// From the `nbits` field of a block header: an exponent of 256 in the highest byte
    /// and 23 bits of mantissa. Digits behind the point are cut.
    ///
    /// # Errors
    /// When the number is negative or has more than 256 bits.
    pub const fn from_compact(bits: u32) -> Result<Self, CompactError> {
        let exponent = (bits >> 24) as usize;
        let mantissa = bits & 0x007f_ffff;
        if mantissa != 0 && bits & 0x0080_0000 != 0 {
            return Err(CompactError::Negative(bits));
        }
        let mut bytes = [0; 32];
        let mut place = 0;
        while place < 3 {
            let digit = (mantissa >> (8 * place)) as u8;
            // The lowest digit stands `exponent - 3` bytes above the point.
            if exponent + place >= 3 {
                let byte = exponent + place - 3;
                if byte < 32 {
                    bytes[31 - byte] = digit;
                } else if digit != 0 {
                    return Err(CompactError::Overflow(bits));
                }
            }
            place += 1;
        }
        Ok(Self { bytes })
    }

    /// The number, most significant byte first.
    pub const fn to_be_bytes(self) -> [u8; 32] {
        self.bytes
    }

    /// Whether a hash, its bytes in the order in which SHA-256 gives them, meets the target.
    pub fn is_met_by(&self, hash: &[u8; 32]) -> bool {
        Self::from_le_bytes(*hash) <= *self
    }

    /// The bits that are zero in the last word of every hash that meets the target: those
    /// above the target's highest bit. The word is big-endian and the number little-endian.
    pub(crate) fn reject_mask(&self) -> u32 {
        let [a, b, c, d, ..] = self.bytes;
        let zeros = u32::from_be_bytes([a, b, c, d]).leading_zeros();
        (!u32::MAX.checked_shr(zeros).unwrap_or(0)).swap_bytes()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// In hexadecimal digits, most significant first.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_targets_of_known_blocks() {
        let hex = |bits| Target::from_compact(bits).map(|target| target.to_string());
        let first = format!("00000000ffff{}", "0".repeat(52));
        assert_eq!(hex(0x1d00_ffff), Ok(first));
        let block_125552 = format!("00000000000044b9f2{}", "0".repeat(46));
        assert_eq!(hex(0x1a44_b9f2), Ok(block_125552));
        let regtest = format!("7fffff{}", "0".repeat(58));
        assert_eq!(hex(0x207f_ffff), Ok(regtest));
        assert_eq!(hex(0x0112_3456), Ok(format!("{}12", "0".repeat(62))));
        assert_eq!(hex(0), Ok("0".repeat(64)));
    }

    #[test]
    fn compact_targets_that_are_no_targets() {
        let error = |bits| Target::from_compact(bits).unwrap_err();
        assert_eq!(error(0x1d80_ffff), CompactError::Negative(0x1d80_ffff));
        assert_eq!(error(0x2300_0001), CompactError::Overflow(0x2300_0001));
        assert_eq!(error(0xff12_3456), CompactError::Overflow(0xff12_3456));
        assert_eq!(error(0x2101_0000), CompactError::Overflow(0x2101_0000));
        assert!(Target::from_compact(0x2100_ffff).is_ok());
    }

    #[test]
    fn the_mask_lets_everything_through_that_meets_the_target() {
        for top in [0, 1, 0xff, 0x100, 0xffff, 0x7fff_ffff, u32::MAX] {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&top.to_be_bytes());
            let target = Target::from_be_bytes(bytes);
            let mut hash = bytes;
            hash.reverse();
            assert!(target.is_met_by(&hash));
            let last = u32::from_be_bytes([hash[28], hash[29], hash[30], hash[31]]);
            assert_eq!(last & target.reject_mask(), 0, "{top:#x}");
            // A number with one more bit is rejected.
            if let Some(above) = 1_u32.checked_shl(32 - top.leading_zeros()) {
                assert_ne!(above.swap_bytes() & target.reject_mask(), 0, "{top:#x}");
            }
        }
    }
}
