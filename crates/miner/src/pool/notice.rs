//! What a pool tells whoever runs it.

use std::net::SocketAddr;

use thiserror::Error;
use zcn_stratum::hash::Hash;
use zcn_stratum::header::Header;
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::reject::RejectReason;
use zcn_stratum::{server, v2};

/// Something that happened in a pool.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolNotice<'a> {
    /// A miner has subscribed, or opened a channel.
    Subscribed {
        /// Its address.
        peer: SocketAddr,
        /// The version of Stratum that it speaks: `v1` or `v2`.
        protocol: &'static str,
        /// Name and version of its program.
        agent: &'a str,
    },
    /// A good share.
    Share {
        /// The miner's address.
        peer: SocketAddr,
        /// What it found.
        found: &'a Find,
    },
    /// A share that was refused.
    Refused {
        /// The miner's address.
        peer: SocketAddr,
        /// Why.
        reason: RejectReason,
    },
    /// A whole block: to be handed to a node.
    Block {
        /// What was found.
        found: &'a Find,
        /// Header and transactions, as [`Node::submit`](super::node::Node::submit) takes them.
        block: &'a [u8],
    },
    /// A miner is gone.
    Left {
        /// Its address.
        peer: SocketAddr,
        /// What it did, unless it went by itself.
        cause: Option<&'a MinerFault>,
    },
}

/// A good share, whichever version of the protocol brought it.
#[derive(Clone, Debug, PartialEq)]
pub struct Find {
    /// Name of the worker.
    pub user: String,
    /// The job that it is of.
    pub job: JobId,
    /// The whole extranonce, as it stands in the coinbase transaction.
    pub extranonce: Extranonce,
    /// The header.
    pub header: Header,
    /// The hash of that.
    pub hash: Hash,
    /// The difficulty that was asked for.
    pub difficulty: f64,
    /// The hash meets the target of the block.
    pub is_block: bool,
}

/// What a miner was sent away for.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum MinerFault {
    /// By Stratum V1.
    #[error(transparent)]
    V1(#[from] server::ServerError),
    /// By Stratum V2.
    #[error(transparent)]
    V2(#[from] v2::server::ServerError),
}
