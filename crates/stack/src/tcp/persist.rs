//! What is held back does not wait for ever: a closed window is probed (RFC 9293 section
//! 3.8.6.1), a small one used in the end, cork taken off.

use core::time::Duration;

use super::connection::{Common, Connection, Flags};
use super::sender::backed_off;
use crate::time::Instant;

/// A zero window is probed no sooner than this.
const PROBE_MIN: Duration = Duration::from_millis(200);

impl Connection {
    /// How long to wait before the next probe of a closed window: the retransmission
    /// timeout, doubled each time (RFC 9293 section 3.8.6.1).
    pub(crate) fn probe_interval(&self) -> Duration {
        let base = self.sender.rto().max(PROBE_MIN);
        backed_off(base, self.backoff)
    }

    /// After output: what is held back by window, Nagle or cork must not wait for ever.
    pub(crate) fn arm_probe(&mut self, now: Instant) {
        if self.unsent() == 0 || self.sender.flight_size() > 0 {
            return;
        }
        if self.probe_deadline != Instant::MAX {
            return;
        }
        // What cork holds back, or data that was announced to follow, waits no longer than a
        // probe: 200 ms or the retransmission timeout (tcp(7)).
        let wait = self.probe_interval();
        self.probe_deadline = self.not_beyond_user_timeout(now + wait);
    }

    /// A closed window is probed, or what cork held back leaves.
    pub(super) fn on_probe_timeout(&mut self, now: Instant, common: &mut Common) {
        if !self.state.transmits() || self.unsent() == 0 || self.sender.flight_size() > 0 {
            self.backoff = 0;
            return;
        }
        if self.sender.usable_window() > 0 {
            // A small window, or cork: what fits leaves though it is little.
            self.flags.set(Flags::FORCE, true);
            return;
        }
        // As Linux, the user timeout counts from the first probe on.
        let since = self.stalled_since.min(now);
        self.stalled_since = since;
        let waited = now.saturating_duration_since(since);
        let orphaned = self.has(Flags::ORPHAN) && self.backoff >= common.config.orphan_retries;
        // A peer that answers every probe may keep its window closed for as long as the
        // application lets it (RFC 9293 section 3.8.6.1).
        let silent = self.probes > 0 && self.last_ack_in.elapsed(now) >= self.patience(common);
        let user_timeout = self.options.user_timeout.is_some_and(|time| waited >= time);
        if orphaned || silent || user_timeout {
            if orphaned {
                self.reset_peer(now, common);
            }
            self.give_up(common);
            return;
        }
        common.stats.win_probes += 1;
        self.flags.set(Flags::PROBE_DUE, true);
        self.probes = self.probes.saturating_add(1);
        // As Linux, the pace slows down no further than retransmissions may.
        let orphan_retries = match self.has(Flags::ORPHAN) {
            true => common.config.orphan_retries,
            false => 0,
        };
        let slowest = common.config.retries.max(orphan_retries).min(32);
        self.backoff = self.backoff.saturating_add(1).min(slowest);
        self.probe_deadline = self.not_beyond_user_timeout(now + self.probe_interval());
    }
}
