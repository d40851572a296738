//! What all handles and buffers of one pool share.

#![allow(unsafe_code)]

use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64 as IdCounter;

use crate::depot::{Depot, MAGAZINE, Spares};
use crate::meta::Meta;
use crate::pool::PoolId;
use crate::references::References;
use crate::region::Region;
use crate::shard::Shard;
use crate::stats::PoolStats;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, Padded};
use crate::tagged_stack::TaggedStack;

/// The shared part of a pool. Lives on the heap behind plain pointers, because a `Buf`
/// must not pay for a counted one; `references` says how long.
pub(crate) struct Core {
    base: NonNull<u8>,
    buffer_size: usize,
    pub(crate) metas: Box<[Meta]>,
    pub(crate) depot: Depot,
    /// Buffers that came home one by one: from threads without a `LocalPool`, or in
    /// numbers that fill no magazine.
    singles: Padded<TaggedStack>,
    references: Padded<References>,
    /// Counters of threads without a `LocalPool`; relaxed, they order nothing.
    shared: Padded<SharedCounters>,
    /// Taken when a thread opens or closes its shard and for statistics, never to acquire
    /// or release a buffer.
    registry: Mutex<Registry>,
    id: PoolId,
    numa_node: Option<u32>,
    region: Region,
}

#[derive(Default)]
struct SharedCounters {
    acquired: AtomicU64,
    released: AtomicU64,
    exhausted: AtomicU64,
}

/// Every shard ever made for the pool, and those that no thread uses at the moment.
#[derive(Default)]
struct Registry {
    all: Vec<NonNull<Shard>>,
    idle: Vec<NonNull<Shard>>,
}

// SAFETY: the pointers in here are the region and shards, both owned by the core. Shards
// are used by one thread at a time (see `Shard`) but for their atomic counters; the
// region's bytes belong to whoever owns the `Buf`. All else is atomic or behind a mutex.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

impl Core {
    /// A core with every buffer home and one reference, the caller's.
    pub(crate) fn new(
        region: Region,
        buffer_size: usize,
        count: NonZeroU32,
        numa_node: Option<u32>,
    ) -> NonNull<Self> {
        static NEXT_ID: IdCounter = IdCounter::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        // Generations of different pools start far apart (the golden ratio's multiples
        // spread evenly), so a handle of another pool is most likely stale here.
        let generation = (id as u32).wrapping_mul(0x9E37_79B9);
        let count = count.get();
        // A sixteenth of the pool, so that a thread's two magazines strand an eighth.
        let magazine = (count as usize / 16).clamp(1, MAGAZINE);
        let core = Self {
            base: region.base(),
            buffer_size,
            metas: (0..count).map(|_| Meta::new(generation)).collect(),
            depot: Depot::new(count as usize, magazine),
            singles: Padded(TaggedStack::new()),
            references: Padded(References::new(1)),
            shared: Padded(SharedCounters::default()),
            registry: Mutex::new(Registry::default()),
            id: PoolId(id),
            numa_node,
            region,
        };
        // From the last buffer down, and each magazine from its end: the first
        // acquisitions get the first buffers.
        let mut entries: Vec<u32> = (0..count).rev().collect();
        let odd = entries.len() % magazine;
        core.push_singles(&entries[..odd]);
        let mut spares = Spares::new();
        for full in entries.split_off(odd).chunks_exact(magazine) {
            core.stock(full, &mut spares);
        }
        core.depot.park_all(&mut spares);
        NonNull::from(Box::leak(Box::new(core)))
    }

    #[inline(always)]
    pub(crate) fn buffer_size(&self) -> usize {
        self.buffer_size
    }

    #[inline(always)]
    pub(crate) fn count(&self) -> u32 {
        self.metas.len() as u32
    }

    pub(crate) fn id(&self) -> PoolId {
        self.id
    }

    pub(crate) fn region(&self) -> (NonNull<u8>, usize) {
        (self.base, self.region.len())
    }

    /// First byte of a buffer.
    #[inline(always)]
    pub(crate) fn start(&self, index: u32) -> NonNull<u8> {
        debug_assert!(index < self.count());
        // SAFETY: indices come from the depot, which holds those below `count` only, and
        // the region has `count` times `buffer_size` bytes.
        unsafe { self.base.add(index as usize * self.buffer_size) }
    }

    /// One more handle.
    pub(crate) fn add_handle(&self) {
        self.references.0.add(1);
    }

    /// One handle less; frees the core if it was the last reference.
    ///
    /// # Safety
    /// The caller owns a reference, gives it up, and does not use `core` afterwards.
    pub(crate) unsafe fn drop_handle(core: NonNull<Self>) {
        // SAFETY: the caller's reference keeps the core alive until `sub`. No borrow of
        // the whole core reaches beyond it, as another thread may free it from then on.
        let last = unsafe { (*core.as_ptr()).references.0.sub(1) };
        if last {
            // SAFETY: no handle is left and every buffer is home, so nobody else has the
            // pointer; it came from a leaked box.
            drop(unsafe { Box::from_raw(core.as_ptr()) });
        }
    }

    /// Takes one buffer from the shared stores, for threads without a shard.
    pub(crate) fn acquire_shared(&self) -> Option<u32> {
        let index = self.singles.0.pop(&self.metas[..]).or_else(|| {
            let (mut entries, mut spares) = ([0; MAGAZINE], Spares::new());
            if !self.depot.take(&mut entries, &mut spares) {
                return None;
            }
            self.depot.park_all(&mut spares);
            let (&index, rest) = entries[..self.depot.magazine()].split_last()?;
            self.push_singles(rest);
            Some(index)
        });
        let counter = match index {
            Some(_) => {
                self.references.0.add(1);
                &self.shared.0.acquired
            }
            None => &self.shared.0.exhausted,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        index
    }

    /// Brings one buffer home from a thread without a shard, and frees the core if that
    /// was the last reference.
    ///
    /// # Safety
    /// The caller owns the buffer `index` of this pool, gives it up, and does not use
    /// `core` afterwards unless it holds another reference.
    pub(crate) unsafe fn release_shared(core: NonNull<Self>, index: u32) {
        {
            // SAFETY: the buffer is counted as away, which keeps the core alive until
            // `drop_handle` below; the borrow ends before.
            let core = unsafe { core.as_ref() };
            core.shared.0.released.fetch_add(1, Ordering::Relaxed);
            core.singles.0.push(&core.metas[..], index);
        }
        // SAFETY: a buffer that is away counts as much as a handle; it is home now, and
        // the caller gave it up.
        unsafe { Self::drop_handle(core) };
    }

    /// Takes up to `into.len()` buffers that came home one by one.
    pub(crate) fn take_singles(&self, into: &mut [u32]) -> usize {
        self.singles.0.pop_many(&self.metas[..], into)
    }

    /// Puts buffers into the stack of single ones with one exchange, the last on top.
    pub(crate) fn push_singles(&self, entries: &[u32]) {
        self.singles.0.push_all(&self.metas[..], entries);
    }

    /// Puts up to a magazine of buffers home.
    pub(crate) fn stock(&self, entries: &[u32], spares: &mut Spares) {
        let whole = entries.len() == self.depot.magazine();
        if !(whole && self.depot.give(entries, spares)) {
            self.push_singles(entries);
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing panics while it is held, but for lack of memory before a push.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard that no thread uses; it is the caller's until `retire`.
    pub(crate) fn enlist(&self) -> NonNull<Shard> {
        let mut registry = self.registry();
        self.references.0.open_shard();
        if let Some(shard) = registry.idle.pop() {
            return shard;
        }
        // Room for the shard in both lists first, so that nothing is lost on the way.
        registry.all.reserve(1);
        let room = registry.all.len() + 1;
        registry.idle.reserve(room);
        let shard = NonNull::from(Box::leak(Box::new(Shard::new(self))));
        registry.all.push(shard);
        shard
    }

    /// Takes back an empty shard from the thread that used it, which has a handle still.
    /// `away` is how many more buffers left through the shard than came back, as far as
    /// that was not settled.
    pub(crate) fn retire(&self, shard: NonNull<Shard>, away: i64) {
        self.references.0.close_shard(away);
        self.registry().idle.push(shard);
    }

    /// Counts what an open shard kept to itself so far.
    pub(crate) fn settle(&self, away: i64) {
        self.references.0.settle(away);
    }

    /// The figures; see `PoolStats` for how exact they are.
    pub(crate) fn stats(&self) -> PoolStats {
        let shared = &self.shared.0;
        let mut acquired = shared.acquired.load(Ordering::Relaxed);
        let mut released = shared.released.load(Ordering::Relaxed);
        let mut exhausted = shared.exhausted.load(Ordering::Relaxed);
        let mut cached = 0;
        let registry = self.registry();
        for shard in &registry.all {
            // SAFETY: shards live as long as the core; other threads' methods are atomic.
            let counters = unsafe { shard.as_ref() }.counters();
            acquired = acquired.wrapping_add(counters.acquired);
            released = released.wrapping_add(counters.released);
            exhausted = exhausted.wrapping_add(counters.exhausted);
            cached += counters.cached;
        }
        let locals = registry.all.len() - registry.idle.len();
        drop(registry);
        let total = self.metas.len();
        // Signed: while threads run, a release can be visible before its acquisition.
        let in_use = (acquired.wrapping_sub(released) as i64).clamp(0, total as i64) as usize;
        PoolStats {
            total,
            in_use,
            free: total - in_use,
            cached: cached.min(total - in_use),
            acquired,
            released,
            exhausted,
            locals,
            buffer_size: self.buffer_size,
            page_kind: self.region.page_kind(),
            numa_node: self.numa_node,
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let registry = self.registry();
        for shard in &registry.all {
            // SAFETY: came from a leaked box in `enlist`; no thread uses it, since each
            // one that did would hold a handle.
            drop(unsafe { Box::from_raw(shard.as_ptr()) });
        }
    }
}
