//! The states of loss recovery and the ways between them.

use zcn_wire::SeqNum;

use super::ack::Verdict;
use super::chronograph::Chronograph;
use super::prr::Prr;
use super::rate::RateEstimator;
use super::tlp::Probe;
use super::undo::Undo;
use super::{Sender, SenderConfig};
use crate::tcp::congestion::CongestionEvent;
use crate::time::Instant;

/// Where the sender stands, in Linux's names and numbers (`tcpi_ca_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CaState {
    /// Nothing suspicious.
    Open = 0,
    /// Data was delivered out of order, or a probe is out.
    Disorder = 1,
    /// The window shrinks without loss: congestion was notified.
    Cwr = 2,
    /// Lost segments are being sent again (fast recovery).
    Recovery = 3,
    /// The retransmission timer expired.
    Loss = 4,
}

/// How far F-RTO is (RFC 5682).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frto {
    /// The timeout is taken for real.
    Off,
    /// The oldest segment was sent again; the next acknowledgment will tell something.
    Armed,
    /// New data should leave next, if there is any, instead of retransmissions.
    SendNew,
    /// It has left; the next acknowledgment decides.
    Wait,
}

/// One reduction of the window, what it would take to undo it, delivery rate, and counts over
/// all of them. In a box of its own, so that a connection stays small.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    /// The link takes super-frames.
    pub(super) super_frames: bool,
    /// `snd_nxt` when the state began: it ends when this is acknowledged.
    pub(super) high_seq: SeqNum,
    pub(super) prr: Prr,
    pub(super) undo: Undo,
    pub(super) frto: Frto,
    pub(super) rate: RateEstimator,
    pub(super) retransmitted_bytes: u64,
    pub(super) retransmitted_segments: u32,
    pub(super) lost_bytes: u64,
    pub(super) dsack_segments: u32,
    pub(super) reorderings: u32,
    pub(super) timeouts: u32,
    pub(super) probes: u32,
    pub(super) recoveries: u32,
    pub(super) undone: u32,
    pub(super) delivered_segments: u32,
    pub(super) delivered_ce_segments: u32,
    pub(super) data_segments: u32,
    pub(super) chronograph: Chronograph,
}

impl Episode {
    pub(super) fn new(config: &SenderConfig, cwnd: u32, now: Instant) -> Self {
        Self {
            super_frames: config.super_frames,
            high_seq: config.snd_una,
            prr: Prr::default(),
            undo: Undo::new(cwnd),
            frto: Frto::Off,
            rate: RateEstimator::new(now),
            retransmitted_bytes: 0,
            retransmitted_segments: 0,
            lost_bytes: 0,
            dsack_segments: 0,
            reorderings: 0,
            timeouts: 0,
            probes: 0,
            recoveries: 0,
            undone: 0,
            delivered_segments: 0,
            delivered_ce_segments: 0,
            data_segments: 0,
            chronograph: Chronograph::default(),
        }
    }
}

impl Sender {
    /// The window is being led down by [`Prr`].
    pub(super) fn in_reduction(&self) -> bool {
        matches!(self.state, CaState::Cwr | CaState::Recovery)
    }

    /// Goes through the states after an acknowledgment that was anything but plain.
    pub(super) fn run_states(&mut self, v: &mut Verdict) {
        if v.ece {
            // The reduction is demanded by the network: it is not to be undone.
            self.episode.undo.forget_ssthresh();
        }
        if v.reneging {
            // Wait for a partial acknowledgment to come after all; the timer forgets all SACKs.
            self.timer.expect_reneging(v.now, self.rtt.srtt());
            v.timer_set = true;
            return;
        }
        if self.state != CaState::Open && self.snd_una.after_eq(self.episode.high_seq) {
            match self.state {
                // The CWR bit must have reached the peer.
                CaState::Cwr if self.snd_una != self.episode.high_seq => {
                    self.end_reduction();
                    self.state = CaState::Open;
                }
                CaState::Recovery => {
                    if !self.sack {
                        self.records.reset_duplicates();
                    }
                    if self.finish_recovery(v.ts_ecr) {
                        return;
                    }
                }
                _ => {}
            }
        }
        match self.state {
            CaState::Recovery => self.in_recovery(v),
            CaState::Loss => {
                self.in_loss(v);
                self.detect_losses(v);
                if self.state != CaState::Loss || v.lost_again {
                    self.in_other_states(v);
                }
            }
            CaState::Open | CaState::Disorder | CaState::Cwr => {
                self.count_duplicates(v);
                if self.state <= CaState::Disorder {
                    self.try_undo_dsack();
                }
                self.detect_losses(v);
                self.in_other_states(v);
            }
        }
    }

    /// What lies beyond recovery: enter it, or decide between open and disorder.
    fn in_other_states(&mut self, v: &Verdict) {
        if self.records.lost() > 0 && self.is_loss_evident() {
            self.enter_recovery(v);
            return;
        }
        if v.ece && self.state != CaState::Cwr {
            self.enter_cwr(v);
        }
        if self.state != CaState::Cwr {
            self.open_or_disorder();
        }
    }

    /// RACK's marks are evidence; without SACK it takes the classic three duplicates.
    fn is_loss_evident(&self) -> bool {
        self.sack || self.state == CaState::Loss || self.has_enough_duplicates()
    }

    fn has_enough_duplicates(&self) -> bool {
        self.records.sacked_segments() >= u32::from(self.rack.reordering())
    }

    fn in_recovery(&mut self, v: &mut Verdict) {
        if !v.advanced {
            if !self.sack {
                self.add_duplicates(v);
            }
        } else if self.try_undo_partial(v) {
            return;
        }
        if self.try_undo_dsack() {
            self.open_or_disorder();
        }
        self.detect_losses(v);
        // After an undo a new loss starts a new recovery.
        if self.state != CaState::Recovery && self.records.lost() > 0 {
            self.enter_recovery(v);
        }
    }

    /// After a timeout: was it spurious (RFC 5682, section 3), and is it over?
    fn in_loss(&mut self, v: &mut Verdict) {
        let recovered = self.snd_una.after_eq(self.episode.high_seq);
        if v.advanced && self.may_undo(v.ts_ecr) {
            self.undo_loss();
            return;
        }
        let sent_new = self.snd_nxt.after(self.episode.high_seq);
        if self.episode.frto != Frto::Off {
            // Step 3.b: something that was sent once was delivered, so not all was lost.
            // Without SACK the acknowledgment of the first retransmission may cover what
            // waited behind one hole, and tells nothing (step 2.a).
            if v.original_delivered && (self.sack || sent_new) {
                self.undo_loss();
                return;
            }
            if sent_new {
                if v.sacked > 0 || v.duplicate {
                    self.episode.frto = Frto::Off; // Step 3.a.
                }
            } else if v.advanced && !recovered {
                // Step 2.b: new data, if there is any, will show.
                self.episode.high_seq = self.snd_nxt;
                self.episode.frto = Frto::SendNew;
                return;
            }
        }
        if recovered {
            self.finish_recovery(v.ts_ecr);
            return;
        }
        if self.episode.frto == Frto::Wait {
            self.episode.frto = Frto::Armed;
        }
        if !self.sack {
            if sent_new && v.duplicate {
                self.add_duplicates(v);
            } else if v.advanced {
                self.records.reset_duplicates();
            }
        }
    }

    /// Without SACK: counts a duplicate, or forgets them when the window moved.
    fn count_duplicates(&mut self, v: &mut Verdict) {
        if self.sack {
            return;
        }
        if v.advanced {
            self.records.reset_duplicates();
        }
        self.add_duplicates(v);
    }

    fn add_duplicates(&mut self, v: &mut Verdict) {
        if v.duplicate {
            let before = self.records.sacked();
            if self.records.add_duplicate(self.window.mss) {
                v.segments += 1;
                let delivered = &mut self.episode.delivered_segments;
                *delivered = delivered.wrapping_add(1);
            } else {
                // More duplicates than segments can have come: not all were for a hole.
                self.note_reno_reordering(0);
            }
            v.delivered += self.records.sacked() - before;
        }
    }

    /// Without SACK: the duplicates say that something came late, by all that is in flight and
    /// `acked` segments.
    pub(super) fn note_reno_reordering(&mut self, acked: u32) {
        let degree = self.records.segments() + acked;
        self.rack.set_reordering(degree);
        self.episode.reorderings += 1;
    }

    /// Marks lost segments: by RACK, or without SACK the one at the front (RFC 6582).
    pub(super) fn detect_losses(&mut self, v: &mut Verdict) {
        if self.sack {
            let reo_wnd = self.reo_wnd();
            let mut lost_again = false;
            let (lost, wait) = self
                .rack
                .detect(&mut self.records, reo_wnd, v.now, || lost_again = true);
            v.lost += lost;
            v.lost_again |= lost_again;
            self.episode.lost_bytes += u64::from(lost);
            if let Some(wait) = wait {
                self.timer.arm_reordering(v.now + wait);
                v.timer_set = true;
            }
            return;
        }
        let first_loss = self.state < CaState::Recovery && self.has_enough_duplicates();
        let partial = self.state == CaState::Recovery && v.advanced;
        if !(first_loss || partial) {
            return;
        }
        // Once lost it is sent again once; what becomes of that only the timer can tell.
        if self
            .records
            .front()
            .is_some_and(|r| !r.is_lost() && !r.is_retransmitted())
        {
            self.records.split(0, self.window.mss);
            let lost = self.records.mark_lost(0);
            self.records.limit_duplicates();
            v.lost += lost;
            self.episode.lost_bytes += u64::from(lost);
        }
    }

    pub(super) fn reo_wnd(&self) -> core::time::Duration {
        self.rack.reo_wnd(
            self.state >= CaState::Recovery,
            self.records.sacked_segments(),
            self.rtt.min_rtt(),
            self.rtt.srtt(),
        )
    }

    /// Fast recovery begins (RFC 9937, section 6; RFC 6675, section 5).
    pub(super) fn enter_recovery(&mut self, v: &Verdict) {
        let was_reducing = self.in_reduction();
        self.begin_undo();
        if !was_reducing {
            if !v.ece {
                self.episode.undo.remember_ssthresh(self.window.ssthresh);
            }
            self.begin_reduction(v.now, CongestionEvent::Loss);
        }
        self.state = CaState::Recovery;
        self.episode.recoveries += 1;
        // RFC 9937 reckons from the beginning of this recovery.
        self.episode.high_seq = self.snd_nxt;
    }

    /// The network marked segments (RFC 3168, section 6.1.2).
    fn enter_cwr(&mut self, v: &Verdict) {
        self.episode.undo.clear_marker();
        self.episode.undo.forget_ssthresh();
        self.begin_reduction(v.now, CongestionEvent::Ecn);
        self.state = CaState::Cwr;
    }

    /// A tail loss probe repaired a loss: reduces once, without a recovery (RFC 8985, section
    /// 7.4.2).
    pub(super) fn reduce_for_probe(&mut self, v: &Verdict) {
        self.episode.undo.clear_marker();
        self.begin_reduction(v.now, CongestionEvent::Loss);
        self.state = CaState::Cwr;
        self.end_reduction();
        self.open_or_disorder();
    }

    fn begin_reduction(&mut self, now: Instant, event: CongestionEvent) {
        self.episode.high_seq = self.snd_nxt;
        self.probe = Probe::None;
        self.episode.undo.remember_cwnd(self.window.cwnd);
        // Whole segments, as Linux, which counts in them.
        let whole = self.window.cwnd / self.window.mss * self.window.mss;
        self.episode.prr = Prr::new(whole);
        self.reduce_ssthresh(now, event);
    }

    /// Leads the window on, after `delivered` bytes arrived. `safe`: the acknowledgment advanced
    /// and told of no further loss.
    pub(super) fn reduce_window(&mut self, delivered: u32, safe: bool) {
        let in_flight = self.records.pipe();
        let (ssthresh, mss) = (self.window.ssthresh, self.window.mss);
        let prr = &mut self.episode.prr;
        if let Some(cwnd) = prr.on_ack(delivered, in_flight, ssthresh, mss, safe) {
            self.window.set(cwnd);
        }
    }

    pub(super) fn reduce_ssthresh(&mut self, now: Instant, event: CongestionEvent) {
        let ssthresh = self.congestion.on_congestion(now, &self.window, event);
        // Whole segments, as Linux, which counts in them.
        let mss = self.window.mss;
        self.window.ssthresh = (ssthresh / mss).max(2) * mss;
        self.cwr = true;
    }

    /// The reduction is over: the window stands at the threshold.
    fn end_reduction(&mut self) {
        let undone = self.state == CaState::Recovery && !self.episode.undo.is_possible();
        if self.window.ssthresh != u32::MAX && !undone {
            self.window.set(self.window.ssthresh);
        }
    }

    /// Everything that was in flight when recovery began is acknowledged. True when the state
    /// is held all the same: without SACK, duplicates for `high_seq` itself would look like a
    /// new loss (RFC 6582, section 3.2).
    fn finish_recovery(&mut self, ts_ecr: Option<u32>) -> bool {
        if self.may_undo(ts_ecr) {
            self.undo_reduction(false);
        } else {
            self.rack.on_recovery_end();
        }
        if !self.sack && self.snd_una == self.episode.high_seq {
            return true;
        }
        if self.state == CaState::Recovery {
            self.end_reduction();
        }
        // The marker stays: D-SACKs may yet tell that all this was for nothing.
        self.state = CaState::Open;
        false
    }

    /// Without lost data the state is open, or disorder while something is SACKed or sent
    /// again.
    pub(super) fn open_or_disorder(&mut self) {
        let calm = self.records.sacked() + self.records.lost() + self.records.retransmitted() == 0;
        let state = if calm {
            CaState::Open
        } else {
            CaState::Disorder
        };
        if !matches!(self.state, CaState::Open) && state == CaState::Open {
            self.episode.undo.clear_stamp();
        }
        if self.state != state {
            self.state = state;
            self.episode.high_seq = self.snd_nxt;
        }
    }

    /// The retransmission timer expired (RFC 6298, section 5; RFC 8985, section 6.3; RFC
    /// 5681, section 3.1 (4)).
    pub(super) fn enter_loss(&mut self, now: Instant) {
        let fresh = self.state < CaState::Recovery;
        let again = self.state == CaState::Loss && self.retransmits > 0;
        let had_sacked = self.records.sacked_segments();
        let reneged = self.records.front().is_some_and(|r| r.is_sacked());
        if reneged {
            self.records.unmark_sacked();
        } else if !self.sack {
            self.records.reset_duplicates();
        }
        let reo_wnd = self.reo_wnd();
        let mut lost = 0;
        for index in 0.. {
            let Some(record) = self.records.get(index) else {
                break;
            };
            let spared = index > 0
                && self.sack
                && !reneged
                && !self.rack.is_overdue(record.sent_at, reo_wnd, now);
            if !record.is_sacked() && !spared {
                lost += self.records.mark_lost(index);
            }
        }
        self.episode.lost_bytes += u64::from(lost);

        // One reduction for each window of data, however many timeouts it takes.
        let new_data_since = self.snd_una.after_eq(self.episode.high_seq);
        if fresh || new_data_since || (self.state == CaState::Loss && self.retransmits == 0) {
            self.episode.undo.remember_ssthresh(self.window.ssthresh);
            self.episode.undo.remember_cwnd(self.window.cwnd);
            self.reduce_ssthresh(now, CongestionEvent::Timeout);
            self.begin_undo();
        }
        // The loss window (RFC 5681): one segment beyond what is still thought in flight.
        self.window.set(self.records.pipe() + self.window.mss);
        if fresh && had_sacked >= u32::from(self.rack.reordering()) {
            self.rack.reset_reordering();
        }
        self.probe = Probe::None;
        self.state = CaState::Loss;
        self.episode.high_seq = self.snd_nxt;
        self.episode.frto = if fresh || again {
            Frto::Armed
        } else {
            Frto::Off
        };
    }

    /// Segments were lost by their size, not by congestion.
    pub(super) fn enter_loss_without_reduction(&mut self) {
        if self.state != CaState::Loss {
            self.episode.high_seq = self.snd_nxt;
            self.episode.undo.clear_marker();
            self.episode.undo.forget_ssthresh();
            self.episode.frto = Frto::Off;
            self.probe = Probe::None;
            self.state = CaState::Loss;
        }
    }
}
