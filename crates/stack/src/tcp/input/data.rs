//! Data and FIN of a segment (RFC 9293 section 3.10.7.4, seventh and eighth).

use core::time::Duration;

use zcn_frame::Chain;
use zcn_wire::{SeqNum, TcpFlags};

use crate::event::Readiness;
use crate::stats::DropReason;
use crate::tcp::ack::{Arrival, Standing};
use crate::tcp::connection::{Common, Connection, Flags};
use crate::tcp::error::TcpError;
use crate::tcp::incoming::Incoming;
use crate::tcp::receive_queue::Received;
use crate::tcp::segment::SegmentOut;
use crate::tcp::state::State;
use crate::time::Instant;

impl Connection {
    /// Takes data and FIN, and decides about the acknowledgement.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        common: &mut Common,
        head: &Incoming,
        payload: &mut Chain,
    ) {
        if head.len == 0 && !head.fin {
            return;
        }
        let ended = !self.state.may_receive();
        if ended && !head.seq.before(self.rcv_nxt) {
            // "This should not occur": after the peer's FIN nothing can follow.
            common.drop(DropReason::TcpOutOfWindow);
            return;
        }
        if self.has(Flags::ECN) {
            self.note_congestion(common, head);
        }
        let end = head.seq + head.len;
        let beyond = end.after(self.rcv_nxt);
        let unread = ended
            || self.has(Flags::ORPHAN)
            || self.has(Flags::READ_SHUT) && !self.state.may_send();
        if unread && beyond {
            // Nobody will read it, and nobody can say so in words: say so (RFC 9293 section
            // 3.6, RFC 2525 section 2.17).
            common.stats.abort_on_close += 1;
            if common.replies.reset(now, self.local(), self.remote(), head) {
                common.stats.out_rsts += 1;
            }
            let error = if self.has(Flags::ORPHAN) {
                TcpError::Aborted
            } else if self.state == State::CloseWait {
                TcpError::BrokenPipe
            } else {
                TcpError::Reset
            };
            self.finish(Some(error), common);
            return;
        }
        if ended {
            self.receive_old(now, common, head);
            return;
        }
        let rcv_wnd = self.rcv_wnd();
        let mut seq = head.seq;
        let mut fin = head.fin;
        if seq.before(self.rcv_nxt) {
            let known = end.min(self.rcv_nxt);
            if head.len > 0 {
                self.note_duplicate(seq, known);
            }
            payload.advance(known.distance(seq) as usize);
            seq = self.rcv_nxt;
        }
        // What lies beyond the window, or beyond the FIN, is cut off.
        let mut limit = self.rcv_nxt + rcv_wnd;
        if self.has(Flags::FIN_PENDING) {
            limit = limit.min(self.fin_at);
        }
        if end.after(limit) {
            payload.truncate(limit.distance(seq.min(limit)) as usize);
            fin = false;
        }
        if fin
            && seq == self.rcv_nxt
            && end.after_eq(seq)
            && let Some(queue) = &mut self.receive_queue
        {
            // It ends here, whatever was said to come behind.
            queue.drop_out_of_order();
        }
        let rto = self.sender.rto();
        if head.len > 0 && seq.after(self.rcv_nxt) {
            self.ack.on_out_of_order(now);
        } else if head.len > 0 {
            self.ack.on_data(
                &common.config,
                &Arrival {
                    now,
                    len: head.len,
                    segments: head.segments,
                    push: head.psh,
                    rcv_wnd,
                    rto,
                },
            );
        }
        let mut at_once = false;
        if payload.is_empty() {
            if !(beyond || fin && end == self.rcv_nxt) {
                self.receive_old(now, common, head);
                return;
            }
            if head.len > 0 && beyond {
                // A closed window: the peer probes it.
                common.drop(DropReason::TcpOutOfWindow);
                self.ack.send_now();
            }
        } else {
            at_once = self.store(now, common, head, seq, payload);
        }
        // One behind a hole takes a number of the window itself (RFC 9293 section 3.4).
        if fin && (end == self.rcv_nxt || end.before(limit)) {
            self.flags.set(Flags::FIN_PENDING, true);
            self.fin_at = end;
        }
        if fin && end.after(self.rcv_nxt) {
            self.ack.send_now();
        }
        if self.has(Flags::FIN_PENDING) && self.fin_at == self.rcv_nxt {
            self.receive_fin(now, common);
        }
        self.decide_ack(now, common, at_once, head.psh);
    }

    /// Data that was there before, all of it.
    fn receive_old(&mut self, _now: Instant, common: &mut Common, head: &Incoming) {
        common.drop(DropReason::TcpDuplicate);
        if let Some(accurate) = &mut self.accurate {
            accurate.note_duplicate(head.seq);
        }
        self.note_duplicate(head.seq, head.end().min(self.rcv_nxt));
        let wnd = self.rcv_wnd();
        self.ack.enter_quick(&common.config, wnd);
        self.ack.send_now();
    }

    /// Puts data into the queues; true if it fills the last hole, which is told at once (RFC
    /// 5681 section 4.2).
    fn store(
        &mut self,
        now: Instant,
        common: &mut Common,
        head: &Incoming,
        seq: SeqNum,
        payload: &mut Chain,
    ) -> bool {
        let limits = self.receive_limits(common);
        let position = self.received;
        let offset = seq.distance(self.rcv_nxt);
        let (reading, low_water) = (
            !self.has(Flags::READ_SHUT),
            self.options.receive_low_water as usize,
        );
        let queue = Self::receive_queue(&mut self.receive_queue, &mut common.spares);
        let mut duplicate = None;
        let received = queue.receive(
            position,
            offset,
            payload,
            &limits,
            &common.pool,
            &mut duplicate,
        );
        let holes = queue.has_holes();
        let mut at_once = false;
        let readable = queue.readable();
        if let Some((from, to)) = duplicate {
            let number = |at: u64| self.rcv_nxt + at.wrapping_sub(position) as u32;
            let (from, to) = (number(from), number(to));
            self.note_duplicate(from, to);
        }
        match received {
            Received::InOrder { bytes, filled } => {
                self.rcv_nxt += bytes;
                self.received += u64::from(bytes);
                at_once = filled && !holes;
                self.measure_rtt(now, head);
                if !reading {
                    self.discard_readable(common);
                } else if readable >= low_water {
                    self.signal(Readiness::READABLE);
                }
            }
            Received::OutOfOrder => {
                common.stats.ofo_queue += 1;
                let count = &mut self.counters.out_of_order;
                *count = count.wrapping_add(u32::from(head.segments));
            }
            Received::Duplicate => {
                common.drop(DropReason::TcpDuplicate);
                let wnd = self.rcv_wnd();
                self.ack.enter_quick(&common.config, wnd);
                self.ack.send_now();
            }
            Received::NoRoom => {
                self.refuse(common);
            }
        }
        self.release_empty_queues(common);
        at_once
    }

    /// There is no room for what came.
    pub(in crate::tcp) fn refuse(&mut self, common: &mut Common) {
        common.stats.ofo_drop += 1;
        common.drop(DropReason::TcpNoRoom);
        self.ack.send_now();
    }

    /// The application shut its reading side: data is acknowledged and goes nowhere.
    fn discard_readable(&mut self, common: &mut Common) {
        if let Some(queue) = &mut self.receive_queue {
            while queue.take(usize::MAX).is_some() {}
        }
        self.release_empty_queues(common);
    }

    /// Whether a duplicate is to be reported.
    pub(crate) fn has_duplicate(&self) -> bool {
        self.dsack.0 != self.dsack.1
    }

    /// Remembers a duplicate for the next SACK option (RFC 2883 section 4): one at a time,
    /// the first one grows if the next one touches it.
    pub(crate) fn note_duplicate(&mut self, from: SeqNum, to: SeqNum) {
        if !self.has(Flags::SACK) || !from.before(to) {
            return;
        }
        let (start, end) = self.dsack;
        if start == end {
            self.dsack = (from, to);
        } else if from.before_eq(end) && to.after_eq(start) {
            self.dsack = (start.min(from), end.max(to));
        }
    }

    /// The peer's FIN is in order: it has nothing more to say.
    fn receive_fin(&mut self, now: Instant, common: &mut Common) {
        self.flags.set(Flags::FIN_PENDING, false);
        self.flags.set(Flags::FIN_RECEIVED, true);
        self.rcv_nxt += 1_u32;
        match self.state {
            State::SynReceived | State::Established => {
                self.state = State::CloseWait;
                self.ack.on_fin(&common.config);
                // There is nothing more to fill: what duplicates tell serves nobody.
                self.dsack.0 = self.dsack.1;
            }
            State::FinWait1 => {
                // Had our FIN been acknowledged, this would be FIN-WAIT-2 already.
                self.state = State::Closing;
                self.ack.send_now();
            }
            State::FinWait2 => {
                self.state = State::TimeWait;
                self.ack.send_now();
            }
            _ => {}
        }
        if let Some(queue) = &mut self.receive_queue {
            queue.drop_out_of_order();
        }
        self.release_empty_queues(common);
        self.restart_keepalive(now);
        self.signal(Readiness::READABLE);
    }

    /// A sample of the round-trip time for the growth of the window: by the echo of the
    /// timestamp of the ACK that let this data go.
    #[inline]
    pub(in crate::tcp) fn measure_rtt(&mut self, now: Instant, head: &Incoming) {
        let Some(stamps) = head.timestamps.filter(|_| self.timestamps.enabled) else {
            return;
        };
        let full = u32::from(self.ack.rcv_mss) * u32::from(head.segments);
        if stamps.ecr == 0 || head.len < full {
            return;
        }
        let elapsed = self.timestamps.elapsed_ms(now, stamps.ecr);
        if elapsed < 60_000 {
            self.window
                .on_rtt(Duration::from_millis(u64::from(elapsed.max(1))));
        }
    }

    /// Decides when what arrived is acknowledged.
    #[inline]
    pub(in crate::tcp) fn decide_ack(
        &mut self,
        now: Instant,
        common: &mut Common,
        at_once: bool,
        push: bool,
    ) {
        let unacked = self.unacked_in();
        let mss = u32::from(self.ack.rcv_mss);
        // A small window is one that the peer waits for: whatever frees it is told at once.
        let small = self.rcv_wnd() < 2 * mss;
        let holes = self.receive_queue.as_ref().is_some_and(|q| q.has_holes());
        let standing = Standing {
            now,
            unacked,
            // One that reads has at most taken not yet what has just come.
            reading: self.readable() as u64 <= u64::from(2 * mss),
            at_once: at_once || small || self.has_duplicate(),
            hole: (holes || self.has(Flags::FIN_PENDING)).then_some(self.rcv_nxt),
            sack: self.has(Flags::SACK),
            push,
            srtt: self.srtt(),
        };
        self.ack.decide(&common.config, &standing);
    }

    /// Sends RST for a connection that ends here and now.
    pub(crate) fn reset_peer(&mut self, now: Instant, common: &mut Common) {
        let seq = self.sender.snd_nxt();
        let mut segment = SegmentOut::default();
        self.begin_segment(TcpFlags::RST | TcpFlags::ACK, seq, &mut segment);
        self.stamp_segment(now, &mut segment);
        if self.has(Flags::SACK) {
            segment.tcp.options.sack = self.sack_blocks();
        }
        segment.tcp.flags |= self.ace();
        segment.tcp.ack = self.rcv_nxt;
        segment.tcp.window = self.next_ack().1;
        if common.replies.push(segment) {
            common.stats.out_rsts += 1;
        }
    }
}
