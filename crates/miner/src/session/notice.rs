//! What a session tells whoever runs the workers.

use std::io;
use std::time::{Duration, Instant};

use zcn_stratum::client::{ClientError, Work};
use zcn_stratum::reject::Rejection;
use zcn_stratum::v2;

use super::shares::{FoundShare, Lost};
use crate::ledger::LedgerError;
use crate::wire::SendError;

use thiserror::Error;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// The ledger holds shares that the program before has left; they are told of like those
    /// that are handed in.
    Left {
        /// How many.
        shares: usize,
        /// How many there are beside for pools that are not in the list; they stay.
        foreign: usize,
    },
    /// The ledger cannot be written to. Shares are sent all the same; those that are not
    /// answered would not survive the program.
    Unwritten {
        /// Why.
        error: &'a LedgerError,
    },
    /// A pool is being connected to.
    Connecting {
        /// Its place in the list.
        pool: usize,
    },
    /// A pool takes shares.
    Ready {
        /// Its place in the list.
        pool: usize,
        /// What was found in the session before still counts.
        resumed: bool,
    },
    /// Work, in place of all before it. What is found in it is handed in as a [`FoundShare`].
    Work {
        /// Place of the pool in the list.
        pool: usize,
        /// The work; borrowed, because its memory is used again.
        work: &'a Work,
        /// When the completion was seen that brought its bytes ([`zcn::now`]).
        received_at: Instant,
    },
    /// Bits of the version that may be rolled have changed, for all work.
    VersionMask(u32),
    /// There is no pool: what is being worked on counts for nothing until there is new work.
    Disconnected {
        /// Place of the pool in the list.
        pool: usize,
        /// Why.
        cause: &'a Disconnect,
        /// How long that pool is left alone.
        retry_after: Duration,
    },
    /// As if the last job had come once more, so that the way of the next one is in the caches
    /// of the CPU ([`rehearse_for`](super::SessionSettings::rehearse_for)): nothing is to
    /// come of it.
    Rehearsal {
        /// The job.
        work: &'a Work,
    },
    /// The pool took a share.
    Accepted {
        /// The share.
        share: &'a FoundShare,
        /// How long the answer took.
        rtt: Duration,
    },
    /// The pool did not take a share.
    Rejected {
        /// The share.
        share: &'a FoundShare,
        /// How long the answer took.
        rtt: Duration,
        /// Why.
        rejection: &'a Rejection,
    },
    /// A share can no longer be submitted anywhere.
    Lost {
        /// The share.
        share: &'a FoundShare,
        /// Why.
        why: Lost,
    },
    /// Words of the pool for whoever runs the miner.
    Message(&'a str),
    /// Somebody wants us outside of the pool's domain; we stay.
    RedirectRefused {
        /// Where to.
        host: &'a str,
    },
}

/// Why a connection with a pool is over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// It could not be made, or has died.
    #[error(transparent)]
    Net(#[from] zcn::Error),
    /// It could not be made in time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// It has died while something was sent, or the pool does not read.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The pool broke the rules, or refused us, or is silent.
    #[error(transparent)]
    Protocol(#[from] ClientError),
    /// The same of a pool of Stratum V2.
    #[error(transparent)]
    ProtocolV2(#[from] v2::client::ClientError),
    /// The system has no random bytes for the secrets of a connection.
    #[error("no random bytes: {0}")]
    Random(io::Error),
    /// The pool ended the connection.
    #[error("the pool ended the connection")]
    Ended,
    /// The pool ended the connection before it said anything that helps.
    #[error(
        "the pool ended the connection before a subscription: perhaps it wants TLS \
         (stratum+ssl://), or Stratum V2 (stratum2+tcp://)"
    )]
    EndedEarly,
    /// The pool ended the connection before there was a channel.
    #[error(
        "the pool ended the connection before there was a channel: perhaps it speaks Stratum V1 \
         only (stratum+tcp://)"
    )]
    EndedEarlyV2,
    /// The pool wants us elsewhere.
    #[error("the pool sends us to {host}:{port}")]
    Redirected {
        /// Where.
        host: String,
        /// The port there.
        port: u16,
    },
    /// The pool sends us around.
    #[error("the pool sends us around: more than {0} redirects in ten minutes")]
    RedirectLoop(usize),
    /// A pool further up in the list works again.
    #[error("a preferred pool is back")]
    Returned,
    /// Whoever runs the session has ended it.
    #[error("stopped")]
    Stopped,
}
