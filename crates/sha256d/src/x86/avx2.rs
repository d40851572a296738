//! Eight lanes: AVX2, which has neither rotations nor ternary logic.
//!
//! [`Ymm`] stays inside this crate and is first made by the functions at the end, which
//! run only on a CPU with AVX2; see `word.rs`.

#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi32,
    _mm256_loadu_si256, _mm256_movemask_ps, _mm256_or_si256, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256,
    _mm256_xor_si256,
};

use crate::job::Job;
use crate::lanes::{self, Lanes};
use crate::search::{self, Nonces, Searched, Watch};
use crate::triple::Triple;
use crate::word::Word;

const COUNT: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// A word in eight lanes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Ymm(__m256i);

impl Ymm {
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_xor_si256(self.0, other.0)) }
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_and_si256(self.0, other.0)) }
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_or_si256(self.0, other.0)) }
    }

    #[inline(always)]
    fn shr<const BITS: i32>(self) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_srli_epi32::<BITS>(self.0)) }
    }

    #[inline(always)]
    fn shl<const BITS: i32>(self) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_slli_epi32::<BITS>(self.0)) }
    }

    /// A rotation to the right; `LEFT` is what is left of 32 bits.
    #[inline(always)]
    fn ror<const BITS: i32, const LEFT: i32>(self) -> Self {
        const { assert!(BITS + LEFT == 32) }
        self.shr::<BITS>().xor(self.shl::<LEFT>())
    }
}

impl Word for Ymm {
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, value: u32) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_set1_epi32(value.cast_signed())) }
    }

    #[inline(always)]
    fn count_from(self, first: u32) -> Self {
        self.splat(first).add(self.load(&COUNT))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        let odd = self.splat(0xff00_ff00).and(self.ror::<8, 24>());
        odd.or(self.splat(0x00ff_00ff).and(self.ror::<24, 8>()))
    }

    #[inline(always)]
    fn upper_sigma0(self) -> Self {
        let two = self.ror::<2, 30>().xor(self.ror::<13, 19>());
        two.xor(self.ror::<22, 10>())
    }

    #[inline(always)]
    fn upper_sigma1(self) -> Self {
        let two = self.ror::<6, 26>().xor(self.ror::<11, 21>());
        two.xor(self.ror::<25, 7>())
    }

    #[inline(always)]
    fn sigma0(self) -> Self {
        let two = self.ror::<7, 25>().xor(self.ror::<18, 14>());
        two.xor(self.shr::<3>())
    }

    #[inline(always)]
    fn sigma1(self) -> Self {
        let two = self.ror::<17, 15>().xor(self.ror::<19, 13>());
        two.xor(self.shr::<10>())
    }

    #[inline(always)]
    fn ch(e: Self, f: Self, g: Self) -> Self {
        g.xor(e.and(f.xor(g)))
    }

    #[inline(always)]
    fn maj(a: Self, b: Self, c: Self) -> Self {
        b.xor(a.xor(b).and(b.xor(c)))
    }

    #[inline(always)]
    fn clear_of(self, mask: u32) -> u64 {
        let set = self.and(self.splat(mask));
        // SAFETY: a `Ymm` exists only where there is AVX2.
        let clear = unsafe {
            let clear = _mm256_cmpeq_epi32(set.0, _mm256_setzero_si256());
            _mm256_movemask_ps(_mm256_castsi256_ps(clear))
        };
        u64::from(clear.cast_unsigned())
    }

    #[inline(always)]
    fn fixed(self) -> Self {
        // SAFETY: a `Ymm` exists only where there is AVX2.
        unsafe { fixed(self) }
    }
}

impl Lanes for Ymm {
    #[inline(always)]
    fn load(self, lanes: &[u32]) -> Self {
        let mut all = [0; 8];
        let count = lanes.len().min(8);
        all[..count].copy_from_slice(&lanes[..count]);
        // SAFETY: the array has 32 bytes; a `Ymm` exists only where there is AVX2.
        unsafe { Self(_mm256_loadu_si256(all.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, lanes: &mut [u32; 16]) {
        // SAFETY: the array has 64 bytes; a `Ymm` exists only where there is AVX2.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), self.0) }
    }
}

/// No instruction; the compiler cannot look into it.
#[inline]
#[target_feature(enable = "avx2")]
fn fixed(mut word: Ymm) -> Ymm {
    // SAFETY: the text is a comment of the assembler.
    unsafe {
        asm!("/* {0} */", inout(ymm_reg) word.0, options(pure, nomem, nostack, preserves_flags));
    }
    word
}

/// Three streams of eight nonces.
#[target_feature(enable = "avx2")]
pub(crate) fn search(
    job: &Job,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32),
) -> Searched {
    let zero = Ymm(_mm256_setzero_si256());
    search::search(Triple(zero, zero, zero), job, nonces, watch, found)
}

/// At most eight messages.
#[target_feature(enable = "avx2")]
pub(crate) fn sha256d_64(messages: &[[u8; 64]], hashes: &mut [[u8; 32]]) {
    lanes::sha256d_64(Ymm(_mm256_setzero_si256()), messages, hashes);
}
