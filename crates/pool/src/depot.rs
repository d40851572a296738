//! The shared store of full magazines.

#![allow(unsafe_code)]

use crate::sync::{AtomicU32, Padded, UnsafeCell};
use crate::tagged_stack::{NIL, TaggedStack};

/// Most entries of a magazine. 64 make the one or two exchanges on a shared word, 10 to
/// 60 ns each, vanish among the operations between them.
pub(crate) const MAGAZINE: usize = 64;

/// Slots beyond those that all buffers could fill, for threads that keep a spare one.
const SPARE_SLOTS: usize = if cfg!(loom) { 0 } else { 64 };

/// One magazine's place in the depot: four cache lines of buffer indices.
#[repr(align(64))]
struct Slot(UnsafeCell<[u32; MAGAZINE]>);

/// The right to write one slot, which holds nothing. Not `Clone`: who has it is alone.
pub(crate) struct EmptySlot(u32);

/// Two stacks of magazine slots, the full and the empty ones. Whoever pops a slot owns
/// its entries until pushing it again; the stacks order the accesses.
///
/// Only whole magazines come here, of the one size given at construction.
pub(crate) struct Depot {
    full: Padded<TaggedStack>,
    empty: Padded<TaggedStack>,
    magazine: usize,
    links: Box<[AtomicU32]>,
    slots: Box<[Slot]>,
}

// SAFETY: the entries are touched only by the thread that popped their slot off one of
// the stacks (or holds its `EmptySlot`, which nobody else can have), and the stacks hand
// a slot from its pusher to its popper with release and acquire.
unsafe impl Sync for Depot {}

impl Depot {
    /// A depot of magazines of `magazine` entries for at most `buffers` buffers.
    pub(crate) fn new(buffers: usize, magazine: usize) -> Self {
        assert!((1..=MAGAZINE).contains(&magazine));
        let count = buffers / magazine + SPARE_SLOTS;
        let depot = Self {
            full: Padded(TaggedStack::new()),
            empty: Padded(TaggedStack::new()),
            magazine,
            links: (0..count).map(|_| AtomicU32::new(NIL)).collect(),
            slots: (0..count)
                .map(|_| Slot(UnsafeCell::new([NIL; MAGAZINE])))
                .collect(),
        };
        for slot in (0..count as u32).rev() {
            depot.empty.0.push(&depot.links[..], slot);
        }
        depot
    }

    /// Entries of one magazine.
    #[inline]
    pub(crate) fn magazine(&self) -> usize {
        self.magazine
    }

    /// Copies a full magazine to the start of `into` and returns its slot; `None` if
    /// there is no full one. Panics if `into` is too short.
    pub(crate) fn take(&self, into: &mut [u32]) -> Option<EmptySlot> {
        let into = &mut into[..self.magazine];
        let slot = self.full.0.pop(&self.links[..])?;
        self.slots[slot as usize].0.with(|entries| {
            // SAFETY: this thread popped the slot, so it alone may touch the entries.
            let entries = unsafe { &*entries };
            into.copy_from_slice(&entries[..self.magazine]);
        });
        Some(EmptySlot(slot))
    }

    /// Copies the first magazine of `from` into `slot`, or into any empty one, and shares
    /// it. `false`, and nothing done, if there is no empty slot: other threads keep more
    /// spare ones than there are to spare.
    #[must_use]
    pub(crate) fn give(&self, slot: Option<EmptySlot>, from: &[u32]) -> bool {
        let from = &from[..self.magazine];
        let slot = match slot {
            Some(EmptySlot(slot)) => slot,
            None => match self.empty.0.pop(&self.links[..]) {
                Some(slot) => slot,
                None => return false,
            },
        };
        self.slots[slot as usize].0.with_mut(|entries| {
            // SAFETY: this thread popped the slot or got its `EmptySlot` from who did, so
            // it alone may touch the entries.
            let entries = unsafe { &mut *entries };
            entries[..self.magazine].copy_from_slice(from);
        });
        self.full.0.push(&self.links[..], slot);
        true
    }

    /// Gives back a slot that is not needed.
    pub(crate) fn park(&self, slot: EmptySlot) {
        self.empty.0.push(&self.links[..], slot.0);
    }
}
