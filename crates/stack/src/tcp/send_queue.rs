//! Data that the application has sent and the peer has not acknowledged.

use std::collections::VecDeque;

use zcn_frame::{Chain, SLICES_MAX};
use zcn_pool::{BufferPool, LocalPool, SharedBuf};
use zcn_wire::SeqNum;

/// A slice below this many bytes is copied behind its neighbour instead of being queued
/// by itself: the copy costs less than the slice's bookkeeping, and a super-frame takes
/// only so many slices.
pub(crate) const COPY_BELOW: usize = 512;

/// What a queued slice costs beside its bytes.
const CHUNK_COST: usize = size_of::<Chunk>();

/// Room for so many chunks stays in a queue that is used again.
const KEPT: usize = 16;

/// Chunks looked at before the search begins anew, by halves.
const GUESSES: usize = 4;

#[derive(Debug)]
struct Chunk {
    /// Sequence number of the first byte.
    at: SeqNum,
    bytes: SharedBuf,
    /// A write of the application ended here: the segment with the last byte carries PSH.
    push: bool,
    /// A record ended here: no segment has bytes from both sides (MSG_EOR).
    ends_record: bool,
    /// Bytes of memory that this chunk keeps busy.
    cost: u32,
    /// We copied the bytes into a buffer of our own, so more may be written behind them.
    own: bool,
}

impl Chunk {
    fn end(&self) -> SeqNum {
        self.at + self.bytes.len()
    }
}

/// The bytes from `SND.UNA` on, as the slices the application gave.
///
/// Transmitting and retransmitting clone slices; nothing is copied but what
/// [`copy_in`](Self::copy_in) was given.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    chunks: VecDeque<Chunk>,
    cost: usize,
    /// Behind the last byte of urgent data (RFC 9293 section 3.8.5: `SND.UP`).
    urgent_end: Option<SeqNum>,
    /// Where the record begins that the last byte belongs to, if one ended before it.
    record_start: Option<SeqNum>,
    /// Index of the chunk that was sent from last: the next bytes are mostly there, or in the
    /// chunk behind it.
    sent_from: usize,
}

impl SendQueue {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Memory that the queue keeps busy, in bytes.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Queues a slice whose first byte has number `at`; `push` ends a write.
    pub(crate) fn push(&mut self, at: SeqNum, bytes: SharedBuf, push: bool) {
        if bytes.is_empty() {
            return;
        }
        let cost = bytes.len() + CHUNK_COST;
        self.cost += cost;
        self.begin_record(at);
        self.chunks.push_back(Chunk {
            at,
            bytes,
            push,
            ends_record: false,
            cost: cost as u32,
            own: false,
        });
    }

    /// Copies as much of `bytes` as the pool has buffers for, packing it behind what was
    /// copied last while no frame holds that, and returns how much. `budget` bounds the
    /// memory that may be taken for it; some byte is always taken when the pool has one.
    #[inline]
    pub(crate) fn copy_in(
        &mut self,
        at: SeqNum,
        bytes: &[u8],
        push: bool,
        budget: usize,
        pool: &LocalPool,
    ) -> usize {
        let mut done = self.pack(bytes);
        let limit = self.cost.saturating_add(budget);
        while done < bytes.len() && (self.cost < limit || done == 0) {
            let Some(mut buf) = pool.acquire() else {
                break;
            };
            let count = buf.capacity().min(bytes.len() - done);
            if buf.extend_from_slice(&bytes[done..done + count]).is_err() {
                break; // a pool of empty buffers
            }
            let cost = buf.buffer_size() + CHUNK_COST;
            self.cost += cost;
            self.begin_record(at + done);
            self.chunks.push_back(Chunk {
                at: at + done,
                bytes: buf.into(),
                push: false,
                ends_record: false,
                cost: cost as u32,
                own: true,
            });
            done += count;
        }
        if push && done > 0 {
            self.push_last();
        }
        done
    }

    /// Writes into the room behind the last chunk, if that is ours alone.
    #[inline]
    fn pack(&mut self, bytes: &[u8]) -> usize {
        let packs = |last: &&mut Chunk| last.own && !last.ends_record;
        let Some(last) = self.chunks.back_mut().filter(packs) else {
            return 0;
        };
        match std::mem::take(&mut last.bytes).try_into_buf() {
            Ok(mut buf) => {
                let count = buf.spare_capacity().len().min(bytes.len());
                let packed = buf.extend_from_slice(&bytes[..count]).map_or(0, |()| count);
                last.bytes = buf.into();
                if packed > 0 {
                    last.push = false;
                }
                packed
            }
            Err(shared) => {
                last.bytes = shared;
                0
            }
        }
    }

    /// The last byte so far ends a write.
    #[inline]
    pub(crate) fn push_last(&mut self) {
        if let Some(last) = self.chunks.back_mut() {
            last.push = true;
        }
    }

    /// A chunk that begins at `at` is about to be queued.
    #[inline]
    fn begin_record(&mut self, at: SeqNum) {
        if self.chunks.back().is_some_and(|last| last.ends_record) {
            self.record_start = Some(at);
        }
    }

    /// Where the record of the last byte begins, if that is behind `seq`.
    pub(crate) fn record_start(&self, seq: SeqNum) -> Option<SeqNum> {
        self.record_start.filter(|start| start.after(seq))
    }

    /// The last byte so far ends a record.
    pub(crate) fn end_record(&mut self) {
        if let Some(last) = self.chunks.back_mut() {
            last.ends_record = true;
        }
    }

    /// Everything before `end` is urgent.
    pub(crate) fn mark_urgent(&mut self, end: SeqNum) {
        self.urgent_end = Some(end);
    }

    /// Where urgent data ends, if any of it has number `seq` or a later one.
    #[inline]
    pub(crate) fn urgent_end(&self, seq: SeqNum) -> Option<SeqNum> {
        self.urgent_end.filter(|end| end.after(seq))
    }

    /// Drops the bytes before `una`.
    #[inline]
    pub(crate) fn acknowledge(&mut self, una: SeqNum) {
        while let Some(first) = self.chunks.front_mut() {
            if first.end().after(una) {
                if first.at.before(una) {
                    first.bytes.advance(una.distance(first.at) as usize);
                    first.at = una;
                }
                break;
            }
            self.cost -= first.cost as usize;
            self.chunks.pop_front();
            self.sent_from = self.sent_from.saturating_sub(1);
        }
    }

    /// Index of the chunk with the byte `seq`. Those of a stream are mostly of one size, so it
    /// is looked for where it would then be: a search by halves goes through memory that is in
    /// no cache.
    fn index_of(&self, seq: SeqNum) -> usize {
        for index in [self.sent_from, self.sent_from + 1] {
            if let Some(chunk) = self.chunks.get(index)
                && chunk.at.before_eq(seq)
                && chunk.end().after(seq)
            {
                return index;
            }
        }
        let (Some(first), Some(last)) = (self.chunks.front(), self.chunks.back()) else {
            return 0;
        };
        if first.end().after(seq) {
            return 0;
        }
        let total = u64::from(last.end().distance(first.at)).max(1);
        let ahead = u64::from(seq.distance(first.at)) * self.chunks.len() as u64;
        let mut index = (ahead / total) as usize;
        for _ in 0..GUESSES {
            match self.chunks.get(index) {
                Some(chunk) if chunk.at.after(seq) => index -= 1,
                Some(chunk) if chunk.end().before_eq(seq) => index += 1,
                Some(_) => return index,
                None => break,
            }
        }
        self.chunks
            .partition_point(|chunk| chunk.end().before_eq(seq))
    }

    /// Whether the oldest chunk has all of the `len` bytes from `seq` on, which is not before it:
    /// so it mostly is with small messages.
    #[inline]
    fn first_covers(&self, seq: SeqNum, len: u32) -> bool {
        self.chunks
            .front()
            .is_some_and(|first| first.end().after_eq(seq + len) && first.at.before_eq(seq))
    }

    /// In how many slices the `len` bytes from `seq` on lie, if that is one or two, of one
    /// record, and none of them is urgent.
    #[inline]
    pub(crate) fn plain_slices(&self, seq: SeqNum, len: u32) -> Option<usize> {
        if self.urgent_end(seq).is_some() {
            return None;
        }
        if self.first_covers(seq, len) {
            return Some(1);
        }
        let index = self.index_of(seq);
        let end = seq + len;
        let first = self.chunks.get(index)?;
        if first.end().after_eq(end) {
            return Some(1);
        }
        let second = self.chunks.get(index + 1)?;
        (!first.ends_record && second.end().after_eq(end)).then_some(2)
    }

    /// How many bytes from `seq` on, at most `max`, fit a chain and belong to one record.
    pub(crate) fn span(&self, seq: SeqNum, max: u32) -> u32 {
        if self.first_covers(seq, max) {
            return max;
        }
        let mut span = 0;
        for chunk in self.chunks.range(self.index_of(seq)..).take(SLICES_MAX) {
            span = chunk.end().distance(seq);
            if span >= max {
                return max;
            }
            if chunk.ends_record {
                break;
            }
        }
        span
    }

    /// Writes the `len` bytes from `seq` on to `chain`, which is empty, and answers whether a
    /// write ended with the last of them. Fewer, if more than a chain takes was asked for, or a
    /// record ends before.
    #[inline]
    pub(crate) fn slices(&mut self, seq: SeqNum, len: u32, chain: &mut Chain) -> bool {
        let end = seq + len;
        if self.first_covers(seq, len)
            && let Some(first) = self.chunks.front()
        {
            let from = seq.distance(first.at) as usize;
            // An empty chain takes it.
            let _ = chain.push(first.bytes.slice(from..from + len as usize));
            return first.push && end == first.end();
        }
        let mut push = false;
        let first = self.index_of(seq);
        self.sent_from = first;
        for (index, chunk) in (first..).zip(self.chunks.range(first..)) {
            if chunk.at.after_eq(end) {
                break;
            }
            self.sent_from = index;
            let from = seq.max(chunk.at).distance(chunk.at) as usize;
            let to = end.min(chunk.end()).distance(chunk.at) as usize;
            if chain.push(chunk.bytes.slice(from..to)).is_err() {
                break;
            }
            push = chunk.push && to == chunk.bytes.len();
            if chunk.ends_record {
                break;
            }
        }
        push
    }

    /// Drops everything but keeps a little room, for the next connection.
    pub(crate) fn recycle(&mut self) {
        self.chunks.clear();
        if self.chunks.capacity() > KEPT {
            self.chunks.shrink_to(KEPT);
        }
        self.cost = 0;
        self.urgent_end = None;
        self.record_start = None;
        self.sent_from = 0;
    }
}

/// Whether `bytes` is small enough to be packed by copying it.
pub(crate) fn is_small(bytes: &SharedBuf, pool: &BufferPool) -> bool {
    bytes.len() < COPY_BELOW && bytes.len() <= pool.buffer_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> BufferPool {
        BufferPool::builder()
            .buffer_size(4096)
            .count(16)
            .build()
            .unwrap()
    }

    fn slices(queue: &mut SendQueue, seq: SeqNum, len: u32) -> (Chain, bool) {
        let mut chain = Chain::new();
        let push = queue.slices(seq, len, &mut chain);
        (chain, push)
    }

    #[test]
    fn every_byte_is_found_whatever_the_sizes_are() {
        let mut queue = SendQueue::default();
        let start = SeqNum(u32::MAX - 200);
        let mut bytes = Vec::new();
        for size in [1, 1, 1, 90, 1, 4, 4, 4, 4, 200, 1, 1, 30] {
            let at = start + bytes.len();
            let slice: Vec<u8> = (0..size).map(|i| (bytes.len() + i) as u8).collect();
            bytes.extend_from_slice(&slice);
            queue.push(at, SharedBuf::from(bytes::Bytes::from(slice)), false);
        }
        for una in [0_u32, 2, 50, 110, 300] {
            queue.acknowledge(start + una);
            for from in una..bytes.len() as u32 {
                let (chain, _) = slices(&mut queue, start + from, 1);
                assert_eq!(chain.to_vec(), [bytes[from as usize]], "{una}, {from}");
            }
            assert_eq!(queue.span(start + bytes.len(), 1), 0);
        }
    }

    #[test]
    fn small_writes_share_a_buffer_until_a_frame_holds_it() {
        let pool = pool();
        let local = pool.local();
        let mut queue = SendQueue::default();
        let start = SeqNum(u32::MAX - 3);
        assert_eq!(queue.copy_in(start, b"abc", true, 9000, &local), 3);
        assert_eq!(queue.copy_in(start + 3_u32, b"def", true, 9000, &local), 3);
        assert_eq!(pool.stats().in_use, 1);
        let (held, push) = slices(&mut queue, start, 6);
        assert_eq!((held.to_vec(), push), (b"abcdef".to_vec(), true));
        assert_eq!(queue.copy_in(start + 6_u32, b"g", true, 9000, &local), 1);
        assert_eq!(pool.stats().in_use, 2);
        let (all, _) = slices(&mut queue, start, 7);
        assert_eq!(all.to_vec(), b"abcdefg");
        drop((held, all));
        queue.acknowledge(start + 2_u32);
        assert_eq!(slices(&mut queue, start + 2_u32, 5).0.to_vec(), b"cdefg");
        queue.acknowledge(start + 7_u32);
        assert!(queue.is_empty());
        assert_eq!((queue.cost(), pool.stats().in_use), (0, 0));
    }

    #[test]
    fn owned_slices_are_lent_not_copied() {
        let mut queue = SendQueue::default();
        let bytes = SharedBuf::from_static(&[7; 5000]);
        let start = bytes.as_ptr();
        queue.push(SeqNum(0), bytes, true);
        let (chain, push) = slices(&mut queue, SeqNum(1000), 3000);
        assert_eq!(chain.first().as_ptr(), start.wrapping_add(1000));
        assert!(!push);
        assert!(slices(&mut queue, SeqNum(1000), 4000).1);
        assert_eq!(queue.span(SeqNum(1000), 9000), 4000);
    }

    #[test]
    fn a_chain_is_never_overfilled() {
        let mut queue = SendQueue::default();
        for i in 0..50 {
            queue.push(SeqNum(i * 10), SharedBuf::from_static(&[1; 10]), false);
        }
        let span = queue.span(SeqNum(5), 500);
        assert_eq!(span, SLICES_MAX as u32 * 10 - 5);
        assert_eq!(slices(&mut queue, SeqNum(5), span).0.len(), span as usize);
    }

    #[test]
    fn an_empty_pool_takes_what_it_can() {
        let pool = pool();
        let local = pool.local();
        let mut queue = SendQueue::default();
        let taken = queue.copy_in(SeqNum(0), &[0; 100_000], true, usize::MAX, &local);
        assert_eq!(taken, 16 * 4096);
        assert_eq!(queue.copy_in(SeqNum(0), b"x", true, 9000, &local), 0);
    }
}
