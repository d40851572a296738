//! Double SHA-256, of coinbase transactions, merkle branches and headers.

pub use zcn_sha256d::sha256d;

/// A hash as it stands in a header or a merkle branch: its first byte is the lowest when it is
/// read as a number, and the last when people write it.
pub type Hash = [u8; 32];
