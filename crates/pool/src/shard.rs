//! One thread's magazines.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;

use crate::core::Core;
use crate::depot::{MAGAZINE, Spares};
use crate::references::SETTLE_AT;
use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// Low bits of `Shard::state`: how many buffers are in stock, at most two magazines.
const STOCK_BITS: u32 = 8;
const STOCK_MASK: u64 = (1 << STOCK_BITS) - 1;
const _: () = assert!(2 * MAGAZINE as u64 <= STOCK_MASK);

/// One acquisition: a buffer less in stock and one more counted, in a single addition.
const ACQUIRED_ONE: u64 = (1 << STOCK_BITS) - 1;

/// The stock of buffers of one thread for one pool: two magazines, kept as one stack of
/// twice the size. Empty, it takes one from the depot; full, it gives the older half, so
/// a thread that swings around either end meets the depot once in 64 operations.
///
/// One thread at a time is the owner: it alone calls all methods but `counters`. Owners
/// change in `Core::enlist` and `Core::retire`, ordered by the registry's mutex.
#[repr(C, align(128))]
pub(crate) struct Shard {
    /// Acquisitions since the shard was made (high 56 bits) and stock (low 8 bits), so
    /// that an acquisition or a release is one load, one addition and one store. Atomic
    /// only for `counters` on other threads; relaxed, because it orders nothing.
    state: AtomicU64,
    /// Two magazines.
    limit: u64,
    /// How many `LocalPool`s of the owning thread share it.
    pub(crate) users: Cell<usize>,
    /// The next shard of the owning thread; see `thread`.
    pub(crate) next: Cell<*const Shard>,
    /// The pool it belongs to.
    pub(crate) core: *const Core,
    /// Depot slots of magazines that were taken, kept for those that will be given.
    spares: UnsafeCell<Spares>,
    /// Buffers taken from the shared stores. Stored by the owner alone, relaxed.
    taken: AtomicU64,
    /// Buffers given to the shared stores. Stored by the owner alone, relaxed.
    given: AtomicU64,
    /// What `taken` less `given` was when the pool's references were last told.
    settled: Cell<u64>,
    /// Acquisitions answered with nothing. Stored by the owner alone, relaxed.
    exhausted: AtomicU64,
    /// The stock, oldest first; entries below the count in `state` are buffer indices
    /// that the shard owns.
    entries: UnsafeCell<[u32; 2 * MAGAZINE]>,
}

/// One shard's share of the pool's figures.
pub(crate) struct Counters {
    pub(crate) acquired: u64,
    pub(crate) released: u64,
    pub(crate) exhausted: u64,
    pub(crate) cached: usize,
}

/// A counter that one thread writes and others read.
fn bump(counter: &AtomicU64, by: u64) {
    let now = counter.load(Ordering::Relaxed);
    counter.store(now.wrapping_add(by), Ordering::Relaxed);
}

impl Shard {
    pub(crate) fn new(core: &Core) -> Self {
        Self {
            state: AtomicU64::new(0),
            limit: 2 * core.depot.magazine() as u64,
            users: Cell::new(0),
            next: Cell::new(ptr::null()),
            core,
            spares: UnsafeCell::new(Spares::new()),
            settled: Cell::new(0),
            taken: AtomicU64::new(0),
            given: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
            entries: UnsafeCell::new([0; 2 * MAGAZINE]),
        }
    }

    /// Takes one buffer.
    #[inline(always)]
    pub(crate) fn acquire(&self, core: &Core) -> Option<u32> {
        let state = self.state.load(Ordering::Relaxed);
        let stock = state & STOCK_MASK;
        if stock == 0 {
            return self.refill_and_acquire(core);
        }
        self.state
            .store(state.wrapping_add(ACQUIRED_ONE), Ordering::Relaxed);
        Some(self.entry(stock as usize - 1))
    }

    /// Gives one buffer.
    #[inline(always)]
    pub(crate) fn release(&self, index: u32) {
        let state = self.state.load(Ordering::Relaxed);
        let stock = state & STOCK_MASK;
        if stock >= self.limit {
            return self.release_to_full(index);
        }
        self.set_entry(stock as usize, index);
        self.state.store(state + 1, Ordering::Relaxed);
    }

    #[inline(always)]
    fn entry(&self, at: usize) -> u32 {
        debug_assert!(at < 2 * MAGAZINE);
        // SAFETY: `at` is below the stock, which never exceeds the array; only the owner
        // thread, that is this one, touches the entries.
        self.entries
            .with(|entries| unsafe { *entries.cast::<u32>().add(at) })
    }

    #[inline(always)]
    fn set_entry(&self, at: usize, index: u32) {
        debug_assert!(at < 2 * MAGAZINE);
        // SAFETY: `at` is below the limit, which never exceeds the array; only the owner
        // thread, that is this one, touches the entries.
        self.entries
            .with_mut(|entries| unsafe { *entries.cast::<u32>().add(at) = index });
    }

    #[cold]
    #[inline(never)]
    fn refill_and_acquire(&self, core: &Core) -> Option<u32> {
        let taken = self.entries.with_mut(|entries| {
            // SAFETY: only the owner thread, that is this one, touches the entries.
            let entries = unsafe { &mut *entries };
            if self.with_spares(|spares| core.depot.take(entries, spares)) {
                return core.depot.magazine();
            }
            core.take_singles(&mut entries[..core.depot.magazine()])
        });
        if taken == 0 {
            bump(&self.exhausted, 1);
            return None;
        }
        bump(&self.taken, taken as u64);
        self.settle_if_due(core);
        let state = self.state.load(Ordering::Relaxed) + taken as u64;
        self.state
            .store(state.wrapping_add(ACQUIRED_ONE), Ordering::Relaxed);
        Some(self.entry(taken - 1))
    }

    #[cold]
    #[inline(never)]
    fn release_to_full(&self, index: u32) {
        // SAFETY: whoever gets here has the shard open, and its `LocalPool` has a handle.
        let core = unsafe { &*self.core };
        let magazine = core.depot.magazine();
        self.entries.with_mut(|entries| {
            // SAFETY: only the owner thread, that is this one, touches the entries.
            let entries = unsafe { &mut *entries };
            self.give(core, &entries[..magazine]);
            entries.copy_within(magazine..2 * magazine, 0);
        });
        let state = self.state.load(Ordering::Relaxed) - magazine as u64;
        self.set_entry(magazine, index);
        self.state.store(state + 1, Ordering::Relaxed);
    }

    /// Gives up to a magazine to the shared stores; the caller takes it out of the stock.
    fn give(&self, core: &Core, entries: &[u32]) {
        self.with_spares(|spares| core.stock(entries, spares));
        bump(&self.given, entries.len() as u64);
        self.settle_if_due(core);
    }

    fn with_spares<R>(&self, act: impl FnOnce(&mut Spares) -> R) -> R {
        self.spares.with_mut(|spares| {
            // SAFETY: only the owner thread, that is this one, touches the spares, and
            // what runs here knows nothing of the shard.
            act(unsafe { &mut *spares })
        })
    }

    /// How many more buffers were taken than given, of those not settled yet; from now on
    /// they are.
    fn take_unsettled(&self) -> i64 {
        let taken = self.taken.load(Ordering::Relaxed);
        let now = taken.wrapping_sub(self.given.load(Ordering::Relaxed));
        now.wrapping_sub(self.settled.replace(now)) as i64
    }

    /// Once in billions of buffers, if more leave through this shard than come back, or
    /// fewer; see `References`.
    fn settle_if_due(&self, core: &Core) {
        let taken = self.taken.load(Ordering::Relaxed);
        let now = taken.wrapping_sub(self.given.load(Ordering::Relaxed));
        let unsettled = now.wrapping_sub(self.settled.get()) as i64;
        if unsettled.unsigned_abs() >= SETTLE_AT {
            core.settle(self.take_unsettled());
        }
    }

    /// Brings the whole stock and the spare slots home, before the owner leaves. Returns
    /// what has to be settled then.
    #[must_use]
    pub(crate) fn flush(&self, core: &Core) -> i64 {
        let state = self.state.load(Ordering::Relaxed);
        let stock = (state & STOCK_MASK) as usize;
        self.entries.with(|entries| {
            // SAFETY: only the owner thread, that is this one, touches the entries.
            let entries = unsafe { &(&*entries)[..stock] };
            for some in entries.chunks(core.depot.magazine()) {
                self.give(core, some);
            }
        });
        self.state.store(state & !STOCK_MASK, Ordering::Relaxed);
        self.with_spares(|spares| core.depot.park_all(spares));
        self.take_unsettled()
    }

    /// The figures, from any thread.
    ///
    /// Releases are not counted one by one: what came in must be what went out, so they
    /// are the stock, less what was taken, plus what was given and acquired.
    pub(crate) fn counters(&self) -> Counters {
        let state = self.state.load(Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Relaxed);
        let given = self.given.load(Ordering::Relaxed);
        let stock = state & STOCK_MASK;
        let acquired = state >> STOCK_BITS;
        Counters {
            acquired,
            released: (stock + acquired).wrapping_add(given).wrapping_sub(taken),
            exhausted: self.exhausted.load(Ordering::Relaxed),
            cached: stock as usize,
        }
    }
}
