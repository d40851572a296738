//! What is worked out once for a block header.

use crate::digest::{compress, finish};
use crate::fips::{self, END, HEADER_BITS, IV, K, sigma0, sigma1};
use crate::target::Target;

/// A block header without its nonce, prepared for the search, and the target.
///
/// Making one costs about two compressions, a few hundred nanoseconds, and no memory of
/// the heap.
#[derive(Clone, Debug)]
pub struct Job {
    /// The state after the first block.
    pub(crate) midstate: [u32; 8],
    /// The message words 0 to 2 of the second block: end of the merkle root, time, bits.
    tail: [u32; 3],
    /// The variables after round 3 of the second block, for the nonce 0; the nonce is to
    /// be added to the first and the fifth.
    pub(crate) after_nonce: [u32; 8],
    /// The message words 16 and 17.
    pub(crate) w16: u32,
    pub(crate) w17: u32,
    /// The constant parts of the message words 18, 19 and 31.
    pub(crate) w18: u32,
    pub(crate) w19: u32,
    pub(crate) w31: u32,
    /// Bits that are zero in the last word of a hash that may meet the target.
    pub(crate) reject: u32,
    target: Target,
}

impl Job {
    /// A job for a serialized header; its last four bytes, the nonce, do not matter.
    pub fn new(header: &[u8; 80], target: Target) -> Self {
        let mut midstate = IV;
        compress(&mut midstate, header.as_chunks::<64>().0);
        let tail: [u32; 3] = fips::words(&header[64..76]);
        let mut state = midstate;
        for (k, word) in K.iter().zip(tail.into_iter().chain([0])) {
            state = fips::round(state, k.wrapping_add(word));
        }
        let w16 = sigma0(tail[1]).wrapping_add(tail[0]);
        let w17 = sigma1(HEADER_BITS)
            .wrapping_add(sigma0(tail[2]))
            .wrapping_add(tail[1]);
        Self {
            midstate,
            tail,
            after_nonce: state,
            w16,
            w17,
            w18: sigma1(w16).wrapping_add(tail[2]),
            w19: sigma1(w17).wrapping_add(sigma0(END)),
            w31: sigma0(w16).wrapping_add(HEADER_BITS),
            reject: target.reject_mask(),
            target,
        }
    }

    /// The target.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The message words 0 to 2 of the second block.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) fn tail(&self) -> [u32; 3] {
        self.tail
    }

    /// The variables after round 1 of the second block.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn after_two(&self) -> fips::State {
        let sums = [0, 1].map(|t| K[t].wrapping_add(self.tail[t]));
        sums.into_iter().fold(self.midstate, fips::round)
    }

    /// The hash of the header with `nonce`, in the order of bytes that SHA-256 gives.
    /// Blocks are called by the reverse of it.
    pub fn hash(&self, nonce: u32) -> [u8; 32] {
        let mut block = [0; 64];
        let words = self.tail.into_iter().chain([message_word(nonce), END]);
        for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
        block[60..].copy_from_slice(&HEADER_BITS.to_be_bytes());
        finish(&self.midstate, &[block])
    }

    /// Whether the header with `nonce` meets the target.
    pub fn is_met_by(&self, nonce: u32) -> bool {
        self.target.is_met_by(&self.hash(nonce))
    }
}

/// A nonce as a word of the message, or back: the header is little-endian, SHA-256
/// big-endian.
pub(crate) const fn message_word(nonce: u32) -> u32 {
    nonce.swap_bytes()
}
