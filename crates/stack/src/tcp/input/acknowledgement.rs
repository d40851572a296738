//! The ACK of a segment (RFC 9293 section 3.10.7.4, fifth).

use core::time::Duration;

use zcn_wire::SeqNum;

use crate::stats::DropReason;
use crate::tcp::config::TcpConfig;
use crate::tcp::connection::{Common, Connection, Flags};
use crate::tcp::incoming::Incoming;
use crate::tcp::sender::{Ack, CaState, Feedback, Sender, SenderConfig};
use crate::tcp::stamp::Stamp;
use crate::tcp::state::State;
use crate::time::Instant;

/// The most that a handshake with retransmissions is believed to have taken: the timeout
/// that is used without a sample (RFC 6298 section 5.7).
const HANDSHAKE_RTT_MAX: Duration = Duration::from_secs(3);

impl Connection {
    /// Handles the ACK; false if the segment is to be dropped.
    #[inline]
    pub(in crate::tcp) fn acknowledge(
        &mut self,
        now: Instant,
        common: &mut Common,
        head: &Incoming,
    ) -> bool {
        let opening = self.state == State::SynReceived;
        if opening && !self.complete_handshake(now, common, head) {
            return false;
        }
        let una = self.sender.snd_una();
        if head.ack.before(una) && u64::from(una.distance(head.ack)) > self.bytes_acked() {
            // Before the first byte: a guess (RFC 5961 section 5.2, with the bytes that there
            // were for the window, as in Linux).
            common.drop(DropReason::TcpBadAck);
            self.challenge(now, common);
            return false;
        }
        let before = self.sender.ca_state();
        let ack = Ack {
            ack: head.ack,
            sack: &head.sack,
            window: self.told_window(head),
            segment_seq: head.seq,
            ts_ecr: self.echo(head),
            carries_data: head.len > 0 || head.fin,
            ece: self.hears_ece(head),
        };
        let bytes_sent = self.bytes_sent();
        let feedback = match &mut self.accurate {
            Some(accurate) => Some(Feedback {
                marks: &mut accurate.marks,
                // That of the segment that completes the handshake was read there.
                ace: head.ace.filter(|_| !opening),
                counters: head.acc_ecn,
                later: head.later,
                bytes_sent,
                fallback: common.config.ecn_fallback,
            }),
            None => None,
        };
        let largest = self.sender.max_window();
        let result = self.sender.handle_ack(now, &ack, feedback);
        let Ok(outcome) = result else {
            // Nobody who sees the connection acknowledges that (RFC 5961 section 5.2).
            common.drop(DropReason::TcpBadAck);
            self.challenge(now, common);
            return false;
        };
        let after = self.sender.ca_state();
        let stats = &mut common.stats;
        stats.undos += u64::from(outcome.undone);
        stats.spurious_rtos += u64::from(outcome.undone && before == CaState::Loss);
        stats.fast_recoveries +=
            u64::from(after == CaState::Recovery && before != CaState::Recovery);
        let arrived = Stamp::of(now);
        if self.last_ack_in != arrived {
            self.last_ack_in = arrived;
            self.flags.set(Flags::PROGRESS_TOLD, false);
        }
        // Whoever answers is there; a closed window goes on being probed, less often.
        self.flags.set(Flags::PROBE_DUE, false);
        self.probes = 0;
        if outcome.window_updated && outcome.acked == 0 && self.unsent() > 0 {
            // As Linux, what waited for the window begins after an idle time.
            self.sender.on_written(now);
        }
        if outcome.window_is_largest && self.is_bounded_by(largest) {
            self.update_mss(&common.config);
        }
        if outcome.acked > 0 {
            self.counters.bytes_acked += u64::from(outcome.acked);
            self.on_acked(now, common);
        }
        self.on_window(now);
        true
    }

    /// The window that a segment tells; that of a SYN is not scaled (RFC 7323 section 2.2).
    #[inline]
    pub(super) fn told_window(&self, head: &Incoming) -> u32 {
        let scale = if head.window_scaled {
            self.snd_scale
        } else {
            0
        };
        u32::from(head.window) << scale
    }

    /// The echoed timestamp by our clock, without the connection's offset.
    #[inline]
    fn echo(&self, head: &Incoming) -> Option<u32> {
        head.timestamps
            .filter(|stamps| self.timestamps.enabled && stamps.ecr != 0)
            .map(|stamps| stamps.ecr.wrapping_sub(self.timestamps.offset))
    }

    /// The ACK that completes a handshake: of a simultaneous open, or of a passive one whose
    /// half-open entry has just become this connection.
    fn complete_handshake(&mut self, now: Instant, common: &mut Common, head: &Incoming) -> bool {
        let fast = self.is_open_fast();
        let latest = if fast {
            self.sender.snd_nxt()
        } else {
            self.first_data()
        };
        if !(head.ack.after_eq(self.first_data()) && head.ack.before_eq(latest)) {
            common.drop(DropReason::TcpBadAck);
            if common.replies.reset(now, self.local(), self.remote(), head) {
                common.stats.out_rsts += 1;
            }
            return false;
        }
        let rtt = (self.probes == 0 || self.timestamps.enabled)
            .then(|| self.handshake_rtt(now, head))
            .flatten();
        let window = self.told_window(head);
        if self.has(Flags::ACC_ECN) {
            self.take_third_ack(&common.config, head);
        }
        // With fast open it runs since the SYN, and may have sent something.
        if !fast || self.sender.snd_nxt() == self.first_data() {
            self.start_sender(
                now,
                &common.config,
                self.first_data(),
                window,
                head.seq,
                rtt,
            );
        } else {
            self.sender.on_handshake(now, rtt, self.probes);
        }
        self.establish(now, common);
        if self.has(Flags::FIN_QUEUED) {
            self.state = State::FinWait1;
        }
        true
    }

    /// Round-trip time of the handshake: by the echoed timestamp, or since the SYN left.
    /// None if the SYN was sent again and an echo of an earlier one came late: the peer
    /// answers with what it saw first, and the time since may be that of a lost answer.
    pub(super) fn handshake_rtt(&self, now: Instant, head: &Incoming) -> Option<Duration> {
        if self.probes == 0 && self.stalled_since != Instant::MAX {
            return Some(now.saturating_duration_since(self.stalled_since));
        }
        let echo = head.timestamps.map(|stamps| stamps.ecr)?;
        let elapsed = self.timestamps.elapsed_ms(now, echo);
        let rtt = Duration::from_millis(u64::from(elapsed.max(1)));
        (echo != 0 && rtt <= HANDSHAKE_RTT_MAX).then_some(rtt)
    }

    /// The sending side begins, with `first`.
    pub(crate) fn start_sender(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        first: SeqNum,
        window: u32,
        wl1: SeqNum,
        rtt: Option<Duration>,
    ) {
        let mut sender = SenderConfig::new(first, self.mss);
        sender.snd_wnd = window;
        sender.snd_wl1 = wl1;
        sender.congestion = self.options.congestion;
        sender.sack = self.has(Flags::SACK);
        sender.timestamps = self.timestamps.enabled;
        sender.slow_start_after_idle = config.slow_start_after_idle;
        sender.loss_probes = config.loss_probes;
        sender.min_rto = config.rto_min;
        sender.super_frames = self.gso_max_size > self.mtu;
        sender.handshake_rtt = rtt;
        sender.syn_retransmissions = self.probes;
        if let Some(segments) = self.initial_window() {
            sender.initial_window = segments;
        }
        self.sender = Sender::new(&sender, now);
        self.update_mss(config);
        if let Some(rtt) = rtt {
            self.window.on_rtt(rtt);
        }
    }

    /// New data was acknowledged.
    #[inline]
    fn on_acked(&mut self, now: Instant, common: &mut Common) {
        let una = self.data_una();
        if let Some(queue) = &mut self.send_queue {
            queue.acknowledge(una);
        }
        self.stalled_since = Instant::MAX;
        self.note_activity(now);
        self.wake_writer(common);
        if self.fin_acked() {
            self.on_fin_acked(now, common);
        }
    }

    /// Our FIN is acknowledged (RFC 9293 section 3.10.7.4, fifth, the closing states).
    fn on_fin_acked(&mut self, now: Instant, common: &mut Common) {
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                self.end_lingering();
                if self.has(Flags::ORPHAN) {
                    let wait = self
                        .options
                        .fin_timeout
                        .unwrap_or(common.config.fin_timeout);
                    self.long_deadline = now + wait;
                }
            }
            State::Closing => self.state = State::TimeWait,
            State::LastAck => self.finish(None, common),
            _ => {}
        }
    }

    /// After every ACK: has a closed window opened?
    #[inline]
    fn on_window(&mut self, now: Instant) {
        if self.probe_deadline == Instant::MAX {
            return;
        }
        if self.sender.usable_window() >= self.unsent().min(u32::from(self.mss)) {
            self.probe_deadline = Instant::MAX;
            self.backoff = 0;
            self.stalled_since = Instant::MAX;
        } else if self.sender.flight_size() == 0 {
            self.probe_deadline = self.not_beyond_user_timeout(now + self.probe_interval());
        }
    }
}
