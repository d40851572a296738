//! The one timer of the sender, and what its expiry does.

use core::time::Duration;

use super::Sender;
use super::ack::Verdict;
use super::recovery::CaState;
use super::tlp::Probe;
use super::transmit::Demand;
use crate::time::Instant;

/// Least time to wait for a peer that seems to have reneged, as in Linux.
const RENEGING_DELAY: Duration = Duration::from_millis(10);

/// What the timer is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TimerKind {
    #[default]
    Idle,
    /// RFC 6298.
    Retransmission,
    /// RFC 8985, section 6.2: a segment may be late.
    Reordering,
    /// RFC 8985, section 7.
    Probe,
}

/// One deadline; the kinds exclude each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timer {
    at: Instant,
    kind: TimerKind,
}

impl Timer {
    pub(super) fn is_armed(&self) -> bool {
        self.kind != TimerKind::Idle
    }

    fn arm(&mut self, kind: TimerKind, at: Instant) {
        *self = Self { at, kind };
    }

    pub(super) fn arm_reordering(&mut self, at: Instant) {
        self.arm(TimerKind::Reordering, at);
    }

    pub(super) fn arm_probe(&mut self, at: Instant) {
        self.arm(TimerKind::Probe, at);
    }

    /// A retransmission timeout soon, that forgets all SACKs unless something is acknowledged
    /// before.
    pub(super) fn expect_reneging(&mut self, now: Instant, srtt: Duration) {
        self.arm(
            TimerKind::Retransmission,
            now + (srtt / 2).max(RENEGING_DELAY),
        );
    }
}

/// What [`Sender::handle_timeout`] did. In each case but the first there may be something to
/// transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutOutcome {
    /// Nothing was due.
    None,
    /// A tail loss probe is to leave (RFC 8985, section 7.3).
    LossProbe,
    /// Segments that were late have been given up.
    Reordering,
    /// The retransmission timer expired.
    Retransmission {
        /// How many times in a row, without an acknowledgment that advanced. The connection
        /// gives up by it (R2 of RFC 9293, section 3.8.3). It does not count while the
        /// peer's window is closed: the retransmissions then are probes of the window, and a
        /// peer may keep it closed as long as it answers.
        in_a_row: u8,
    },
}

impl Sender {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called. While anything is
    /// unacknowledged there is always a deadline.
    #[inline]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timer.is_armed().then_some(self.timer.at)
    }

    /// Does what is due at `now`. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Instant) -> TimeoutOutcome {
        if !self.timer.is_armed() || self.timer.at > now {
            return TimeoutOutcome::None;
        }
        let kind = core::mem::take(&mut self.timer).kind;
        if self.records.is_empty() {
            return TimeoutOutcome::None;
        }
        let outcome = match kind {
            TimerKind::Idle => TimeoutOutcome::None,
            TimerKind::Probe => self.on_probe_timeout(now),
            TimerKind::Reordering => self.on_reordering_timeout(now),
            TimerKind::Retransmission => self.on_retransmission_timeout(now),
        };
        self.check();
        outcome
    }

    fn on_probe_timeout(&mut self, now: Instant) -> TimeoutOutcome {
        self.arm_rto_from_oldest(now);
        let calm = matches!(self.state, CaState::Open | CaState::Cwr);
        if !calm || self.probe != Probe::None || self.records.sacked() > 0 {
            return TimeoutOutcome::None;
        }
        self.demand = Demand::Probe;
        TimeoutOutcome::LossProbe
    }

    fn on_reordering_timeout(&mut self, now: Instant) -> TimeoutOutcome {
        let mut v = Verdict::new(now, self.snd_una);
        self.detect_losses(&mut v);
        if v.lost > 0 {
            if self.state != CaState::Recovery {
                self.enter_recovery(&v);
            }
            // One segment leaves for the timer's sake, as one would for an acknowledgment.
            self.reduce_window(self.window.mss, false);
        }
        if !v.timer_set {
            self.arm_rto_from_oldest(now);
        }
        TimeoutOutcome::Reordering
    }

    fn on_retransmission_timeout(&mut self, now: Instant) -> TimeoutOutcome {
        self.enter_loss(now);
        if self.snd_wnd > 0 {
            self.retransmits = self.retransmits.saturating_add(1);
        }
        self.episode.timeouts += 1;
        self.rtt.back_off();
        self.timer.arm(
            TimerKind::Retransmission,
            now.after_nanos(self.rtt.rto_nanos()),
        );
        self.demand = Demand::Retransmission;
        TimeoutOutcome::Retransmission {
            in_a_row: self.retransmits,
        }
    }

    /// After an acknowledgment (RFC 6298, section 5.2 and 5.3; RFC 8985, section 7.2).
    pub(super) fn restart_timer(&mut self, v: &Verdict) {
        if self.records.is_empty() {
            self.timer = Timer::default();
        } else if !v.timer_set && (v.advanced || v.restart) {
            self.restart_timer_on_progress(v.now);
        }
    }

    /// The same after one that advanced.
    #[inline]
    pub(super) fn restart_timer_on_progress(&mut self, now: Instant) {
        if self.records.is_empty() {
            self.timer = Timer::default();
        } else if !self.schedule_probe(now, true) {
            self.timer.arm(
                TimerKind::Retransmission,
                now.after_nanos(self.rtt.rto_nanos()),
            );
        }
    }

    /// The handshake is complete, and data left before it was (RFC 7413): what is known of the round
    /// trip now counts, and the timeout begins anew (RFC 6298 section 5.7).
    pub(crate) fn on_handshake(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        syn_retransmissions: u8,
    ) {
        if !self.rtt.has_sample() {
            if let Some(rtt) = rtt {
                self.rtt.sample(rtt, self.snd_una, self.snd_nxt);
                self.rtt.note_min(rtt, now);
            } else if syn_retransmissions > 0 {
                self.rtt.fall_back();
            }
        }
        self.restart_timer_on_progress(now);
    }

    /// After new data left.
    #[inline]
    pub(super) fn arm_after_new(&mut self, now: Instant, was_empty: bool) {
        if was_empty {
            self.timer.arm(
                TimerKind::Retransmission,
                now.after_nanos(self.rtt.rto_nanos()),
            );
        } else if self.timer.kind == TimerKind::Probe {
            self.arm_rto_from_oldest(now);
        }
        if matches!(self.timer.kind, TimerKind::Retransmission) {
            self.schedule_probe(now, false);
        }
    }

    /// After data left again. `oldest`: it was that at `snd_una`.
    pub(super) fn arm_after_retransmission(&mut self, now: Instant, oldest: bool) {
        if oldest && self.timer.kind != TimerKind::Reordering {
            self.timer.arm(
                TimerKind::Retransmission,
                now.after_nanos(self.rtt.rto_nanos()),
            );
        }
    }

    /// The retransmission timer as it would stand had it been running all along.
    pub(super) fn arm_rto_from_oldest(&mut self, now: Instant) {
        self.timer
            .arm(TimerKind::Retransmission, self.rto_deadline(now));
    }

    /// After a tail loss probe left: the retransmission timer begins with it (RFC 8985 section
    /// 7.3), as in Linux, so that the probe's answer has its time; the deadline of the oldest
    /// segment may be only moments away.
    pub(super) fn arm_rto_from_probe(&mut self, now: Instant) {
        let at = now.after_nanos(self.rtt.rto_nanos());
        self.timer.arm(TimerKind::Retransmission, at);
    }

    pub(super) fn rto_deadline(&self, now: Instant) -> Instant {
        let since = self.records.front().map_or(now, |oldest| oldest.sent_at);
        since.after_nanos(self.rtt.rto_nanos()).max(now)
    }
}
