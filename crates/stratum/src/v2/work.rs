//! Work of a channel, and shares of it.

use crate::hash::Hash;
use crate::header::{Header, rolled_version};
use crate::inline::Extranonce;
use crate::job::Job;
use crate::target::Target;

/// Names work of a session; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkKey(pub(super) u64);

/// Where the merkle root of a header comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A standard channel: from the pool. A miner has version, time and nonce to roll.
    Fixed(Hash),
    /// An extended channel: from a coinbase transaction with room for an extranonce.
    Rolled {
        /// The coinbase transaction around the extranonce, and the branches.
        job: Box<Job>,
        /// The part of the extranonce that the pool chose.
        prefix: Extranonce,
        /// Bytes of the miner's part.
        extranonce_len: usize,
    },
}

/// A job with the block that it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its name in this session.
    pub key: WorkKey,
    /// The pool's number of it.
    pub job_id: u32,
    /// Hash of the block before, as it stands in the header.
    pub prev_hash: Hash,
    /// Version of the block before rolling.
    pub version: u32,
    /// Bits of the version that may be rolled.
    pub version_mask: u32,
    /// Target of the block in compact form.
    pub nbits: u32,
    /// The least time of a header, in seconds since 1970; it may go on with the clock.
    pub min_ntime: u32,
    /// What a hash must not exceed to be a share.
    pub target: Target,
    /// Where the merkle root comes from.
    pub root: Root,
    /// The pool takes no more shares of it.
    pub stale: bool,
}

/// What a miner submits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// The pool's number of the job.
    pub job_id: u32,
    /// The miner's part of the extranonce; empty on a standard channel.
    pub extranonce: Extranonce,
    /// Version of the header, rolled bits included.
    pub version: u32,
    /// Time of the header.
    pub ntime: u32,
    /// Nonce of the header.
    pub nonce: u32,
}

impl Work {
    /// Bytes of the miner's part of the extranonce; 0 on a standard channel.
    pub fn extranonce_len(&self) -> usize {
        match self.root {
            Root::Fixed(_) => 0,
            Root::Rolled { extranonce_len, .. } => extranonce_len,
        }
    }

    /// The merkle root with an extranonce of [`extranonce_len`](Self::extranonce_len) bytes.
    pub fn merkle_root(&self, extranonce: &[u8]) -> Hash {
        match &self.root {
            Root::Fixed(root) => *root,
            Root::Rolled { job, prefix, .. } => {
                job.merkle_root(&job.coinbase_prefix(prefix.as_bytes()), extranonce)
            }
        }
    }

    /// The share of a hit; of `version` only the bits that may be rolled count.
    pub fn share(&self, extranonce: Extranonce, version: u32, ntime: u32, nonce: u32) -> Share {
        Share {
            job_id: self.job_id,
            extranonce,
            version: rolled_version(self.version, self.version_mask, version),
            ntime,
            nonce,
        }
    }

    /// The header that a share says it has found.
    pub fn header_of(&self, share: &Share) -> Header {
        Header {
            version: share.version,
            prev_hash: self.prev_hash,
            merkle_root: self.merkle_root(share.extranonce.as_bytes()),
            ntime: share.ntime,
            nbits: self.nbits,
            nonce: share.nonce,
        }
    }

    /// The hash of a share's header, to be held against [`target`](Self::target) before the share
    /// is sent.
    pub fn hash_of(&self, share: &Share) -> Hash {
        self.header_of(share).hash()
    }
}
