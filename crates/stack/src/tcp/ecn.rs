//! Explicit congestion notification, agreed on by SYN and SYN-ACK. With the classic one (RFC
//! 3168) marks of the network come as CE, go back as ECE, and are answered by CWR. The accurate
//! one (RFC 9768), which counts them, is in `accurate/`; here a connection chooses.

use zcn_wire::tcp::MAX_OPTIONS_LEN;
use zcn_wire::{Ecn as Codepoint, SeqNum, TcpFlags};

use super::accurate::{AccurateOffer, Asked, Room, Urgency, fit};
use super::config::{AccEcnOption, Ecn, TcpConfig};
use super::connection::{Common, Connection, Flags};
use super::incoming::Incoming;
use super::segment::{SegmentIn, SegmentOut};
use crate::time::Instant;

/// Acknowledgements that leave at once when the network begins to mark: the peer's window may
/// be very small from then on.
const QUICK_AFTER_MARK: u32 = 2;

/// How often a SYN is sent again with an offer of accurate ECN (RFC 9768 section 3.1.4.1).
const ACCURATE_SYN_RETRIES: u8 = 1;

/// What of the ECN that a SYN offers is taken: whether the classic one, or the accurate one. A
/// SYN for the classic one that is marked itself was not sent by who keeps to RFC 3168 section
/// 6.1.1.
pub(crate) fn offered(config: &TcpConfig, segment: &SegmentIn) -> (bool, AccurateOffer) {
    let flags = segment.tcp.flags;
    if config.ecn.takes_accurate() && Asked::by(flags) == Asked::Accurate {
        return (false, AccurateOffer::taken(segment.ecn));
    }
    let classic = config.ecn != Ecn::Never
        && flags.contains(TcpFlags::ECE | TcpFlags::CWR)
        && segment.ecn == Codepoint::NotEct.bits();
    (classic, AccurateOffer::default())
}

impl Connection {
    /// Writes the bits of our SYN, or of the SYN-ACK of a connection that answers, and the option
    /// of the latter. A SYN sent again offers nothing (RFC 3168 section 6.1.1.1); the accurate one is
    /// offered once more (RFC 9768 section 3.1.4.1). A later SYN-ACK may still agree with the first.
    pub(super) fn offer_ecn(&mut self, config: &TcpConfig, answer: bool, segment: &mut SegmentOut) {
        let classic = TcpFlags::ECE | TcpFlags::CWR;
        let retries = self.probes;
        if let Some(accurate) = &mut self.accurate {
            if answer {
                let (flags, with_option) = accurate.syn_ack(retries);
                segment.tcp.flags |= flags;
                if with_option && config.acc_ecn_option > AccEcnOption::Never {
                    fit(&mut segment.tcp.options, [0; 3], 0, MAX_OPTIONS_LEN);
                }
            } else if retries <= ACCURATE_SYN_RETRIES || !config.ecn_fallback {
                segment.tcp.flags |= classic | TcpFlags::AE;
            }
            return;
        }
        if !answer && retries > 0 && config.ecn_fallback {
            self.flags.set(Flags::ECN, false);
        }
        segment.tcp.flags |= match (self.has(Flags::ECN), answer) {
            (false, _) => TcpFlags::NONE,
            (true, false) => classic,
            (true, true) => TcpFlags::ECE,
        };
    }

    /// What the peer's SYN or SYN-ACK says to the offer in our SYN. All bits of the offer in an
    /// answer are those of our own SYN, sent back by who knows none.
    pub(super) fn take_ecn_answer(&mut self, config: &TcpConfig, segment: &SegmentIn) {
        let flags = segment.tcp.flags;
        let reduced = flags.contains(TcpFlags::CWR);
        let agreed = flags.contains(TcpFlags::ECE) && reduced != flags.ack();
        let Some(mut accurate) = self.accurate.take() else {
            let on = self.has(Flags::ECN) && agreed;
            self.flags.set(Flags::ECN, on);
            return;
        };
        if !flags.ack() {
            // A SYN has crossed ours: as if it came to a listener (RFC 9768 section 3.1.2).
            let (classic, offer) = offered(config, segment);
            self.flags.set(Flags::ECN, classic);
            if offer.is_taken() {
                accurate.take_syn(segment.ecn, self.probes);
                self.accurate = Some(accurate);
                self.flags.set(Flags::ACC_ECN, true);
            }
            return;
        }
        let (nothing, mirrored, classic) = (0, 0b111, 0b001); // RFC 9768, table 2
        let ace = super::accurate::ace_of(flags);
        if ace == classic {
            self.flags.set(Flags::ECN, true);
        } else if ace != nothing && ace != mirrored {
            accurate.check_syn_feedback(ace, config.ecn_fallback);
            accurate.take_syn_ack(&Incoming::of(segment));
            self.accurate = Some(accurate);
            self.flags.set(Flags::ACC_ECN, true);
            self.reserve_option(config);
        }
    }

    /// The segment that completes the handshake of one who answered (RFC 9768 section 3.2.2.1).
    pub(super) fn take_third_ack(&mut self, config: &TcpConfig, head: &Incoming) {
        if let Some(accurate) = &mut self.accurate {
            accurate.take_third_ack(head, config.ecn_fallback);
        }
        // With fast open segments may have left in their full size.
        if !self.is_open_fast() {
            self.reserve_option(config);
            self.mss = self.effective_mss(config);
        }
    }

    /// Whether segments of data have room for the option from now on.
    fn reserve_option(&mut self, config: &TcpConfig) {
        if let Some(accurate) = &mut self.accurate {
            accurate.reserves =
                config.acc_ecn_option >= AccEcnOption::Always && accurate.may_send_option(config);
        }
    }

    /// An acceptable segment came on a connection with accurate ECN.
    pub(super) fn count_marks(&mut self, head: &Incoming) {
        if head.ecn != Codepoint::NotEct.bits() {
            self.flags.set(Flags::ECN_SEEN, true);
        }
        let unacked = self.rcv_nxt != self.rcv_wup;
        let sack = self.has(Flags::SACK);
        if let Some(accurate) = &mut self.accurate
            && accurate.count(head, unacked, sack) == Urgency::Now
        {
            self.ack.send_now();
        }
    }

    /// The counter of accurate ECN as flags; none without it.
    pub(super) fn ace(&self) -> TcpFlags {
        match &self.accurate {
            Some(accurate) if self.has(Flags::ACC_ECN) => accurate.ace(),
            _ => TcpFlags::NONE,
        }
    }

    /// Whether an acknowledgement that is due is to leave without data, for what it tells.
    pub(super) fn has_ecn_news(&self, config: &TcpConfig) -> bool {
        self.has(Flags::ACC_ECN)
            && self
                .accurate
                .as_ref()
                .is_some_and(|accurate| accurate.wants_pure_ack(config))
    }

    /// Whether the next segment has CWR set.
    pub(super) fn tells_cwr(&self) -> bool {
        match &self.accurate {
            Some(accurate) => accurate.tells_cwr(),
            None => self.tells_reduction(),
        }
    }

    /// Tells what came marked, in a segment that is complete but for that. `duplicate`: what its
    /// first SACK block reports, if that is one.
    pub(super) fn tell_marks(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        duplicate: Option<SeqNum>,
        segment: &mut SegmentOut,
    ) {
        let room = Room {
            mss: self.mss,
            sack: self.has(Flags::SACK),
            srtt: self.srtt(),
            duplicate,
        };
        match &mut self.accurate {
            Some(accurate) => accurate.tell(now, config, &room, segment),
            None => segment.tcp.flags |= TcpFlags::ECE,
        }
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
    fn tells_reduction(&self) -> bool {
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
