//! Block headers.

use crate::hash::{Hash, sha256d};

/// A block header, 80 bytes when written. Numbers stand there with the lowest byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version, rolled bits included.
    pub version: u32,
    /// Hash of the block before.
    pub prev_hash: Hash,
    /// Root of the tree of transactions.
    pub merkle_root: Hash,
    /// Seconds since 1970.
    pub ntime: u32,
    /// Target of the block in compact form.
    pub nbits: u32,
    /// What is searched for.
    pub nonce: u32,
}

/// Bytes of a header.
pub const HEADER_LEN: usize = 80;

impl Header {
    /// The header as it is hashed.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..36].copy_from_slice(&self.prev_hash);
        bytes[36..68].copy_from_slice(&self.merkle_root);
        bytes[68..72].copy_from_slice(&self.ntime.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.nbits.to_le_bytes());
        bytes[76..].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// Its double SHA-256.
    pub fn hash(&self) -> Hash {
        sha256d(&self.to_bytes())
    }
}

/// `version` with the bits that `mask` covers taken from `bits` (BIP 310).
pub fn rolled_version(version: u32, mask: u32, bits: u32) -> u32 {
    version & !mask | bits & mask
}
