//! The receiver of data counts marks and tells them (RFC 9768 sections 3.2.2 and 3.2.3).

use core::time::Duration;

use zcn_wire::tcp::MAX_OPTIONS_LEN;
use zcn_wire::{Ecn as Codepoint, SeqNum, TcpFlags};

use super::handshake::{flags_of, reflection};
use super::{AccurateEcn, OPT_FAIL_SEND, RESERVED, fit};
use crate::tcp::config::{AccEcnOption, TcpConfig};
use crate::tcp::incoming::Incoming;
use crate::tcp::segment::SegmentOut;
use crate::tcp::sender::CEP_BEGINS;
use crate::time::Instant;

/// Marked segments after which data that waits for its acknowledgement gets it (RFC 9768
/// section 3.2.2.5.1).
const MARKS_WITH_DATA: u8 = 2;
/// Marked segments after which one leaves although nothing waits: three at least, so that two
/// ends do not keep at it, and seven at most.
const MARKS_WITHOUT_DATA: u8 = 6;
/// Bytes of one counter after which the option is wanted: the fields have 24 bits.
const OPTION_EVERY: u32 = 1 << 22;
/// Options wanted after a change: the second tells which mark it was that came last.
const AFTER_CHANGE: u8 = 2;

/// How urgently what came is to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tcp) enum Urgency {
    /// As it would be without marks.
    Usual,
    /// Now.
    Now,
}

/// What a segment has room for.
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) struct Room {
    /// Payload of a full segment.
    pub(in crate::tcp) mss: u16,
    /// SACK is in use: pure acknowledgements can be told from duplicates.
    pub(in crate::tcp) sack: bool,
    pub(in crate::tcp) srtt: Duration,
    /// The duplicate that this segment reports.
    pub(in crate::tcp) duplicate: Option<SeqNum>,
}

impl AccurateEcn {
    /// An acceptable segment came. `unacked`: data waits for its acknowledgement. `sack`: SACK is
    /// in use.
    pub(in crate::tcp) fn count(&mut self, head: &Incoming, unacked: bool, sack: bool) -> Urgency {
        let marked = head.ecn == Codepoint::Ce.bits();
        if marked {
            let segments = u32::from(head.segments);
            self.received_ce = self.received_ce.wrapping_add(segments);
            let segments = u8::try_from(segments).unwrap_or(u8::MAX);
            self.pending_ce = self.pending_ce.saturating_add(segments);
        }
        if let Some(place) = usize::from(head.ecn).checked_sub(1)
            && let Some(bytes) = self.received.get_mut(place)
            && head.len > 0
        {
            let before = *bytes / OPTION_EVERY;
            *bytes = bytes.wrapping_add(head.len);
            if *bytes / OPTION_EVERY != before {
                self.demand = self.demand.max(1);
            }
            // ECT(1), CE, ECT(0) are the fields.
            self.changed = self.changed.max([1, 3, 2][place]);
        }
        let changed = head.ecn != self.last;
        self.last = head.ecn;
        if changed || marked {
            self.demand = AFTER_CHANGE;
        }
        let data = unacked || head.len > 0;
        let limit = match (data, sack) {
            (true, _) => MARKS_WITH_DATA,
            (false, true) => MARKS_WITHOUT_DATA,
            // It would be taken for a duplicate acknowledgement.
            (false, false) => u8::MAX,
        };
        if changed && head.len > 0 || marked && self.pending_ce >= limit {
            Urgency::Now
        } else {
            Urgency::Usual
        }
    }

    /// Whether a pure acknowledgement is wanted that tells how the SYN-ACK came, before any data
    /// (RFC 9768 section 3.2.2.1), or one with an option for which data has no room.
    pub(in crate::tcp) fn wants_pure_ack(&self, config: &TcpConfig) -> bool {
        self.reflects
            || self.demand > 0
                && config.acc_ecn_option == AccEcnOption::Sparingly
                && self.may_send_option(config)
    }

    /// Whether CWR is among the flags of the next segment: who cuts a super-frame says that once,
    /// as the classic ECN has it (RFC 3168 section 6.1.2).
    pub(in crate::tcp) fn tells_cwr(&self) -> bool {
        self.ace().contains(TcpFlags::CWR)
    }

    /// The counter as flags.
    pub(in crate::tcp) fn ace(&self) -> TcpFlags {
        flags_of(self.received_ce.wrapping_add(CEP_BEGINS) as u8)
    }

    /// Whether the option is sent to this peer at all.
    pub(in crate::tcp) fn may_send_option(&self, config: &TcpConfig) -> bool {
        let option = config.acc_ecn_option;
        option > AccEcnOption::Never
            && self.marks.has_seen_option()
            && (option == AccEcnOption::Persistently || self.failures & OPT_FAIL_SEND == 0)
    }

    /// Whether the option is due.
    fn option_is_due(&self, now: Instant, config: &TcpConfig, srtt: Duration) -> bool {
        let since = now.saturating_duration_since(self.option_sent_at);
        let beacon = u32::from(config.acc_ecn_beacon);
        config.acc_ecn_option >= AccEcnOption::Always
            || self.demand > 0
            || beacon > 0 && since >= srtt / beacon
    }

    /// Tells the counters in a segment that is complete but for them. One with SACK blocks, data
    /// or FIN is no pure acknowledgement.
    pub(in crate::tcp) fn tell(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        room: &Room,
        segment: &mut SegmentOut,
    ) {
        let len = segment.payload.len();
        let pure = len == 0 && !segment.tcp.flags.fin();
        if self.is_capable() && (!pure || room.sack) {
            // RFC 8311 lets pure acknowledgements and retransmissions be marked, too; Linux does
            // so. Without SACK an acknowledgement of marked acknowledgements would be taken for
            // a duplicate.
            segment.traffic_class |= Codepoint::Ect0.bits();
        }
        if pure && self.reflects && segment.tcp.options.sack.is_empty() {
            segment.tcp.flags |= reflection(self.syn);
            self.reflects = false;
        } else {
            segment.tcp.flags |= self.ace();
            self.pending_ce = 0;
        }
        self.option_with_duplicate = None;
        if !self.may_send_option(config) || !self.option_is_due(now, config, room.srtt) {
            return;
        }
        let space = if len == 0 {
            MAX_OPTIONS_LEN
        } else if self.reserves {
            RESERVED as usize
        } else {
            // SACK beside data takes some of what is left.
            let blocks = segment.tcp.options.sack.len();
            let sack = if blocks > 0 { 4 + 8 * blocks } else { 0 };
            usize::from(room.mss).saturating_sub(len + sack)
        };
        let least = usize::from(self.changed);
        if fit(&mut segment.tcp.options, self.received, least, space) {
            self.changed = 0;
            self.demand = self.demand.saturating_sub(1);
            self.option_sent_at = now;
            self.option_with_duplicate = room.duplicate;
        }
    }

    /// Data came again that was there already. If the acknowledgement that reported it the last
    /// time carried the option, that may be why it was lost (RFC 9768 section 3.2.3.2.2).
    pub(in crate::tcp) fn note_duplicate(&mut self, seq: SeqNum) {
        if self.option_with_duplicate == Some(seq) {
            self.failures |= OPT_FAIL_SEND;
        }
    }
}
