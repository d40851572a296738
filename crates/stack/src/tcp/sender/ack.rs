//! An acknowledgment: what it delivered, and what follows.

use core::time::Duration;

use thiserror::Error;
use zcn_wire::{SackBlock, SackBlocks, SeqNum};

use super::marks::{Delivered, Feedback};
use super::rack::Rack;
use super::rate::{Candidate, RateEstimator};
use super::records::Record;
use super::recovery::CaState;
use super::tlp::Probe;
use super::transmit::Demand;
use super::{Sender, timestamp_clock};
use crate::tcp::congestion::{AckSample, MAX_CWND, RateSample};
use crate::time::Instant;

/// What a segment says to the sending half.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// SEG.ACK.
    pub ack: SeqNum,
    /// The SACK blocks in the order they came; a D-SACK is the first (RFC 2883). Blocks that
    /// cannot be are ignored, and all if SACK was not agreed on.
    pub sack: &'a [SackBlock],
    /// SEG.WND, scaled.
    pub window: u32,
    /// SEG.SEQ.
    pub segment_seq: SeqNum,
    /// TSecr less the connection's timestamp offset, so that it compares with
    /// [`timestamp_clock`]; none without timestamps.
    pub ts_ecr: Option<u32>,
    /// The segment has payload, SYN or FIN: then it is no duplicate acknowledgment.
    pub carries_data: bool,
    /// The segment says that congestion was experienced (ECE, RFC 3168), on a connection
    /// that agreed on ECN.
    pub ece: bool,
}

/// What [`Sender::handle_ack`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckOutcome {
    /// `snd_una` moved by this much: the data may be freed.
    pub acked: u32,
    /// Bytes SACKed for the first time.
    pub sacked: u32,
    /// Bytes newly deemed lost.
    pub lost: u32,
    /// The peer's window changed.
    pub window_updated: bool,
    /// It is larger than it ever was.
    pub window_is_largest: bool,
    /// A duplicate acknowledgment (RFC 5681, section 2).
    pub duplicate: bool,
    /// A wrong reduction was undone.
    pub undone: bool,
    /// The round-trip time that it measured.
    pub rtt: Option<Duration>,
}

/// An acknowledgment that says what cannot be. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AckError {
    /// It acknowledges what was never sent: answer with an ACK and drop the segment (RFC
    /// 9293, section 3.10.7.4; an attack in RFC 5961, section 5).
    #[error("acknowledges data that was never sent")]
    BeyondSndNxt,
    /// It is older than the largest window allows: answer with a challenge ACK and drop the
    /// segment (RFC 5961, section 5.2).
    #[error("acknowledges data older than any window")]
    TooOld,
}

/// What is known of one acknowledgment while it is handled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) now: Instant,
    pub(super) ack: SeqNum,
    pub(super) ts_ecr: Option<u32>,
    pub(super) acked: u32,
    pub(super) sacked: u32,
    pub(super) delivered: u32,
    /// Segments that were delivered.
    pub(super) segments: u32,
    pub(super) lost: u32,
    pub(super) advanced: bool,
    pub(super) duplicate: bool,
    pub(super) ece: bool,
    /// A retransmission was lost.
    pub(super) lost_again: bool,
    /// The oldest record is SACKed, which cannot be: the peer threw data away.
    pub(super) reneging: bool,
    /// Data that was sent once and before the state began was delivered.
    pub(super) original_delivered: bool,
    /// A D-SACK of something this side did send twice came, and it was not the probe's.
    pub(super) dsack: bool,
    pub(super) dsack_end: Option<SeqNum>,
    /// A SACK restarts the timer.
    pub(super) restart: bool,
    /// The timer already stands where it must.
    pub(super) timer_set: bool,
}

impl Verdict {
    /// Nothing known, at `now`: what a timer starts from.
    pub(super) fn new(now: Instant, ack: SeqNum) -> Self {
        Self {
            now,
            ack,
            ts_ecr: None,
            acked: 0,
            sacked: 0,
            delivered: 0,
            segments: 0,
            lost: 0,
            advanced: false,
            duplicate: false,
            ece: false,
            lost_again: false,
            reneging: false,
            original_delivered: false,
            dsack: false,
            dsack_end: None,
            restart: false,
            timer_set: false,
        }
    }
}

/// Collects what the pieces that one acknowledgment delivers tell.
struct Delivery<'a> {
    rack: &'a mut Rack,
    rate: &'a mut RateEstimator,
    now: Instant,
    ts_ecr: Option<u32>,
    min_rtt: Duration,
    mss: u32,
    high_seq: SeqNum,
    candidate: Option<Candidate>,
    /// Bytes not delivered before.
    delivered: u32,
    segments: u32,
    sacked: u32,
    original: bool,
    reordered: bool,
    retransmitted: bool,
    oldest_sent: Option<Instant>,
    newest_sent: Option<Instant>,
    sack_sent: Option<Instant>,
    /// When the newest retransmission of what is acknowledged left.
    sent_again: Option<Instant>,
}

impl Delivery<'_> {
    fn acked(&mut self, record: &Record) {
        if record.was_retransmitted() {
            self.retransmitted = true;
            self.sent_again = self.sent_again.max(Some(record.sent_at));
        }
        if record.is_sacked() {
            return;
        }
        if !record.was_retransmitted() {
            self.oldest_sent.get_or_insert(record.sent_at);
            self.newest_sent = Some(record.sent_at);
        }
        self.deliver(record);
    }

    fn sacked(&mut self, record: &Record) {
        self.sacked += record.len;
        if !record.was_retransmitted() {
            self.sack_sent.get_or_insert(record.sent_at);
        }
        self.deliver(record);
    }

    fn deliver(&mut self, record: &Record) {
        self.delivered += record.len;
        self.segments += record.segments();
        if !record.was_retransmitted() && record.end().before_eq(self.high_seq) {
            self.original = true;
        }
        self.reordered |= self.rack.note_order(record, self.mss);
        self.rack
            .deliver(record, self.ts_ecr, self.min_rtt, self.now);
        self.rate.deliver(record, self.now, &mut self.candidate);
    }
}

impl Sender {
    /// Takes the acknowledgment of a segment in, which the connection has found to be in
    /// the window. `feedback`: what it says of marks, on a connection with accurate ECN (RFC
    /// 9768); otherwise [`Ack::ece`] says it.
    ///
    /// # Errors
    ///
    /// [`AckError`]: it acknowledges what it cannot. The connection answers and drops the
    /// segment.
    pub fn handle_ack(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        feedback: Option<Feedback<'_>>,
    ) -> Result<AckOutcome, AckError> {
        if ack.ack.after(self.snd_nxt) {
            return Err(AckError::BeyondSndNxt);
        }
        if ack.ack.before(self.snd_una) {
            if self.snd_una.distance(ack.ack) > self.max_window {
                return Err(AckError::TooOld);
            }
            if !self.sack || ack.sack.is_empty() || self.records.is_empty() {
                return Ok(AckOutcome::default());
            }
        }
        if feedback.is_none()
            && let Some(outcome) = self.handle_plain_ack(now, ack)
        {
            return Ok(outcome);
        }
        // An old one has been superseded by another.
        let mut feedback = feedback.filter(|_| ack.ack.after_eq(self.snd_una));
        let largest = self.max_window;
        let window_updated = self.update_window(ack);
        let window_is_largest = self.max_window > largest;
        // With nothing in flight a D-SACK, or a duplicate for a probe, may still tell something.
        let telling = !ack.sack.is_empty() || self.probe != Probe::None;
        if self.records.is_empty() && !telling {
            if let Some(feedback) = &mut feedback {
                // Marks on acknowledgements of ours: nothing is there to be reduced.
                feedback.read(&self.delivered_by(&Verdict::new(now, ack.ack)));
            }
            return Ok(AckOutcome {
                window_updated,
                window_is_largest,
                ..AckOutcome::default()
            });
        }

        let undone_before = self.episode.undone;
        let mut v = Verdict::new(now, ack.ack);
        v.ts_ecr = ack.ts_ecr.filter(|_| self.timestamps);
        v.ece = ack.ece;
        let (candidate, rtt) = self.deliver(ack, &mut v);
        v.duplicate =
            !v.advanced && ack.ack == self.snd_una && !ack.carries_data && !window_updated;
        if let Some(feedback) = &mut feedback {
            v.ece = feedback.read(&self.delivered_by(&v)) > 0;
            // Acknowledgements of marked acknowledgements report nothing (RFC 9768 section
            // 3.2.2.5.1).
            v.duplicate &= !self.sack || !ack.sack.is_empty();
        }
        if v.advanced {
            self.retransmits = 0;
            self.demand = Demand::None;
        }

        self.rack.on_dsack(v.dsack, self.snd_una, self.snd_nxt);
        self.settle_probe(&v);
        let plain = v.advanced && v.sacked == 0 && v.dsack_end.is_none() && !v.ece;
        if self.state != CaState::Open || !plain {
            self.run_states(&mut v);
        }
        self.restart_timer(&v);

        let rate = self
            .episode
            .rate
            .sample(candidate, self.rtt.min_rtt_us(), now);
        self.adjust_window(&v, rtt, rate);
        self.check();
        Ok(AckOutcome {
            acked: v.acked,
            sacked: v.sacked,
            lost: v.lost,
            window_updated,
            window_is_largest,
            duplicate: v.duplicate && !self.records.is_empty(),
            undone: self.episode.undone != undone_before,
            rtt,
        })
    }

    /// The send window (RFC 9293, section 3.10.7.4), and like Linux also when the same
    /// segment numbers bring a larger window or none, so that a window that opens is never
    /// missed.
    pub(super) fn update_window(&mut self, ack: &Ack<'_>) -> bool {
        if !self.would_update_window(ack.ack, ack.segment_seq, ack.window) {
            return false;
        }
        self.snd_wl1 = ack.segment_seq;
        // No larger window can be offered (RFC 7323, section 2.3).
        let window = ack.window.min(MAX_CWND);
        let updated = window != self.snd_wnd;
        self.snd_wnd = window;
        self.max_window = self.max_window.max(window);
        updated
    }

    /// Whether a segment's window is newer than the one that is known.
    pub(crate) fn would_update_window(&self, ack: SeqNum, seq: SeqNum, window: u32) -> bool {
        ack.after(self.snd_una)
            || (ack == self.snd_una
                && (seq.after(self.snd_wl1)
                    || (seq == self.snd_wl1 && (window > self.snd_wnd || window == 0))))
    }

    /// Takes out what is acknowledged, marks what is SACKed and measures.
    fn deliver(&mut self, ack: &Ack<'_>, v: &mut Verdict) -> (Option<Candidate>, Option<Duration>) {
        let mss = self.window.mss;
        let mut delivery = Delivery {
            rack: &mut self.rack,
            rate: &mut self.episode.rate,
            now: v.now,
            ts_ecr: v.ts_ecr,
            min_rtt: self.rtt.min_rtt(),
            mss,
            high_seq: self.episode.high_seq,
            candidate: None,
            delivered: 0,
            segments: 0,
            sacked: 0,
            original: false,
            reordered: false,
            retransmitted: false,
            oldest_sent: None,
            newest_sent: None,
            sack_sent: None,
            sent_again: None,
        };
        let duplicates = (self.records.sacked(), self.records.sacked_segments());
        if ack.ack.after(self.snd_una) {
            v.acked = ack.ack.distance(self.snd_una);
            v.advanced = true;
            self.records
                .acknowledge(ack.ack, |piece| delivery.acked(piece));
            self.snd_una = ack.ack;
        }
        let (mut dsack, mut blocks) = (None, if self.sack { ack.sack } else { &[] });
        if let Some((&first, rest)) = blocks.split_first() {
            let within_second = rest.first().is_some_and(|second| {
                second.left.before_eq(first.left) && first.right.before_eq(second.right)
            });
            let valid = first.is_sane() && first.right.before_eq(self.snd_nxt);
            if valid && (first.right.before_eq(ack.ack) || within_second) {
                dsack = Some(first);
                blocks = rest;
            }
        }
        for block in blocks.iter().take(SackBlocks::MAX) {
            // A block that starts at snd_una or below would have been acknowledged.
            let valid = block.is_sane()
                && block.left.after(self.snd_una)
                && block.right.before_eq(self.snd_nxt);
            if valid {
                self.records.sack(*block, |piece| delivery.sacked(piece));
            }
        }
        v.sacked = delivery.sacked;
        v.delivered = delivery.delivered;
        v.original_delivered = delivery.original;
        let mut segments = delivery.segments;
        let reordered = delivery.reordered;
        let Delivery {
            candidate,
            retransmitted,
            oldest_sent,
            newest_sent,
            sack_sent,
            sent_again,
            ..
        } = delivery;
        self.episode.reorderings += u32::from(reordered);
        if !self.sack && v.advanced {
            // One filled the hole; the duplicates told of others already.
            let (bytes, told) = duplicates;
            let whole = segments;
            segments = whole.saturating_sub(told).max(1);
            let (delivered, limited) = self.records.remove_duplicates(v.acked, bytes, mss);
            v.delivered = delivered;
            if limited {
                self.note_reno_reordering(whole);
            }
        }
        v.segments = segments;
        self.episode.delivered_segments = self.episode.delivered_segments.wrapping_add(segments);
        if v.ece {
            let marked = &mut self.episode.delivered_ce_segments;
            *marked = marked.wrapping_add(segments);
        }
        v.reneging = v.advanced && self.sack && self.records.front().is_some_and(Record::is_sacked);
        if let Some(block) = dsack {
            self.note_dsack(v, block);
        }

        let since = |sent: Instant| v.now.saturating_duration_since(sent);
        let newest = newest_sent.filter(|_| !retransmitted).map(since);
        let oldest = oldest_sent.filter(|_| !retransmitted).map(since);
        let sacked = sack_sent.map(since);
        if let Some(least) = newest.or(sacked) {
            self.rtt.note_min(least, v.now);
        }
        let least_rtt = self.rtt.min_rtt();
        let echoed = v.ts_ecr.filter(|_| v.advanced).and_then(|ecr| {
            let ms = timestamp_clock(v.now).wrapping_sub(ecr).cast_signed();
            // An echo from the future, or from days ago, measures nothing.
            let sound = (0..=600_000).contains(&ms);
            // A peer that had the data already echoes what it saw before the retransmission.
            // If that can be what it answers, the echo tells how long the answer to an
            // earlier segment was lost, and Karn's rule holds (RFC 6298, section 3).
            let older = |at| timestamp_clock(at).wrapping_sub(ecr).cast_signed() > 0;
            let unclear = sent_again.is_some_and(|at| older(at) && since(at) >= least_rtt);
            (sound && !unclear).then(|| Duration::from_millis(ms.max(1).unsigned_abs().into()))
        });
        if let Some(sample) = oldest.or(sacked).or(echoed) {
            self.rtt.sample(sample, self.snd_una, self.snd_nxt);
        }
        // A SACK restarts the timer only if what it acknowledges left after the oldest
        // record last did; otherwise SACKs could keep off the timeout of a lost
        // retransmission for ever.
        if let (Some(sacked), Some(front)) = (sacked, self.records.front()) {
            v.restart = sacked < since(front.sent_at);
        }
        (candidate, newest.or(sacked))
    }

    /// What an acknowledgment has delivered, for who reads marks out of it.
    fn delivered_by(&self, v: &Verdict) -> Delivered {
        Delivered {
            segments: v.segments,
            bytes: v.delivered,
            acked: v.advanced,
            exact: self.sack || matches!(self.state, CaState::Open | CaState::Cwr),
            mss: self.window.mss,
        }
    }

    /// The peer reports something that came twice (RFC 2883).
    fn note_dsack(&mut self, v: &mut Verdict, block: SackBlock) {
        v.dsack_end = Some(block.right);
        let bytes = block.len();
        if bytes > self.max_window {
            return;
        }
        let segments = bytes.div_ceil(self.window.mss);
        self.episode.dsack_segments = self.episode.dsack_segments.saturating_add(segments);
        // More duplicates than were ever sent again: the network makes them, or the peer
        // invents them. Either way they say nothing of the retransmissions.
        if self.episode.dsack_segments > self.episode.retransmitted_segments {
            return;
        }
        // As Linux: what arrived twice was delivered twice, also for the window.
        let delivered = &mut self.episode.delivered_segments;
        *delivered = delivered.wrapping_add(segments);
        v.delivered += segments * self.window.mss;
        v.segments += segments;
        // The window for reordering grows only where there was some, as in Linux.
        v.dsack = self.episode.reorderings > 0 && !self.is_probe_end(block.right);
        self.episode.undo.on_dsack(bytes, block.right);
    }

    /// The window after the acknowledgment: reduced, or grown.
    fn adjust_window(&mut self, v: &Verdict, rtt: Option<Duration>, rate: Option<RateSample>) {
        let pipe = self.records.pipe();
        let reducing = self.in_reduction();
        if reducing {
            self.reduce_window(v.delivered, v.advanced && v.lost == 0);
        }
        if v.delivered == 0 {
            return;
        }
        // While reordering is common an acknowledgment need not advance to count.
        let forward = v.advanced || self.rack.reordering() > super::rack::DUP_THRESH;
        let sample = AckSample {
            now: v.now,
            acked: v.acked,
            delivered: v.delivered,
            lost: v.lost,
            in_flight: pipe,
            snd_una: self.snd_una,
            snd_nxt: self.snd_nxt,
            rtt,
            srtt: self.rtt.srtt(),
            min_rtt: self.rtt.min_rtt(),
            may_grow: !reducing && forward,
            cwnd_limited: self.usage.is_limited(&self.window),
            rate,
        };
        self.congestion.on_ack(&mut self.window, &sample);
    }
}
