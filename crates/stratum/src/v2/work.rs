//! Work of a channel, and shares of it.

use std::sync::Arc;

use crate::client;
pub use crate::client::WorkKey;
use crate::hash::Hash;
use crate::header::{Header, rolled_version};
use crate::inline::{Extranonce, JobId};
use crate::job::Job;
use crate::target::Target;

/// Where the merkle root of a header comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A standard channel: from the pool. A miner has version, time and nonce to roll.
    Fixed(Hash),
    /// An extended channel: from a coinbase transaction with room for an extranonce.
    Rolled {
        /// The coinbase transaction around the extranonce, and the branches.
        job: Arc<Job>,
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
    /// The part of the extranonce that the pool chose; all of it on a standard channel.
    pub prefix: Extranonce,
    /// Where the merkle root comes from.
    pub root: Root,
    /// The first of a new block: all work before it is stale.
    pub first: bool,
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
            Root::Rolled { job, .. } => {
                job.merkle_root(&job.coinbase_prefix(self.prefix.as_bytes()), extranonce)
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

    /// Makes `to` the same work in the terms of Stratum V1, for whoever searches for both. The
    /// number of the job, lowest byte first, is its name there.
    pub fn copy_to(&self, to: &mut client::Work) {
        let job = &mut to.job;
        match &self.root {
            Root::Fixed(root) => {
                to.root = Some(*root);
                job.coinbase_1.clear();
                job.coinbase_2.clear();
                job.branches.clear();
            }
            Root::Rolled { job: rolled, .. } => {
                to.root = None;
                job.coinbase_1.clone_from(&rolled.coinbase_1);
                job.coinbase_2.clone_from(&rolled.coinbase_2);
                job.branches.clone_from(&rolled.branches);
            }
        }
        job.id = JobId::new(&self.job_id.to_le_bytes()).unwrap_or(JobId::EMPTY);
        (job.prev_hash, job.version) = (self.prev_hash, self.version);
        (job.nbits, job.ntime, job.clean) = (self.nbits, self.min_ntime, self.first);
        (to.key, to.extranonce_1) = (self.key, self.prefix);
        to.extranonce_2_len = self.extranonce_len();
        (to.target, to.difficulty) = (self.target, self.target.difficulty());
        (to.version_mask, to.stale) = (Some(self.version_mask), self.stale);
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
