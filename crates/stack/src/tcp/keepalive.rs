//! A peer that is silent for long is probed (RFC 9293 section 3.8.4).

use super::connection::{Common, Connection, Flags};
use super::state::State;
use crate::time::Instant;

impl Connection {
    /// Begins the silence before keepalive probes anew.
    pub(crate) fn restart_keepalive(&mut self, now: Instant) {
        let waits = self.has(Flags::LINGERING)
            || (self.has(Flags::ORPHAN) && self.state == State::FinWait2);
        if waits {
            return;
        }
        self.long_deadline = if self.options.keepalive && self.state.is_synchronised() {
            now + self.options.keepalive_idle
        } else {
            Instant::MAX
        };
    }

    /// The peer may have been silent for too long (RFC 9293 section 3.8.4).
    pub(super) fn on_keepalive(&mut self, now: Instant, common: &mut Common) {
        if !self.options.keepalive || !self.state.is_synchronised() {
            return;
        }
        let idle = self.options.keepalive_idle;
        if self.sender.flight_size() > 0 || self.unsent() > 0 {
            // The retransmission timer watches over the peer.
            self.long_deadline = now + idle;
            return;
        }
        let silence = self
            .last_ack_in
            .elapsed(now)
            .min(self.ack.last_data().elapsed(now));
        if silence < idle {
            self.long_deadline = now + (idle - silence);
            return;
        }
        let over = match self.options.user_timeout {
            Some(time) => silence >= time && self.probes > 0,
            None => self.probes >= self.options.keepalive_count,
        };
        if over {
            self.reset_peer(now, common);
            self.give_up(common);
            return;
        }
        common.stats.keepalives += 1;
        self.probes = self.probes.saturating_add(1);
        self.flags.set(Flags::PROBE_DUE, true);
        self.long_deadline = now + self.options.keepalive_interval;
    }
}
