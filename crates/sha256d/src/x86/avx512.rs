//! Sixteen lanes: AVX-512, with its rotations and its ternary logic.
//!
//! [`Zmm`] stays inside this crate and is first made by the functions at the end, which
//! run only on a CPU with AVX-512F; see `word.rs`.

#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_testn_epi32_mask,
};

use super::rolled;
use crate::job::Job;
use crate::kernel::Supply;
use crate::lanes::{self, Lanes};
use crate::rolled::RolledJob;
use crate::search::{self, Nonces, Searched, Watch};
use crate::triple::Triple;
use crate::word::{Streams, Word};

/// The truth tables of `vpternlogd`.
const XOR3: i32 = 0x96;
const CHOOSE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

const COUNT: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A word in sixteen lanes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Zmm(__m512i);

impl Zmm {
    #[inline(always)]
    fn ror<const BITS: i32>(self) -> Self {
        // SAFETY: a `Zmm` exists only where there is AVX-512F.
        unsafe { Self(_mm512_ror_epi32::<BITS>(self.0)) }
    }

    #[inline(always)]
    fn shr<const BITS: u32>(self) -> Self {
        // SAFETY: a `Zmm` exists only where there is AVX-512F.
        unsafe { Self(_mm512_srli_epi32::<BITS>(self.0)) }
    }

    /// Any function of three bits, by its truth table.
    #[inline(always)]
    fn ternary<const TABLE: i32>(self, b: Self, c: Self) -> Self {
        // SAFETY: a `Zmm` exists only where there is AVX-512F.
        unsafe { Self(_mm512_ternarylogic_epi32::<TABLE>(self.0, b.0, c.0)) }
    }
}

impl Word for Zmm {
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, value: u32) -> Self {
        // SAFETY: a `Zmm` exists only where there is AVX-512F.
        unsafe { Self(_mm512_set1_epi32(value.cast_signed())) }
    }

    #[inline(always)]
    fn count_from(self, first: u32) -> Self {
        self.splat(first).add(self.load(&COUNT))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: a `Zmm` exists only where there is AVX-512F.
        unsafe { Self(_mm512_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        let odd = self.splat(0xff00_ff00);
        odd.ternary::<CHOOSE>(self.ror::<8>(), self.ror::<24>())
    }

    #[inline(always)]
    fn upper_sigma0(self) -> Self {
        self.ror::<2>()
            .ternary::<XOR3>(self.ror::<13>(), self.ror::<22>())
    }

    #[inline(always)]
    fn upper_sigma1(self) -> Self {
        self.ror::<6>()
            .ternary::<XOR3>(self.ror::<11>(), self.ror::<25>())
    }

    #[inline(always)]
    fn sigma0(self) -> Self {
        self.ror::<7>()
            .ternary::<XOR3>(self.ror::<18>(), self.shr::<3>())
    }

    #[inline(always)]
    fn sigma1(self) -> Self {
        self.ror::<17>()
            .ternary::<XOR3>(self.ror::<19>(), self.shr::<10>())
    }

    #[inline(always)]
    fn ch(e: Self, f: Self, g: Self) -> Self {
        e.ternary::<CHOOSE>(f, g)
    }

    #[inline(always)]
    fn maj(a: Self, b: Self, c: Self) -> Self {
        a.ternary::<MAJORITY>(b, c)
    }

    #[inline(always)]
    fn clear_of(self, mask: u32) -> u64 {
        let mask = self.splat(mask);
        // SAFETY: a `Zmm` exists only where there is AVX-512F.
        unsafe { u64::from(_mm512_testn_epi32_mask(self.0, mask.0)) }
    }

    #[inline(always)]
    fn fixed(self) -> Self {
        // SAFETY: a `Zmm` exists only where there is AVX-512F.
        unsafe { fixed(self) }
    }
}

impl Lanes for Zmm {
    #[inline(always)]
    fn load(self, lanes: &[u32]) -> Self {
        let mut all = [0; 16];
        let count = lanes.len().min(16);
        all[..count].copy_from_slice(&lanes[..count]);
        // SAFETY: the array has 64 bytes; a `Zmm` exists only where there is AVX-512F.
        unsafe { Self(_mm512_loadu_si512(all.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, lanes: &mut [u32; 16]) {
        // SAFETY: the array has 64 bytes; a `Zmm` exists only where there is AVX-512F.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), self.0) }
    }
}

/// No instruction; the compiler cannot look into it.
#[inline]
#[target_feature(enable = "avx512f")]
fn fixed(mut word: Zmm) -> Zmm {
    // SAFETY: the text is a comment of the assembler.
    unsafe {
        asm!("/* {0} */", inout(zmm_reg) word.0, options(pure, nomem, nostack, preserves_flags));
    }
    word
}

/// All lanes of a stream take the word of one lane: the same nonce for sixteen versions.
#[derive(Clone, Copy)]
pub(crate) struct WordOfLane(pub(crate) usize);

impl Supply for WordOfLane {
    #[inline(always)]
    fn sum<W: Streams>(self, row: &W, stream: usize) -> W::One {
        let words: *const u32 = (&raw const *row).cast();
        let index = stream * W::One::LANES + self.0 % W::One::LANES;
        // SAFETY: the words of this crate are `STREAMS` vectors of `LANES` `u32` one after
        // the other, and the index lies among them.
        let word = unsafe { words.add(index).read() };
        row.stream(stream).splat(word)
    }
}

/// Zeros in the kind of word that the search works with.
#[inline]
#[target_feature(enable = "avx512f")]
fn triple() -> Triple<Zmm> {
    let zero = Zmm(_mm512_set1_epi32(0));
    Triple(zero, zero, zero)
}

/// Three streams of sixteen nonces.
#[target_feature(enable = "avx512f")]
pub(crate) fn search(
    job: &Job,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32),
) -> Searched {
    search::search(triple(), job, nonces, watch, found)
}

/// Sixteen versions of the header, three nonces at a time.
#[target_feature(enable = "avx512f")]
pub(crate) fn search_rolled(
    job: &RolledJob,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32, u32),
) -> Searched {
    rolled::search(triple(), job, nonces, watch, found)
}

/// At most sixteen messages.
#[target_feature(enable = "avx512f")]
pub(crate) fn sha256d_64(messages: &[[u8; 64]], hashes: &mut [[u8; 32]]) {
    lanes::sha256d_64(triple().0, messages, hashes);
}
