//! A provided-buffer ring: pool buffers lent to the kernel, which picks one when data is there.
//!
//! The kernel reads entries from the ring's head, we publish at its tail. Each buffer the kernel
//! holds is kept as an owned value in a table here, so it is released exactly once and never while
//! the kernel may still write to it.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use zcn_pool::{Buf, LocalPool, SharedBuf};

use crate::payload::kernel_space;

/// Name of a provided-buffer ring on its [`Ring`](crate::Ring).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(pub(crate) u8);

impl GroupId {
    /// The number the kernel knows the group by.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// How a group hands out its buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consumption {
    /// Each completion takes a whole buffer.
    #[default]
    Whole,
    /// A buffer is filled piece by piece and comes home when it is full (6.12).
    Incremental,
}

/// The stock of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupStats {
    /// Slots in the ring.
    pub entries: u32,
    /// Buffers the kernel can pick from now.
    pub available: u32,
}

enum Lent {
    Nothing,
    Whole(Buf),
    /// Filled up to `used`; slices of it may be out with the application.
    Incremental {
        buf: SharedBuf,
        used: usize,
    },
}

pub(crate) struct BufRing {
    entries: *mut BufRingEntry,
    layout: Layout,
    mask: u16,
    /// Our copy of the tail; only this thread publishes.
    tail: u16,
    /// Buffers by id; the id is the place in this table.
    lent: Box<[Lent]>,
    /// Ids without a buffer, ready to be filled.
    vacant: Vec<u16>,
    /// Which id was published after each id, for bundles, which span several. By id, not by place
    /// in the ring: the kernel may take buffers in one order and complete in another, and a place
    /// may be published anew before the bundle that begins there has completed.
    next: Box<[u16]>,
    /// The id published last.
    last: u16,
    source: LocalPool,
    consumption: Consumption,
}

impl BufRing {
    /// Allocates an empty ring of `count` slots, a power of two up to 32768.
    pub(crate) fn new(count: u16, source: LocalPool, consumption: Consumption) -> Self {
        assert!(
            count.is_power_of_two() && count <= 32768,
            "checked by the caller"
        );
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        // The kernel wants the ring page-aligned (io_uring_register_buf_ring(3)).
        let layout = Layout::from_size_align(bytes.next_multiple_of(4096), 4096)
            .unwrap_or_else(|_| unreachable!("at most 512 KiB at page alignment"));
        // SAFETY: the layout has a size of at least one page.
        let entries = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        if entries.is_null() {
            handle_alloc_error(layout);
        }
        Self {
            entries,
            layout,
            mask: count - 1,
            tail: 0,
            lent: (0..count).map(|_| Lent::Nothing).collect(),
            vacant: (0..count).rev().collect(),
            next: vec![0; usize::from(count)].into(),
            last: 0,
            source,
            consumption,
        }
    }

    pub(crate) fn address(&self) -> u64 {
        self.entries as u64
    }

    pub(crate) fn slots(&self) -> u16 {
        self.mask + 1
    }

    pub(crate) fn stats(&self) -> GroupStats {
        GroupStats {
            entries: u32::from(self.slots()),
            available: u32::from(self.slots()) - self.vacant.len() as u32,
        }
    }

    /// Fills vacant slots from the pool as far as it goes and publishes them at once.
    ///
    /// The tail is stored with `Release`: the kernel loads it with acquire and must then see the
    /// entries written before. Our own load of the tail is the plain copy in `self`, since nobody
    /// else writes it.
    #[inline]
    pub(crate) fn refill(&mut self) {
        if self.vacant.is_empty() {
            return;
        }
        let before = self.tail;
        while let Some(&id) = self.vacant.last() {
            let Some(mut buf) = self.source.acquire() else {
                break;
            };
            self.vacant.pop();
            buf.clear();
            let (at, len) = kernel_space(&mut buf);
            let lent = match self.consumption {
                Consumption::Whole => Lent::Whole(buf),
                Consumption::Incremental => {
                    let capacity = buf.capacity();
                    buf.set_len(capacity);
                    Lent::Incremental {
                        buf: SharedBuf::from(buf),
                        used: 0,
                    }
                }
            };
            self.lent[usize::from(id)] = lent;
            self.publish(id, at as u64, len as u32);
        }
        if self.tail != before {
            // SAFETY: `tail` points into our own allocation, to the field that the kernel reads as
            // a 16-bit integer and that only this thread writes.
            unsafe {
                let tail = BufRingEntry::tail(self.entries).cast::<AtomicU16>();
                (*tail).store(self.tail, Ordering::Release);
            }
        }
    }

    fn publish(&mut self, id: u16, address: u64, len: u32) {
        let place = self.tail & self.mask;
        // SAFETY: `place` is below the number of entries allocated. The kernel does not read this
        // entry before the tail passes it.
        let entry = unsafe { &mut *self.entries.add(usize::from(place)) };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(id);
        self.next[usize::from(self.last)] = id;
        self.last = id;
        self.tail = self.tail.wrapping_add(1);
    }

    /// Takes the buffer that a completion names, `len` bytes long. `None` when the kernel names a
    /// buffer it was not lent (never seen; counted by the caller).
    #[inline]
    pub(crate) fn take(&mut self, id: u16, len: usize) -> Option<Buf> {
        let lent = self.lent.get_mut(usize::from(id))?;
        match std::mem::replace(lent, Lent::Nothing) {
            Lent::Whole(mut buf) => {
                self.vacant.push(id);
                buf.set_len(len.min(buf.capacity()));
                Some(buf)
            }
            other => {
                *lent = other;
                None
            }
        }
    }

    /// Takes the next `len` bytes of an incrementally consumed buffer; `more` says that the kernel
    /// keeps the rest of it.
    pub(crate) fn take_piece(&mut self, id: u16, len: usize, more: bool) -> Option<SharedBuf> {
        let lent = self.lent.get_mut(usize::from(id))?;
        let Lent::Incremental { buf, used } = lent else {
            return None;
        };
        let end = used.saturating_add(len).min(buf.len());
        let piece = buf.slice(*used..end);
        *used = end;
        if !more {
            *lent = Lent::Nothing;
            self.vacant.push(id);
        }
        Some(piece)
    }

    /// Takes the buffers of a bundle: `len` bytes from the buffer `id` on, in publishing order.
    pub(crate) fn take_bundle(&mut self, mut id: u16, mut len: usize, into: &mut Vec<Buf>) {
        // Each round takes a buffer that was lent, so it ends.
        while let Some(buf) = self.take(id, len) {
            len -= buf.len();
            into.push(buf);
            if len == 0 {
                return;
            }
            id = self.next[usize::from(id)];
        }
    }

    pub(crate) fn is_incremental(&self) -> bool {
        self.consumption == Consumption::Incremental
    }
}

impl Drop for BufRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the ring unregisters the group, or is closed
        // with nothing in flight, before it drops this (see `Ring::drop`).
        unsafe { dealloc(self.entries.cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcn_pool::BufferPool;

    /// The ids lent and published, in the order in which the kernel would take them.
    fn published(ring: &BufRing) -> Vec<u16> {
        let available = ring.stats().available as u16;
        (0..available)
            .map(|back| {
                let place = ring.tail.wrapping_sub(available - back) & ring.mask;
                // SAFETY: the place is below the number of entries, which are initialised.
                unsafe { &*ring.entries.add(usize::from(place)) }.bid()
            })
            .collect()
    }

    #[test]
    fn a_bundle_survives_its_first_place_being_published_anew() {
        let pool = BufferPool::builder().count(8).build().unwrap();
        let mut ring = BufRing::new(4, pool.local(), Consumption::Whole);
        ring.refill();
        let order = published(&ring);
        // The kernel takes two buffers for one bundle and two for another, which completes first.
        let mut second = Vec::new();
        ring.take_bundle(order[2], 5000, &mut second);
        assert_eq!(second.len(), 2);
        // Both come back and are published in the places where the first bundle began.
        drop(second);
        ring.refill();
        let indices: Vec<u32> = order[..2]
            .iter()
            .map(|&id| match &ring.lent[usize::from(id)] {
                Lent::Whole(buf) => buf.index(),
                _ => unreachable!("still lent"),
            })
            .collect();
        let mut first = Vec::new();
        ring.take_bundle(order[0], 4097, &mut first);
        let taken: Vec<u32> = first.iter().map(Buf::index).collect();
        assert_eq!(taken, indices);
        assert_eq!((first[0].len(), first[1].len()), (4096, 1));
    }

    #[test]
    fn what_was_not_lent_is_not_given_out() {
        let pool = BufferPool::builder().count(2).build().unwrap();
        let mut ring = BufRing::new(4, pool.local(), Consumption::Whole);
        ring.refill();
        let order = published(&ring);
        assert!(ring.take(order[0], 1).is_some());
        assert!(ring.take(order[0], 1).is_none(), "given out already");
        assert!(ring.take(77, 1).is_none(), "no such buffer");
        let mut bundle = Vec::new();
        ring.take_bundle(order[1], 1 << 20, &mut bundle);
        assert_eq!(bundle.len(), 1, "ends where lent buffers end");
    }
}
