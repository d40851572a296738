//! SACK blocks (RFC 2018).

use std::fmt;
use std::ops::Deref;

use crate::seq::SeqNum;

/// One block of received bytes: from `left` up to, not including, `right`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SackBlock {
    /// The first number of the block.
    pub left: SeqNum,
    /// The number behind the last of the block.
    pub right: SeqNum,
}

impl SackBlock {
    /// A block.
    #[must_use]
    pub const fn new(left: SeqNum, right: SeqNum) -> Self {
        Self { left, right }
    }

    /// Bytes of the block; a peer may send blocks whose ends are the wrong way round, so check
    /// [`is_sane`](Self::is_sane) first.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.right.distance(self.left)
    }

    /// Whether the block is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.right.0 == self.left.0
    }

    /// Whether the block is not empty and its ends are the right way round.
    #[must_use]
    pub const fn is_sane(self) -> bool {
        self.left.before(self.right)
    }
}

/// Up to four SACK blocks, kept inline, in the order of the segment. Reads as a slice.
#[derive(Clone, Copy, Default)]
pub struct SackBlocks {
    len: u8,
    blocks: [SackBlock; Self::MAX],
}

impl SackBlocks {
    /// The most that fit into a header.
    pub const MAX: usize = 4;

    /// No blocks.
    pub const EMPTY: Self = Self {
        len: 0,
        blocks: [SackBlock {
            left: SeqNum(0),
            right: SeqNum(0),
        }; Self::MAX],
    };

    /// Adds a block behind the others. Tells whether there was room.
    pub fn push(&mut self, block: SackBlock) -> bool {
        let Some(place) = self.blocks.get_mut(usize::from(self.len)) else {
            return false;
        };
        *place = block;
        self.len += 1;
        true
    }

    /// Keeps the first `len` blocks.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u8::try_from(len).unwrap_or(u8::MAX));
    }
}

impl Deref for SackBlocks {
    type Target = [SackBlock];

    #[inline]
    fn deref(&self) -> &[SackBlock] {
        &self.blocks[..usize::from(self.len)]
    }
}

impl FromIterator<SackBlock> for SackBlocks {
    /// Takes the first four.
    fn from_iter<I: IntoIterator<Item = SackBlock>>(blocks: I) -> Self {
        let mut taken = Self::EMPTY;
        for block in blocks {
            if !taken.push(block) {
                break;
            }
        }
        taken
    }
}

impl PartialEq for SackBlocks {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SackBlocks {}

impl std::hash::Hash for SackBlocks {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_blocks_fit() {
        let block = |at| SackBlock::new(SeqNum(at), SeqNum(at) + 10_u32);
        let mut blocks: SackBlocks = (0..6).map(|at| block(at * 20)).collect();
        assert_eq!(blocks.len(), 4);
        assert_eq!(blocks[3], block(60));
        assert!(!blocks.push(block(80)));
        blocks.truncate(1);
        assert_eq!(*blocks, [block(0)]);
        blocks.truncate(300);
        assert_eq!(blocks, [block(0)].into_iter().collect());
    }

    #[test]
    fn ends_the_wrong_way_round_are_not_sane() {
        let wrap = SackBlock::new(SeqNum(u32::MAX), SeqNum(3));
        assert!(wrap.is_sane() && wrap.len() == 4);
        assert!(!SackBlock::new(SeqNum(3), SeqNum(u32::MAX)).is_sane());
        assert!(!SackBlock::new(SeqNum(3), SeqNum(3)).is_sane());
    }
}
