//! Vector sums: SSE2, which every x86-64 has, and AVX2 where the machine has it.
//!
//! Each 16-bit word is made signed by flipping its high bit, which takes 32,768 off it, pairs
//! are added into 32-bit lanes by one instruction, and the offset is given back at the end.

// The only file of the crate that may: vector loads and stores take pointers, and functions
// compiled for AVX2 may be called only where it was found.
#![allow(unsafe_code)]

use std::arch::x86_64 as arch;

use super::scalar;

/// Below this many bytes the plain sum is faster.
const SHORT: usize = 192;

/// Bytes after which the lanes are emptied: a lane holds 32,768 pairs without overflow, and of
/// 256 KiB even SSE2, in four lanes of registers, puts only 4,096 pairs into each, and 16,384
/// into the one that they are added up in.
const BLOCK: usize = 256 * 1024;

/// What a word lost when its high bit was flipped.
const BIAS: u64 = 0x8000;

/// As [`scalar::sum`].
#[inline]
pub(super) fn sum(bytes: &[u8]) -> u64 {
    if bytes.len() < SHORT {
        return scalar::sum(bytes);
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; without `COPY` nothing is written.
        unsafe { avx2::<false>(bytes, std::ptr::null_mut()) }
    } else {
        // SAFETY: every x86-64 has SSE2; without `COPY` nothing is written.
        unsafe { sse2::<false>(bytes, std::ptr::null_mut()) }
    }
}

/// Copies `from` to `to`, which is as long, and sums it, in one pass.
#[inline]
pub(super) fn copy(to: &mut [u8], from: &[u8]) -> u64 {
    assert_eq!(to.len(), from.len());
    if from.len() < SHORT {
        to.copy_from_slice(from);
        return scalar::sum(from);
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; `to` is unique and as long as `from`.
        unsafe { avx2::<true>(from, to.as_mut_ptr()) }
    } else {
        // SAFETY: every x86-64 has SSE2; `to` is unique and as long as `from`.
        unsafe { sse2::<true>(from, to.as_mut_ptr()) }
    }
}

/// One routine for both widths of register.
macro_rules! vector_sum {
    (
        $name:ident, $feature:literal, $width:literal,
        $load:ident, $store:ident, $xor:ident, $madd:ident, $add:ident,
        $set:ident, $zero:ident
    ) => {
        /// # Safety
        ///
        /// The processor has the feature. With `COPY`, `to` may be written for as many bytes
        /// as `from` has, and does not overlap it.
        #[target_feature(enable = $feature)]
        unsafe fn $name<const COPY: bool>(from: &[u8], to: *mut u8) -> u64 {
            const N: usize = $width;
            let flip = arch::$set(i16::MIN);
            let ones = arch::$set(1);
            let mut sum = 0_u64;
            let mut at = 0;
            while from.len() - at >= N {
                let end = at + (from.len() - at).min(BLOCK) / N * N;
                let words = (end - at) as u64 / 2;
                let mut lanes = [arch::$zero(); 4];
                let mut take = |at: usize, lane: usize| {
                    // SAFETY: the loops below keep `at + N` within `from`, and so within `to`.
                    let vector = unsafe { arch::$load(from.as_ptr().add(at).cast()) };
                    if COPY {
                        // SAFETY: as for the load; the caller vouches for `to`.
                        unsafe { arch::$store(to.add(at).cast(), vector) };
                    }
                    let pairs = arch::$madd(arch::$xor(vector, flip), ones);
                    lanes[lane] = arch::$add(lanes[lane], pairs);
                };
                while end - at >= 4 * N {
                    take(at, 0);
                    take(at + N, 1);
                    take(at + 2 * N, 2);
                    take(at + 3 * N, 3);
                    at += 4 * N;
                }
                while at < end {
                    take(at, 0);
                    at += N;
                }
                let lane = arch::$add(
                    arch::$add(lanes[0], lanes[1]),
                    arch::$add(lanes[2], lanes[3]),
                );
                let mut numbers = [0_i32; N / 4];
                // SAFETY: the array is as long as the register.
                unsafe { arch::$store(numbers.as_mut_ptr().cast(), lane) };
                let pairs = numbers.iter().map(|&pair| i64::from(pair)).sum::<i64>();
                sum += (words * BIAS).wrapping_add_signed(pairs);
            }
            if COPY && at < from.len() {
                let rest = from.len() - at;
                // SAFETY: `rest` bytes are left of both; the caller vouches for `to`.
                unsafe {
                    to.add(at)
                        .copy_from_nonoverlapping(from.as_ptr().add(at), rest)
                };
            }
            sum + scalar::sum(&from[at..])
        }
    };
}

vector_sum! {
    avx2, "avx2", 32,
    _mm256_loadu_si256, _mm256_storeu_si256, _mm256_xor_si256, _mm256_madd_epi16,
    _mm256_add_epi32, _mm256_set1_epi16, _mm256_setzero_si256
}

vector_sum! {
    sse2, "sse2", 16,
    _mm_loadu_si128, _mm_storeu_si128, _mm_xor_si128, _mm_madd_epi16,
    _mm_add_epi32, _mm_set1_epi16, _mm_setzero_si128
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    type Routine = (&'static str, fn(&mut [u8], &[u8]) -> (u64, u64));

    /// Both routines that this machine can run, each summing and copying.
    fn routines() -> Vec<Routine> {
        let mut routines: Vec<Routine> = vec![("sse2", |to, from| {
            assert_eq!(to.len(), from.len());
            // SAFETY: every x86-64 has SSE2; `to` is unique and as long as `from`.
            unsafe {
                let copied = sse2::<true>(from, to.as_mut_ptr());
                (sse2::<false>(from, std::ptr::null_mut()), copied)
            }
        })];
        if is_x86_feature_detected!("avx2") {
            routines.push(("avx2", |to, from| {
                assert_eq!(to.len(), from.len());
                // SAFETY: the processor has AVX2; `to` is unique and as long as `from`.
                unsafe {
                    let copied = avx2::<true>(from, to.as_mut_ptr());
                    (avx2::<false>(from, std::ptr::null_mut()), copied)
                }
            }));
        } else {
            let _ = writeln!(std::io::stdout(), "SKIPPED: the AVX2 sum: no AVX2 here");
        }
        routines
    }

    fn check(from: &[u8], to: &mut [u8]) {
        let wanted = super::super::fold(scalar::sum(from));
        for (name, routine) in routines() {
            to.fill(0xaa);
            let (summed, copied) = routine(to, from);
            let folded = [summed, copied].map(super::super::fold);
            assert_eq!(folded, [wanted; 2], "{name}, {} bytes", from.len());
            assert!(from == to, "{name}, {} bytes", from.len());
        }
    }

    /// Bytes without a period that a routine could hide behind.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let step = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..len).map(step).collect()
    }

    #[test]
    fn every_alignment_and_length_as_the_plain_sum() {
        let bytes = noise(1024);
        let mut to = vec![0; 1024];
        for start in 0..33 {
            for len in 0..300 {
                check(&bytes[start..start + len], &mut to[start..start + len]);
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow_a_lane() {
        let mut to = vec![0; 3 * BLOCK + 77];
        for byte in [0x00, 0x7f, 0x80, 0xff] {
            let bytes = vec![byte; to.len()];
            check(&bytes, &mut to);
        }
        check(&noise(to.len()), &mut to);
    }

    #[test]
    fn the_chosen_routine_as_the_plain_sum() {
        let bytes = noise(2000);
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 1460, 2000] {
            let from = &bytes[..len];
            let mut to = vec![0; len];
            let wanted = super::super::fold(scalar::sum(from));
            assert_eq!(super::super::fold(sum(from)), wanted);
            assert_eq!(super::super::fold(copy(&mut to, from)), wanted);
            assert_eq!(to, from);
        }
    }
}
