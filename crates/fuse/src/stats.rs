//! What was served.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`Session`](crate::Session) has served so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that were read from the device; forgets and interrupts always are.
    pub by_reads: u64,
    /// Requests that came through a ring.
    pub by_uring: u64,
    /// Requests that were answered with `ENOSYS`.
    pub unsupported: u64,
    /// Bytes that were no request; answered with `EIO` where they named a request.
    pub malformed: u64,
    /// Answers that the kernel did not want any more.
    pub withdrawn: u64,
    /// Entries of a ring that ended with an error other than the end of the mount.
    pub lost_entries: u64,
}

/// The same while it is counted, by several threads.
///
/// `Relaxed`: statistics that order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) by_reads: AtomicU64,
    pub(crate) by_uring: AtomicU64,
    pub(crate) unsupported: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) withdrawn: AtomicU64,
    pub(crate) lost_entries: AtomicU64,
}

impl Counted {
    pub(crate) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            by_reads: read(&self.by_reads),
            by_uring: read(&self.by_uring),
            unsupported: read(&self.unsupported),
            malformed: read(&self.malformed),
            withdrawn: read(&self.withdrawn),
            lost_entries: read(&self.lost_entries),
        }
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
