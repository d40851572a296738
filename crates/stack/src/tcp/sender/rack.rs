//! RACK: which segments are lost, told by the time of those delivered (RFC 8985).

use core::time::Duration;

use zcn_wire::SeqNum;

use super::records::{Record, Records};
use super::rtt::micros;
use super::timestamp_clock;
use crate::time::Instant;

/// Segments SACKed that tell a loss at once, if no reordering was ever seen (DupThresh).
pub(super) const DUP_THRESH: u16 = 3;
/// Largest reordering degree kept, in segments, as in Linux.
const MAX_REORDERING: u16 = 300;
/// Recoveries without a D-SACK after which a grown window shrinks again (section 6.2).
const REO_WND_PERSIST: u8 = 16;

/// The sender's view of time and reordering (section 5.2).
#[derive(Clone, Debug)]
pub(super) struct Rack {
    /// When the segment delivered that left last had left.
    xmit_at: Instant,
    end_seq: SeqNum,
    /// The round-trip time of that segment, µs; zero before the first.
    rtt_us: u32,
    /// Highest number delivered.
    fack: SeqNum,
    /// A D-SACK counts again when this is acknowledged.
    dsack_round: SeqNum,
    /// Reordering degree in segments.
    reordering: u16,
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    in_dsack_round: bool,
    reordering_seen: bool,
}

impl Rack {
    pub(super) fn new(snd_una: SeqNum) -> Self {
        Self {
            xmit_at: Instant::ZERO,
            end_seq: snd_una,
            rtt_us: 0,
            fack: snd_una,
            dsack_round: snd_una,
            reordering: DUP_THRESH,
            reo_wnd_mult: 1,
            reo_wnd_persist: 0,
            in_dsack_round: false,
            reordering_seen: false,
        }
    }

    pub(super) fn reordering(&self) -> u16 {
        self.reordering
    }

    /// Whether a segment that left at `at` and ends before `end` left before the newest
    /// delivered one.
    fn is_older(&self, at: Instant, end: SeqNum) -> bool {
        at < self.xmit_at || (at == self.xmit_at && end.before(self.end_seq))
    }

    /// `record` was delivered (section 6.2, step 2 and 3).
    pub(super) fn deliver(
        &mut self,
        record: &Record,
        ts_ecr: Option<u32>,
        min_rtt: Duration,
        now: Instant,
    ) {
        let rtt = now.saturating_duration_since(record.sent_at);
        if record.was_retransmitted() {
            // Was it the original that was delivered? Then the time of the retransmission
            // says nothing.
            let sent = timestamp_clock(record.sent_at);
            let echoes_original =
                ts_ecr.is_some_and(|ecr| ecr.wrapping_sub(sent).cast_signed() < 0);
            if echoes_original || rtt < min_rtt {
                return;
            }
        }
        self.deliver_once(record, micros(rtt));
    }

    /// The same of a record that was sent once, or whose last copy it was, `rtt_us` ago.
    #[inline]
    pub(super) fn deliver_once(&mut self, record: &Record, rtt_us: u32) {
        if self.rtt_us == 0
            || self.xmit_at < record.sent_at
            || (self.xmit_at == record.sent_at && self.end_seq.before(record.end()))
        {
            self.xmit_at = record.sent_at;
            self.end_seq = record.end();
        }
        self.rtt_us = rtt_us.max(1);
    }

    /// `record` was delivered: notes whether something after it was before it, and tells.
    #[inline]
    pub(super) fn note_order(&mut self, record: &Record, mss: u32) -> bool {
        if record.end().after(self.fack) {
            self.fack = record.end();
        } else if record.end().before(self.fack) && !record.was_retransmitted() {
            self.note_reordering(self.fack.distance(record.seq), mss);
            return true;
        }
        false
    }

    /// Something came late by `bytes`.
    pub(super) fn note_reordering(&mut self, bytes: u32, mss: u32) {
        let degree = bytes.div_ceil(mss.max(1)).min(u32::from(MAX_REORDERING)) as u16;
        self.reordering = self.reordering.max(degree);
        self.reordering_seen = true;
    }

    /// The reordering degree is `segments`, whatever it was.
    pub(super) fn set_reordering(&mut self, segments: u32) {
        self.reordering = segments.min(u32::from(MAX_REORDERING)) as u16;
        self.reordering_seen = true;
    }

    /// A timeout came though the degree said to wait: forgets the growth.
    pub(super) fn reset_reordering(&mut self) {
        self.reordering = self.reordering.min(DUP_THRESH);
    }

    /// Adapts the reordering window to D-SACKs (section 6.2, step 4).
    #[inline]
    pub(super) fn on_dsack(&mut self, dsack: bool, snd_una: SeqNum, snd_nxt: SeqNum) {
        if self.in_dsack_round && snd_una.after_eq(self.dsack_round) {
            self.in_dsack_round = false;
        }
        if dsack && !self.in_dsack_round {
            self.in_dsack_round = true;
            self.dsack_round = snd_nxt;
            self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1);
            self.reo_wnd_persist = REO_WND_PERSIST;
        }
    }

    /// A recovery ended.
    pub(super) fn on_recovery_end(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    /// How long a segment may be late (section 6.2, step 4).
    pub(super) fn reo_wnd(
        &self,
        in_recovery: bool,
        sacked_segments: u32,
        min_rtt: Duration,
        srtt: Duration,
    ) -> Duration {
        let enough = sacked_segments >= u32::from(self.reordering);
        if !self.reordering_seen && (in_recovery || enough) {
            return Duration::ZERO;
        }
        (min_rtt / 4 * u32::from(self.reo_wnd_mult)).min(srtt)
    }

    /// Marks what is lost (section 6.2, step 5). Returns the bytes marked, and how long to
    /// wait before the next segment would be.
    pub(super) fn detect(
        &self,
        records: &mut Records,
        reo_wnd: Duration,
        now: Instant,
        mut lost_again: impl FnMut(),
    ) -> (u32, Option<Duration>) {
        if self.rtt_us == 0 {
            return (0, None);
        }
        let patience = self.rtt() + reo_wnd;
        let mut lost = 0;
        let mut wait = None;
        let mut index = 0;
        while let Some(record) = records.get(index).copied() {
            let pending = record.is_lost() && !record.is_retransmitted();
            if record.is_sacked() || pending {
                index += 1;
                continue;
            }
            if !self.is_older(record.sent_at, record.end()) {
                // What was sent once left in sequence order, and what was retransmitted left
                // after its neighbours: nothing beyond can be older.
                if !record.was_retransmitted() {
                    break;
                }
                index += 1;
                continue;
            }
            let due = record.sent_at + patience;
            if due <= now {
                if record.is_retransmitted() {
                    lost_again();
                }
                lost += records.mark_lost(index);
            } else {
                wait = wait.max(Some(due.saturating_duration_since(now)));
            }
            index += 1;
        }
        (lost, wait)
    }

    /// Whether a segment that left at `sent_at` is overdue when the retransmission timer
    /// expires (section 6.3).
    pub(super) fn is_overdue(&self, sent_at: Instant, reo_wnd: Duration, now: Instant) -> bool {
        self.rtt_us == 0 || sent_at + self.rtt() + reo_wnd <= now
    }

    fn rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt_us))
    }
}
