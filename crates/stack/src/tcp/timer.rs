//! Deadlines of a connection pass: what to send again, what to probe, when to give up.

use core::time::Duration;

use super::connection::{Common, Connection, Flags};
use super::error::TcpError;
use super::sender::{TimeoutOutcome, backed_off};
use super::state::State;
use crate::event::Readiness;
use crate::time::Instant;

/// How long cork, or more data that was announced, holds back what does not fill a segment
/// (tcp(7)).
const CORK_TIME: Duration = Duration::from_millis(200);
/// A zero window is probed no sooner than this.
const PROBE_MIN: Duration = Duration::from_millis(200);

impl Connection {
    /// Handles what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, common: &mut Common) {
        if self.ack.deadline <= now {
            common.stats.delayed_acks += 1;
            let rto = self.sender.rto();
            self.ack.on_timeout(&common.config, rto);
        }
        if self.probe_deadline <= now {
            self.probe_deadline = Instant::MAX;
            if matches!(self.state, State::SynSent | State::SynReceived) {
                self.on_syn_timeout(now, common);
            } else {
                self.on_probe_timeout(now, common);
            }
        }
        if self.long_deadline <= now && self.state != State::Closed {
            self.long_deadline = Instant::MAX;
            self.on_long_timeout(now, common);
        }
        if self.state.transmits() && self.sender.next_timeout().is_some_and(|at| at <= now) {
            self.on_retransmission_timeout(now, common);
        }
    }

    /// SYN, or SYN-ACK after a simultaneous open, was not answered (RFC 6298).
    fn on_syn_timeout(&mut self, now: Instant, common: &mut Common) {
        let retries = self
            .options
            .syn_retries
            .unwrap_or(common.config.syn_retries);
        let waited = now.saturating_duration_since(self.stalled_since);
        let user_timeout = self.options.user_timeout.is_some_and(|time| waited >= time);
        if self.probes >= retries || user_timeout {
            common.stats.abort_on_timeout += 1;
            self.finish(Some(self.timeout_error()), common);
            return;
        }
        self.probes += 1;
        common.stats.retrans_segs += 1;
        self.flags.set(Flags::SYN_DUE, true);
        let wait = backed_off(common.config.syn_timeout, self.probes);
        self.probe_deadline = self.not_beyond_user_timeout(now + wait);
    }

    /// A timeout is told as what a router said of it, if one did (RFC 9293 section 3.9.2.2).
    fn timeout_error(&self) -> TcpError {
        if self.has(Flags::SOFT_UNREACHABLE) {
            TcpError::HostUnreachable
        } else {
            TcpError::TimedOut
        }
    }

    /// The deadline, or the end of the user timeout if that comes first.
    fn not_beyond_user_timeout(&self, at: Instant) -> Instant {
        match self.options.user_timeout {
            Some(time) if self.stalled_since < Instant::MAX => at.min(self.stalled_since + time),
            _ => at,
        }
    }

    /// How long may pass without progress (RFC 9293 section 3.8.3: R2; RFC 5482).
    fn patience(&self, common: &Common) -> Duration {
        let config = &common.config;
        if self.has(Flags::ORPHAN) {
            return config.retries_time(config.orphan_retries);
        }
        self.options
            .user_timeout
            .unwrap_or_else(|| config.retries_time(config.retries))
    }

    fn on_retransmission_timeout(&mut self, now: Instant, common: &mut Common) {
        match self.sender.handle_timeout(now) {
            TimeoutOutcome::Retransmission { .. } => common.stats.timeouts += 1,
            TimeoutOutcome::LossProbe => {
                common.stats.loss_probes += 1;
                return;
            }
            _ => return,
        }
        if self.stalled_since == Instant::MAX {
            self.stalled_since = now;
        }
        let waited = now.saturating_duration_since(self.stalled_since);
        if waited >= self.patience(common) {
            self.give_up(common);
        }
    }

    fn give_up(&mut self, common: &mut Common) {
        common.stats.abort_on_timeout += 1;
        self.finish(Some(self.timeout_error()), common);
    }

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
        let corked = self.sender.usable_window() >= self.unsent();
        let wait = if corked {
            CORK_TIME
        } else {
            self.probe_interval()
        };
        if !corked && self.stalled_since == Instant::MAX {
            self.stalled_since = now;
        }
        self.probe_deadline = self.not_beyond_user_timeout(now + wait);
    }

    /// A closed window is probed, or what cork held back leaves.
    fn on_probe_timeout(&mut self, now: Instant, common: &mut Common) {
        if !self.state.transmits() || self.unsent() == 0 || self.sender.flight_size() > 0 {
            self.backoff = 0;
            return;
        }
        if self.sender.usable_window() > 0 {
            // A small window, or cork: what fits leaves though it is little.
            self.flags.set(Flags::FORCE, true);
            return;
        }
        let waited = now.saturating_duration_since(self.stalled_since);
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
        self.backoff = self.backoff.saturating_add(1).min(32);
        self.probe_deadline = self.not_beyond_user_timeout(now + self.probe_interval());
    }

    /// Keepalive, FIN-WAIT-2 of an orphan, linger.
    fn on_long_timeout(&mut self, now: Instant, common: &mut Common) {
        if self.has(Flags::LINGERING) {
            self.end_lingering();
            return;
        }
        if self.has(Flags::ORPHAN) && self.state == State::FinWait2 {
            self.finish(None, common);
            return;
        }
        self.on_keepalive(now, common);
    }

    /// The application has waited long enough for what it sent to arrive, or it has arrived.
    pub(crate) fn end_lingering(&mut self) {
        if self.flags.take(Flags::LINGERING) {
            self.signal(Readiness::CLOSED);
            self.flags.set(Flags::ORPHAN | Flags::LINGER_OVER, true);
        }
    }

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
    fn on_keepalive(&mut self, now: Instant, common: &mut Common) {
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
