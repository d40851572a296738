//! Shares, and which of them were there already.

use std::collections::BTreeSet;

use crate::inline::{Extranonce, JobId};

/// What a miner submits, the name of its worker apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// The pool's name of the job.
    pub job_id: JobId,
    /// The second extranonce.
    pub extranonce_2: Extranonce,
    /// Time of the header.
    pub ntime: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// The version of the header as far as it was rolled; present exactly when version rolling
    /// was agreed upon, even if nothing was rolled.
    pub version_bits: Option<u32>,
}

/// Shares that were seen; bounded, and forgotten with their jobs.
#[derive(Clone, Debug, Default)]
pub struct SeenShares<S = Share> {
    seen: BTreeSet<S>,
    max: usize,
}

/// What [`SeenShares::insert`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// The share was not there before; now it is.
    New,
    /// It was there.
    Duplicate,
    /// It is not known to be there, and there is no room to remember it.
    Full,
}

impl<S: Ord> SeenShares<S> {
    /// Remembers at most `max` shares at a time.
    pub fn new(max: usize) -> Self {
        let seen = BTreeSet::new();
        Self { seen, max }
    }

    /// Remembers a share.
    pub fn insert(&mut self, share: S) -> Novelty {
        if self.seen.contains(&share) {
            return Novelty::Duplicate;
        }
        if self.seen.len() >= self.max {
            return Novelty::Full;
        }
        self.seen.insert(share);
        Novelty::New
    }

    /// Forgets one that was remembered, e.g. because it could not be sent.
    pub fn remove(&mut self, share: &S) {
        self.seen.remove(share);
    }

    /// Forgets all shares but those whose job is worth keeping them for.
    pub fn retain(&mut self, keep: impl FnMut(&S) -> bool) {
        self.seen.retain(keep);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(job: &str, nonce: u32) -> Share {
        Share {
            job_id: JobId::new(job.as_bytes()).expect("short"),
            extranonce_2: Extranonce::EMPTY,
            ntime: 0,
            nonce,
            version_bits: None,
        }
    }

    #[test]
    fn a_second_one_is_found_until_its_job_is_over() {
        let mut seen = SeenShares::new(3);
        assert_eq!(seen.insert(share("a", 1)), Novelty::New);
        assert_eq!(seen.insert(share("a", 1)), Novelty::Duplicate);
        let mut rolled = share("a", 1);
        rolled.version_bits = Some(0x2000);
        assert_eq!(seen.insert(rolled), Novelty::New);
        assert_eq!(seen.insert(share("b", 1)), Novelty::New);
        assert_eq!(seen.insert(share("b", 2)), Novelty::Full);
        assert_eq!(seen.insert(share("b", 1)), Novelty::Duplicate);
        seen.retain(|share| share.job_id.as_bytes() == b"b");
        assert_eq!(seen.insert(share("a", 1)), Novelty::New);
        assert_eq!(seen.insert(share("b", 1)), Novelty::Duplicate);
    }
}
