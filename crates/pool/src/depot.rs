//! The shared store of full magazines.

#![allow(unsafe_code)]

use crate::sync::{AtomicU32, Padded, UnsafeCell};
use crate::tagged_stack::{Links, NIL, TaggedStack};

/// Most entries of a magazine. 64 make the one or two exchanges on a shared word, 10 to
/// 60 ns each, vanish among the operations between them.
pub(crate) const MAGAZINE: usize = 64;

/// Most empty slots that a thread keeps at hand, and how many it fetches or returns at a
/// time: a thread that only takes, or only gives, meets the stack of empty slots once in
/// four magazines, and one that does both never.
const SPARES: usize = if cfg!(loom) { 2 } else { 8 };
const SPARES_AT_A_TIME: usize = SPARES / 2;

/// One magazine's place in the depot: buffer indices, and the link of whichever stack the
/// slot is in. The link lies beside the first entries because who pops a slot reads both.
#[repr(C, align(64))]
struct Slot {
    link: AtomicU32,
    entries: UnsafeCell<[u32; MAGAZINE]>,
}

impl Links for [Slot] {
    #[inline]
    fn link(&self, index: u32) -> &AtomicU32 {
        &self[index as usize].link
    }

    #[inline]
    fn will_pop(&self, index: u32) {
        prefetch(&self[index as usize]);
    }
}

/// Empty slots that one thread may write, which nobody else refers to: what a magazine
/// taken leaves behind, for the next one given. Not `Clone`: who has a slot is alone.
pub(crate) struct Spares {
    slots: [u32; SPARES],
    count: usize,
}

impl Spares {
    pub(crate) const fn new() -> Self {
        Self {
            slots: [NIL; SPARES],
            count: 0,
        }
    }
}

/// Two stacks of magazine slots, the full and the empty ones. Whoever pops a slot owns
/// its entries until pushing it again; the stacks order the accesses.
///
/// Only whole magazines come here, of the one size given at construction.
pub(crate) struct Depot {
    full: Padded<TaggedStack>,
    empty: Padded<TaggedStack>,
    magazine: usize,
    slots: Box<[Slot]>,
}

// SAFETY: the entries are touched only by the thread that popped their slot off one of
// the stacks (or holds it in its `Spares`, where nobody else can have it), and the stacks
// hand a slot from its pusher to its popper with release and acquire.
unsafe impl Sync for Depot {}

impl Depot {
    /// A depot of magazines of `magazine` entries for at most `buffers` buffers.
    pub(crate) fn new(buffers: usize, magazine: usize) -> Self {
        assert!((1..=MAGAZINE).contains(&magazine));
        let count = (buffers / magazine + spare_slots()) as u32;
        let depot = Self {
            full: Padded(TaggedStack::new()),
            empty: Padded(TaggedStack::new()),
            magazine,
            slots: (0..count)
                .map(|_| Slot {
                    link: AtomicU32::new(NIL),
                    entries: UnsafeCell::new([NIL; MAGAZINE]),
                })
                .collect(),
        };
        for slot in (0..count).rev() {
            depot.empty.0.push(&depot.slots[..], slot);
        }
        depot
    }

    /// Entries of one magazine.
    #[inline]
    pub(crate) fn magazine(&self) -> usize {
        self.magazine
    }

    /// Copies a full magazine to the start of `into`, and adds its slot to `spares`.
    /// `false` if there is no full one. Panics if `into` is too short.
    #[must_use]
    pub(crate) fn take(&self, into: &mut [u32], spares: &mut Spares) -> bool {
        let into = &mut into[..self.magazine];
        let Some(slot) = self.full.0.pop(&self.slots[..]) else {
            return false;
        };
        self.slots[slot as usize].entries.with(|entries| {
            // SAFETY: this thread popped the slot, so it alone may touch the entries.
            let entries = unsafe { &*entries };
            into.copy_from_slice(&entries[..self.magazine]);
        });
        if spares.count == SPARES {
            self.park(spares, SPARES_AT_A_TIME);
        }
        spares.slots[spares.count] = slot;
        spares.count += 1;
        true
    }

    /// Copies the first magazine of `from` into an empty slot and shares it. `false`, and
    /// nothing done, if there is none: other threads keep more spare ones than there are.
    #[must_use]
    pub(crate) fn give(&self, from: &[u32], spares: &mut Spares) -> bool {
        let from = &from[..self.magazine];
        if spares.count == 0 {
            let some = &mut spares.slots[..SPARES_AT_A_TIME];
            spares.count = self.empty.0.pop_many(&self.slots[..], some);
        }
        let Some(last) = spares.count.checked_sub(1) else {
            return false;
        };
        spares.count = last;
        let slot = spares.slots[last];
        self.slots[slot as usize].entries.with_mut(|entries| {
            // SAFETY: this thread popped the slot and kept it in its spares, so it alone
            // may touch the entries.
            let entries = unsafe { &mut *entries };
            entries[..self.magazine].copy_from_slice(from);
        });
        self.full.0.push(&self.slots[..], slot);
        true
    }

    /// Gives back all spare slots.
    pub(crate) fn park_all(&self, spares: &mut Spares) {
        self.park(spares, spares.count);
    }

    /// Gives back the `count` spare slots that were not used for longest.
    fn park(&self, spares: &mut Spares, count: usize) {
        self.empty
            .0
            .push_all(&self.slots[..], &spares.slots[..count]);
        spares.slots.copy_within(count..spares.count, 0);
        spares.count -= count;
    }
}

/// Slots beyond those that all buffers could fill, for the spare ones of about as many
/// threads as there may be. With more threads nothing breaks: their magazines go home as
/// single buffers.
fn spare_slots() -> usize {
    if cfg!(loom) {
        return 0;
    }
    let threads = std::thread::available_parallelism().map_or(8, usize::from);
    SPARES * (2 * threads + 4)
}

/// Asks for the cache lines of `slot` ahead of the exchange that gives it to us: the
/// processor waits for an exchange, but not for this.
#[inline]
fn prefetch(slot: &Slot) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..size_of::<Slot>() / 64 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: inside the slot; and prefetching reads nothing that a program can see.
        unsafe {
            _mm_prefetch(
                std::ptr::from_ref(slot).cast::<i8>().add(line * 64),
                _MM_HINT_T0,
            )
        };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = slot;
}
