//! The count that keeps a pool's memory alive.

use crate::sync::{AtomicU64, Ordering};

/// What an open shard is counted as, until it is closed. More than all that shards may
/// keep to themselves, and few enough bits for 2^31 of them.
const SHARD: u64 = 1 << 32;

/// A shard that kept this much to itself settles it.
pub(crate) const SETTLE_AT: u64 = 1 << 30;

/// Counts handles, and buffers that are not home.
///
/// When no shard is open, the value is: pool handles plus buffers that are neither in the
/// depot nor in the stack of single buffers. Whoever brings a buffer home subtracts it
/// *after* it is home, and is counted itself (as a handle, or by that buffer) until then;
/// so zero is seen once, by the last party, when everything is home.
///
/// An open shard would make every magazine that it takes or gives an addition on this one
/// word. It keeps the difference to itself instead, and is counted as `SHARD` meanwhile;
/// when it is closed, by a thread that still has a handle, that is replaced by the
/// difference. Buffers that left through an open shard may come home one by one elsewhere
/// and be subtracted before they were added; but a shard settles whenever it kept 2^30,
/// so each open shard is worth more than 2^31, and the value is far from zero.
///
/// 64 bits, so that forgotten clones cannot make it wrap within a lifetime.
pub(crate) struct References(
    /// Additions are relaxed: the caller is counted already. Subtractions release what
    /// the thread did with the memory, and acquire what all others did, before it is
    /// freed.
    AtomicU64,
);

impl References {
    pub(crate) fn new(count: u64) -> Self {
        Self(AtomicU64::new(count))
    }

    /// One more handle, or buffers that left home by themselves.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes away `count` and tells whether nothing is left: then the caller is alone and
    /// must free the pool.
    #[inline]
    #[must_use]
    pub(crate) fn sub(&self, count: u64) -> bool {
        self.0.fetch_sub(count, Ordering::AcqRel) == count
    }

    /// A shard keeps its differences to itself from now on. The caller has a handle.
    pub(crate) fn open_shard(&self) {
        self.0.fetch_add(SHARD, Ordering::Relaxed);
    }

    /// Counts `away` buffers, perhaps less than none, that an open shard kept to itself.
    pub(crate) fn settle(&self, away: i64) {
        // The sum wraps as the difference of unsigned numbers should.
        self.0.fetch_add(away as u64, Ordering::AcqRel);
    }

    /// A shard is closed, and `away` was not settled yet. The caller has a handle.
    pub(crate) fn close_shard(&self, away: i64) {
        self.settle(away.wrapping_sub_unsigned(SHARD));
    }
}
