//! What a worker is told to search.

use zcn_sha256d::{Nonces, Target};

use crate::handover::{WORDS, Words};

/// A block header and the part of its space to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Any number; events carry it back.
    pub id: u64,
    /// The serialized header. Its nonce does not matter.
    pub header: [u8; 80],
    /// What a share has to meet.
    pub target: Target,
    /// The nonces to try in every version.
    pub nonces: Nonces,
    /// The versions to try.
    pub versions: VersionBits,
}

/// Which bits of the version may take any value (BIP 310, BIP 320).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VersionBits {
    mask: u32,
}

impl VersionBits {
    /// The version stays as it is.
    pub const NONE: Self = Self { mask: 0 };

    /// The bits set in `mask`.
    pub const fn new(mask: u32) -> Self {
        Self { mask }
    }

    /// The bits.
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// How many versions there are.
    pub const fn count(self) -> u64 {
        1 << self.mask.count_ones()
    }

    /// The version number `index`, from 0: bits of `version` under the mask are replaced
    /// by those of `index`, the lowest first.
    pub const fn version(self, version: u32, index: u32) -> u32 {
        let mut bits = 0;
        let mut left = self.mask;
        let mut index = index;
        while left != 0 {
            let lowest = left & left.wrapping_neg();
            if index & 1 == 1 {
                bits |= lowest;
            }
            index >>= 1;
            left ^= lowest;
        }
        version & !self.mask | bits
    }
}

/// The words of no work.
pub(super) const REST: Words = [0; WORDS];

/// The first word of work.
const SEARCH: u64 = 1;

impl Work {
    /// The version in the header.
    pub fn version(&self) -> u32 {
        let [a, b, c, d, ..] = self.header;
        u32::from_le_bytes([a, b, c, d])
    }

    /// The part number `index` of `count`: an equal share of the nonces, the last with
    /// what is left over.
    ///
    /// # Panics
    /// When `index` is not below `count`.
    pub fn part(&self, index: usize, count: usize) -> Self {
        assert!(index < count, "part {index} of {count}");
        let all = self.nonces.count.min(Nonces::ALL.count);
        let (index, count) = (index as u64, count as u64);
        let start = all / count * index;
        let end = if index + 1 == count {
            all
        } else {
            all / count * (index + 1)
        };
        Self {
            nonces: Nonces {
                first: self.nonces.first.wrapping_add(start as u32),
                count: end - start,
            },
            ..self.clone()
        }
    }

    pub(super) fn to_words(&self) -> Words {
        let mut words = REST;
        let mut places = words.iter_mut();
        let mut put = |word| {
            if let Some(place) = places.next() {
                *place = word;
            }
        };
        put(SEARCH);
        put(self.id);
        for bytes in self.header.as_chunks::<8>().0 {
            put(u64::from_le_bytes(*bytes));
        }
        for bytes in self.target.to_be_bytes().as_chunks::<8>().0 {
            put(u64::from_le_bytes(*bytes));
        }
        put(self.nonces.first.into());
        put(self.nonces.count);
        put(self.versions.mask.into());
        words
    }

    /// The work that became these words; `None` when they say to rest.
    pub(super) fn from_words(words: &Words) -> Option<Self> {
        let mut words = words.iter().copied();
        let mut take = || words.next().unwrap_or(0);
        if take() != SEARCH {
            return None;
        }
        let id = take();
        let mut header = [0; 80];
        for bytes in header.as_chunks_mut::<8>().0 {
            *bytes = take().to_le_bytes();
        }
        let mut target = [0; 32];
        for bytes in target.as_chunks_mut::<8>().0 {
            *bytes = take().to_le_bytes();
        }
        Some(Self {
            id,
            header,
            target: Target::from_be_bytes(target),
            nonces: Nonces {
                first: take() as u32,
                count: take(),
            },
            versions: VersionBits::new(take() as u32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        Work {
            id: 77,
            header: std::array::from_fn(|i| i as u8),
            target: Target::from_be_bytes(std::array::from_fn(|i| 200 - i as u8)),
            nonces: Nonces {
                first: 0xffff_fff0,
                count: 1 << 32,
            },
            versions: VersionBits::new(0x1fff_e000),
        }
    }

    #[test]
    fn words_carry_everything() {
        assert_eq!(Work::from_words(&work().to_words()), Some(work()));
        assert_eq!(Work::from_words(&REST), None);
    }

    #[test]
    fn parts_cover_the_nonces_once() {
        for count in [1, 2, 3, 7, 64] {
            let mut next = work().nonces.first;
            let mut sum = 0;
            for index in 0..count {
                let part = work().part(index, count);
                assert_eq!(part.nonces.first, next);
                next = next.wrapping_add(part.nonces.count as u32);
                sum += part.nonces.count;
            }
            assert_eq!(sum, 1 << 32);
        }
    }

    #[test]
    fn versions_roll_the_masked_bits_only() {
        let bits = VersionBits::new(0x1fff_e000);
        assert_eq!(bits.count(), 65_536);
        assert_eq!(bits.version(0x2000_0004, 0), 0x2000_0004);
        assert_eq!(bits.version(0x2000_0004, 1), 0x2000_2004);
        assert_eq!(bits.version(0x2000_0004, 65_535), 0x3fff_e004);
        assert_eq!(VersionBits::new(0b1010).version(0b0101, 0b11), 0b1111);
        assert_eq!(VersionBits::NONE.count(), 1);
        assert_eq!(VersionBits::NONE.version(7, 0), 7);
        assert_eq!(VersionBits::new(u32::MAX).count(), 1 << 32);
    }
}
