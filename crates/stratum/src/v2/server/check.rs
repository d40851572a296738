//! Whether a share is good.

use super::config::FoundShare;
use crate::inline::{Extranonce, JobId};
use crate::share::{Novelty, SeenShares};
use crate::target::Target;
use crate::v2::work::{Share, Work};

/// Jobs that a share may be for.
const REMEMBERED: usize = 16;

/// The jobs that a miner was given, and its shares of them.
#[derive(Debug)]
pub(super) struct Given {
    /// Each with the caller's name of the job.
    works: Vec<(Work, JobId)>,
    /// With the whole extranonce: one hash counts once, whatever the channel was when the job was
    /// given.
    seen: SeenShares<Share>,
}

impl Given {
    /// Remembers at most `max_seen` shares at a time.
    pub(super) fn new(max_seen: usize) -> Self {
        Self {
            works: Vec::new(),
            seen: SeenShares::new(max_seen),
        }
    }

    pub(super) fn push(&mut self, work: Work, name: JobId) {
        if work.first {
            for (work, _) in &mut self.works {
                work.stale = true;
            }
        }
        // A channel that is opened once more is given the job of the moment once more.
        self.works.retain(|(other, _)| other.job_id != work.job_id);
        if self.works.len() == REMEMBERED {
            self.works.remove(0);
        }
        self.works.push((work, name));
        let counts = |share: &Share, work: &Work| !work.stale && work.job_id == share.job_id;
        self.seen
            .retain(|share| self.works.iter().any(|(work, _)| counts(share, work)));
    }

    /// Makes the other jobs stale.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&JobId) -> bool) {
        for (work, name) in &mut self.works {
            work.stale |= !keep(name);
        }
    }

    /// Checks a share.
    ///
    /// # Errors
    /// The protocol's word for what is wrong with it.
    pub(super) fn check(
        &mut self,
        share: Share,
        max_ntime_s: u32,
    ) -> Result<FoundShare, &'static str> {
        let work = self
            .works
            .iter()
            .find(|(work, _)| work.job_id == share.job_id);
        let (work, name) = work.ok_or("invalid-job-id")?;
        if work.stale {
            return Err("stale-share");
        }
        if share.extranonce.as_bytes().len() != work.extranonce_len() {
            return Err("bad-extranonce-size");
        }
        if (share.version ^ work.version) & !work.version_mask != 0 {
            return Err("version-rolling-not-allowed");
        }
        let latest = work.min_ntime.saturating_add(max_ntime_s);
        if !(work.min_ntime..=latest).contains(&share.ntime) {
            return Err("invalid-share");
        }
        let header = work.header_of(&share);
        let hash = header.hash();
        if !work.target.is_met_by(&hash) {
            return Err("difficulty-too-low");
        }
        let extranonce = [work.prefix.as_bytes(), share.extranonce.as_bytes()].concat();
        let extranonce = Extranonce::new(&extranonce).unwrap_or(Extranonce::EMPTY);
        match self.seen.insert(Share {
            extranonce,
            ..share
        }) {
            Novelty::New => {}
            Novelty::Duplicate => return Err("duplicate-share"),
            // Work that costs so little that it cannot be told apart any more.
            Novelty::Full => return Err("invalid-share"),
        }
        let block = Target::from_compact(work.nbits);
        Ok(FoundShare {
            extranonce,
            is_block: block.is_ok_and(|target| target.is_met_by(&hash)),
            share,
            job: *name,
            target: work.target,
            header,
            hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v2::work::{Root, WorkKey};

    /// A job whose shares any hash is good for.
    fn work(job_id: u32) -> Work {
        Work {
            key: WorkKey(job_id.into()),
            job_id,
            prev_hash: [1; 32],
            version: 0,
            version_mask: 0,
            nbits: 0x1d00_ffff,
            min_ntime: 0,
            target: Target::MAX,
            prefix: Extranonce::EMPTY,
            root: Root::Fixed([2; 32]),
            first: job_id == 1,
            stale: false,
        }
    }

    fn share(job_id: u32, nonce: u32) -> Share {
        Share {
            job_id,
            extranonce: Extranonce::EMPTY,
            version: 0,
            ntime: 0,
            nonce,
        }
    }

    /// A block can last longer than what is remembered.
    #[test]
    fn shares_of_jobs_that_are_over_make_room() {
        let mut given = Given::new(4);
        given.push(work(1), JobId::EMPTY);
        for nonce in 0..4 {
            assert!(given.check(share(1, nonce), 0).is_ok());
        }
        assert_eq!(given.check(share(1, 4), 0), Err("invalid-share"));
        let last = 1 + REMEMBERED as u32;
        for job_id in 2..=last {
            given.push(work(job_id), JobId::EMPTY);
        }
        assert_eq!(given.check(share(1, 0), 0), Err("invalid-job-id"));
        assert!(given.check(share(last, 4), 0).is_ok());
        assert_eq!(given.check(share(last, 4), 0), Err("duplicate-share"));
    }
}
