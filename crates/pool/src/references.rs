//! The count that keeps a pool's memory alive.

use crate::sync::{AtomicU64, Ordering};

/// Counts handles and buffers that are not home.
///
/// The value is: pool handles (a `LocalPool` holds one) plus buffers that are neither in
/// the depot nor in the stack of single buffers. Buffers move between a thread's shard
/// and the depot a magazine at a time, so acquiring and releasing through a shard leaves
/// this alone. Whoever moves buffers home subtracts *after* they are home, and holds a
/// handle or one of those buffers until then; so zero is seen once, by the last party,
/// when everything is home.
///
/// 64 bits, so that forgotten clones cannot make it wrap within a lifetime.
pub(crate) struct References(
    /// `add` is relaxed: the caller already holds a reference. `sub` releases what the
    /// thread did with the memory, and acquires what all others did, before it is freed.
    AtomicU64,
);

impl References {
    pub(crate) fn new(count: u64) -> Self {
        Self(AtomicU64::new(count))
    }

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
}
