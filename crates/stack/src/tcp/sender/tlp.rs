//! Tail loss probes (RFC 8985, section 7).

use core::time::Duration;

use zcn_wire::SeqNum;

use super::Sender;
use super::ack::Verdict;
use super::recovery::CaState;
use super::rtt::INITIAL_RTO;
use crate::time::Instant;

/// What a probe waits at least, and beyond two round trips: Linux's `TCP_TIMEOUT_MIN`, two ticks
/// of a timer. Where a round trip takes 100 µs, two of them are over before a peer that had to
/// be woken on a busy machine has answered, and a probe would only tell that it was too soon.
const TIMEOUT_MIN: Duration = Duration::from_millis(2);

/// A probe that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// None is.
    None,
    /// New data left; the episode ends when this number is acknowledged.
    NewData(SeqNum),
    /// The last segment left again; `snd_nxt` was this.
    Retransmission(SeqNum),
}

impl Sender {
    /// Whether a D-SACK up to `end` is about the probe.
    pub(super) fn is_probe_end(&self, end: SeqNum) -> bool {
        self.probe == Probe::Retransmission(end)
    }

    /// Arms the probe timer if a probe makes sense (section 7.2). False: the caller is to
    /// arm the retransmission timer.
    pub(super) fn schedule_probe(&mut self, now: Instant, advanced: bool) -> bool {
        let calm = matches!(self.state, CaState::Open | CaState::Cwr);
        if !self.sack
            || !self.loss_probes
            || !calm
            || self.probe != Probe::None
            || self.records.is_empty()
            || self.records.sacked() > 0
        {
            return false;
        }
        let mut timeout = INITIAL_RTO.as_nanos() as u64;
        if self.rtt.has_sample() {
            // A single segment may be waiting for the peer's delayed acknowledgment.
            let single = self.records.outstanding() <= self.window.mss;
            timeout = 2 * self.rtt.srtt_nanos()
                + if single {
                    self.rtt.min_rto_nanos()
                } else {
                    TIMEOUT_MIN.as_nanos() as u64
                };
        }
        // Never later than the retransmission timer, which an acknowledgment restarts.
        let rto_at = if advanced {
            now.after_nanos(self.rtt.rto_nanos())
        } else {
            self.rto_deadline(now)
        };
        let at = now.after_nanos(timeout).min(rto_at);
        self.timer.arm_probe(at);
        true
    }

    /// An acknowledgment that may end a probe's episode (section 7.4.2).
    pub(super) fn settle_probe(&mut self, v: &Verdict) {
        match self.probe {
            Probe::None => {}
            Probe::NewData(end) => {
                if v.ack.after_eq(end) {
                    self.probe = Probe::None;
                }
            }
            Probe::Retransmission(end) => {
                if v.ack.before(end) {
                } else if v.dsack_end == Some(end) {
                    self.probe = Probe::None; // Both copies arrived.
                } else if v.ack.after(end) {
                    // No duplicate was reported, and more was delivered since: the probe
                    // repaired a loss, which must not go without a reduction.
                    self.probe = Probe::None;
                    self.reduce_for_probe(v);
                } else if v.duplicate && v.sacked == 0 {
                    self.probe = Probe::None; // A peer without D-SACK got both copies.
                }
            }
        }
    }
}
