//! SHA-256d of whole messages: one by one, and many of 64 bytes at once.

use crate::engine::Engine;
use crate::fips::{self, END, IV, State};

/// Mixes one block into `state`, by the CPU's own instructions where it has them.
pub(crate) fn compress(state: &mut State, block: &[u32; 16]) {
    #[cfg(target_arch = "x86_64")]
    if crate::x86::sha_ni::compress(state, block) {
        return;
    }
    #[cfg(target_arch = "aarch64")]
    if crate::aarch64::compress(state, block) {
        return;
    }
    fips::compress(state, block);
}

/// SHA-256 of SHA-256 of a message of any length.
pub fn sha256d(message: &[u8]) -> [u8; 32] {
    let mut state = IV;
    let (blocks, rest) = message.as_chunks::<64>();
    for block in blocks {
        compress(&mut state, &fips::words(block));
    }
    let mut last = [0; 64];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = (END >> 24) as u8;
    let mut block: [u32; 16] = fips::words(&last);
    // The length takes the last eight bytes; without room for it one more block follows.
    if rest.len() >= 56 {
        compress(&mut state, &block);
        block = [0; 16];
    }
    let bits = (message.len() as u64).wrapping_mul(8);
    block[14] = (bits >> 32) as u32;
    block[15] = bits as u32;
    compress(&mut state, &block);
    let mut second = IV;
    compress(&mut second, &fips::second_block(&state));
    fips::bytes(&second)
}

/// The root of the merkle tree over transaction hashes, all in the order of bytes that
/// SHA-256 gives; a last one without a neighbour is paired with itself. `None` without
/// any leaf.
///
/// Works in `leaves`, which are overwritten. Whoever checks blocks of others must reject
/// equal neighbours first (CVE-2012-2459): they give the same root as one of the two.
pub fn merkle_root(engine: &Engine, leaves: &mut [[u8; 32]]) -> Option<[u8; 32]> {
    let mut count = leaves.len();
    let mut pairs = [[0; 64]; PAIRS];
    let mut hashes = [[0; 32]; PAIRS];
    while count > 1 {
        let parents = count.div_ceil(2);
        for done in (0..parents).step_by(PAIRS) {
            let now = PAIRS.min(parents - done);
            for (i, pair) in pairs[..now].iter_mut().enumerate() {
                let left = 2 * (done + i);
                let right = (left + 1).min(count - 1);
                pair[..32].copy_from_slice(&leaves[left]);
                pair[32..].copy_from_slice(&leaves[right]);
            }
            engine.sha256d_64(&pairs[..now], &mut hashes[..now]);
            // Parents never overtake the children that are still to be read.
            leaves[done..done + now].copy_from_slice(&hashes[..now]);
        }
        count = parents;
    }
    leaves.first().copied()
}

/// Pairs of hashes that go through at once.
const PAIRS: usize = 64;
