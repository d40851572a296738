//! Whether the congestion window is used (RFC 2861's concern; judged as Linux does).

use zcn_wire::SeqNum;

use crate::tcp::congestion::{Window, resized};
use crate::time::Instant;

/// How much of the window the last window of data used.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// The judgement is renewed when this is acknowledged.
    until: SeqNum,
    /// Most that was in flight since.
    max_flight: u32,
    /// Most that was in flight since the window was last filled.
    used: u32,
    /// When it was last filled or checked.
    checked_at: Instant,
    limited: bool,
    /// New data left since it was last judged.
    sent: bool,
    /// What may leave waits for the next acknowledgment, to be more.
    deferred: bool,
}

impl Usage {
    pub(super) fn new(snd_una: SeqNum, now: Instant) -> Self {
        Self {
            until: snd_una,
            max_flight: 0,
            used: 0,
            checked_at: now,
            limited: false,
            sent: false,
            deferred: false,
        }
    }

    /// Segments of `from` bytes are of `to` bytes from now on.
    pub(super) fn resize(&mut self, from: u32, to: u32) {
        self.max_flight = resized(self.max_flight, from, to);
        self.used = resized(self.used, from, to);
    }

    /// New data left.
    #[inline]
    pub(super) fn on_sent(&mut self) {
        self.sent = true;
    }

    /// Whether new data left since the last [`note`](Self::note).
    #[inline]
    pub(super) fn has_sent(&self) -> bool {
        self.sent
    }

    /// The window has room for something that is held back all the same, to be more.
    pub(super) fn on_deferred(&mut self) {
        self.deferred = true;
    }

    /// Nothing more leaves for now. Tells whether new data left since the last call.
    #[inline]
    pub(super) fn note(&mut self, limited: bool, flight: u32, una: SeqNum, nxt: SeqNum) -> bool {
        let sent = core::mem::take(&mut self.sent);
        let limited = core::mem::take(&mut self.deferred) || limited;
        if !sent && !limited {
            return false;
        }
        if limited || una.after_eq(self.until) || (!self.limited && flight > self.max_flight) {
            self.limited = limited;
            self.max_flight = flight;
            self.until = nxt;
        }
        sent
    }

    /// Whether the window may grow. In slow start it may up to twice what was in flight, so
    /// that a sender just below the limit does not stop growing.
    pub(super) fn is_limited(&self, window: &Window) -> bool {
        self.limited || (window.in_slow_start() && window.cwnd / 2 < self.max_flight)
    }

    /// Lets a window decay that was not filled for a whole timeout: halfway to what was used
    /// (RFC 2861, section 3.1). Returns the new `cwnd`.
    pub(super) fn decay(
        &mut self,
        window: &Window,
        initial: u32,
        flight: u32,
        rto_nanos: u64,
        now: Instant,
    ) -> Option<u32> {
        if self.is_limited(window) {
            self.used = 0;
            self.checked_at = now;
            return None;
        }
        self.used = self.used.max(flight);
        if now.nanos_since(self.checked_at) < rto_nanos {
            return None;
        }
        let used = self.used.max(initial);
        self.used = 0;
        self.checked_at = now;
        (used < window.cwnd).then(|| used + (window.cwnd - used) / 2)
    }

    /// Sending resumes after an idle time.
    pub(super) fn on_restart(&mut self, now: Instant) {
        self.used = 0;
        self.checked_at = now;
    }
}
