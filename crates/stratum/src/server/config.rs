//! Settings of a pool's session, and what ends one.

use std::time::Duration;

use thiserror::Error;

use crate::line::LineTooLong;
use crate::message::{MessageError, Subscribed};

use super::vardiff::VardiffConfig;

/// Settings of a [`ServerSession`](super::ServerSession).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The extranonces of this connection; the first has to be nobody else's.
    pub extranonces: Subscribed,
    /// Name of the session, by which it can be resumed.
    pub session: String,
    /// Bits of the version that miners may roll.
    pub version_mask: u32,
    /// The difficulty to begin with; positive.
    pub difficulty: f64,
    /// Bounds within which a miner may wish a difficulty, and vardiff may move it.
    pub min_difficulty: f64,
    /// The upper of them.
    pub max_difficulty: f64,
    /// How the difficulty follows the miner; `None` leaves it.
    pub vardiff: Option<VardiffConfig>,
    /// How long the miner may be silent.
    pub idle_timeout: Duration,
    /// How far a miner may move the time of a job forward, in seconds.
    pub max_ntime_s: u32,
    /// Bytes of the longest line.
    pub max_line: usize,
    /// Messages in ten seconds.
    pub max_messages: u32,
    /// Workers of one connection.
    pub max_workers: usize,
}

impl ServerConfig {
    /// Usual settings for a connection with these extranonces.
    pub fn new(session: impl Into<String>, extranonces: Subscribed) -> Self {
        Self {
            extranonces,
            session: session.into(),
            version_mask: crate::client::ROLLING_MASK,
            difficulty: 1.0,
            min_difficulty: 1e-10,
            max_difficulty: 1e15,
            vardiff: Some(VardiffConfig::default()),
            idle_timeout: Duration::from_secs(600),
            max_ntime_s: 7200,
            max_line: 16 << 10,
            max_messages: 2000,
            max_workers: 64,
        }
    }
}

/// What ended a session. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The miner sends lines without end.
    #[error("the miner sent {0}")]
    Line(#[from] LineTooLong),
    /// The miner sends something else than Stratum.
    #[error("the miner sent {0}")]
    Message(#[from] MessageError),
    /// The miner talks faster than vardiff would let it.
    #[error("the miner sent more than {max} messages in ten seconds")]
    Flood {
        /// The bound.
        max: u32,
    },
    /// The miner asks and does not read the answers.
    #[error("the miner asks without reading the answers")]
    NotReading,
    /// The miner says nothing at all.
    #[error("not a word from the miner for {after:?}")]
    Silent {
        /// For how long.
        after: Duration,
    },
}
