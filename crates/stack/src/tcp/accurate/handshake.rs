//! SYN and SYN-ACK agree on accurate ECN, and tell each other how they came (RFC 9768 section
//! 3.1).

use zcn_wire::{Ecn as Codepoint, TcpFlags};

use super::{ACE_FAIL_SEND, AccurateEcn};
use crate::tcp::incoming::Incoming;
use crate::tcp::sender::{ACE_FAIL_RECV, CEP_BEGINS};

/// The three flags as one number (RFC 9768 section 3.2.2).
pub(in crate::tcp) const fn ace_of(flags: TcpFlags) -> u8 {
    (flags.bits() >> 6) as u8 & 7
}

/// The flags that stand for a number.
pub(super) const fn flags_of(ace: u8) -> TcpFlags {
    TcpFlags::from_bits((ace as u16 & 7) << 6)
}

/// How a codepoint is told during the handshake (RFC 9768, tables 2 and 3).
pub(super) const fn reflection(codepoint: u8) -> TcpFlags {
    flags_of(match Codepoint::from_bits(codepoint) {
        Codepoint::NotEct => 0b010,
        Codepoint::Ect1 => 0b011,
        Codepoint::Ect0 => 0b100,
        Codepoint::Ce => 0b110,
    })
}

/// What [`reflection`] told. `None`: a number that tells none.
pub(super) const fn reflected(ace: u8) -> Option<Codepoint> {
    match ace {
        0b010 => Some(Codepoint::NotEct),
        0b011 => Some(Codepoint::Ect1),
        0b100 => Some(Codepoint::Ect0),
        0b110 => Some(Codepoint::Ce),
        _ => None,
    }
}

/// What a SYN asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Classic,
    Accurate,
}

impl Asked {
    /// By its flags (RFC 9768 sections 3.1.2 and 3.1.3).
    pub(crate) const fn by(flags: TcpFlags) -> Self {
        match ace_of(flags) {
            0 => Self::Nothing,
            0b011 => Self::Classic,
            _ => Self::Accurate,
        }
    }
}

/// What a half-open connection remembers of accurate ECN, in a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccurateOffer(u8);

impl AccurateOffer {
    /// The codepoint of the SYN that came last.
    const SYN: u8 = 3;
    /// The SYN asked for it, and we agree.
    const TAKEN: u8 = 1 << 2;
    /// A SYN came again.
    const AGAIN: u8 = 1 << 3;
    /// A SYN came that asks for nothing.
    const PLAIN_SYN: u8 = 1 << 4;
    /// A SYN-ACK left that agrees to nothing.
    const PLAIN_SYN_ACK: u8 = 1 << 5;

    /// Of a SYN that came with a codepoint.
    pub(crate) const fn taken(codepoint: u8) -> Self {
        Self(Self::TAKEN | codepoint & Self::SYN)
    }

    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// Whether we agree.
    pub(crate) const fn is_taken(self) -> bool {
        self.has(Self::TAKEN)
    }

    /// The SYN came again. False if it asks for the classic ECN, which nobody does in the same
    /// handshake (RFC 9768 section 3.1.5).
    pub(crate) fn take_again(&mut self, flags: TcpFlags, codepoint: u8) -> bool {
        if !self.is_taken() {
            return true;
        }
        self.0 = self.0 & !Self::SYN | codepoint & Self::SYN | Self::AGAIN;
        if Asked::by(flags) == Asked::Nothing {
            self.0 |= Self::PLAIN_SYN;
        }
        Asked::by(flags) != Asked::Classic
    }

    /// The flags of the SYN-ACK, which was sent `retries` times before, and whether it carries
    /// the option. Who does not answer may not get segments with the option, or with the flags
    /// (RFC 9768 section 3.2.3.2.2).
    pub(crate) const fn syn_ack(self, retries: u8) -> (TcpFlags, bool) {
        if !self.is_taken() || retries > 1 {
            return (TcpFlags::NONE, false);
        }
        (reflection(self.0), retries == 0 && !self.has(Self::AGAIN))
    }

    /// A SYN-ACK leaves, which was sent `retries` times before.
    pub(crate) fn note_syn_ack(&mut self, retries: u8) {
        if self.is_taken() && retries > 1 {
            self.0 |= Self::PLAIN_SYN_ACK;
        }
    }

    /// The flags of a segment without SYN: nothing was counted yet.
    pub(crate) const fn ack(self) -> TcpFlags {
        if self.is_taken() {
            flags_of(CEP_BEGINS as u8)
        } else {
            TcpFlags::NONE
        }
    }

    /// What the connection begins with; `None` if it does not use it.
    pub(crate) fn open(self) -> Option<Box<AccurateEcn>> {
        if !self.is_taken() {
            return None;
        }
        let mut accurate = AccurateEcn::new(self.0 & Self::SYN);
        accurate.demand = 1;
        accurate.syn_again = self.has(Self::AGAIN);
        // The server cannot know what its client uses (RFC 9768 section 3.1.5).
        if self.has(Self::PLAIN_SYN) {
            accurate.failures |= ACE_FAIL_RECV;
        }
        if self.has(Self::PLAIN_SYN_ACK) {
            accurate.failures |= ACE_FAIL_SEND;
        }
        Some(Box::new(accurate))
    }
}

impl AccurateEcn {
    /// The flags of our SYN-ACK after a simultaneous open, or with fast open, and whether it
    /// carries the option; as [`AccurateOffer::syn_ack`]. `retries`: those of SYNs before it
    /// included.
    pub(in crate::tcp) fn syn_ack(&mut self, retries: u8) -> (TcpFlags, bool) {
        let retries = retries.saturating_sub(self.syn_retries);
        if retries > 1 {
            self.failures |= ACE_FAIL_SEND;
            return (TcpFlags::NONE, false);
        }
        (reflection(self.syn), retries == 0 && !self.syn_again)
    }

    /// The peer's SYN has crossed ours, which was sent again so often, and asks for the same.
    pub(in crate::tcp) fn take_syn(&mut self, codepoint: u8, retries: u8) {
        self.syn = codepoint;
        self.syn_retries = retries;
        self.last = codepoint;
        self.demand = 1;
    }

    /// The SYN that opened the connection came again.
    pub(in crate::tcp) fn take_syn_again(&mut self, codepoint: u8) {
        self.syn = codepoint;
        self.syn_again = true;
    }

    /// A SYN-ACK agrees, or came again: our next pure acknowledgement tells how.
    pub(in crate::tcp) fn take_syn_ack(&mut self, head: &Incoming) {
        self.syn = head.ecn;
        self.last = head.ecn;
        self.reflects = true;
        if head.ecn == Codepoint::Ce.bits() && !self.counted_syn_ack {
            // Once, however many there are: the server can only count one (section 3.2.2.2).
            self.counted_syn_ack = true;
            self.received_ce = self.received_ce.wrapping_add(1);
        }
        if let Some(counters) = head.acc_ecn {
            self.marks.note_option(&counters);
            self.demand = 2;
        }
    }

    /// How our SYN came, which left as of a transport that is not capable: if somebody has
    /// changed that, our data shall not pretend either (RFC 9768 section 3.2.2.3).
    pub(in crate::tcp) fn check_syn_feedback(&mut self, ace: u8, fallback: bool) {
        // A reserved number tells that it came as it was (section 3.1.3).
        let came = reflected(ace).unwrap_or(Codepoint::NotEct);
        if fallback && came != Codepoint::NotEct {
            self.failures |= ACE_FAIL_RECV;
        }
    }

    /// The segment that completes the handshake at a server (RFC 9768 section 3.2.2.1, table 4).
    pub(in crate::tcp) fn take_third_ack(&mut self, head: &Incoming, fallback: bool) {
        if let Some(counters) = head.acc_ecn {
            self.marks.note_option(&counters);
        }
        let Some(ace) = head.ace else {
            return; // the SYN-ACK of a simultaneous open: its flags are not the counter
        };
        let pure = head.len == 0 && !head.fin && head.sack.is_empty();
        if ace == 0 && (pure || fallback) {
            self.marks.distrust();
        } else if pure {
            self.check_syn_feedback(ace, fallback);
            if reflected(ace) == Some(Codepoint::Ce) {
                self.marks.note_marked_syn_ack();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_numbers_are_one() {
        assert_eq!(flags_of(0b100), TcpFlags::AE);
        assert_eq!(flags_of(0b010), TcpFlags::CWR);
        assert_eq!(flags_of(0b001), TcpFlags::ECE);
        for ace in 0..8 {
            assert_eq!(ace_of(flags_of(ace) | TcpFlags::ACK | TcpFlags::PSH), ace);
        }
        for codepoint in 0..4 {
            let told = reflected(ace_of(reflection(codepoint)));
            assert_eq!(told, Some(Codepoint::from_bits(codepoint)));
        }
    }

    #[test]
    fn a_syn_ack_that_is_not_answered_says_less_each_time() {
        let mut offer = AccurateOffer::taken(Codepoint::Ect0.bits());
        assert_eq!(offer.syn_ack(0), (TcpFlags::AE, true));
        assert_eq!(offer.syn_ack(1), (TcpFlags::AE, false));
        assert_eq!(offer.syn_ack(2), (TcpFlags::NONE, false));
        offer.note_syn_ack(1);
        assert!(offer.open().is_some_and(|accurate| accurate.is_capable()));
        offer.note_syn_ack(2);
        assert!(offer.open().is_some_and(|accurate| !accurate.is_capable()));
        assert!(AccurateOffer::default().open().is_none());
    }

    #[test]
    fn the_latest_syn_counts_and_the_first_decides() {
        let asking = TcpFlags::SYN | TcpFlags::AE | TcpFlags::CWR | TcpFlags::ECE;
        let mut offer = AccurateOffer::taken(Codepoint::NotEct.bits());
        assert!(offer.take_again(asking, Codepoint::Ce.bits()));
        assert_eq!(offer.syn_ack(0), (TcpFlags::AE | TcpFlags::CWR, false));
        assert!(offer.open().is_some_and(|accurate| accurate.is_capable()));
        assert!(offer.take_again(TcpFlags::SYN, Codepoint::NotEct.bits()));
        assert_eq!(offer.syn_ack(0), (TcpFlags::CWR, false));
        assert!(offer.open().is_some_and(|accurate| !accurate.is_capable()));
        let classic = TcpFlags::SYN | TcpFlags::CWR | TcpFlags::ECE;
        assert!(!offer.take_again(classic, 0));
    }
}
