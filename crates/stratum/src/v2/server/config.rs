//! Settings of a pool's session, what it tells, and what ends it.

use std::time::Duration;

use thiserror::Error;

use crate::hash::Hash;
use crate::header::Header;
use crate::inline::{Extranonce, JobId};
use crate::reject::RejectReason;
use crate::server::VardiffConfig;
use crate::target::Target;
use crate::v2::key::AuthoritySecret;
use crate::v2::link::LinkError;
use crate::v2::message::MessageError;
use crate::v2::work::Share;

/// Settings of a [`ServerSession`](super::ServerSession).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Signs the certificate of the connection.
    pub secret: AuthoritySecret,
    /// How long a certificate is good; whole seconds count.
    pub certificate_validity: Duration,
    /// The pool's part of the extranonce; nobody else's.
    pub prefix: Extranonce,
    /// Bytes of the miner's part on an extended channel; at most 32 together with the prefix.
    pub extranonce_len: usize,
    /// The pool's number of the channel.
    pub channel_id: u32,
    /// The target of the first shares, within the bound below and the miner's own.
    pub target: Target,
    /// Shares never get harder than this, unless the miner wishes it; those harder than a block
    /// would hide blocks.
    pub hardest_target: Target,
    /// How the target follows the miner; `None` leaves it.
    pub vardiff: Option<VardiffConfig>,
    /// Bits of the version that miners may roll; 0 asks for fixed versions.
    pub version_mask: u32,
    /// How far a miner may move the time of a job forward, in seconds.
    pub max_ntime_s: u32,
    /// How long a miner may take until it has a channel, and may be without one.
    pub open_timeout: Duration,
    /// How long the miner may be silent.
    pub idle_timeout: Duration,
    /// Bytes of the longest frame.
    pub max_frame: usize,
    /// Messages in ten seconds.
    pub max_messages: u32,
}

impl ServerConfig {
    /// Usual settings for a connection with this part of the extranonce.
    pub fn new(secret: AuthoritySecret, prefix: Extranonce, target: Target) -> Self {
        Self {
            secret,
            certificate_validity: Duration::from_secs(3600),
            prefix,
            extranonce_len: 4,
            channel_id: 1,
            target,
            hardest_target: Target::MIN,
            vardiff: None,
            version_mask: crate::client::ROLLING_MASK,
            max_ntime_s: 7200,
            open_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            max_frame: 16 << 10,
            max_messages: 2000,
        }
    }
}

/// A good share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundShare {
    /// What the miner sent.
    pub share: Share,
    /// The caller's name of the job ([`Job::id`](crate::Job::id)).
    pub job: JobId,
    /// What its hash had to meet.
    pub target: Target,
    /// Pool's and miner's part of the extranonce, as they stand in the coinbase transaction.
    pub extranonce: Extranonce,
    /// The header that it found.
    pub header: Header,
    /// The hash of that.
    pub hash: Hash,
    /// The hash meets the target of the block.
    pub is_block: bool,
}

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// The channel is open.
    Opened {
        /// Name and version of the program.
        agent: String,
        /// Name of the user and the worker.
        user: String,
        /// The miner rolls an extranonce.
        extended: bool,
        /// Hashes a second that the miner says it makes.
        nominal_hash_rate: f32,
    },
    /// A good share.
    Share(Box<FoundShare>),
    /// A share that was refused.
    Refused {
        /// What the word comes down to.
        reason: RejectReason,
        /// The word that the miner got for why.
        code: &'static str,
    },
    /// The miner's hash rate has changed: perhaps another target is due.
    Updated {
        /// Hashes a second.
        nominal_hash_rate: f32,
    },
    /// The miner has closed the channel.
    Closed,
}

/// What ended a session. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Below the messages.
    #[error("the miner sent {0}")]
    Link(#[from] LinkError),
    /// The miner sends something else than Stratum V2.
    #[error("from the miner, {0}")]
    Message(#[from] MessageError),
    /// The miner wants another protocol, version, or what this pool has not; it was told.
    #[error("the connection was refused: {code}")]
    SetupRefused {
        /// The word that it got for why.
        code: &'static str,
    },
    /// The miner talks out of turn.
    #[error("the miner sent message {kind:#04x} out of turn")]
    OutOfTurn {
        /// Its number.
        kind: u8,
    },
    /// The miner talks faster than anybody finds shares.
    #[error("the miner sent more than {max} messages in ten seconds")]
    Flood {
        /// The bound.
        max: u32,
    },
    /// The miner sends shares without reading the answers.
    #[error("the miner does not read the answers")]
    NotReading,
    /// The miner does not open a channel.
    #[error("no channel within {after:?}")]
    NoChannel {
        /// How long it was waited for.
        after: Duration,
    },
    /// The miner says nothing at all.
    #[error("not a word from the miner for {after:?}")]
    Silent {
        /// For how long.
        after: Duration,
    },
    /// The session was over before.
    #[error("the session is over")]
    Over,
}
