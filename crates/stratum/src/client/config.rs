//! Settings of a miner's session.

use std::time::Duration;

use crate::inline::Extranonce;

/// Settings of a [`ClientSession`](super::ClientSession).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Name of the worker.
    pub user: String,
    /// Its password; many pools take settings here.
    pub password: String,
    /// Name and version of the program.
    pub agent: String,
    /// Host that the connection leads to; decides where the pool may send us.
    pub host: String,
    /// Bits of the version that can be rolled; 0 asks for no rolling.
    pub version_mask: u32,
    /// How many of them have to be left by the pool.
    pub min_version_bits: u8,
    /// The smallest difficulty that is worth the traffic.
    pub minimum_difficulty: Option<f64>,
    /// A difficulty to suggest.
    pub suggest_difficulty: Option<f64>,
    /// Whether to ask for `mining.set_extranonce`.
    pub extranonce_subscribe: bool,
    /// Whether `mining.configure` is sent at all. Some pools never answer it, some close: a
    /// caller remembers that ([`Event::ConfigureUnanswered`](super::Event)) and clears this.
    pub configure: bool,
    /// The session to be resumed.
    pub resume: Option<Resume>,
    /// How long an answer to `mining.configure` is waited for before going on without.
    pub configure_timeout: Duration,
    /// How long any other answer that matters may take.
    pub request_timeout: Duration,
    /// How long the pool may be silent.
    pub idle_timeout: Duration,
    /// After how long without a word of ours `mining.ping` is sent. Whatever it is answered, or
    /// not, is fine.
    pub keepalive: Option<Duration>,
    /// Bytes of the longest line.
    pub max_line: usize,
    /// Messages in ten seconds, answers to shares apart.
    pub max_messages: u32,
    /// Shares that may wait for their answers.
    pub max_unanswered: usize,
}

/// A session that was, and its first extranonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The pool's name for the session.
    pub session: String,
    /// What the pool put into every coinbase then. If it does so again, shares found then are
    /// still worth something.
    pub extranonce_1: Extranonce,
}

/// Bits that BIP 320 leaves to miners.
pub const ROLLING_MASK: u32 = 0x1fff_e000;

impl ClientConfig {
    /// Usual settings for a worker at a host.
    pub fn new(
        host: impl Into<String>,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
            agent: concat!("zcn/", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host.into(),
            version_mask: ROLLING_MASK,
            min_version_bits: 2,
            minimum_difficulty: None,
            suggest_difficulty: None,
            extranonce_subscribe: true,
            configure: true,
            resume: None,
            configure_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            keepalive: Some(Duration::from_secs(60)),
            max_line: 64 << 10,
            max_messages: 2000,
            max_unanswered: 1024,
        }
    }
}
