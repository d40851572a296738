//! The CPU's own SHA-256 rounds (SHA-NI), two streams at a time: an instruction takes
//! twice as long as it keeps its unit busy.
//!
//! These instructions have no encoding that clears the upper halves of the vector
//! registers. When other code has left something there, some CPUs slow down 65 to 200
//! times; so the upper halves are cleared first, always.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_cvtsi128_si32, _mm_loadu_si128,
    _mm_set_epi8, _mm_set_epi32, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128, _mm_unpackhi_epi64, _mm_unpacklo_epi64,
    _mm256_zeroupper,
};

use crate::fips::{Block, END, HASH_BITS, HEADER_BITS, IV, K, State, sums};
use crate::job::{Job, message_word};
use crate::search::{Nonces, Searched, Watch, report};

/// Whether the CPU has the instructions used here.
pub(crate) fn detected() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("sse4.1")
        && is_x86_feature_detected!("ssse3")
}

/// Clears the upper halves of the vector registers, where there are any.
fn clear_upper_halves() {
    if is_x86_feature_detected!("avx") {
        #[target_feature(enable = "avx")]
        fn clear() {
            _mm256_zeroupper();
        }
        // SAFETY: AVX was just detected.
        unsafe { clear() }
    }
}

/// `a b e f` and `c d g h`, as the instructions want the variables, highest lane first.
type Pair = (__m128i, __m128i);

/// Four words, the first in the lowest lane.
type Four = __m128i;

#[inline]
#[target_feature(enable = "sse2")]
fn four(words: [u32; 4]) -> Four {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

#[inline]
#[target_feature(enable = "sse2")]
fn pair(state: State) -> Pair {
    let [a, b, c, d, e, f, g, h] = state;
    (four([f, e, b, a]), four([h, g, d, c]))
}

/// The variables as message words: `a b c d` and `e f g h`.
#[inline]
#[target_feature(enable = "sse2")]
fn message(state: Pair) -> [Four; 2] {
    // Words in this order: a b e f, then c d g h.
    let abef = _mm_shuffle_epi32::<0x1b>(state.0);
    let cdgh = _mm_shuffle_epi32::<0x1b>(state.1);
    [
        _mm_unpacklo_epi64(abef, cdgh),
        _mm_unpackhi_epi64(abef, cdgh),
    ]
}

#[inline]
#[target_feature(enable = "sse2")]
fn constants(t: usize) -> Four {
    four([K[t], K[t + 1], K[t + 2], K[t + 3]])
}

/// Four rounds; the names of the halves do not change places.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn four_rounds(state: Pair, sums: Four) -> Pair {
    let cdgh = _mm_sha256rnds2_epu32(state.1, state.0, sums);
    let high = _mm_shuffle_epi32::<0x0e>(sums);
    (_mm_sha256rnds2_epu32(state.0, cdgh, high), cdgh)
}

/// The four message words that follow sixteen.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn next_words(w: [Four; 4]) -> Four {
    let seven_ago = _mm_alignr_epi8::<4>(w[3], w[2]);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[0], w[1]), seven_ago);
    _mm_sha256msg2_epu32(sum, w[3])
}

#[inline]
#[target_feature(enable = "sse2")]
fn add(a: Pair, b: Pair) -> Pair {
    (_mm_add_epi32(a.0, b.0), _mm_add_epi32(a.1, b.1))
}

/// The rounds from `FROM`, a multiple of four, to the last, in all streams, with the words
/// `w` of the rounds `FROM` to `FROM + 15`.
macro_rules! rounds {
    ($state:ident, $w:ident, $streams:expr, $($t:literal)*) => {$(
        for i in 0..$streams {
            let sums = _mm_add_epi32($w[i][($t / 4) % 4], constants($t));
            $state[i] = four_rounds($state[i], sums);
            if $t < 48 {
                let old: [Four; 4] = [0, 1, 2, 3].map(|j| $w[i][($t / 4 + j) % 4]);
                $w[i][($t / 4) % 4] = next_words(old);
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
    clear_upper_halves();
    // SAFETY: the features were just detected.
    unsafe { compress_detected(state, blocks) }
    true
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress_detected(state: &mut State, blocks: &[Block]) {
    *state = store(mix(pair(*state), blocks));
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn mix(state: Pair, blocks: &[Block]) -> Pair {
    blocks.iter().fold(state, |start, block| {
        let (mut w, mut now) = ([load(block)], [start]);
        rounds!(now, w, 1, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        add(now[0], start)
    })
}

/// The hash of the hash that `state` becomes with its last `blocks`; `None` as for
/// [`compress`].
pub(crate) fn finish(state: &State, blocks: &[Block]) -> Option<[u8; 32]> {
    if !detected() {
        return None;
    }
    clear_upper_halves();
    // SAFETY: the features were just detected.
    Some(unsafe { finish_detected(state, blocks) })
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn finish_detected(state: &State, blocks: &[Block]) -> [u8; 32] {
    let mut hash = [0; 32];
    store_half(message(hash_of_hash(mix(pair(*state), blocks))), &mut hash);
    hash
}

/// The hash of a hash.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn hash_of_hash(first: Pair) -> Pair {
    let [low, high] = message(first);
    let iv = pair(IV);
    let end = four([END, 0, 0, 0]);
    let (mut w, mut now) = ([[low, high, end, four([0, 0, 0, HASH_BITS])]], [iv]);
    rounds!(now, w, 1, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
    add(now[0], iv)
}

/// See [`merkle_path`](crate::merkle_path); `None` as for [`compress`].
pub(crate) fn merkle_path(leaf: &[u8; 32], branches: &[[u8; 32]]) -> Option<[u8; 32]> {
    if !detected() {
        return None;
    }
    clear_upper_halves();
    // SAFETY: the features were just detected.
    Some(unsafe { merkle_path_detected(leaf, branches) })
}

/// The variables stay in registers from branch to branch.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn merkle_path_detected(leaf: &[u8; 32], branches: &[[u8; 32]]) -> [u8; 32] {
    let iv = pair(IV);
    let mut hash = load_half(leaf);
    for branch in branches {
        let [low, high] = load_half(branch);
        let (mut w, mut now) = ([[hash[0], hash[1], low, high]], [iv]);
        rounds!(now, w, 1, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        let first = add(now[0], iv);
        // The second block is the padding, whose words are known.
        let mut state = first;
        for sums in PADDING.as_chunks::<4>().0 {
            state = four_rounds(state, four(*sums));
        }
        hash = message(hash_of_hash(add(state, first)));
    }
    let mut root = [0; 32];
    store_half(hash, &mut root);
    root
}

/// The words of the block that pads a message of 64 bytes, with the constants added.
static PADDING: [u32; 64] = {
    let mut block = [0; 16];
    block[0] = END;
    block[15] = 64 * 8;
    sums(block)
};

/// Four words of bytes, or back.
#[inline]
#[target_feature(enable = "ssse3")]
fn turned(words: Four) -> Four {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm_shuffle_epi8(words, order)
}

#[inline]
#[target_feature(enable = "ssse3")]
fn load_half(bytes: &[u8; 32]) -> [Four; 2] {
    let (chunks, _) = bytes.as_chunks::<16>();
    // SAFETY: each chunk has 16 bytes.
    std::array::from_fn(|i| turned(unsafe { _mm_loadu_si128(chunks[i].as_ptr().cast()) }))
}

#[inline]
#[target_feature(enable = "ssse3")]
fn load(block: &Block) -> [Four; 4] {
    let (chunks, _) = block.as_chunks::<16>();
    // SAFETY: each chunk has 16 bytes.
    std::array::from_fn(|i| turned(unsafe { _mm_loadu_si128(chunks[i].as_ptr().cast()) }))
}

#[inline]
#[target_feature(enable = "ssse3")]
fn store_half(words: [Four; 2], bytes: &mut [u8; 32]) {
    let (chunks, _) = bytes.as_chunks_mut::<16>();
    for (half, four) in chunks.iter_mut().zip(words) {
        // SAFETY: each chunk has 16 bytes.
        unsafe { _mm_storeu_si128(half.as_mut_ptr().cast(), turned(four)) }
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(state: Pair) -> State {
    let mut words = [0; 8];
    let (fours, _) = words.as_chunks_mut::<4>();
    for (four, vector) in fours.iter_mut().zip(message(state)) {
        // SAFETY: each chunk has 16 bytes.
        unsafe { _mm_storeu_si128(four.as_mut_ptr().cast(), vector) }
    }
    words
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
    clear_upper_halves();
    // SAFETY: the features were just detected.
    unsafe { search_detected(job, nonces, watch, found) }
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn search_detected(
    job: &Job,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32),
) -> Searched {
    let count = nonces.limited();
    let midstate = pair(job.midstate);
    let after_two = pair(job.after_two());
    let iv = pair(IV);
    let [w0, w1, w2] = job.tail();
    let tail = four([w0, w1, w2, 0]);
    let padding = [
        four([END, 0, 0, 0]),
        four([0; 4]),
        four([0, 0, 0, HEADER_BITS]),
    ];
    let second_padding = four([0, 0, 0, HASH_BITS]);
    let mut done = 0;
    while done < count {
        if !watch.goes_on() {
            return Searched {
                nonces: done,
                interrupted: true,
            };
        }
        let first = nonces.first.wrapping_add(done as u32);
        let mut state = [after_two; STREAMS];
        let mut w = [[tail, padding[0], padding[1], padding[2]]; STREAMS];
        for i in 0..STREAMS {
            let nonce = message_word(first.wrapping_add(i as u32));
            let nonce = four([0, 0, 0, nonce]);
            w[i][0] = _mm_blend_epi16::<0xc0>(tail, nonce);
            // The rounds 2 and 3; two were done with the job.
            let sums = _mm_shuffle_epi32::<0x0e>(_mm_add_epi32(w[i][0], constants(0)));
            let (abef, cdgh) = state[i];
            state[i] = (_mm_sha256rnds2_epu32(cdgh, abef, sums), abef);
            w[i][0] = next_words(w[i]);
        }
        rounds!(state, w, STREAMS, 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        for i in 0..STREAMS {
            let [low, high] = message(add(state[i], midstate));
            w[i] = [low, high, padding[0], second_padding];
            state[i] = iv;
        }
        rounds!(state, w, STREAMS, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56);
        let mut candidates = 0;
        for i in 0..STREAMS {
            // The rounds 60 and 61. `f` after 61 is `e` after 60, the last word but for
            // the sum with the initial value.
            let sums = _mm_add_epi32(w[i][3], constants(60));
            let (abef, cdgh) = state[i];
            let abef = _mm_sha256rnds2_epu32(cdgh, abef, sums);
            let last = _mm_cvtsi128_si32(abef).cast_unsigned().wrapping_add(IV[7]);
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

/// Messages, two at a time.
pub(crate) fn sha256d_64(messages: &[[u8; 64]], hashes: &mut [[u8; 32]]) {
    assert!(detected());
    clear_upper_halves();
    // SAFETY: the features were just detected.
    unsafe { sha256d_64_detected(messages, hashes) }
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn sha256d_64_detected(messages: &[[u8; 64]], hashes: &mut [[u8; 32]]) {
    let iv = pair(IV);
    let pairs = messages.chunks(STREAMS).zip(hashes.chunks_mut(STREAMS));
    for (messages, hashes) in pairs {
        // A lone last message goes through twice.
        let mut w: [[Four; 4]; STREAMS] =
            std::array::from_fn(|i| load(&messages[i.min(messages.len() - 1)]));
        let mut state = [iv; STREAMS];
        rounds!(state, w, STREAMS, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        let first = state.map(|state| add(state, iv));
        let end = four([END, 0, 0, 0]);
        let zero = four([0; 4]);
        let mut w = [[end, zero, zero, four([0, 0, 0, 64 * 8])]; STREAMS];
        state = first;
        rounds!(state, w, STREAMS, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        for i in 0..STREAMS {
            let [low, high] = message(add(state[i], first[i]));
            w[i] = [low, high, end, four([0, 0, 0, HASH_BITS])];
            state[i] = iv;
        }
        rounds!(state, w, STREAMS, 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60);
        for (hash, state) in hashes.iter_mut().zip(state) {
            store_half(message(add(state, iv)), hash);
        }
    }
}
