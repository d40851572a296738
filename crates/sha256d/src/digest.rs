//! SHA-256d of whole messages: one by one, in parts, and many of 64 bytes at once.

use std::fmt;

use crate::engine::Engine;
use crate::fips::{self, Block, END, HASH_BITS, IV, State};

/// Mixes blocks into `state`, by the CPU's own instructions where it has them.
pub(crate) fn compress(state: &mut State, blocks: &[Block]) {
    #[cfg(target_arch = "x86_64")]
    if crate::x86::sha_ni::compress(state, blocks) {
        return;
    }
    #[cfg(target_arch = "aarch64")]
    if crate::aarch64::compress(state, blocks) {
        return;
    }
    for block in blocks {
        fips::compress(state, block);
    }
}

/// The hash of the hash that `state` becomes with its last blocks.
pub(crate) fn finish(state: &State, blocks: &[Block]) -> [u8; 32] {
    #[cfg(target_arch = "x86_64")]
    if let Some(hash) = crate::x86::sha_ni::finish(state, blocks) {
        return hash;
    }
    finish_in_two(state, blocks)
}

fn finish_in_two(state: &State, blocks: &[Block]) -> [u8; 32] {
    let mut first = *state;
    compress(&mut first, blocks);
    let mut block = [0; 64];
    block[..32].copy_from_slice(&fips::bytes(&first));
    block[32..36].copy_from_slice(&END.to_be_bytes());
    block[60..].copy_from_slice(&HASH_BITS.to_be_bytes());
    let mut second = IV;
    compress(&mut second, &[block]);
    fips::bytes(&second)
}

/// SHA-256 of SHA-256 of a message that comes in parts. A copy made in between saves what
/// messages that begin alike have in common.
#[derive(Clone)]
pub struct Sha256d {
    state: State,
    /// What does not fill a block yet, at the front.
    rest: Block,
    bytes: u64,
}

impl Default for Sha256d {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256d({} bytes)", self.bytes)
    }
}

impl Sha256d {
    /// An empty message.
    pub fn new() -> Self {
        Self {
            state: IV,
            rest: [0; 64],
            bytes: 0,
        }
    }

    /// The message goes on with `part`.
    pub fn update(&mut self, mut part: &[u8]) {
        let held = self.held();
        self.bytes = self.bytes.wrapping_add(part.len() as u64);
        if held > 0 {
            let (head, tail) = part.split_at(part.len().min(64 - held));
            self.rest[held..held + head.len()].copy_from_slice(head);
            if held + head.len() < 64 {
                return;
            }
            compress(&mut self.state, &[self.rest]);
            part = tail;
        }
        let (blocks, tail) = part.as_chunks::<64>();
        if !blocks.is_empty() {
            compress(&mut self.state, blocks);
        }
        self.rest[..tail.len()].copy_from_slice(tail);
    }

    /// Bytes in `rest`.
    fn held(&self) -> usize {
        (self.bytes % 64) as usize
    }

    /// The hash of the hash of the message so far.
    pub fn finish(&self) -> [u8; 32] {
        let held = self.held();
        let mut blocks = [[0; 64]; 2];
        blocks[0][..held].copy_from_slice(&self.rest[..held]);
        blocks[0][held] = (END >> 24) as u8;
        // The length takes the last eight bytes; without room for it one more block follows.
        let last = usize::from(held >= 56);
        let bits = self.bytes.wrapping_mul(8);
        blocks[last][56..].copy_from_slice(&bits.to_be_bytes());
        finish(&self.state, &blocks[..=last])
    }
}

/// SHA-256 of SHA-256 of a message of any length.
pub fn sha256d(message: &[u8]) -> [u8; 32] {
    let mut whole = Sha256d::new();
    whole.update(message);
    whole.finish()
}

/// The root of a merkle tree of which only the first leaf is known, and the neighbour to the
/// right of each node on the way up: `branches`, the lowest first. All in the order of bytes
/// that SHA-256 gives.
pub fn merkle_path(leaf: &[u8; 32], branches: &[[u8; 32]]) -> [u8; 32] {
    #[cfg(target_arch = "x86_64")]
    if let Some(root) = crate::x86::sha_ni::merkle_path(leaf, branches) {
        return root;
    }
    path_of_pairs(leaf, branches)
}

fn path_of_pairs(leaf: &[u8; 32], branches: &[[u8; 32]]) -> [u8; 32] {
    branches.iter().fold(*leaf, |node, branch| {
        let mut pair = [0; 64];
        pair[..32].copy_from_slice(&node);
        pair[32..].copy_from_slice(branch);
        sha256d(&pair)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the CPU has no instructions for it, both are the same code and this shows nothing.
    #[test]
    fn the_instructions_of_the_cpu_and_plain_code_agree() {
        let mut blocks = [[0; 64]; 3];
        for (i, byte) in blocks.as_flattened_mut().iter_mut().enumerate() {
            *byte = (i * 89 + 7) as u8;
        }
        for count in 0..=blocks.len() {
            let blocks = &blocks[..count];
            let (mut own, mut plain) = (IV, IV);
            compress(&mut own, blocks);
            for block in blocks {
                fips::compress(&mut plain, block);
            }
            assert_eq!(own, plain, "{count} blocks");
            assert_eq!(finish(&IV, blocks), finish_in_two(&IV, blocks));
        }
        let (hashes, _) = blocks.as_flattened().as_chunks::<32>();
        let (leaf, branches) = (&hashes[0], &hashes[1..]);
        assert_eq!(merkle_path(leaf, branches), path_of_pairs(leaf, branches));
    }
}
