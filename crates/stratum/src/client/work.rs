//! Jobs of a session, each with what held when it came.

use crate::hash::Hash;
use crate::inline::{Extranonce, JobId};
use crate::job::Job;
use crate::share::Share;
use crate::target::Target;

/// Names a job of a session; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkKey(pub(crate) u64);

/// A job, and what a share of it has to meet: a pool may change difficulty and extranonce at
/// any time, for later jobs.
#[derive(Clone, Debug)]
pub struct Work {
    /// Its name in this session.
    pub key: WorkKey,
    /// What the pool handed out.
    pub job: Job,
    /// The merkle root, where the pool made it itself, as Stratum V2 can: of the coinbase
    /// transaction nothing is known then, and there is no second extranonce.
    pub root: Option<Hash>,
    /// The first extranonce, which the pool chose.
    pub extranonce_1: Extranonce,
    /// Length of the second one in bytes.
    pub extranonce_2_len: usize,
    /// What a hash must not exceed to be a share.
    pub target: Target,
    /// The difficulty that the pool said.
    pub difficulty: f64,
    /// Bits of the version that may be rolled; `None` when rolling was not agreed upon, 0 when
    /// it was and there are none.
    pub version_mask: Option<u32>,
    /// The pool has said that nothing more of it counts.
    pub stale: bool,
}

impl Default for Work {
    /// No work yet.
    fn default() -> Self {
        Self::vacant()
    }
}

impl Work {
    pub(super) fn vacant() -> Self {
        Self {
            key: WorkKey(0),
            job: Job::default(),
            root: None,
            extranonce_1: Extranonce::EMPTY,
            extranonce_2_len: 0,
            target: Target::MAX,
            difficulty: 0.0,
            version_mask: None,
            stale: true,
        }
    }

    /// The share of a hit: its second extranonce, and the version, time and nonce of its header.
    pub fn share(&self, extranonce_2: Extranonce, version: u32, ntime: u32, nonce: u32) -> Share {
        Share {
            job_id: self.job.id,
            extranonce_2,
            ntime,
            nonce,
            version_bits: self.version_mask.map(|mask| version & mask),
        }
    }

    /// The hash of a share's header, to be held against [`target`](Self::target) before the
    /// share is sent.
    pub fn hash_of(&self, share: &Share) -> Hash {
        let root = self.root.unwrap_or_else(|| {
            let prefix = self.job.coinbase_prefix(self.extranonce_1.as_bytes());
            self.job.merkle_root(&prefix, share.extranonce_2.as_bytes())
        });
        let mask = self.version_mask.unwrap_or(0);
        self.job.header_with(root, mask, share).hash()
    }
}

/// Jobs that a late share may still be for.
const REMEMBERED: usize = 16;

/// The last jobs of a session, and a place where the next one is made ready. Places are used
/// again, so that a job allocates nothing once each has held one of its size.
#[derive(Debug)]
pub(super) struct WorkTable {
    places: Vec<Work>,
    /// The last job in force.
    last: u64,
}

impl WorkTable {
    pub(super) fn new() -> Self {
        Self {
            places: vec![Work::vacant(); REMEMBERED + 1],
            last: 0,
        }
    }

    /// The place where the next job is made ready, whatever was begun there before.
    pub(super) fn begun(&mut self) -> &mut Work {
        let place = Self::place(WorkKey(self.last + 1));
        let work = &mut self.places[place];
        (work.key, work.stale) = (WorkKey(0), true);
        work
    }

    fn place(key: WorkKey) -> usize {
        (key.0 % (REMEMBERED as u64 + 1)) as usize
    }

    /// Makes the job that was begun count, and those before it not, if it says so or has the
    /// name of one of them.
    pub(super) fn commit(&mut self) -> WorkKey {
        self.last += 1;
        let key = WorkKey(self.last);
        let place = Self::place(key);
        let (id, clean) = (self.places[place].job.id, self.places[place].job.clean);
        for work in &mut self.places {
            work.stale |= clean || work.job.id == id;
        }
        (self.places[place].key, self.places[place].stale) = (key, false);
        // The oldest is forgotten.
        self.begun();
        key
    }

    pub(super) fn get(&self, key: WorkKey) -> Option<&Work> {
        let work = &self.places[Self::place(key)];
        (work.key == key && key.0 > 0).then_some(work)
    }

    /// The job of that name whose shares still count.
    pub(super) fn named(&self, id: &JobId) -> Option<&Work> {
        self.places
            .iter()
            .find(|work| !work.stale && work.job.id == *id)
    }

    pub(super) fn set_version_mask(&mut self, mask: u32) {
        for work in &mut self.places {
            work.version_mask = Some(mask);
        }
    }
}
