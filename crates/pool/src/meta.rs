//! What a pool knows about each buffer besides its bytes.

use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::tagged_stack::{Links, NIL};

/// One buffer's metadata, alone on its cache line: owners of neighbouring buffers may be
/// on different cores. Acquiring and releasing a `Buf` through a shard never touches it.
#[repr(align(64))]
pub(crate) struct Meta {
    /// Link in the stack of single buffers, ordered by that stack's head.
    next: AtomicU32,
    /// How many `SharedBuf`s hold the buffer. Written without a read-modify-write while
    /// there is one owner; see `SharedBuf`.
    pub(crate) shares: AtomicUsize,
    /// Generation of the last raw handle, shifted left by one, and in the low bit whether
    /// that handle is out. Going out stores with release; coming in compare-exchanges
    /// with acquire, so the view below is read as it was written.
    raw: AtomicU64,
    /// Offset (high half) and length of the buffer while a raw handle is out.
    view: AtomicU64,
}

/// What presenting a handle met.
pub(crate) enum Claim {
    Granted { offset: u32, len: u32 },
    Released,
    Stale { current: u32 },
}

const OUT: u64 = 1;

impl Meta {
    pub(crate) fn new(generation: u32) -> Self {
        Self {
            next: AtomicU32::new(NIL),
            shares: AtomicUsize::new(0),
            raw: AtomicU64::new(u64::from(generation) << 1),
            view: AtomicU64::new(0),
        }
    }

    /// Marks the buffer as out under a new handle and returns the handle's generation.
    /// The caller owns the buffer, and owners are unique: while it is not out, no claim
    /// can change `raw`, so a store is enough.
    #[inline]
    pub(crate) fn send_out(&self, offset: u32, len: u32) -> u32 {
        let generation = ((self.raw.load(Ordering::Relaxed) >> 1) as u32).wrapping_add(1);
        let view = u64::from(offset) << 32 | u64::from(len);
        self.view.store(view, Ordering::Relaxed);
        self.raw
            .store(u64::from(generation) << 1 | OUT, Ordering::Release);
        generation
    }

    /// Takes the buffer back from the handle of `generation`. At most one caller is
    /// granted it, and owns the buffer from then on.
    #[inline]
    pub(crate) fn claim(&self, generation: u32) -> Claim {
        let home = u64::from(generation) << 1;
        match self
            .raw
            .compare_exchange(home | OUT, home, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => {
                let view = self.view.load(Ordering::Relaxed);
                Claim::Granted {
                    offset: (view >> 32) as u32,
                    len: view as u32,
                }
            }
            Err(now) if now == home => Claim::Released,
            Err(now) => Claim::Stale {
                current: (now >> 1) as u32,
            },
        }
    }
}

impl Links for [Meta] {
    #[inline]
    fn link(&self, index: u32) -> &AtomicU32 {
        &self[index as usize].next
    }
}
