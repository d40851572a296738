//! Whether a share is good.

use std::collections::BTreeSet;

use super::config::FoundShare;
use crate::inline::{Extranonce, JobId};
use crate::target::Target;
use crate::v2::work::{Share, Work};

/// Shares that are remembered to find the second one of the same.
const MAX_SEEN: usize = 1 << 16;
/// Jobs that a share may be for.
const REMEMBERED: usize = 16;

/// The jobs that a miner was given, and its shares of them.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Each with the caller's name of the job.
    works: Vec<(Work, JobId)>,
    seen: BTreeSet<Share>,
}

impl Given {
    pub(super) fn push(&mut self, work: Work, name: JobId) {
        if work.first {
            for (work, _) in &mut self.works {
                work.stale = true;
            }
            self.seen.clear();
        }
        if self.works.len() == REMEMBERED {
            self.works.remove(0);
        }
        self.works.push((work, name));
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
        if self.seen.contains(&share) {
            return Err("duplicate-share");
        }
        if self.seen.len() >= MAX_SEEN {
            // Work that costs so little that it cannot be told apart any more.
            return Err("invalid-share");
        }
        self.seen.insert(share);
        let extranonce = [work.prefix.as_bytes(), share.extranonce.as_bytes()].concat();
        let block = Target::from_compact(work.nbits);
        Ok(FoundShare {
            extranonce: Extranonce::new(&extranonce).unwrap_or(Extranonce::EMPTY),
            is_block: block.is_ok_and(|target| target.is_met_by(&hash)),
            share,
            job: *name,
            target: work.target,
            header,
            hash,
        })
    }
}
