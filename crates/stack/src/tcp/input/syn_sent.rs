//! SYN-SENT (RFC 9293 section 3.10.7.3).

use core::time::Duration;

use zcn_wire::SeqNum;

use crate::stats::DropReason;
use crate::tcp::connection::{Common, Connection, Flags};
use crate::tcp::error::TcpError;
use crate::tcp::incoming::Incoming;
use crate::tcp::segment::SegmentIn;
use crate::tcp::state::State;
use crate::tcp::timestamps::{Timestamps, clock, older};
use crate::time::Instant;

/// How long after an RST for the peer's old connection our SYN goes again: so much later that
/// it does not overtake the RST.
const SYN_AGAIN: Duration = Duration::from_millis(2);

impl Connection {
    pub(super) fn handle_in_syn_sent(
        &mut self,
        now: Instant,
        common: &mut Common,
        segment: &mut SegmentIn,
        head: &Incoming,
    ) {
        if head.has_ack && !self.acknowledges_syn(now, head) {
            // Half-open: the peer speaks of another connection.
            common.drop(DropReason::TcpBadAck);
            if !head.rst && common.replies.reset(now, self.local(), self.remote(), head) {
                common.stats.out_rsts += 1;
            }
            if self.probes == 0 {
                // Our RST ends what the peer remembers, or the peer's RST tells that it remembers
                // nothing, and then our SYN is welcome: it goes again soon, not after a second.
                self.probe_deadline = self.probe_deadline.min(now + SYN_AGAIN);
            }
            return;
        }
        if head.rst {
            if head.has_ack {
                self.finish(Some(TcpError::Refused), common);
            } else {
                common.drop(DropReason::TcpBlindReset);
            }
            return;
        }
        if !head.syn {
            common.drop(DropReason::TcpNoSyn);
            return;
        }
        self.take_syn(now, common, segment);
        self.flags.set(Flags::ACTIVE, true);
        self.take_fast_open_answer(common, segment);
        if head.has_ack {
            self.connected(now, common, head);
            self.take_syn_ack_data(now, common, head, &mut segment.payload);
        } else {
            // Simultaneous open: our SYN goes again, with ACK (RFC 9293 section 3.5). Its timer runs on,
            // as on Linux.
            self.state = State::SynReceived;
            self.flags.set(Flags::SYN_DUE, true);
        }
    }

    /// Whether an ACK is for our SYN: the number, and the timestamp if it echoes one.
    fn acknowledges_syn(&self, now: Instant, head: &Incoming) -> bool {
        let echo = head.timestamps.map_or(0, |stamps| stamps.ecr);
        let sent_by_us = echo == 0
            || self.stalled_since == Instant::MAX
            || (!older(self.timestamps.value(now), echo)
                && !older(
                    echo,
                    clock(self.stalled_since).wrapping_add(self.timestamps.offset),
                ));
        let with_data = self.small_end.max(self.first_data());
        head.ack.after_eq(self.first_data()) && head.ack.before_eq(with_data) && sent_by_us
    }

    /// Options and numbers of the peer's SYN.
    fn take_syn(&mut self, now: Instant, common: &Common, segment: &SegmentIn) {
        let config = &common.config;
        let options = &segment.tcp.options;
        let seq = segment.tcp.seq;
        self.rcv_nxt = seq + 1_u32;
        self.rcv_wup = self.rcv_nxt;
        let default = if self.tuple.is_ipv6() { 1220 } else { 536 };
        self.peer_mss = options.mss.unwrap_or(default).max(config.min_mss);
        match options.window_scale.filter(|_| config.window_scaling) {
            Some(shift) => {
                self.flags.set(Flags::SCALING, true);
                self.snd_scale = shift.min(14);
            }
            None => {
                self.flags.set(Flags::SCALING, false);
                self.snd_scale = 0;
                self.window.scale = 0;
            }
        }
        self.take_ecn_answer(config, segment);
        self.flags
            .set(Flags::SACK, options.sack_permitted && config.sack);
        match options.timestamps.filter(|_| config.timestamps) {
            Some(stamps) => {
                self.timestamps.enabled = true;
                self.timestamps.recent = stamps.val;
                self.timestamps.recent_at = clock(now);
            }
            None => {
                self.timestamps = Timestamps {
                    enabled: false,
                    ..self.timestamps
                };
            }
        }
        self.mss = self.effective_mss(config);
        let rcv_wnd = self.window.wnd;
        self.ack
            .set_initial_mss(u32::from(self.advertised_mss.min(self.mss)), rcv_wnd);
        self.ack.start_quick(config, rcv_wnd);
    }

    /// Our SYN is acknowledged.
    fn connected(&mut self, now: Instant, common: &mut Common, head: &Incoming) {
        let rtt = (self.probes == 0 || self.timestamps.enabled)
            .then(|| self.handshake_rtt(now, head))
            .flatten();
        // The window field of a segment with SYN is not scaled (RFC 7323 section 2.2).
        self.start_sender(
            now,
            &common.config,
            head.ack,
            u32::from(head.window),
            head.seq,
            rtt,
        );
        if self.has(Flags::SYN_DATA) {
            self.sender.count_data_segments(1); // the SYN
        }
        self.establish(now, common);
        self.ack.send_now();
    }

    /// While the connection opens: the number that data will begin with, one more than the
    /// initial one.
    pub(crate) fn first_data(&self) -> SeqNum {
        self.sender.snd_una()
    }
}
