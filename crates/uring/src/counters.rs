//! What the ring did and what it had to put up with: one counter for each rule.

/// Counters of one [`Ring`](crate::Ring). Plain integers: the ring is used by one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Entries pushed.
    pub submitted: u64,
    /// Completions taken from the queue, internal ones included.
    pub completed: u64,
    /// `io_uring_enter` system calls made.
    pub enters: u64,
    /// Completions whose generation was old: resources given back, otherwise ignored (rule 5).
    pub stale: u64,
    /// Operations whose owner went away before their final completion (rule 1).
    pub orphaned: u64,
    /// Orphans whose final completion has come and whose resources are home again.
    pub orphans_reclaimed: u64,
    /// Times the kernel reported an overflown completion queue (rule 9).
    pub cq_overflows: u64,
    /// Times a submit was refused with `EBUSY` or `EAGAIN`; the entries stay queued (rule 9).
    pub submit_busy: u64,
    /// Receives that ended for want of a provided buffer (rule 8).
    pub no_buffers: u64,
    /// Multishot operations that ended although nobody cancelled them and must be armed again.
    pub multishot_ended: u64,
    /// Sends that moved less than was asked (rule 10).
    pub short_sends: u64,
    /// Zero-copy notifications received.
    pub zc_notifications: u64,
    /// Zero-copy sends that the kernel reported as copied after all.
    pub zc_copied: u64,
    /// Waits interrupted by a signal and taken up again.
    pub interrupted: u64,
    /// Accepted or opened descriptors closed because their operation was orphaned or stale.
    pub descriptors_reclaimed: u64,
}
