//! Jobs: what a pool hands out, and how a header comes of it.

use std::borrow::Cow;

use thiserror::Error;
use zcn_sha256d::{Sha256d, merkle_path};

use crate::hash::Hash;
use crate::header::{Header, rolled_version};
use crate::hex::{self, HexError};
use crate::inline::JobId;
use crate::json::Text;
use crate::message::Notify;
use crate::share::Share;

/// Branches that a block can need: its transactions are counted in 32 bits.
pub const MAX_BRANCHES: usize = 32;

/// Why a job is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JobError {
    /// Its name is empty or longer than 64 bytes.
    #[error("the name of a job has {len} bytes")]
    Id {
        /// Bytes of the name.
        len: usize,
    },
    /// A field is not what has to be there.
    #[error("the {field} of a job: {source}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        source: HexError,
    },
    /// The merkle branches are not an array of strings.
    #[error("the merkle branches of a job are not strings")]
    Branches,
    /// More merkle branches than a block can have.
    #[error("a job has more than {MAX_BRANCHES} merkle branches")]
    TooManyBranches,
}

/// A job with its fields decoded. Assigning another one reuses the memory of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The pool's name for it.
    pub id: JobId,
    /// Hash of the block before, as it stands in the header.
    pub prev_hash: Hash,
    /// The coinbase transaction up to the extranonce.
    pub coinbase_1: Vec<u8>,
    /// The coinbase transaction after the extranonce.
    pub coinbase_2: Vec<u8>,
    /// Hashes that lead from the coinbase transaction to the root.
    pub branches: Vec<Hash>,
    /// Version of the block before rolling.
    pub version: u32,
    /// Target of the block in compact form.
    pub nbits: u32,
    /// Seconds since 1970; a miner may move it forward.
    pub ntime: u32,
    /// What was handed out before is worth nothing any more.
    pub clean: bool,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            id: JobId::EMPTY,
            prev_hash: [0; 32],
            coinbase_1: Vec::new(),
            coinbase_2: Vec::new(),
            branches: Vec::new(),
            version: 0,
            nbits: 0,
            ntime: 0,
            clean: false,
        }
    }
}

/// Turns around the bytes of each of the eight words of a hash: so it travels as `prevhash`.
pub(crate) fn swap_words(mut hash: Hash) -> Hash {
    hash.as_chunks_mut::<4>()
        .0
        .iter_mut()
        .for_each(|word| word.reverse());
    hash
}

fn digits(text: Text<'_>) -> Cow<'_, [u8]> {
    match text.plain() {
        Some(plain) => Cow::Borrowed(plain),
        None => Cow::Owned(text.to_str().into_owned().into_bytes()),
    }
}

impl Job {
    /// Takes over what a `mining.notify` says.
    ///
    /// # Errors
    /// The first field that is not what it has to be; the job is then not to be used.
    pub fn assign(&mut self, notify: &Notify<'_>) -> Result<(), JobError> {
        let field = |field| move |source| JobError::Field { field, source };
        let id = digits(notify.job_id);
        self.id = JobId::new(&id)
            .filter(|id| !id.as_bytes().is_empty())
            .ok_or(JobError::Id { len: id.len() })?;
        let prev_hash =
            hex::decode_array(&digits(notify.prev_hash)).map_err(field("previous hash"))?;
        self.prev_hash = swap_words(prev_hash);
        self.coinbase_1.clear();
        self.coinbase_2.clear();
        hex::decode_onto(&digits(notify.coinbase_1), &mut self.coinbase_1)
            .map_err(field("first part of the coinbase"))?;
        hex::decode_onto(&digits(notify.coinbase_2), &mut self.coinbase_2)
            .map_err(field("second part of the coinbase"))?;
        self.branches.clear();
        let mut branches = notify.branches;
        loop {
            // Usually 64 digits in quotes, which needs no second look at the text.
            let branch = branches.next_of_digits().map(Ok).or_else(|| {
                let value = branches.next()?;
                let text = value.as_text().ok_or(JobError::Branches);
                Some(text.and_then(|text| {
                    hex::decode_array(&digits(text)).map_err(field("merkle branch"))
                }))
            });
            let Some(branch) = branch else { break };
            if self.branches.len() == MAX_BRANCHES {
                return Err(JobError::TooManyBranches);
            }
            self.branches.push(branch?);
        }
        self.version = hex::decode_u32(&digits(notify.version)).map_err(field("version"))?;
        self.nbits = hex::decode_u32(&digits(notify.nbits)).map_err(field("nbits"))?;
        self.ntime = hex::decode_u32(&digits(notify.ntime)).map_err(field("ntime"))?;
        self.clean = notify.clean;
        Ok(())
    }

    /// The coinbase transaction up to the second extranonce, hashed as far as that goes: each
    /// second extranonce then costs only what comes after it.
    pub fn coinbase_prefix(&self, extranonce_1: &[u8]) -> CoinbasePrefix {
        let mut prefix = Sha256d::new();
        prefix.update(&self.coinbase_1);
        prefix.update(extranonce_1);
        CoinbasePrefix(prefix)
    }

    /// The merkle root for a second extranonce.
    pub fn merkle_root(&self, prefix: &CoinbasePrefix, extranonce_2: &[u8]) -> Hash {
        let mut coinbase = prefix.0.clone();
        coinbase.update(extranonce_2);
        coinbase.update(&self.coinbase_2);
        merkle_path(&coinbase.finish(), &self.branches)
    }

    /// The header of this job with a root; time as in the job, nonce 0.
    pub fn header(&self, merkle_root: Hash) -> Header {
        Header {
            version: self.version,
            prev_hash: self.prev_hash,
            merkle_root,
            ntime: self.ntime,
            nbits: self.nbits,
            nonce: 0,
        }
    }

    /// The header that a share says it has found.
    pub fn header_of(&self, extranonce_1: &[u8], version_mask: u32, share: &Share) -> Header {
        let prefix = self.coinbase_prefix(extranonce_1);
        let root = self.merkle_root(&prefix, share.extranonce_2.as_bytes());
        self.header_with(root, version_mask, share)
    }

    /// As [`header_of`](Self::header_of), with the merkle root.
    pub(crate) fn header_with(&self, root: Hash, version_mask: u32, share: &Share) -> Header {
        let bits = share.version_bits.unwrap_or(self.version);
        Header {
            version: rolled_version(self.version, version_mask, bits),
            ntime: share.ntime,
            nonce: share.nonce,
            ..self.header(root)
        }
    }

    /// The whole coinbase transaction, appended to `out`.
    pub fn write_coinbase(&self, extranonce_1: &[u8], extranonce_2: &[u8], out: &mut Vec<u8>) {
        for part in [
            &self.coinbase_1,
            extranonce_1,
            extranonce_2,
            &self.coinbase_2,
        ] {
            out.extend_from_slice(part);
        }
    }
}

/// A coinbase transaction hashed up to its second extranonce.
#[derive(Clone, Debug)]
pub struct CoinbasePrefix(Sha256d);
