//! Double SHA-256, of coinbase transactions, merkle branches and headers.
//!
//! For the few hashes that a job or a share costs; the search of nonces has an engine of its
//! own elsewhere.

use sha2::{Digest, Sha256};

/// A hash as it stands in a header or a merkle branch: its first byte is the lowest when it is
/// read as a number, and the last when people write it.
pub type Hash = [u8; 32];

/// SHA-256 of the SHA-256 of `bytes`.
pub fn sha256d(bytes: &[u8]) -> Hash {
    twice(Sha256::new_with_prefix(bytes))
}

/// The same of two parts, one after the other.
pub(crate) fn sha256d_of_two(first: &[u8], second: &[u8]) -> Hash {
    twice(Sha256::new_with_prefix(first).chain_update(second))
}

pub(crate) fn twice(inner: Sha256) -> Hash {
    Sha256::digest(inner.finalize()).into()
}
