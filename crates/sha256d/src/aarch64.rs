//! The SHA-256 instructions of ARMv8, two streams at a time.

#![allow(unsafe_code)]

use std::arch::aarch64::{
    uint32x4_t, vaddq_u32, vgetq_lane_u32, vld1q_u32, vsha256h2q_u32, vsha256hq_u32,
    vsha256su0q_u32, vsha256su1q_u32, vst1q_u32,
};
use std::arch::is_aarch64_feature_detected;

use crate::fips::{Block, END, HASH_BITS, HEADER_BITS, IV, K, State, words};
use crate::job::{Job, message_word};
use crate::search::{Nonces, Searched, Watch, report};

/// Whether the CPU has the instructions used here.
pub(crate) fn detected() -> bool {
    is_aarch64_feature_detected!("sha2")
}

/// `a` to `d` and `e` to `h`.
type Pair = (uint32x4_t, uint32x4_t);

#[inline]
#[target_feature(enable = "sha2")]
fn four(words: [u32; 4]) -> uint32x4_t {
    // SAFETY: the array has four words.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "sha2")]
fn pair(state: State) -> Pair {
    let [a, b, c, d, e, f, g, h] = state;
    (four([a, b, c, d]), four([e, f, g, h]))
}

#[inline]
#[target_feature(enable = "sha2")]
fn add(a: Pair, b: Pair) -> Pair {
    (vaddq_u32(a.0, b.0), vaddq_u32(a.1, b.1))
}

/// All rounds in all streams with the message words `w`, sixteen of each stream.
macro_rules! rounds {
    ($state:ident, $w:ident, $streams:expr, $($t:literal)*) => {$(
        for i in 0..$streams {
            let k = four([K[$t], K[$t + 1], K[$t + 2], K[$t + 3]]);
            let place = ($t / 4) % 4;
            let sums = vaddq_u32($w[i][place], k);
            let (low, high) = $state[i];
            $state[i] = (
                vsha256hq_u32(low, high, sums),
                vsha256h2q_u32(high, low, sums),
            );
            if $t < 48 {
                let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|j| $w[i][(place + j) % 4]);
                $w[i][place] = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
            }
        }
    )*};
}

/// Mixes blocks into `state`, unless the CPU lacks the instructions: then nothing happens,
/// and it is told.
pub(crate) fn compress(state: &mut State, blocks: &[Block]) -> bool {
    if !detected() {
        return false;
    }
    // SAFETY: the feature was just detected.
    unsafe { compress_detected(state, blocks) }
    true
}

#[target_feature(enable = "sha2")]
fn compress_detected(state: &mut State, blocks: &[Block]) {
    let (low, high) = blocks.iter().fold(pair(*state), |start, block| {
        let words = words::<16>(block);
        let (fours, _) = words.as_chunks::<4>();
        let mut w = [[
            four(fours[0]),
            four(fours[1]),
            four(fours[2]),
            four(fours[3]),
        ]];
        let mut now = [start];
        rounds!(now, w, 1, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        add(now[0], start)
    });
    let (halves, _) = state.as_chunks_mut::<4>();
    // SAFETY: each half has four words.
    unsafe {
        vst1q_u32(halves[0].as_mut_ptr(), low);
        vst1q_u32(halves[1].as_mut_ptr(), high);
    }
}

/// Nonces in work at the same time.
const STREAMS: usize = 2;

/// Two nonces at a time.
pub(crate) fn search(
    job: &Job,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32),
) -> Searched {
    assert!(detected());
    // SAFETY: the feature was just detected.
    unsafe { search_detected(job, nonces, watch, found) }
}

#[target_feature(enable = "sha2")]
fn search_detected(
    job: &Job,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32),
) -> Searched {
    let count = nonces.limited();
    let midstate = pair(job.midstate);
    let iv = pair(IV);
    let [w0, w1, w2] = job.tail();
    let end = four([END, 0, 0, 0]);
    let zero = four([0; 4]);
    let header_bits = four([0, 0, 0, HEADER_BITS]);
    let hash_bits = four([0, 0, 0, HASH_BITS]);
    let mut done = 0;
    while done < count {
        if !watch.goes_on() {
            return Searched {
                nonces: done,
                interrupted: true,
            };
        }
        let first = nonces.first.wrapping_add(done as u32);
        let mut state = [midstate; STREAMS];
        let mut w = [[zero; 4]; STREAMS];
        for (i, w) in w.iter_mut().enumerate() {
            let nonce = message_word(first.wrapping_add(i as u32));
            *w = [four([w0, w1, w2, nonce]), end, zero, header_bits];
        }
        rounds!(state, w, STREAMS, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        for i in 0..STREAMS {
            let (low, high) = add(state[i], midstate);
            w[i] = [low, high, end, hash_bits];
            state[i] = iv;
        }
        rounds!(state, w, STREAMS, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        let mut candidates = 0;
        for (i, state) in state.into_iter().enumerate() {
            let last = vgetq_lane_u32::<3>(vaddq_u32(state.1, iv.1));
            candidates |= u64::from(last & job.reject == 0) << i;
        }
        let left = count - done;
        if candidates != 0 {
            if left < STREAMS as u64 {
                candidates &= 1;
            }
            report(job, first, candidates, found);
        }
        done += left.min(STREAMS as u64);
    }
    Searched {
        nonces: done,
        interrupted: false,
    }
}
