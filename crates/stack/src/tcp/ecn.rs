//! Explicit congestion notification (RFC 3168): agreed on by SYN and SYN-ACK, then marks of
//! the network come as CE, go back as ECE, and are answered by CWR.

use zcn_wire::{Ecn as Codepoint, TcpFlags};

use super::config::{Ecn, TcpConfig};
use super::connection::{Common, Connection, Flags};
use super::incoming::Incoming;
use super::segment::{SegmentIn, SegmentOut};

/// Acknowledgements that leave at once when the network begins to mark: the peer's window may
/// be very small from then on.
const QUICK_AFTER_MARK: u32 = 2;

/// Whether a SYN offers ECN and we take it. One that is marked itself was not sent by who
/// keeps to RFC 3168 section 6.1.1.
pub(crate) fn is_offered(config: &TcpConfig, segment: &SegmentIn) -> bool {
    let offer = TcpFlags::ECE | TcpFlags::CWR;
    config.ecn != Ecn::Never
        && segment.tcp.flags.contains(offer)
        && segment.ecn == Codepoint::NotEct.bits()
}

impl Connection {
    /// The bits of our SYN, or of the SYN-ACK of a connection that answers (RFC 3168 section
    /// 6.1.1). A SYN sent again offers nothing (section 6.1.1.1).
    pub(super) fn ecn_of_syn(&mut self, answer: bool) -> TcpFlags {
        if !answer && self.probes > 0 {
            self.flags.set(Flags::ECN, false);
        }
        match (self.has(Flags::ECN), answer) {
            (false, _) => TcpFlags::NONE,
            (true, false) => TcpFlags::ECE | TcpFlags::CWR,
            (true, true) => TcpFlags::ECE,
        }
    }

    /// What the peer's SYN or SYN-ACK says to the offer in our SYN. Both bits in an answer are
    /// those of our own SYN, sent back by who knows neither.
    pub(super) fn take_ecn_answer(&mut self, flags: TcpFlags) {
        let reduced = flags.contains(TcpFlags::CWR);
        let agreed = flags.contains(TcpFlags::ECE) && reduced != flags.ack();
        let on = self.has(Flags::ECN) && agreed;
        self.flags.set(Flags::ECN, on);
    }

    /// Whether a segment's ECE is news of congestion.
    pub(super) fn hears_ece(&self, head: &Incoming) -> bool {
        head.ece && self.has(Flags::ECN) && !head.syn
    }

    /// Data or FIN arrived on a connection with ECN (RFC 3168 section 6.1.3).
    pub(super) fn note_congestion(&mut self, common: &Common, head: &Incoming) {
        if head.cwr {
            self.flags.set(Flags::ECE_DUE, false);
            // The peer may have a window of one segment, and waits.
            self.ack.send_now();
        }
        let marked = head.ecn == Codepoint::Ce.bits();
        if head.ecn == Codepoint::NotEct.bits() {
            if self.has(Flags::ECN_SEEN) && head.len > 0 {
                // A retransmission: something is wrong.
                self.quicken(common);
            }
            return;
        }
        self.flags.set(Flags::ECN_SEEN, true);
        if marked && !self.has(Flags::ECE_DUE) {
            self.flags.set(Flags::ECE_DUE, true);
            self.quicken(common);
        }
    }

    fn quicken(&mut self, common: &Common) {
        let wnd = self.rcv_wnd();
        self.ack
            .enter_quick_for(&common.config, wnd, QUICK_AFTER_MARK);
    }

    /// Whether the next new segment carries CWR.
    pub(super) fn tells_reduction(&self) -> bool {
        self.has(Flags::ECN) && self.sender.owes_cwr()
    }

    /// New data may be marked by the network; what is sent again may not (RFC 3168 section
    /// 6.1.5).
    pub(super) fn mark_capable(&mut self, segment: &mut SegmentOut) {
        segment.traffic_class |= Codepoint::Ect0.bits();
        if self.sender.take_cwr() {
            segment.tcp.flags |= TcpFlags::CWR;
        }
    }
}
