//! Settings of a miner's session.

use std::time::Duration;

use crate::target::Target;
use crate::v2::key::AuthorityKey;

/// What a miner asks a pool for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// Jobs with a merkle root: nothing to compute before the first hash, and 2^32 nonces times
    /// the versions a second to search.
    Standard,
    /// Jobs with a coinbase transaction and at least that many bytes of extranonce.
    Extended {
        /// Bytes; at most 32 together with the pool's part.
        min_extranonce_len: u16,
    },
}

/// Settings of a [`ClientSession`](super::ClientSession).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Who the pool has to be.
    pub authority: AuthorityKey,
    /// The pool's host as the miner knows it; also what redirects are held against.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Name of the user and the worker.
    pub user: String,
    /// Name of the program.
    pub agent: String,
    /// Its version.
    pub version: String,
    /// Hashes a second that the pool may expect; it chooses the target by them.
    pub nominal_hash_rate: f32,
    /// The easiest target that the miner would work on.
    pub max_target: Target,
    /// The kind of channel.
    pub channel: Channel,
    /// How long handshake and answers may take.
    pub answer_timeout: Duration,
    /// How long the answer to a share may take: pools may answer many at once.
    pub share_timeout: Duration,
    /// How long the pool may be silent.
    pub idle_timeout: Duration,
    /// After how long without a word of ours the pool is told the hash rate again, so that it
    /// does not take us for dead.
    pub keepalive: Option<Duration>,
    /// Bytes of the longest frame.
    pub max_frame: usize,
    /// Messages in ten seconds, answers to shares apart.
    pub max_messages: u32,
}

impl ClientConfig {
    /// Usual settings for a standard channel.
    pub fn new(authority: AuthorityKey, host: &str, port: u16, user: &str) -> Self {
        Self {
            authority,
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            agent: "zcn".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nominal_hash_rate: 1e7,
            max_target: Target::MAX,
            channel: Channel::Standard,
            answer_timeout: Duration::from_secs(15),
            share_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(600),
            keepalive: Some(Duration::from_secs(120)),
            max_frame: 256 << 10,
            max_messages: 1000,
        }
    }
}
