//! A segment arrives (RFC 9293 section 3.10.7), for a connection that exists.

mod acknowledgement;
mod data;
mod syn_sent;

use zcn_frame::Chain;
use zcn_wire::SeqNum;

use super::connection::{Common, Connection, Flags};
use super::error::TcpError;
use super::incoming::Incoming;
use super::segment::SegmentIn;
use super::stamp::Stamp;
use super::state::State;
use crate::stats::DropReason;
use crate::time::Instant;

/// What is known of a segment's acceptability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Accept,
    /// Dropped; an answer was queued, if one is due.
    Drop,
}

impl Connection {
    /// Handles a segment.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        common: &mut Common,
        segment: &mut SegmentIn,
    ) {
        let mut head = Incoming::of(segment);
        self.counters.segs_in = self.counters.segs_in.wrapping_add(u32::from(head.segments));
        if head.len > 0 {
            self.counters.data_segs_in = self
                .counters
                .data_segs_in
                .wrapping_add(u32::from(head.segments));
        }
        match self.state {
            State::SynSent => self.handle_in_syn_sent(now, common, segment, &head),
            State::Closed | State::Listen | State::TimeWait => {
                common.drop(DropReason::TcpNoConnection);
            }
            _ => self.handle_in_order_of_checks(now, common, &mut head, &mut segment.payload),
        }
    }

    /// All states with a `RCV.NXT`: the eight checks of RFC 9293 section 3.10.7.4.
    fn handle_in_order_of_checks(
        &mut self,
        now: Instant,
        common: &mut Common,
        head: &mut Incoming,
        payload: &mut Chain,
    ) {
        if !(head.has_ack || head.rst || head.syn) {
            // Fifth: a segment without ACK is dropped. Before all else, as in Linux: it is no
            // segment of a connection's, and draws no answer.
            common.drop(DropReason::TcpNoAck);
            return;
        }
        if self.check(now, common, head) == Check::Drop {
            return;
        }
        let speaks =
            head.ack.after_eq(self.sender.snd_una()) && head.ack.before_eq(self.sender.snd_nxt());
        if let Some(stamps) = head.timestamps.filter(|_| speaks) {
            // Only what was acknowledged already, so that a delayed ACK echoes the first
            // segment that it covers. As in Linux not of one whose acknowledgement is old, or
            // cannot be.
            let before = self.timestamps.recent;
            self.timestamps
                .update(now, stamps.val, head.seq, self.rcv_wup);
            head.later = self.timestamps.recent != before;
        }
        if self.has(Flags::ACC_ECN) {
            self.count_marks(head);
        }
        if !self.acknowledge(now, common, head)
            || matches!(self.state, State::Closed | State::TimeWait)
        {
            return;
        }
        // Sixth, the urgent pointer: RFC 6093 makes urgent data ordinary data, in line.
        // Seventh and eighth: data and FIN.
        self.receive(now, common, head, payload);
    }

    /// First to fourth: PAWS and sequence number, RST, SYN.
    fn check(&mut self, now: Instant, common: &mut Common, head: &mut Incoming) -> Check {
        let crossed = self.state == State::SynReceived
            && head.syn
            && head.has_ack
            && head.seq + 1_u32 == self.rcv_nxt;
        if crossed {
            // Both ends sent SYN at once; this is the SYN-ACK of the other one, whose SYN we
            // have (RFC 9293 figure 8). As Linux, the ACK says so.
            head.skip_syn();
            self.note_duplicate(self.rcv_nxt - 1_u32, self.rcv_nxt);
            self.ack.send_now();
        }
        let again = head.syn && !head.has_ack && !head.rst;
        if self.is_open_fast() && again && head.seq == self.first_received() - 1_u32 {
            // The SYN again: our SYN-ACK was lost, or is on its way.
            self.flags.set(Flags::SYN_DUE, true);
            if let Some(accurate) = &mut self.accurate {
                accurate.take_syn_again(head.ecn);
            }
            return Check::Drop;
        }
        if let Some(stamps) = head.timestamps
            && self.timestamps.refuses(now, stamps.val)
            && !head.rst
            && !self.is_reordered_ack(head, stamps.val)
        {
            common.stats.paws_estab += 1;
            common.drop(DropReason::TcpPaws);
            if head.syn {
                self.challenge(now, common);
            } else if head.seq_len() > 0 || !head.seq.before(self.rcv_nxt) {
                self.answer_unacceptable(now, common, head);
            }
            return Check::Drop;
        }
        if !self.is_acceptable(head) {
            if head.rst && self.resets_behind_fin(head) {
                self.handle_rst(now, common, head);
                return Check::Drop;
            }
            common.drop(DropReason::TcpOutOfWindow);
            if head.rst {
                return Check::Drop;
            }
            if head.syn {
                self.challenge_syn(now, common, head);
            } else {
                self.answer_unacceptable(now, common, head);
            }
            return Check::Drop;
        }
        if head.rst {
            self.handle_rst(now, common, head);
            return Check::Drop;
        }
        if head.syn {
            // RFC 5961 section 4: whoever really restarted answers the challenge with RST.
            common.drop(DropReason::TcpUnexpectedSyn);
            self.challenge_syn(now, common, head);
            return Check::Drop;
        }
        Check::Accept
    }

    /// Whether a segment that PAWS refuses may be a duplicate acknowledgement that was overtaken
    /// by a later segment on its way: it counts, as in Linux, so that losses are seen.
    fn is_reordered_ack(&self, head: &Incoming, stamp: u32) -> bool {
        let replay = self.sender.rto().as_millis() * 6 / 5;
        head.has_ack
            && head.seq_len() == 0
            && head.seq == self.rcv_nxt
            && head.ack == self.sender.snd_una()
            && !self
                .sender
                .would_update_window(head.ack, head.seq, self.told_window(head))
            && u128::from(self.timestamps.recent.wrapping_sub(stamp)) <= replay
    }

    /// Whether a segment overlaps the window (RFC 9293 section 3.10.7.4, first). Like Linux
    /// counted from what was last acknowledged: whose ACK still hides in a delayed one is
    /// heard.
    fn is_acceptable(&self, head: &Incoming) -> bool {
        head.end().after_eq(self.rcv_wup) && head.seq.before_eq(self.rcv_nxt + self.rcv_wnd())
    }

    /// Answers a segment outside the window with what we expect. One without data may be
    /// an answer itself, so those have a limit in time: no two ends keep at it.
    fn answer_unacceptable(&mut self, now: Instant, common: &mut Common, head: &Incoming) {
        if head.seq_len() == 0 && !self.may_answer_invalid(now, common) {
            return;
        }
        if head.seq_len() > 0 && head.seq.before(self.rcv_nxt) {
            let wnd = self.rcv_wnd();
            self.ack.enter_quick(&common.config, wnd);
            self.note_duplicate(head.seq, head.end().min(self.rcv_nxt));
        }
        self.ack.send_now();
    }

    fn may_answer_invalid(&mut self, now: Instant, common: &Common) -> bool {
        if self.ack.last_invalid.elapsed(now) < common.config.invalid_interval {
            return false;
        }
        self.ack.last_invalid = Stamp::of(now);
        true
    }

    /// A challenge ACK (RFC 5961), if the limits of connection and shard permit.
    pub(crate) fn challenge(&mut self, now: Instant, common: &mut Common) {
        if self.may_answer_invalid(now, common) && common.challenges.take(now) {
            common.stats.challenge_acks += 1;
            self.ack.send_now();
        } else {
            common.stats.challenge_ack_limited += 1;
        }
    }

    /// The same for a SYN. The SYN-ACK of this connection again is answered as the first was (RFC
    /// 9768 section 3.2.2.1).
    fn challenge_syn(&mut self, now: Instant, common: &mut Common, head: &Incoming) {
        let again = self.is_syn_ack_again(head);
        if let Some(accurate) = self.accurate.as_mut().filter(|_| again) {
            accurate.take_syn_ack(head);
        }
        self.challenge(now, common);
    }

    /// Whether a SYN has the numbers of the SYN-ACK that we have answered; what it acknowledges may
    /// be more by now. Who only guesses, and knows no numbers, does not make us tell how it came:
    /// the peer would take that for the counter, and reduce.
    fn is_syn_ack_again(&self, head: &Incoming) -> bool {
        let first = self.sender.snd_una() - self.counters.bytes_acked as u32;
        self.has(Flags::ACTIVE)
            && head.has_ack
            && head.seq == self.first_received() - 1_u32
            && head.ack.after_eq(first)
            && head.ack.before_eq(self.sender.snd_nxt())
    }

    /// The number of the first byte that the peer sends, if its FIN has not come.
    fn first_received(&self) -> SeqNum {
        self.rcv_nxt - self.received as u32
    }

    /// Whether an RST has the number of the peer's FIN: some that have closed count it so.
    fn resets_behind_fin(&self, head: &Incoming) -> bool {
        self.has(Flags::FIN_RECEIVED) && head.seq + 1_u32 == self.rcv_nxt
    }

    /// RST in the window (RFC 5961 section 3.2): obeyed only at exactly `RCV.NXT`, or where
    /// our SACK blocks end, for a peer that lost its state after it answered those.
    fn handle_rst(&mut self, now: Instant, common: &mut Common, head: &Incoming) {
        let exact = head.seq == self.rcv_nxt;
        let behind_fin = self.resets_behind_fin(head);
        let behind_sack = self
            .receive_queue
            .as_ref()
            .and_then(|queue| queue.highest())
            .is_some_and(|end| self.rcv_nxt + end.wrapping_sub(self.received) as u32 == head.seq);
        if !exact && !behind_fin && !behind_sack {
            common.drop(DropReason::TcpBlindReset);
            self.challenge(now, common);
            return;
        }
        let error = match self.state {
            State::CloseWait => Some(TcpError::BrokenPipe),
            _ => Some(TcpError::Reset),
        };
        self.finish(error, common);
    }
}
