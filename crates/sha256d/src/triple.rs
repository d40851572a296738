//! Three vectors side by side.

use crate::word::{Streams, Word};

/// Three independent words. Not an array, whose loops the compiler would have to see
/// through in thousands of places.
#[derive(Clone, Copy)]
pub(crate) struct Triple<W>(pub(crate) W, pub(crate) W, pub(crate) W);

impl<W: Word> Word for Triple<W> {
    const LANES: usize = 3 * W::LANES;

    #[inline(always)]
    fn splat(self, value: u32) -> Self {
        let word = self.0.splat(value);
        Self(word, word, word)
    }

    #[inline(always)]
    fn count_from(self, first: u32) -> Self {
        let word = self.0.count_from(first);
        let lanes = word.splat(W::LANES as u32);
        Self(word, word.add(lanes), word.add(lanes).add(lanes))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(
            self.0.add(other.0),
            self.1.add(other.1),
            self.2.add(other.2),
        )
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        Self(
            self.0.swap_bytes(),
            self.1.swap_bytes(),
            self.2.swap_bytes(),
        )
    }

    #[inline(always)]
    fn upper_sigma0(self) -> Self {
        Self(
            self.0.upper_sigma0(),
            self.1.upper_sigma0(),
            self.2.upper_sigma0(),
        )
    }

    #[inline(always)]
    fn upper_sigma1(self) -> Self {
        Self(
            self.0.upper_sigma1(),
            self.1.upper_sigma1(),
            self.2.upper_sigma1(),
        )
    }

    #[inline(always)]
    fn sigma0(self) -> Self {
        Self(self.0.sigma0(), self.1.sigma0(), self.2.sigma0())
    }

    #[inline(always)]
    fn sigma1(self) -> Self {
        Self(self.0.sigma1(), self.1.sigma1(), self.2.sigma1())
    }

    #[inline(always)]
    fn ch(e: Self, f: Self, g: Self) -> Self {
        Self(
            W::ch(e.0, f.0, g.0),
            W::ch(e.1, f.1, g.1),
            W::ch(e.2, f.2, g.2),
        )
    }

    #[inline(always)]
    fn maj(a: Self, b: Self, c: Self) -> Self {
        Self(
            W::maj(a.0, b.0, c.0),
            W::maj(a.1, b.1, c.1),
            W::maj(a.2, b.2, c.2),
        )
    }

    #[inline(always)]
    fn clear_of(self, mask: u32) -> u64 {
        let one = W::LANES;
        self.0.clear_of(mask) | self.1.clear_of(mask) << one | self.2.clear_of(mask) << (2 * one)
    }

    #[inline(always)]
    fn fixed(self) -> Self {
        Self(self.0.fixed(), self.1.fixed(), self.2.fixed())
    }
}

impl<W: Word> Streams for Triple<W> {
    type One = W;
    const STREAMS: usize = 3;

    #[inline(always)]
    fn stream(self, index: usize) -> W {
        match index {
            0 => self.0,
            1 => self.1,
            _ => self.2,
        }
    }

    #[inline(always)]
    fn set_stream(&mut self, index: usize, word: W) {
        match index {
            0 => self.0 = word,
            1 => self.1 = word,
            _ => self.2 = word,
        }
    }
}
