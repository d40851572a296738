//! What may leave next.

use zcn_wire::SeqNum;

use super::records::Record;
use super::recovery::{CaState, Frto};
use super::tlp::Probe;
use super::{INITIAL_WINDOW, Sender};
use crate::time::Instant;

/// What an expired timer demands to leave, whatever the window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    None,
    /// A tail loss probe.
    Probe,
    /// The oldest segment.
    Retransmission,
}

/// Why something leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmissionKind {
    /// New data within the windows.
    New,
    /// New data for data that was delivered out of order (RFC 3042).
    LimitedTransmit,
    /// New data or the last segment again, to get an acknowledgment (RFC 8985, section 7.3).
    TailLossProbe,
    /// Lost data again.
    Retransmit,
    /// The oldest segment again, after a timeout.
    RtoRetransmit,
}

/// One segment or super-segment that may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmission {
    /// Its first sequence number.
    pub seq: SeqNum,
    /// How many sequence numbers: payload, and one more if it ends with the FIN.
    pub len: u32,
    /// Why.
    pub kind: TransmissionKind,
}

impl Sender {
    /// What may leave now, if anything.
    ///
    /// `unsent` is how many sequence numbers the connection holds beyond `snd_nxt`, a FIN
    /// counted as one; a connection that holds data back (Nagle, cork) tells as many as it
    /// wants to send. `max_burst` is the largest payload of a super-segment; at least one
    /// segment is always allowed. The answer obeys the congestion window, the peer's window
    /// and sender silly-window avoidance (RFC 9293, section 3.8.6.2.1: a part of the peer's
    /// window smaller than a segment is used only for the last of the data or if it is half
    /// the largest window; else the persist timer overrides, see
    /// [`window_probe`](Self::window_probe)).
    pub fn next_transmission(&mut self, unsent: u32, max_burst: u32) -> Option<Transmission> {
        let mss = self.window.mss;
        let burst = if max_burst < 2 * mss {
            mss
        } else {
            max_burst / mss * mss
        };
        if let Some(demanded) = self.demanded(unsent) {
            return Some(demanded);
        }
        if self.records.lost() > 0
            && !self.holds_retransmissions(unsent)
            && let Some(again) = self.next_retransmission(burst)
        {
            return Some(again);
        }
        let new = self.next_new(unsent, burst);
        if new.is_none() {
            self.judge_usage(unsent > 0);
        }
        new
    }

    /// The connection has nothing that was never sent. Answers whether nothing is to be sent
    /// again either: then [`next_transmission`](Self::next_transmission) need not be asked.
    pub fn note_all_sent(&mut self) -> bool {
        if self.demand != Demand::None || self.records.lost() > 0 {
            return false;
        }
        let pipe = self.records.pipe();
        if pipe < self.window.cwnd {
            self.episode.rate.set_app_limited(pipe);
        }
        self.judge_usage(false);
        true
    }

    /// Whether a segment of `len` new bytes, one MSS at most, is what
    /// [`next_transmission`](Self::next_transmission) would answer with so many unsent: known
    /// without asking while nothing was lost or came out of order.
    #[inline]
    pub(crate) fn admits_plain(&mut self, len: u32) -> bool {
        let calm = self.state == CaState::Open
            && self.demand == Demand::None
            && self.records.lost() == 0
            && !self.records.is_full();
        if !calm {
            return false;
        }
        let room = self.window.cwnd.saturating_sub(self.records.pipe());
        len <= room && len <= self.usable_window()
    }

    /// What a timer demanded, once.
    fn demanded(&mut self, unsent: u32) -> Option<Transmission> {
        match self.demand {
            Demand::None => None,
            Demand::Probe => {
                let probe = self.probe_transmission(unsent);
                if probe.is_none() {
                    self.demand = Demand::None;
                }
                probe
            }
            Demand::Retransmission => {
                let oldest = self.records.front()?;
                let mss = self.window.mss;
                let run = self
                    .records
                    .lost_run(0, mss, mss, self.episode.super_frames);
                let len = run.min(mss).max(first_segment(oldest, mss));
                Some(Transmission {
                    seq: oldest.seq,
                    len,
                    kind: TransmissionKind::RtoRetransmit,
                })
            }
        }
    }

    /// New data if there is any and the peer takes it, otherwise the last segment.
    fn probe_transmission(&self, unsent: u32) -> Option<Transmission> {
        let mss = self.window.mss;
        let kind = TransmissionKind::TailLossProbe;
        let len = unsent.min(mss);
        if len > 0 && len <= self.usable_window() && !self.records.is_full() {
            return Some(Transmission {
                seq: self.snd_nxt,
                len,
                kind,
            });
        }
        let last = self.records.back()?;
        if last.is_sacked() || self.records.outstanding() > self.snd_wnd {
            return None;
        }
        let payload = last.len - u32::from(last.has_fin());
        let segment = u32::from(last.mss());
        let skipped = payload.saturating_sub(1) / segment * segment;
        Some(Transmission {
            seq: last.seq + skipped,
            len: last.len - skipped,
            kind,
        })
    }

    /// F-RTO (RFC 5682, step 2.b) sends new data first, and then waits for what it tells.
    fn holds_retransmissions(&mut self, unsent: u32) -> bool {
        match self.episode.frto {
            Frto::Off | Frto::Armed => false,
            Frto::Wait => true,
            Frto::SendNew => {
                if unsent.min(self.window.mss) > self.usable_window() || unsent == 0 {
                    self.episode.frto = Frto::Off;
                    return false;
                }
                true
            }
        }
    }

    /// Lost data, the oldest first.
    fn next_retransmission(&mut self, burst: u32) -> Option<Transmission> {
        let mss = self.window.mss;
        let room = self.window.cwnd.saturating_sub(self.records.pipe());
        let index = self.records.next_lost()?;
        let record = *self.records.get(index)?;
        let offset = record.seq.distance(self.snd_una);
        let offered = match self.snd_wnd.saturating_sub(offset) {
            // The peer took window back. The oldest segment still leaves: it is the probe.
            0 if offset == 0 => mss,
            0 => return None,
            offered => offered,
        };
        let run =
            self.records
                .lost_run(index, mss, burst.max(record.len), self.episode.super_frames);
        let fits = |limit: u32| if run <= limit { run } else { limit / mss * mss };
        let len = fits(burst.min(room));
        let len = if len <= offered {
            len
        } else {
            fits(offered).max(offered.min(mss)).min(len)
        };
        (len > 0).then_some(Transmission {
            seq: record.seq,
            len,
            kind: TransmissionKind::Retransmit,
        })
    }

    /// Data beyond `snd_nxt`.
    fn next_new(&mut self, unsent: u32, burst: u32) -> Option<Transmission> {
        let mss = self.window.mss;
        let pipe = self.records.pipe();
        if unsent == 0 {
            if pipe < self.window.cwnd && self.records.lost() == 0 {
                self.episode.rate.set_app_limited(pipe);
            }
            return None;
        }
        if self.records.is_full() {
            return None;
        }
        let whole = |limit: u32| {
            if unsent <= limit {
                unsent
            } else {
                limit / mss * mss
            }
        };
        let room = self.window.cwnd.saturating_sub(pipe);
        let mut len = whole(room.min(burst));
        if len == 0 {
            return None;
        }
        let usable = self.usable_window();
        if len > usable {
            len = whole(usable);
        }
        let kind = match self.state {
            CaState::Disorder => TransmissionKind::LimitedTransmit,
            _ => TransmissionKind::New,
        };
        (len > 0).then_some(Transmission {
            seq: self.snd_nxt,
            len,
            kind,
        })
    }

    /// What the persist timer or the override timer of silly-window avoidance sends: as much
    /// as the peer's window takes, however little, ignoring the congestion window when
    /// nothing is in flight. `None` with a closed window: then the connection probes with a
    /// segment below `snd_una`, which is not this half's business.
    pub fn window_probe(&self, unsent: u32) -> Option<Transmission> {
        let len = unsent.min(self.usable_window()).min(self.window.mss);
        (len > 0).then_some(Transmission {
            seq: self.snd_nxt,
            len,
            kind: TransmissionKind::New,
        })
    }

    /// `sent` has left. It may be shorter than what was answered, down to one number, if the
    /// connection could not send all. `fin`: its last number is the FIN's.
    ///
    /// # Panics
    ///
    /// In debug builds, if `sent` is not contiguous with or not part of what was sent before.
    pub fn on_transmitted(&mut self, now: Instant, sent: &Transmission, fin: bool) {
        debug_assert!(sent.len > 0);
        if sent.len == 0 {
            return;
        }
        if sent.seq == self.snd_nxt {
            self.on_new_sent(now, sent, fin);
        } else {
            self.on_sent_again(now, sent, fin);
        }
        if self.in_reduction() {
            self.episode.prr.on_sent(sent.len);
        }
        self.last_sent_at = now;
        self.check();
    }

    /// What [`on_transmitted`](Self::on_transmitted) was told last is new and carries PSH.
    #[inline]
    pub(crate) fn note_pushed(&mut self) {
        self.records.mark_pushed();
    }

    /// Whether what leaves again carried PSH before: then it does so again, as on Linux.
    pub(crate) fn was_pushed(&self, again: &Transmission) -> bool {
        self.records.was_pushed(again.seq, again.seq + again.len)
    }

    #[inline]
    fn on_new_sent(&mut self, now: Instant, sent: &Transmission, fin: bool) {
        let was_empty = self.records.is_empty();
        let mut record = Record::new(sent.seq, sent.len, self.mss(), fin, now);
        self.episode.rate.stamp(&mut record, was_empty, now);
        self.records.push(record);
        self.snd_nxt = record.end();
        if self.episode.frto == Frto::SendNew {
            self.episode.frto = Frto::Wait;
        }
        if self.demand == Demand::Probe {
            self.demand = Demand::None;
            self.probe = Probe::NewData(self.snd_nxt);
            self.episode.probes += 1;
            self.arm_rto_from_probe(now);
        } else {
            self.arm_after_new(now, was_empty);
        }
        self.usage.on_sent();
    }

    fn on_sent_again(&mut self, now: Instant, sent: &Transmission, fin: bool) {
        let Some(mut index) = self.records.find(sent.seq) else {
            debug_assert!(false, "sent again what is not in flight");
            return;
        };
        let skipped = self
            .records
            .get(index)
            .map_or(0, |r| sent.seq.distance(r.seq));
        if skipped > 0 {
            self.records.split(index, skipped);
            index += 1;
        }
        self.records.reshape(index, sent.len);
        let mss = self.mss();
        let was_empty = false;
        let record = self.records.mark_retransmitted(index, mss, now);
        self.episode.rate.stamp(record, was_empty, now);
        let segments = record.segments();
        self.episode.retransmitted_bytes += u64::from(sent.len - u32::from(fin));
        self.episode.retransmitted_segments += segments;
        self.episode.undo.on_retransmitted(sent.len, now);
        match self.demand {
            Demand::Probe => {
                self.demand = Demand::None;
                self.probe = Probe::Retransmission(self.snd_nxt);
                self.episode.probes += 1;
                self.arm_rto_from_probe(now);
            }
            // The timer was set when it expired.
            Demand::Retransmission => self.demand = Demand::None,
            Demand::None => self.arm_after_retransmission(now, sent.seq == self.snd_una),
        }
    }

    /// Nothing more leaves for now: judges whether it is the window that does not let it. One that
    /// was not used for a timeout's time decays (RFC 2861). `waiting`: there is something that does not.
    #[inline]
    fn judge_usage(&mut self, waiting: bool) {
        let room = self.window.cwnd.saturating_sub(self.records.pipe());
        let limited = room < self.window.mss && (waiting || self.usage.has_sent());
        let flight = self.records.outstanding();
        let sent = self.usage.note(limited, flight, self.snd_una, self.snd_nxt);
        if !sent || !self.slow_start_after_idle {
            return;
        }
        let now = self.last_sent_at;
        let initial = INITIAL_WINDOW * self.window.mss;
        let rto = self.rtt.rto_nanos();
        let decays = self.state == CaState::Open;
        let cwnd = self.usage.decay(&self.window, initial, flight, rto, now);
        if let Some(cwnd) = cwnd.filter(|_| decays) {
            self.keep_ssthresh();
            self.window.cwnd = cwnd;
        }
    }

    /// The application has new data. If nothing was in flight for longer than a timeout, the
    /// window is halved for each, down to the initial one (RFC 5681, section 4.1, as RFC 2861
    /// refines it). As Linux, what waited for a window that the peer opens begins where it stood.
    #[inline]
    pub fn on_written(&mut self, now: Instant) {
        if self.records.is_empty() {
            self.restart_after_idle(now);
        }
    }

    fn restart_after_idle(&mut self, now: Instant) {
        let rto = self.rtt.rto_nanos();
        let idle = now.nanos_since(self.last_sent_at);
        if idle <= rto {
            return;
        }
        self.congestion.on_idle_end(now, self.last_sent_at);
        if !self.slow_start_after_idle {
            return;
        }
        self.keep_ssthresh();
        let floor = self.window.cwnd.min(INITIAL_WINDOW * self.window.mss);
        let halvings = (idle - 1) / rto.max(1);
        let halvings = u32::try_from(halvings).unwrap_or(31).min(31);
        self.window.cwnd = (self.window.cwnd >> halvings)
            .max(floor)
            .max(self.window.mss);
        self.usage.on_restart(now);
        self.last_sent_at = now;
    }

    /// Remembers how large the window was: slow start shall lead back near it.
    fn keep_ssthresh(&mut self) {
        let three_quarters = self.window.cwnd / 2 + self.window.cwnd / 4;
        self.window.ssthresh = self.window.ssthresh.max(three_quarters);
    }
}

/// The length of `record`'s first segment of `mss` bytes, with the FIN if it rides on it.
fn first_segment(record: &Record, mss: u32) -> u32 {
    let payload = record.len - u32::from(record.has_fin());
    if payload <= mss { record.len } else { mss }
}
