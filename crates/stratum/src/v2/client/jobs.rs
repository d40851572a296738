//! The jobs of a channel: those to come, those of the block of the moment.

use std::collections::VecDeque;
use std::sync::Arc;

use mining_sv2::{NewExtendedMiningJob, NewMiningJob};

use super::event::ClientError;
use crate::client::ROLLING_MASK;
use crate::hash::Hash;
use crate::inline::{Extranonce, JobId};
use crate::job::{Job, MAX_BRANCHES};
use crate::target::Target;
use crate::v2::work::{Root, Work, WorkKey};

/// Jobs for a block to come that are kept, and jobs that a late share may still be for.
const REMEMBERED: usize = 16;

/// The block that jobs follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tip {
    pub(super) prev_hash: Hash,
    pub(super) nbits: u32,
    pub(super) min_ntime: u32,
}

/// A job that may not have a block yet.
#[derive(Debug)]
pub(super) struct NewJob {
    pub(super) job_id: u32,
    pub(super) min_ntime: Option<u32>,
    version: u32,
    version_mask: u32,
    prefix: Extranonce,
    root: Root,
}

impl NewJob {
    pub(super) fn standard(job: NewMiningJob<'_>, fixed_version: bool, prefix: Extranonce) -> Self {
        Self {
            job_id: job.job_id,
            version: job.version,
            version_mask: if fixed_version { 0 } else { ROLLING_MASK },
            prefix,
            root: Root::Fixed(job.merkle_root.to_array()),
            min_ntime: job.min_ntime.into_inner(),
        }
    }

    pub(super) fn extended(
        job: NewExtendedMiningJob<'_>,
        fixed_version: bool,
        prefix: Extranonce,
        extranonce_len: usize,
    ) -> Result<Self, ClientError> {
        if job.merkle_path.len() > MAX_BRANCHES {
            return Err(ClientError::TooManyBranches);
        }
        let rolls = job.version_rolling_allowed && !fixed_version;
        let branches = job.merkle_path.iter().map(|hash| *hash.as_array());
        let inner = Job {
            id: JobId::EMPTY,
            coinbase_1: job.coinbase_tx_prefix.as_bytes().to_vec(),
            coinbase_2: job.coinbase_tx_suffix.as_bytes().to_vec(),
            branches: branches.collect(),
            version: job.version,
            ..Job::default()
        };
        Ok(Self {
            job_id: job.job_id,
            version: job.version,
            version_mask: if rolls { ROLLING_MASK } else { 0 },
            prefix,
            root: Root::Rolled {
                job: Arc::new(inner),
                extranonce_len,
            },
            min_ntime: job.min_ntime.into_inner(),
        })
    }
}

/// All jobs of a channel; bounded, the oldest go first.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    future: VecDeque<NewJob>,
    works: VecDeque<Work>,
    tip: Option<Tip>,
    last: u64,
}

impl Jobs {
    /// Takes a job: for later, or for now.
    pub(super) fn add(
        &mut self,
        job: NewJob,
        target: Target,
    ) -> Result<Option<WorkKey>, ClientError> {
        let Some(min_ntime) = job.min_ntime else {
            self.future.retain(|other| other.job_id != job.job_id);
            if self.future.len() == REMEMBERED {
                self.future.pop_front();
            }
            self.future.push_back(job);
            return Ok(None);
        };
        let tip = self.tip.ok_or(ClientError::NoPrevHash(job.job_id))?;
        Ok(Some(self.start(
            job,
            Tip { min_ntime, ..tip },
            target,
            false,
        )))
    }

    /// Another block: the job for it starts, what was before is stale.
    pub(super) fn begin(
        &mut self,
        job_id: u32,
        tip: Tip,
        target: Target,
    ) -> Result<WorkKey, ClientError> {
        self.tip = Some(tip);
        for work in &mut self.works {
            work.stale = true;
        }
        let waiting = self.future.iter().position(|job| job.job_id == job_id);
        let job = waiting.and_then(|at| self.future.remove(at));
        // The others were for the same block, and lost.
        self.future.clear();
        let job = job.ok_or(ClientError::UnknownJob(job_id))?;
        Ok(self.start(job, tip, target, true))
    }

    fn start(&mut self, job: NewJob, tip: Tip, target: Target, first: bool) -> WorkKey {
        self.last += 1;
        let key = WorkKey(self.last);
        if self.works.len() == REMEMBERED {
            self.works.pop_front();
        }
        // A number that comes again names the newer job.
        self.works.retain(|work| work.job_id != job.job_id);
        self.works.push_back(Work {
            key,
            job_id: job.job_id,
            prev_hash: tip.prev_hash,
            version: job.version,
            version_mask: job.version_mask,
            nbits: tip.nbits,
            min_ntime: tip.min_ntime,
            target,
            prefix: job.prefix,
            root: job.root,
            first,
            stale: false,
        });
        key
    }

    pub(super) fn get(&self, key: WorkKey) -> Option<&Work> {
        self.works.iter().find(|work| work.key == key)
    }

    /// The job of that number whose shares still count.
    pub(super) fn numbered(&self, job_id: u32) -> Option<&Work> {
        self.works
            .iter()
            .find(|work| !work.stale && work.job_id == job_id)
    }
}
