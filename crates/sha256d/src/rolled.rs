//! Sixteen headers that differ in their version only (overt AsicBoost).
//!
//! The version stands in the first block, so the second is the same for all, and so is
//! its message schedule: it is worked out once for sixteen headers. The rounds read each
//! word from memory into all lanes.

// Only the AVX-512 engine shares a schedule.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

use crate::job::Job;
use crate::target::Target;

/// How many versions go through at once.
pub const VERSIONS: usize = 16;

/// A block header in sixteen versions, prepared for the search.
///
/// Making one costs about as much as eighteen compressions.
#[derive(Clone, Debug)]
pub struct RolledJob {
    pub(crate) versions: [u32; VERSIONS],
    pub(crate) jobs: [Job; VERSIONS],
    /// The midstates, a row for each variable and a lane for each version.
    pub(crate) midstate: [[u32; VERSIONS]; 8],
    /// The variables after round 3 for the nonce 0, in the same way.
    pub(crate) after_nonce: [[u32; VERSIONS]; 8],
}

impl RolledJob {
    /// A job for a serialized header, whose version is replaced by each of `versions`.
    ///
    /// Which bits may be rolled is between the miner and its pool (BIP 310 and BIP 320).
    pub fn new(header: &[u8; 80], versions: [u32; VERSIONS], target: Target) -> Self {
        let jobs = versions.map(|version| {
            let mut header = *header;
            header[..4].copy_from_slice(&version.to_le_bytes());
            Job::new(&header, target)
        });
        let rows = |of: fn(&Job) -> &[u32; 8]| {
            std::array::from_fn(|row| std::array::from_fn(|lane| of(&jobs[lane])[row]))
        };
        Self {
            versions,
            midstate: rows(|job| &job.midstate),
            after_nonce: rows(|job| &job.after_nonce),
            jobs,
        }
    }

    /// The job of one version, by its place.
    pub fn job(&self, index: usize) -> &Job {
        &self.jobs[index]
    }
}
