//! What a miner's session tells, and what ends it.

use std::time::Duration;

use thiserror::Error;

use crate::client::{SubmitId, WorkKey};
use crate::reject::RejectReason;
use crate::v2::link::LinkError;
use crate::v2::message::MessageError;

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The channel is open: jobs will come, and shares may be sent.
    Opened {
        /// The pool's number of the channel.
        channel_id: u32,
        /// Bytes of the extranonce that the miner may roll.
        extranonce_len: usize,
    },
    /// A job, to be worked on from now on.
    Work(WorkKey),
    /// Another block has been found: all work before this is stale.
    NewBlock,
    /// The pool took a share.
    Accepted {
        /// Which.
        id: SubmitId,
        /// How long the answer took; a pool may answer many shares at once.
        rtt: Duration,
    },
    /// The pool did not take a share.
    Rejected {
        /// Which.
        id: SubmitId,
        /// How long the answer took.
        rtt: Duration,
        /// Why, in the terms that both versions share.
        reason: RejectReason,
        /// The pool's own word.
        code: String,
    },
    /// The pool wants us elsewhere, within its domain.
    Reconnect {
        /// Where; `None` for the same host.
        host: Option<String>,
        /// The port; `None` for the same one.
        port: Option<u16>,
    },
    /// Somebody wants us outside of the pool's domain; we stay.
    RedirectRefused {
        /// Where to.
        host: String,
    },
    /// The pool did not agree to an update of the channel.
    UpdateRefused {
        /// Its word for why.
        code: String,
    },
}

/// What ended a session. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Below the messages.
    #[error("the pool sent {0}")]
    Link(#[from] LinkError),
    /// The pool sends something else than Stratum V2.
    #[error("from the pool, {0}")]
    Message(#[from] MessageError),
    /// The pool does not want this connection.
    #[error("the pool refused the connection: {code}")]
    SetupRefused {
        /// Its word for why.
        code: String,
    },
    /// The pool wants something that a miner of this kind cannot do.
    #[error(
        "the pool speaks version {version} with flags {flags:#x}, which does not go with the channel"
    )]
    Unsupported {
        /// The version that it chose.
        version: u16,
        /// Its flags.
        flags: u32,
    },
    /// The pool does not open a channel.
    #[error("the pool refused the channel: {code}")]
    OpenRefused {
        /// Its word for why.
        code: String,
    },
    /// The pool has closed the channel.
    #[error("the pool closed the channel: {code}")]
    Closed {
        /// Its word for why.
        code: String,
    },
    /// The pool sets a target that nothing meets.
    #[error("the pool set a target of zero")]
    ZeroTarget,
    /// The extranonce is longer than a coinbase has room for, or shorter than asked for.
    #[error("the pool gives {len} bytes of extranonce")]
    Extranonce {
        /// Bytes in all.
        len: usize,
    },
    /// A job to be worked on at once, and no block that it follows.
    #[error("the pool sent job {0} without a block before it")]
    NoPrevHash(u32),
    /// A new block for a job that was never sent.
    #[error("the pool started job {0}, which it never sent")]
    UnknownJob(u32),
    /// A job with more merkle branches than a block can have.
    #[error("a job has more merkle branches than a block can have")]
    TooManyBranches,
    /// The pool talks faster than anybody has something to say.
    #[error("the pool sent more than {max} messages in ten seconds")]
    Flood {
        /// The bound.
        max: u32,
    },
    /// The pool leaves handshake, opening or a share unanswered.
    #[error("no answer to the {stage} within {after:?}")]
    Unanswered {
        /// What was waited for.
        stage: &'static str,
        /// How long.
        after: Duration,
    },
    /// The pool says nothing at all.
    #[error("not a word from the pool for {after:?}")]
    Silent {
        /// For how long.
        after: Duration,
    },
    /// The session was over before.
    #[error("the session is over")]
    Over,
}

/// Why a share was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The channel is not open.
    #[error("the channel is not open")]
    NotReady,
    /// Its job is over.
    #[error("the job of the share is over")]
    Stale,
    /// It was sent before.
    #[error("the share was sent before")]
    Duplicate,
    /// The extranonce is not as long as the channel's.
    #[error("an extranonce of {len} bytes where {expected} belong")]
    Extranonce {
        /// Its bytes.
        len: usize,
        /// What the channel has.
        expected: usize,
    },
    /// Too many wait for their answers: keep the share.
    #[error("too many shares wait for their answers")]
    Busy,
}
