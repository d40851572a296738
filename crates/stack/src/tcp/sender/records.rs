//! Records of what is in flight: one for each transmission, in sequence order.

use std::collections::VecDeque;

use zcn_wire::{SackBlock, SeqNum};

use crate::time::Instant;

/// Transmissions kept of one connection, at most; SACKs may split them into twice as many
/// records. Super-segments of 64 KB make that 268 MB in flight, and single segments of 1448
/// bytes still 5.9 MB. A peer that makes segments tiny and SACKs every second one costs this
/// much memory, and one walk over it for each acknowledgment.
pub(super) const MAX_RECORDS: usize = 4_096;

/// Room for so many records stays when nothing is in flight: an exchange of small messages would
/// otherwise ask for memory with each of them. 160 bytes of a connection that has sent.
const KEPT: usize = 4;

/// SACKed, not yet acknowledged.
const SACKED: u8 = 1;
/// Deemed lost.
const LOST: u8 = 1 << 1;
/// A retransmission is in flight.
const RETRANSMITTED: u8 = 1 << 2;
/// Was retransmitted at some time: which copy an acknowledgment means is open (Karn).
const EVER_RETRANSMITTED: u8 = 1 << 3;
/// The application limited the sender when this left.
const APP_LIMITED: u8 = 1 << 4;
/// Ends with a FIN, which takes a sequence number and no payload.
const FIN: u8 = 1 << 5;
/// Its last segment carries PSH.
const PUSHED: u8 = 1 << 6;

/// A run of sequence numbers that left together, and what has become of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) seq: SeqNum,
    pub(super) len: u32,
    /// When it last left.
    pub(super) sent_at: Instant,
    /// From the send of the segment that opened the rate sample to this send, µs.
    pub(super) send_elapsed_us: u32,
    /// From the last delivery to this send, µs.
    pub(super) delivered_age_us: u32,
    /// Bytes the connection had delivered at this send, modulo 2^32.
    pub(super) delivered: u32,
    /// Size of the segments that it left as.
    mss: u16,
    /// How many those were.
    segments: u16,
    flags: u8,
}

impl Record {
    #[inline]
    pub(super) fn new(seq: SeqNum, len: u32, mss: u16, fin: bool, now: Instant) -> Self {
        let mut record = Self {
            seq,
            len,
            sent_at: now,
            send_elapsed_us: 0,
            delivered_age_us: 0,
            delivered: 0,
            mss,
            segments: 0,
            flags: if fin { FIN } else { 0 },
        };
        record.count_segments();
        record
    }

    /// The number after the last of this record.
    #[inline]
    pub(super) fn end(&self) -> SeqNum {
        self.seq + self.len
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    pub(super) fn is_sacked(&self) -> bool {
        self.has(SACKED)
    }

    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.has(LOST)
    }

    #[inline]
    pub(super) fn is_retransmitted(&self) -> bool {
        self.has(RETRANSMITTED)
    }

    #[inline]
    pub(super) fn was_retransmitted(&self) -> bool {
        self.has(EVER_RETRANSMITTED)
    }

    #[inline]
    pub(super) fn is_app_limited(&self) -> bool {
        self.has(APP_LIMITED)
    }

    #[inline]
    pub(super) fn has_fin(&self) -> bool {
        self.has(FIN)
    }

    pub(super) fn set_app_limited(&mut self, limited: bool) {
        self.flags = if limited {
            self.flags | APP_LIMITED
        } else {
            self.flags & !APP_LIMITED
        };
    }

    #[inline]
    pub(super) fn mss(&self) -> u16 {
        self.mss
    }

    #[inline]
    pub(super) fn segments(&self) -> u32 {
        u32::from(self.segments)
    }

    #[inline]
    fn count_segments(&mut self) {
        let payload = self.len - u32::from(self.has_fin() && self.len > 0);
        let mss = u32::from(self.mss);
        let segments = if payload <= mss {
            1
        } else {
            payload.div_ceil(mss)
        };
        self.segments = u16::try_from(segments).unwrap_or(u16::MAX);
    }

    /// Keeps the first `at` numbers and returns the rest.
    fn split_off(&mut self, at: u32) -> Self {
        debug_assert!(at > 0 && at < self.len);
        let mut rest = *self;
        rest.seq = self.seq + at;
        rest.len = self.len - at;
        self.len = at;
        self.flags &= !(FIN | PUSHED);
        self.count_segments();
        rest.count_segments();
        rest
    }
}

/// All that is in flight, contiguous from `snd_una` to `snd_nxt`.
#[derive(Debug, Default)]
pub(super) struct Records {
    queue: VecDeque<Record>,
    /// Numbers in flight or delivered out of order: `snd_nxt - snd_una`.
    outstanding: u32,
    sacked: u32,
    sacked_segments: u32,
    lost: u32,
    retransmitted: u32,
    /// No record before this number waits for its retransmission.
    next_lost: SeqNum,
}

impl Records {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether new data would exceed [`MAX_RECORDS`].
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_RECORDS
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Record> {
        self.queue.front()
    }

    #[inline]
    pub(super) fn back(&self) -> Option<&Record> {
        self.queue.back()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.queue.iter()
    }

    #[inline]
    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding
    }

    #[inline]
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    #[inline]
    pub(super) fn sacked_segments(&self) -> u32 {
        self.sacked_segments
    }

    #[inline]
    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    #[inline]
    pub(super) fn retransmitted(&self) -> u32 {
        self.retransmitted
    }

    /// Bytes thought to be in the network: neither SACKed nor lost, and retransmissions.
    #[inline]
    pub(super) fn pipe(&self) -> u32 {
        (self.outstanding + self.retransmitted).saturating_sub(self.sacked + self.lost)
    }

    #[inline]
    pub(super) fn push(&mut self, record: Record) {
        debug_assert!(
            self.queue
                .back()
                .is_none_or(|last| last.end() == record.seq)
        );
        if self.queue.is_empty() {
            self.next_lost = record.seq;
        }
        self.outstanding += record.len;
        self.queue.push_back(record);
    }

    /// What left last carries PSH.
    #[inline]
    pub(super) fn mark_pushed(&mut self) {
        if let Some(last) = self.queue.back_mut() {
            last.flags |= PUSHED;
        }
    }

    /// Whether PSH was on a segment that ends after `seq` and at or before `end`.
    pub(super) fn was_pushed(&self, seq: SeqNum, end: SeqNum) -> bool {
        let Some(first) = self.find(seq) else {
            return false;
        };
        let within = self.queue.range(first..);
        let mut within = within.take_while(|record| record.end().before_eq(end));
        within.any(|record| record.has(PUSHED))
    }

    /// The record that holds `seq`.
    pub(super) fn find(&self, seq: SeqNum) -> Option<usize> {
        let first = self.queue.front()?.seq;
        if seq.before(first) {
            return None;
        }
        let offset = seq.distance(first);
        let after = self
            .queue
            .partition_point(|r| r.seq.distance(first) <= offset);
        let index = after.checked_sub(1)?;
        seq.before(self.queue[index].end()).then_some(index)
    }

    /// Takes what is cumulatively acknowledged out, oldest first, and shows each piece to
    /// `seen` as it stood. Memory goes when nothing is left, but for [`KEPT`] records.
    pub(super) fn acknowledge(&mut self, ack: SeqNum, mut seen: impl FnMut(&Record)) {
        while let Some(front) = self.queue.front_mut() {
            if !front.seq.before(ack) {
                break;
            }
            let piece = if ack.before(front.end()) {
                let before = front.segments;
                let rest = front.split_off(ack.distance(front.seq));
                let mut piece = core::mem::replace(front, rest);
                // A segment counts once its last byte is there.
                piece.segments = before.saturating_sub(rest.segments);
                piece
            } else {
                let piece = *front;
                self.queue.pop_front();
                piece
            };
            self.forget(&piece);
            self.outstanding -= piece.len;
            seen(&piece);
        }
        if self.next_lost.before(ack) {
            self.next_lost = ack;
        }
        if self.queue.is_empty() {
            let mut queue = core::mem::take(&mut self.queue);
            if queue.capacity() > KEPT {
                queue = VecDeque::new();
            }
            *self = Self {
                queue,
                next_lost: ack,
                ..Self::default()
            };
        }
    }

    /// Takes the oldest record out if `ack` acknowledges exactly that, it was sent once, and
    /// nothing is marked in any way: as [`acknowledge`](Self::acknowledge) would.
    #[inline]
    pub(super) fn take_plain_front(&mut self, ack: SeqNum) -> Option<Record> {
        const MARKS: u8 = SACKED | LOST | RETRANSMITTED | EVER_RETRANSMITTED;
        let front = self.queue.front()?;
        let plain = front.end() == ack
            && front.flags & MARKS == 0
            && self.sacked | self.sacked_segments | self.lost | self.retransmitted == 0;
        if !plain {
            return None;
        }
        let record = self.queue.pop_front()?;
        self.outstanding -= record.len;
        if self.next_lost.before(ack) || self.queue.is_empty() {
            self.next_lost = ack;
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        Some(record)
    }

    /// Takes `record`'s marks out of the sums.
    fn forget(&mut self, record: &Record) {
        if record.is_sacked() {
            self.sacked -= record.len;
            self.sacked_segments = if self.sacked == 0 {
                0
            } else {
                self.sacked_segments.saturating_sub(record.segments())
            };
        }
        if record.is_lost() {
            self.lost -= record.len;
        }
        if record.is_retransmitted() {
            self.retransmitted -= record.len;
        }
    }

    /// Marks the whole segments within `block` as SACKed and shows each newly marked
    /// piece to `seen` as it stood before.
    ///
    /// Only whole segments count, so a peer that SACKs single bytes cannot make more records
    /// than segments were sent. Neighbours that are both SACKed become one record.
    pub(super) fn sack(&mut self, block: SackBlock, mut seen: impl FnMut(&Record)) {
        let SackBlock { left, right } = block;
        let Some(mut index) = self.find(left) else {
            return;
        };
        while let Some(record) = self.queue.get(index).copied() {
            if !record.seq.before(right) {
                break;
            }
            let mss = u32::from(record.mss);
            let from = match left.after(record.seq) {
                true => left.distance(record.seq).next_multiple_of(mss),
                false => 0,
            };
            let to = match right.before(record.end()) {
                true => right.distance(record.seq) / mss * mss,
                false => record.len,
            };
            if record.is_sacked() || from >= to {
                index += 1;
                continue;
            }
            index = self.sack_within(index, from, to, &mut seen);
        }
    }

    /// Marks `from..to` of one record. Returns the index of the first record after the piece.
    fn sack_within(
        &mut self,
        mut index: usize,
        from: u32,
        to: u32,
        seen: &mut impl FnMut(&Record),
    ) -> usize {
        let whole = self.queue[index].len;
        let pieces = usize::from(from > 0) + usize::from(to < whole);
        if self.queue.len() + pieces > 2 * MAX_RECORDS {
            return index + 1;
        }
        if from > 0 {
            self.split(index, from);
            index += 1;
        }
        let len = to - from;
        let follows_sacked = index > 0 && self.queue[index - 1].is_sacked();
        let mut piece = self.queue[index];
        let rest = (len < piece.len).then(|| piece.split_off(len));
        seen(&piece);
        self.forget(&piece);
        piece.flags = piece.flags & !(LOST | RETRANSMITTED) | SACKED;
        self.sacked += piece.len;
        self.sacked_segments += piece.segments();

        if follows_sacked {
            // The common case in recovery: the run before grows, nothing is inserted.
            let before = &mut self.queue[index - 1];
            absorb(before, &piece);
            match rest {
                Some(rest) => {
                    self.queue[index] = rest;
                    return index;
                }
                None => {
                    self.queue.remove(index);
                    index -= 1;
                }
            }
        } else {
            self.queue[index] = piece;
            if let Some(rest) = rest {
                self.queue.insert(index + 1, rest);
                return index + 1;
            }
        }
        if self.queue.get(index + 1).is_some_and(Record::is_sacked)
            && let Some(next) = self.queue.remove(index + 1)
        {
            absorb(&mut self.queue[index], &next);
        }
        index + 1
    }

    /// Cuts record `index` after its first `at` numbers; nothing to do at its ends.
    pub(super) fn split(&mut self, index: usize, at: u32) {
        if at == 0 || at >= self.queue[index].len {
            return;
        }
        let record = &mut self.queue[index];
        let sacked = record.is_sacked();
        let before = record.segments();
        let rest = record.split_off(at);
        if sacked {
            let after = record.segments() + rest.segments();
            self.sacked_segments = (self.sacked_segments + after).saturating_sub(before);
        }
        self.queue.insert(index + 1, rest);
    }

    /// Marks a record lost, and its retransmission too if one was in flight. Returns how many
    /// bytes have thereby left the pipe.
    pub(super) fn mark_lost(&mut self, index: usize) -> u32 {
        let record = &mut self.queue[index];
        debug_assert!(!record.is_sacked());
        let mut left = 0;
        if record.is_retransmitted() {
            record.flags &= !RETRANSMITTED;
            self.retransmitted -= record.len;
            left = record.len;
        }
        if !record.is_lost() {
            record.flags |= LOST;
            self.lost += record.len;
            left = record.len;
        }
        if left > 0 {
            self.next_lost = self.next_lost.min(record.seq);
        }
        left
    }

    /// Takes every loss mark away: the reduction was wrong.
    pub(super) fn unmark_lost(&mut self) {
        if self.lost == 0 {
            return;
        }
        for record in &mut self.queue {
            record.flags &= !LOST;
        }
        self.lost = 0;
    }

    /// Takes every SACK mark away: the peer has reneged (RFC 2018, section 8).
    pub(super) fn unmark_sacked(&mut self) {
        for record in &mut self.queue {
            record.flags &= !SACKED;
        }
        self.sacked = 0;
        self.sacked_segments = 0;
    }

    /// The first record that is lost and not yet retransmitted.
    pub(super) fn next_lost(&mut self) -> Option<usize> {
        if self.lost == 0 {
            return None;
        }
        let start = self.find(self.next_lost)?;
        let offset = self
            .queue
            .range(start..)
            .position(|r| r.is_lost() && !r.is_retransmitted());
        match offset {
            Some(offset) => {
                self.next_lost = self.queue[start + offset].seq;
                Some(start + offset)
            }
            None => {
                if let Some(last) = self.queue.back() {
                    self.next_lost = last.end();
                }
                None
            }
        }
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Record> {
        self.queue.get(index)
    }

    /// How many numbers from record `index` on leave together when they are sent again in
    /// segments of `mss`, up to `limit` or a little more. What left together keeps its bounds,
    /// but that, as on Linux, small segments that fit one leave as one. Without super-frames
    /// every segment is a record of its own, and all that lie together leave anew.
    pub(super) fn lost_run(&self, index: usize, mss: u32, limit: u32, super_frames: bool) -> u32 {
        let mut run = 0;
        for record in self.queue.range(index..) {
            let joins = !super_frames || run % mss == 0 || run + record.len <= mss;
            if run >= limit || !joins || !record.is_lost() || record.is_retransmitted() {
                break;
            }
            run += record.len;
        }
        run
    }

    /// Makes record `index` hold exactly `len` numbers: cuts it, or joins those behind it to
    /// it. They are about to leave together, whatever they left as before.
    pub(super) fn reshape(&mut self, index: usize, len: u32) {
        while self.queue[index].len < len {
            let Some(next) = self.queue.remove(index + 1) else {
                break;
            };
            let record = &mut self.queue[index];
            debug_assert!(!record.is_sacked() && !next.is_sacked());
            // Marks that only one of them has are taken to hold for neither.
            for (flag, sum) in [
                (LOST, &mut self.lost),
                (RETRANSMITTED, &mut self.retransmitted),
            ] {
                match (record.has(flag), next.has(flag)) {
                    (true, false) => *sum -= record.len,
                    (false, true) => *sum -= next.len,
                    _ => continue,
                }
                record.flags &= !flag;
            }
            record.len += next.len;
            record.flags |= next.flags & (EVER_RETRANSMITTED | FIN | PUSHED);
        }
        self.split(index, len);
    }

    /// Notes that record `index` left again, as segments of `mss`. The caller fills in the
    /// rate sample's part of what it gets.
    pub(super) fn mark_retransmitted(
        &mut self,
        index: usize,
        mss: u16,
        now: Instant,
    ) -> &mut Record {
        let record = &mut self.queue[index];
        debug_assert!(!record.is_sacked());
        if !record.is_retransmitted() {
            self.retransmitted += record.len;
        }
        record.flags |= RETRANSMITTED | EVER_RETRANSMITTED;
        record.sent_at = now;
        record.mss = mss;
        record.count_segments();
        record
    }

    /// Without SACK each duplicate acknowledgment stands for one segment delivered out of
    /// order: counts one. False: there is nothing that it can stand for.
    pub(super) fn add_duplicate(&mut self, mss: u32) -> bool {
        let most = self.duplicates_max(mss);
        if self.sacked >= most {
            return false;
        }
        self.sacked = (self.sacked + mss).min(most);
        self.sacked_segments += 1;
        true
    }

    /// Bytes that duplicates can stand for. One segment at least is missing, or there would be
    /// none.
    fn duplicates_max(&self, mss: u32) -> u32 {
        self.outstanding.saturating_sub(mss.max(self.lost))
    }

    /// Without SACK: `acked` bytes left; one segment of them filled the hole, the others are
    /// those that the duplicates stood for. Returns how many of them no duplicate had told, and
    /// whether there were more duplicates than can be. `sacked` bytes were told of before; nothing
    /// knows of them any more if all is acknowledged.
    pub(super) fn remove_duplicates(&mut self, acked: u32, sacked: u32, mss: u32) -> (u32, bool) {
        let told = sacked.min(acked.saturating_sub(mss.min(acked)));
        let most = self.duplicates_max(mss);
        let too_many = sacked - told > most;
        self.sacked = (sacked - told).min(most);
        self.sacked_segments = self.sacked.div_ceil(mss.max(1)).min(self.sacked_segments);
        (acked - told, too_many)
    }

    /// Segments in flight, delivered out of order or lost. Walks the records.
    pub(super) fn segments(&self) -> u32 {
        self.queue.iter().map(Record::segments).sum()
    }

    /// Behind the highest number SACKed.
    pub(super) fn highest_sacked(&self) -> Option<SeqNum> {
        let last = self.queue.iter().rev().find(|record| record.is_sacked());
        last.map(Record::end)
    }

    /// Without SACK: what is lost was not delivered, so no duplicate stands for it.
    pub(super) fn limit_duplicates(&mut self) {
        self.sacked = self.sacked.min(self.outstanding - self.lost);
    }

    /// Without SACK: the duplicates counted so far mean nothing any more.
    pub(super) fn reset_duplicates(&mut self) {
        self.sacked = 0;
        self.sacked_segments = 0;
    }

    /// Asserts that the sums are those of the records, as long as they are few enough for a
    /// debug build to stay usable.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, sack: bool) {
        assert!(self.queue.len() <= 3 * MAX_RECORDS);
        assert!(!self.queue.is_empty() || self.queue.capacity() <= KEPT);
        if self.queue.len() > 200 {
            return;
        }
        let sum = |flag: u8| -> u32 {
            self.queue
                .iter()
                .filter(|r| r.has(flag))
                .map(|r| r.len)
                .sum()
        };
        assert_eq!(
            self.outstanding,
            self.queue.iter().map(|r| r.len).sum::<u32>()
        );
        assert_eq!(self.lost, sum(LOST));
        assert_eq!(self.retransmitted, sum(RETRANSMITTED));
        if sack {
            assert_eq!(self.sacked, sum(SACKED));
        }
        assert!(self.sacked + self.lost <= self.outstanding);
    }
}

/// Makes `next` part of `run`, both SACKed.
fn absorb(run: &mut Record, next: &Record) {
    debug_assert!(run.end() == next.seq && run.is_sacked() && next.is_sacked());
    run.len += next.len;
    run.segments = run.segments.saturating_add(next.segments);
    run.flags |= next.flags & (EVER_RETRANSMITTED | FIN);
    run.sent_at = run.sent_at.max(next.sent_at);
}
