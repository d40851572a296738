//! Data that arrived: in order, waiting for the application, and out of order, waiting
//! for what is missing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use zcn_frame::Chain;
use zcn_pool::{LocalPool, SharedBuf};
use zcn_wire::SeqNum;

/// Most SACK blocks that a segment has room for (RFC 2018 section 3).
pub(crate) const SACK_BLOCKS_MAX: usize = 4;

/// What a queued slice costs beside the buffer it keeps.
const SLICE_COST: usize = 96;

/// Room for so many slices stays in a queue that is used again.
const KEPT: usize = 16;

/// A range of sequence numbers: the first, and the one behind the last.
pub(crate) type Block = (SeqNum, SeqNum);

/// Limits on what one connection may keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of memory, everything together.
    pub(crate) memory: usize,
    /// Slices out of order.
    pub(crate) slices: usize,
    /// Size of the buffers that small payload is packed into. As much is charged for a slice of
    /// which nobody knows what it keeps: of foreign bytes, or of a buffer that others keep, too.
    pub(crate) buffer_bytes: usize,
}

/// What became of a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// `bytes` can be read now; `filled` if they closed a hole.
    InOrder { bytes: u32, filled: bool },
    /// Kept for later.
    OutOfOrder,
    /// All of it was there before.
    Duplicate,
    /// No room: as if it had never arrived.
    NoRoom,
}

#[derive(Debug)]
struct Slice {
    bytes: SharedBuf,
    cost: u32,
}

/// Both queues of a connection. Exists only while there is something in them.
///
/// Positions are counted from the start of the stream in 64 bits, so that order survives
/// the wrap of sequence numbers.
#[derive(Debug, Default)]
pub(crate) struct ReceiveQueue {
    in_order: VecDeque<Slice>,
    readable: usize,
    /// Disjoint pieces beyond `RCV.NXT`, by position. A tree: hostile segments cost its
    /// logarithm, not its length (SegmentSmack).
    pieces: BTreeMap<u64, Slice>,
    /// What the pieces make up: start and end of each island.
    islands: BTreeMap<u64, u64>,
    /// Islands in the order in which something came of them last (RFC 2018 section 4).
    recent: [(u64, u64); SACK_BLOCKS_MAX],
    recent_len: u8,
    pieces_bytes: usize,
    cost: usize,
}

impl ReceiveQueue {
    /// Whether there is nothing in either queue.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.in_order.is_empty() && self.pieces.is_empty()
    }

    /// Bytes that can be read now.
    #[inline]
    pub(crate) fn readable(&self) -> usize {
        self.readable
    }

    /// Memory kept busy.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Whether something is missing before what is there.
    #[inline]
    pub(crate) fn has_holes(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Takes payload that begins `offset` bytes beyond `RCV.NXT`, which has position
    /// `next`; a negative offset was trimmed by the caller. Reports in `duplicate` the
    /// first range that was there before, by position (RFC 2883 section 4).
    pub(crate) fn receive(
        &mut self,
        next: u64,
        offset: u32,
        payload: &mut Chain,
        limits: &Limits,
        pool: &LocalPool,
        duplicate: &mut Option<(u64, u64)>,
    ) -> Received {
        let start = next + u64::from(offset);
        let end = start + payload.len() as u64;
        if offset == 0 && self.pieces.is_empty() {
            let bytes = payload.len() as u32;
            if !self.append(payload, limits, pool) {
                return Received::NoRoom;
            }
            return Received::InOrder {
                bytes,
                filled: false,
            };
        }
        if self.covered(start, end) {
            *duplicate = Some((start, end));
            // The island that has it is told first, behind the duplicate (RFC 2018 section 4, RFC
            // 2883 section 4).
            self.join(start, end, true);
            return Received::Duplicate;
        }
        // What is in order is always worth its memory: it frees what waits behind it.
        if offset > 0
            && (self.pieces.len() + payload.slices().len() > limits.slices
                || self.cost + payload.len() > limits.memory)
        {
            return Received::NoRoom;
        }
        self.insert(start, payload, limits, duplicate);
        self.join(start, end, offset > 0);
        if offset == 0 {
            let bytes = self.advance(next, limits, pool);
            Received::InOrder {
                bytes,
                filled: true,
            }
        } else {
            Received::OutOfOrder
        }
    }

    /// Whether one island holds all of a range.
    fn covered(&self, start: u64, end: u64) -> bool {
        self.islands
            .range(..=start)
            .next_back()
            .is_some_and(|(_, &island_end)| end <= island_end)
    }

    /// Keeps the parts of a range that are not there yet. What came first stays.
    fn insert(
        &mut self,
        start: u64,
        payload: &mut Chain,
        limits: &Limits,
        duplicate: &mut Option<(u64, u64)>,
    ) {
        let mut at = start;
        let end = start + payload.len() as u64;
        while at < end {
            let before = self.islands.range(..=at).next_back();
            if let Some((_, &island_end)) = before
                && island_end > at
            {
                let known = island_end.min(end);
                duplicate.get_or_insert((at, known));
                payload.advance((known - at) as usize);
                at = known;
                continue;
            }
            let gap_end = self
                .islands
                .range(at..)
                .next()
                .map_or(end, |(&island, _)| island.min(end));
            let mut position = at;
            let part = payload.split_to((gap_end - at) as usize);
            let (count, cut) = (part.slices().len(), !payload.is_empty());
            for (number, slice) in part.into_iter().enumerate() {
                let len = slice.len() as u64;
                // A slice that was cut in two shares its buffer with the rest, so that nobody can
                // tell what it keeps.
                let slice = if cut && number + 1 == count {
                    on_the_heap(&slice)
                } else {
                    compact(slice, limits.buffer_bytes)
                };
                self.cost += slice.cost as usize;
                self.pieces_bytes += len as usize;
                self.pieces.insert(position, slice);
                position += len;
            }
            at = gap_end;
        }
    }

    /// Records that everything of a range is there now; and, if that is to be reported, that
    /// it came last.
    fn join(&mut self, mut start: u64, mut end: u64, report: bool) {
        if let Some((&before, &before_end)) = self.islands.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&island, &island_end)) = self.islands.range(start..=end).next() {
            self.islands.remove(&island);
            end = end.max(island_end);
        }
        self.islands.insert(start, end);
        let mut recent = [(0, 0); SACK_BLOCKS_MAX];
        recent[0] = (start, end);
        let mut len = usize::from(report);
        for &block in &self.recent[..usize::from(self.recent_len)] {
            let inside = block.0 >= start && block.1 <= end;
            if !inside && len < SACK_BLOCKS_MAX {
                recent[len] = block;
                len += 1;
            }
        }
        self.recent = recent;
        self.recent_len = len as u8;
    }

    /// Moves the island at `next` to the queue of what can be read; returns its bytes.
    fn advance(&mut self, next: u64, limits: &Limits, pool: &LocalPool) -> u32 {
        let Some(end) = self.islands.remove(&next) else {
            return 0;
        };
        let mut at = next;
        while at < end {
            let Some(slice) = self.pieces.remove(&at) else {
                debug_assert!(false, "an island has no holes");
                break;
            };
            let len = slice.bytes.len();
            at += len as u64;
            self.pieces_bytes -= len;
            self.cost -= slice.cost as usize;
            self.append_slice(slice.bytes, slice.cost, limits, pool);
        }
        let mut kept = 0;
        for i in 0..usize::from(self.recent_len) {
            if self.recent[i].0 >= end {
                self.recent[kept] = self.recent[i];
                kept += 1;
            }
        }
        self.recent_len = kept as u8;
        (at - next) as u32
    }

    /// Puts payload behind what can be read. False, and nothing kept, if there is no
    /// memory for it.
    #[inline]
    pub(crate) fn append(
        &mut self,
        payload: &mut Chain,
        limits: &Limits,
        pool: &LocalPool,
    ) -> bool {
        // Twice the limit: the window was promised, and promises are kept for bytes that
        // arrive in small segments, too. Beyond half of it they are packed, so that what is kept
        // weighs at most three times its bytes.
        if self.cost > 2 * limits.memory {
            return false;
        }
        for slice in payload.drain() {
            let cost = cost_of(&slice, limits.buffer_bytes);
            self.append_slice(slice, cost, limits, pool);
        }
        true
    }

    #[inline]
    fn append_slice(&mut self, slice: SharedBuf, cost: u32, limits: &Limits, pool: &LocalPool) {
        self.readable += slice.len();
        // In this order: whoever has memory enough asks nothing more of the slice.
        if self.cost > limits.memory / 2 && slice.len() < held(&slice, limits.buffer_bytes) / 3 {
            self.pack(&slice, limits.buffer_bytes, pool);
            return;
        }
        self.cost += cost as usize;
        self.in_order.push_back(Slice { bytes: slice, cost });
    }

    /// Copies a small slice behind others, so that it does not keep a buffer of its own.
    fn pack(&mut self, mut bytes: &[u8], buffer_bytes: usize, pool: &LocalPool) {
        if let Some(last) = self.in_order.back_mut() {
            match std::mem::take(&mut last.bytes).try_into_buf() {
                Ok(mut buf) => {
                    let count = buf.spare_capacity().len().min(bytes.len());
                    if buf.extend_from_slice(&bytes[..count]).is_ok() {
                        bytes = &bytes[count..];
                    }
                    last.bytes = buf.into();
                }
                Err(shared) => last.bytes = shared,
            }
        }
        if bytes.is_empty() {
            return;
        }
        let buf = pool
            .acquire()
            .and_then(|mut buf| buf.extend_from_slice(bytes).is_ok().then_some(buf));
        let packed = match buf {
            Some(buf) => Slice {
                bytes: buf.into(),
                cost: (buffer_bytes + SLICE_COST) as u32,
            },
            None => on_the_heap(bytes),
        };
        self.cost += packed.cost as usize;
        self.in_order.push_back(packed);
    }

    /// Takes the first slice of what can be read, at most `max` bytes of it.
    #[inline]
    pub(crate) fn take(&mut self, max: usize) -> Option<SharedBuf> {
        let first = self.in_order.front_mut()?;
        let bytes = if first.bytes.len() <= max {
            let slice = self.in_order.pop_front()?;
            self.cost -= slice.cost as usize;
            slice.bytes
        } else {
            first.bytes.split_to(max)
        };
        self.readable -= bytes.len();
        Some(bytes)
    }

    /// Copies what can be read into `target`; `peek` leaves it there.
    #[inline]
    pub(crate) fn copy_out(&mut self, target: &mut [u8], peek: bool) -> usize {
        let mut done = 0;
        if peek {
            for slice in &self.in_order {
                let count = slice.bytes.len().min(target.len() - done);
                target[done..done + count].copy_from_slice(&slice.bytes[..count]);
                done += count;
            }
            return done;
        }
        while done < target.len()
            && let Some(bytes) = self.take(target.len() - done)
        {
            target[done..done + bytes.len()].copy_from_slice(&bytes);
            done += bytes.len();
        }
        done
    }

    /// The SACK blocks to report, the one of which something came last first, as offsets from
    /// `RCV.NXT`, which has position `next` and number `rcv_nxt`.
    pub(crate) fn sack_blocks(
        &self,
        next: u64,
        rcv_nxt: SeqNum,
    ) -> impl Iterator<Item = Block> + Clone {
        self.recent[..usize::from(self.recent_len)]
            .iter()
            .map(move |&(start, end)| {
                let number = |position: u64| rcv_nxt + (position.wrapping_sub(next)) as u32;
                (number(start), number(end))
            })
    }

    /// The position behind the last byte out of order.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.islands.last_key_value().map(|(_, &end)| end)
    }

    /// Drops everything but keeps a little room, for the next connection.
    pub(crate) fn recycle(&mut self) {
        self.in_order.clear();
        if self.in_order.capacity() > KEPT {
            self.in_order.shrink_to(KEPT);
        }
        // To clear a tree costs something even if nothing is in it.
        if !self.pieces.is_empty() || !self.islands.is_empty() {
            self.pieces.clear();
            self.islands.clear();
        }
        self.recent_len = 0;
        self.readable = 0;
        self.pieces_bytes = 0;
        self.cost = 0;
    }

    /// Drops what is out of order: nothing will fill the holes any more.
    pub(crate) fn drop_out_of_order(&mut self) {
        for slice in self.pieces.values() {
            self.cost -= slice.cost as usize;
        }
        self.pieces.clear();
        self.islands.clear();
        self.recent_len = 0;
        self.pieces_bytes = 0;
    }
}

/// Memory that a slice keeps busy: links receive super-frames into buffers of 68 KiB, of which a
/// slice may be the last bytes.
fn held(slice: &SharedBuf, buffer_bytes: usize) -> usize {
    slice.footprint().unwrap_or(buffer_bytes).max(slice.len())
}

fn cost_of(slice: &SharedBuf, buffer_bytes: usize) -> u32 {
    (held(slice, buffer_bytes) + SLICE_COST) as u32
}

fn on_the_heap(bytes: &[u8]) -> Slice {
    Slice {
        cost: (bytes.len() + SLICE_COST) as u32,
        bytes: Bytes::copy_from_slice(bytes).into(),
    }
}

/// A small slice that waits for a hole to be filled is copied out of its buffer: it may
/// wait for long, and must not keep thousands of times its size from the pool. What is not
/// copied weighs at most twice its bytes, so that a whole window fits.
fn compact(slice: SharedBuf, buffer_bytes: usize) -> Slice {
    let small = (held(&slice, buffer_bytes) / 2).max(buffer_bytes / 4);
    if slice.len() < small {
        on_the_heap(&slice)
    } else {
        Slice {
            cost: cost_of(&slice, buffer_bytes),
            bytes: slice,
        }
    }
}

#[cfg(test)]
mod tests;
