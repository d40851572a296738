//! A word of SHA-256 in every lane of a vector.
//!
//! Instructions of a CPU extension may run only where the CPU has it. A value of a vector
//! type is the proof: only the search functions of `x86`, which are compiled for the
//! extension and called after its detection, make the first one, and every other value
//! comes from a method of one.

use crate::fips;

/// Words in lanes, with the functions of FIPS 180-4, section 4.1.2.
pub(crate) trait Word: Copy {
    /// How many lanes.
    const LANES: usize;

    /// The same value in every lane.
    fn splat(self, value: u32) -> Self;
    /// Lane `i` holds `first + i`.
    fn count_from(self, first: u32) -> Self;
    fn add(self, other: Self) -> Self;
    fn swap_bytes(self) -> Self;
    fn upper_sigma0(self) -> Self;
    fn upper_sigma1(self) -> Self;
    fn sigma0(self) -> Self;
    fn sigma1(self) -> Self;
    fn ch(e: Self, f: Self, g: Self) -> Self;
    fn maj(a: Self, b: Self, c: Self) -> Self;
    /// Bit `i` is set when lane `i` has none of the bits of `mask`.
    fn clear_of(self, mask: u32) -> u64;

    /// The same value, opaque to the compiler: it may not regroup the sums on both sides.
    ///
    /// Left alone it adds round constants last, on the longest chain of dependences.
    #[inline(always)]
    fn fixed(self) -> Self {
        self
    }
}

/// Independent words side by side: while one waits for a result, the others fill the
/// execution units.
pub(crate) trait Streams: Word {
    type One: Word;
    const STREAMS: usize;

    fn stream(self, index: usize) -> Self::One;
    fn set_stream(&mut self, index: usize, word: Self::One);
}

impl Word for u32 {
    const LANES: usize = 1;

    #[inline(always)]
    fn splat(self, value: u32) -> Self {
        value
    }

    #[inline(always)]
    fn count_from(self, first: u32) -> Self {
        first
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        u32::swap_bytes(self)
    }

    #[inline(always)]
    fn upper_sigma0(self) -> Self {
        fips::upper_sigma0(self)
    }

    #[inline(always)]
    fn upper_sigma1(self) -> Self {
        fips::upper_sigma1(self)
    }

    #[inline(always)]
    fn sigma0(self) -> Self {
        fips::sigma0(self)
    }

    #[inline(always)]
    fn sigma1(self) -> Self {
        fips::sigma1(self)
    }

    #[inline(always)]
    fn ch(e: Self, f: Self, g: Self) -> Self {
        fips::ch(e, f, g)
    }

    #[inline(always)]
    fn maj(a: Self, b: Self, c: Self) -> Self {
        fips::maj(a, b, c)
    }

    #[inline(always)]
    fn clear_of(self, mask: u32) -> u64 {
        u64::from(self & mask == 0)
    }
}

impl Streams for u32 {
    type One = u32;
    const STREAMS: usize = 1;

    #[inline(always)]
    fn stream(self, _: usize) -> u32 {
        self
    }

    #[inline(always)]
    fn set_stream(&mut self, _: usize, word: u32) {
        *self = word;
    }
}
