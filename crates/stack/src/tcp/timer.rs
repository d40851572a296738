//! Deadlines of a connection pass: what to send again, what to probe, when to give up.

use core::time::Duration;

use super::connection::{Common, Connection, Flags};
use super::error::TcpError;
use super::sender::{TimeoutOutcome, backed_off};
use super::state::State;
use crate::time::Instant;

/// The time of so many doublings is the limit for SYNs: more would be beyond `timeout_max`.
const SYN_DOUBLINGS_MAX: u8 = 7;

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

    /// SYN, or SYN-ACK after a simultaneous open, was not answered (RFC 6298). As Linux, waits that
    /// do not double are those of a SYN only, and so are the retries that they allow.
    fn on_syn_timeout(&mut self, now: Instant, common: &mut Common) {
        let linear = match self.state {
            State::SynSent => common.config.syn_linear_timeouts,
            _ => 0,
        };
        let doublings = self.options.syn_retries;
        let doublings = doublings.unwrap_or(common.config.syn_retries);
        let retries = doublings.saturating_add(linear);
        let retries = if self.is_open_fast() {
            // As Linux, one more: the application waits for it.
            common.config.syn_ack_retries.saturating_add(1)
        } else {
            retries
        };
        let waited = now.saturating_duration_since(self.stalled_since);
        let user_timeout = self.options.user_timeout.is_some_and(|time| waited >= time);
        // As Linux, those that do not double leave time for no more than doublings would.
        let double = (2_u32 << doublings.min(SYN_DOUBLINGS_MAX)) - 1;
        let late = linear > 0 && waited >= common.config.syn_timeout * double;
        if self.probes >= retries || late || user_timeout {
            common.stats.abort_on_timeout += 1;
            self.finish(Some(self.timeout_error()), common);
            return;
        }
        self.probes += 1;
        if self.probes > linear {
            self.backoff += 1;
        }
        common.stats.retrans_segs += 1;
        self.flags.set(Flags::SYN_DUE, true);
        let wait = backed_off(common.config.syn_timeout, self.backoff);
        self.probe_deadline = self.not_beyond_user_timeout(now + wait);
    }

    /// A timeout is told as what a router said of it, if one did (RFC 9293 section 3.9.2.2).
    pub(super) fn timeout_error(&self) -> TcpError {
        if self.has(Flags::SOFT_UNREACHABLE) {
            TcpError::HostUnreachable
        } else {
            TcpError::TimedOut
        }
    }

    /// The deadline, or the end of the user timeout if that comes first.
    pub(super) fn not_beyond_user_timeout(&self, at: Instant) -> Instant {
        match self.options.user_timeout {
            Some(time) if self.stalled_since < Instant::MAX => at.min(self.stalled_since + time),
            _ => at,
        }
    }

    /// How long may pass without progress (RFC 9293 section 3.8.3: R2; RFC 5482).
    pub(super) fn patience(&self, common: &Common) -> Duration {
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
                self.flags.set(Flags::PROBES_LOSS, true);
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

    pub(super) fn give_up(&mut self, common: &mut Common) {
        common.stats.abort_on_timeout += 1;
        self.finish(Some(self.timeout_error()), common);
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
}
