//! What a pool's session tells.

use crate::hash::Hash;
use crate::header::Header;
use crate::reject::RejectReason;
use crate::share::Share;

/// Names a request for authorisation, within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizeId(pub(super) u64);

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// The miner subscribed.
    Subscribed {
        /// Name and version of its program, cut off at 256 bytes.
        agent: String,
    },
    /// The miner wants to resume a session: to be answered by
    /// [`resume`](super::ServerSession::resume).
    Resume {
        /// The name of the session.
        session: String,
    },
    /// A worker wants to be let in: to be answered by
    /// [`authorize`](super::ServerSession::authorize).
    Authorize {
        /// What to answer to.
        id: AuthorizeId,
        /// Name of the worker.
        user: String,
        /// Its password.
        password: String,
    },
    /// A share that was found good; the miner is told so already.
    Share(Box<FoundShare>),
    /// A share that was refused; the miner is told so already.
    Refused {
        /// Name of the worker, cut off at 256 bytes.
        user: String,
        /// What was wrong.
        reason: RejectReason,
    },
    /// The difficulty of the jobs to come has changed.
    Difficulty(f64),
}

/// A good share.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundShare {
    /// Name of the worker.
    pub user: String,
    /// What it sent.
    pub share: Share,
    /// The header that it found.
    pub header: Header,
    /// The hash of that.
    pub hash: Hash,
    /// The difficulty that was asked for.
    pub difficulty: f64,
    /// The hash meets the target of the block.
    pub is_block: bool,
}
