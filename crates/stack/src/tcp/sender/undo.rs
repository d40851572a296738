//! Undo of reductions that were wrong: nothing was lost, it was late.
//!
//! Three witnesses: an echoed timestamp older than the retransmission (Eifel, RFC 3522), a
//! D-SACK for every retransmission (RFC 2883, RFC 3708), F-RTO (RFC 5682, in the state
//! machine). The response is RFC 4015's: the window returns to what it was.

use zcn_wire::SeqNum;

use super::ack::Verdict;
use super::recovery::{CaState, Frto};
use super::{Sender, timestamp_clock};
use crate::time::Instant;

/// What is needed to undo the last reduction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undo {
    /// `snd_una` at its start; none: nothing to undo.
    marker: Option<SeqNum>,
    /// Bytes sent again and not yet reported as duplicates. None before the first.
    outstanding: Option<u32>,
    /// Timestamp clock of the first retransmission.
    stamp: Option<u32>,
    cwnd: u32,
    /// Zero: not to be restored.
    ssthresh: u32,
}

impl Undo {
    pub(super) fn new(cwnd: u32) -> Self {
        Self {
            marker: None,
            outstanding: None,
            stamp: None,
            cwnd,
            ssthresh: 0,
        }
    }

    pub(super) fn is_possible(&self) -> bool {
        self.marker.is_some()
    }

    pub(super) fn clear_marker(&mut self) {
        self.marker = None;
        self.outstanding = None;
    }

    pub(super) fn clear_stamp(&mut self) {
        self.stamp = None;
    }

    pub(super) fn remember_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd;
    }

    pub(super) fn remember_ssthresh(&mut self, ssthresh: u32) {
        self.ssthresh = ssthresh;
    }

    pub(super) fn forget_ssthresh(&mut self) {
        self.ssthresh = 0;
    }

    /// `bytes` were sent again.
    pub(super) fn on_retransmitted(&mut self, bytes: u32, now: Instant) {
        self.stamp.get_or_insert(timestamp_clock(now));
        if self.marker.is_some() {
            self.outstanding = Some(self.outstanding.unwrap_or(0).saturating_add(bytes));
        }
    }

    /// A D-SACK told of `bytes` up to `end` that came twice.
    pub(super) fn on_dsack(&mut self, bytes: u32, end: SeqNum) {
        if let (Some(marker), Some(outstanding)) = (self.marker, &mut self.outstanding)
            && end.after(marker)
        {
            *outstanding = outstanding.saturating_sub(bytes);
        }
    }

    /// Every retransmission came as a duplicate.
    fn all_duplicates(&self) -> bool {
        self.marker.is_some() && self.outstanding == Some(0)
    }

    /// What advanced was sent once only: the echoed timestamp is older than the first
    /// retransmission (RFC 3522, section 3.2), or with SACK there was none yet.
    fn is_original(&self, ts_ecr: Option<u32>, sack: bool) -> bool {
        match (self.stamp, ts_ecr) {
            (Some(stamp), Some(ecr)) => ecr.wrapping_sub(stamp).cast_signed() < 0,
            (Some(_), None) => false,
            (None, _) => sack,
        }
    }
}

impl Sender {
    /// From here on retransmissions are counted for an undo.
    pub(super) fn begin_undo(&mut self) {
        let undo = &mut self.episode.undo;
        undo.marker = Some(self.snd_una);
        // A tail loss probe may be out already.
        let retransmitted = self.records.retransmitted();
        undo.outstanding = (retransmitted > 0).then_some(retransmitted);
        if retransmitted == 0 {
            undo.stamp = None;
        }
    }

    pub(super) fn may_undo(&self, ts_ecr: Option<u32>) -> bool {
        let undo = &self.episode.undo;
        undo.is_possible() && (undo.all_duplicates() || undo.is_original(ts_ecr, self.sack))
    }

    /// Restores the window (RFC 4015, section 3.2).
    pub(super) fn undo_reduction(&mut self, unmark_lost: bool) {
        if unmark_lost {
            self.records.unmark_lost();
        }
        let undo = &mut self.episode.undo;
        if undo.ssthresh != 0 {
            self.window.set(self.window.cwnd.max(undo.cwnd));
            self.window.ssthresh = self.window.ssthresh.max(undo.ssthresh);
            self.congestion.on_undo(&mut self.window);
            self.episode.undone += 1;
            self.cwr = false;
        }
        self.episode.undo.clear_marker();
        self.episode.undo.forget_ssthresh();
    }

    /// The timeout was spurious.
    pub(super) fn undo_loss(&mut self) {
        self.undo_reduction(true);
        self.retransmits = 0;
        self.episode.frto = Frto::Off;
        if self.sack || self.snd_una != self.episode.high_seq {
            self.open_or_disorder();
        }
    }

    /// Every retransmission was unnecessary, says the peer.
    pub(super) fn try_undo_dsack(&mut self) -> bool {
        if !self.episode.undo.all_duplicates() {
            return false;
        }
        self.undo_reduction(false);
        true
    }

    /// A partial acknowledgment in recovery that the delayed original caused. True: nothing
    /// more is to be marked lost for now.
    pub(super) fn try_undo_partial(&mut self, v: &Verdict) -> bool {
        let undo = &self.episode.undo;
        if !undo.is_possible() || !undo.is_original(v.ts_ecr, self.sack) {
            return false;
        }
        // It came late by all that had come before it.
        let prior_una = self.snd_una - v.acked;
        let fack = self.records.highest_sacked().unwrap_or(self.snd_una);
        self.rack
            .note_reordering(fack.distance(prior_una), self.window.mss);
        self.episode.reorderings += 1;
        if self.records.retransmitted() > 0 {
            return true;
        }
        self.undo_reduction(true);
        self.open_or_disorder();
        debug_assert!(self.state <= CaState::Disorder);
        false
    }
}
