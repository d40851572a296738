//! Shares that were found and are not answered for.

use std::collections::VecDeque;

use zcn_stratum::client::SubmitId;
use zcn_stratum::hash::Hash;
use zcn_stratum::inline::Extranonce;
use zcn_stratum::share::Share;

/// A share, and what it takes to know whether it still counts elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundShare {
    /// Place of the pool in the list of the settings.
    pub pool: usize,
    /// The first extranonce that it was found with; of a pool of Stratum V2, its part of the
    /// extranonce.
    pub extranonce_1: Extranonce,
    /// The block that its header follows.
    pub prev_hash: Hash,
    /// What is submitted. A job of Stratum V2 is named by its number, lowest byte first.
    pub share: Share,
}

/// Why a share will never be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// Its job is over.
    Stale,
    /// The pool has begun a new session, which does not know its extranonce.
    NewSession,
    /// It was sent before; the answer to that counts.
    Duplicate,
    /// Too many wait; the oldest go.
    Full,
    /// The session is over; the share is in the ledger, for the next program.
    Kept,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stale => "its job is over",
            Self::NewSession => "the pool has begun a new session",
            Self::Duplicate => "it was sent before",
            Self::Full => "too many shares wait",
            Self::Kept => "it stays in the ledger",
        })
    }
}

/// A share on its way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) found: FoundShare,
    /// Sent on the connection that lasts.
    pub(super) sent: Option<SubmitId>,
    /// Sent on one that broke before the answer, or by the program before: the pool may know
    /// it.
    pub(super) sent_before: bool,
    /// The number that settles it in the ledger.
    pub(super) number: Option<u64>,
}

/// Shares without an answer, the oldest first; bounded.
#[derive(Debug)]
pub(super) struct ShareQueue {
    pub(super) shares: VecDeque<Waiting>,
    max: usize,
}

impl ShareQueue {
    pub(super) fn new(max: usize) -> Self {
        let shares = VecDeque::new();
        Self { shares, max }
    }

    /// Takes a share; what had to go for it.
    pub(super) fn push(
        &mut self,
        found: FoundShare,
        sent_before: bool,
        number: Option<u64>,
    ) -> Option<Waiting> {
        let full = self.shares.len() >= self.max;
        let dropped = full.then(|| self.shares.pop_front()).flatten();
        self.shares.push_back(Waiting {
            found,
            sent: None,
            sent_before,
            number,
        });
        dropped
    }

    /// Takes out the share that was answered.
    pub(super) fn answered(&mut self, id: SubmitId) -> Option<Waiting> {
        let at = self
            .shares
            .iter()
            .position(|waiting| waiting.sent == Some(id))?;
        self.shares.remove(at)
    }

    /// The connection is over: what was sent has to be sent again.
    pub(super) fn disconnected(&mut self) {
        for waiting in &mut self.shares {
            waiting.sent_before |= waiting.sent.take().is_some();
        }
    }

    /// How many wait for the answer of the pool.
    pub(super) fn sent(&self) -> usize {
        self.shares
            .iter()
            .filter(|waiting| waiting.sent.is_some())
            .count()
    }
}
