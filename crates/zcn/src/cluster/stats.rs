//! What the runtimes of a cluster did, one by one and together.

use crate::{DriverStats, RuntimeStats};

/// One core of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreStats {
    /// Position in the cluster.
    pub index: usize,
    /// The core its thread is pinned to.
    pub cpu: Option<usize>,
    /// Its runtime's figures.
    pub runtime: RuntimeStats,
}

/// All cores of a cluster. Those that did not answer in time are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStats {
    /// By position in the cluster.
    pub cores: Vec<CoreStats>,
}

impl ClusterStats {
    /// Open connections.
    pub fn connections(&self) -> usize {
        self.sum(|stats| stats.connections)
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.sum(|stats| stats.tasks)
    }

    /// Buffers that somebody holds.
    pub fn buffers_in_use(&self) -> usize {
        self.sum(|stats| stats.pool.in_use)
    }

    /// Buffers there are.
    pub fn buffers(&self) -> usize {
        self.sum(|stats| stats.pool.total)
    }

    fn sum(&self, figure: impl Fn(&RuntimeStats) -> usize) -> usize {
        self.cores.iter().map(|core| figure(&core.runtime)).sum()
    }

    /// The reactors' figures, added up.
    pub fn reactors(&self) -> DriverStats {
        let mut sum = DriverStats::default();
        for core in &self.cores {
            let one = &core.runtime.reactor;
            sum.system_calls += one.system_calls;
            sum.operations += one.operations;
            sum.stale_completions += one.stale_completions;
            sum.orphaned += one.orphaned;
            sum.overflows += one.overflows;
            sum.no_buffers += one.no_buffers;
            sum.short_sends += one.short_sends;
            sum.zero_copy_copied += one.zero_copy_copied;
            sum.rearmed += one.rearmed;
        }
        sum
    }
}
