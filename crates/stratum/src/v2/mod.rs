//! Stratum V2 mining protocol without I/O, behind the feature `v2`.
//!
//! * [`client::ClientSession`] and [`server::ServerSession`]: the two ends of a connection with one
//!   channel, standard (the pool makes the merkle root) or extended (the miner rolls an
//!   extranonce).
//! * [`message`]: what they say, in the structures of the protocol's own crates (`mining_sv2`,
//!   `common_messages_sv2`, `binary_sv2`).
//! * [`key`]: the pool's authority key, which a miner must know beforehand.
//!
//! Every connection is encrypted and the pool proves who it is: Noise NX over secp256k1 with
//! ElligatorSwift keys and ChaCha20-Poly1305, by the protocol's own `noise_sv2`. The handshake
//! needs secrets that nobody can guess: both sessions take 32 fresh random bytes as a seed, never
//! the same twice.
//!
//! Sources: the Stratum V2 specification, parts 3 (framing), 4 (security) and 5 (mining). Job
//! declaration and custom jobs are not here.

pub mod client;
pub mod key;
mod link;
pub mod message;
pub mod server;
#[cfg(test)]
mod tests;
pub mod work;

pub use client::{ClientConfig, ClientSession};
pub use key::{AuthorityKey, AuthoritySecret};
pub use link::LinkError;
pub use server::{ServerConfig, ServerSession};
pub use work::{Work, WorkKey};
