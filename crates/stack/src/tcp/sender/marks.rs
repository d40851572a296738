//! What a peer with accurate feedback tells of the marks on our segments (RFC 9768 sections 3.2.2
//! and 3.2.3, appendix A).

use zcn_wire::{AccEcn, Ecn as Codepoint};

/// What the counters of marked segments begin with (RFC 9768 section 3.2.1).
pub(crate) const CEP_BEGINS: u32 = 5;
/// What the counters of bytes that came as ECT begin with: not zero, so that one who sets fields to
/// zero is found out (RFC 9768 section 3.2.1).
pub(crate) const ECT_BYTES_BEGIN: u32 = 1;
/// The values of the ACE field.
const ACE_VALUES: u32 = 8;
/// The values of a field of the option.
const FIELD_VALUES: u32 = 1 << 24;
/// Data after which the first option comes too late: its fields may have wrapped.
const LATEST_OPTION: u64 = (FIELD_VALUES as u64 >> 1) - 1;
/// How much of the bytes that ACE would stand for must have come marked before it is believed to
/// have wrapped: 1/n (SAFETY_FACTOR of appendix A.2.2).
const SAFETY_FACTOR: u64 = 2;

/// `tcpi_accecn_fail_mode`: the peer's feedback, or the way to it, cannot be relied on.
pub(crate) const ACE_FAIL_RECV: u8 = 1 << 1;
/// The same: the peer's option is not read.
const OPT_FAIL_RECV: u8 = 1 << 3;

/// What has been seen of the peer's option, in the numbers of `tcpi_accecn_opt_seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
enum Seen {
    #[default]
    Nothing = 0,
    /// One without fields.
    Empty = 1,
    Counters = 2,
    /// Fields that were zero, which no end lets them begin with; or none in time.
    Broken = 3,
}

/// The counters that follow those of the peer: s.cep, s.ceb, s.e0b and s.e1b of RFC 9768 section
/// 3.2, less what they begin with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// Segments that arrived marked.
    segments: u32,
    /// Bytes of data that arrived as ECT(1), ECT(0) and CE: the codepoint less one is the place.
    bytes: [u32; 3],
    /// The codepoint whose bytes were counted last: those of an acknowledgement without the
    /// option are taken to be the same. 0: unclear.
    estimate: u8,
    seen: Seen,
    /// The ACE field of the first acknowledgement of data was looked at.
    checked: bool,
    /// ACE says nothing.
    distrusted: bool,
}

/// What an acknowledgment has delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub(super) segments: u32,
    pub(super) bytes: u32,
    /// Something was acknowledged that had not been.
    pub(super) acked: bool,
    /// Whether `segments` and `bytes` are known, not guessed from duplicates.
    pub(super) exact: bool,
    pub(super) mss: u32,
}

/// The accurate feedback of one segment, and where it is counted.
#[derive(Debug)]
pub struct Feedback<'a> {
    /// What is known.
    pub marks: &'a mut Marks,
    /// The ACE field; `None` where it is no counter: in the handshake.
    pub ace: Option<u8>,
    /// The AccECN option.
    pub counters: Option<AccEcn>,
    /// The segment's timestamp is newer than the last one, so that it is no old segment even if
    /// it acknowledges nothing.
    pub later: bool,
    /// Bytes of data sent so far.
    pub bytes_sent: u64,
    /// Whether a counter that begins with zero is distrusted
    /// ([`ecn_fallback`](crate::tcp::TcpConfig::ecn_fallback)).
    pub fallback: bool,
}

impl Feedback<'_> {
    /// Reads it, and answers how many more of our segments arrived marked. An acknowledgement
    /// that another one has superseded says nothing (appendix A.1).
    pub(super) fn read(&mut self, delivered: &Delivered) -> u32 {
        if delivered.segments == 0 && !delivered.acked && !self.later {
            return 0;
        }
        let marked_bytes = self.read_option(delivered);
        let Some(ace) = self.ace else {
            return 0;
        };
        if delivered.acked && !core::mem::replace(&mut self.marks.checked, true) {
            // RFC 9768 section 3.2.2.4: it begins with another number.
            self.marks.distrusted |= self.fallback && ace == 0;
        }
        if self.marks.distrusted {
            return 0;
        }
        let known = self.marks.segments.wrapping_add(CEP_BEGINS);
        let least = u32::from(ace).wrapping_sub(known) % ACE_VALUES;
        let more = unwrapped(least, delivered, marked_bytes);
        self.marks.segments = self.marks.segments.wrapping_add(more);
        more
    }

    /// Takes the option in; answers how many more bytes arrived marked, if that is certain.
    fn read_option(&mut self, delivered: &Delivered) -> Option<u32> {
        let marks = &mut *self.marks;
        if marks.seen == Seen::Broken {
            return None;
        }
        let Some(option) = self.counters else {
            if marks.seen == Seen::Nothing && self.bytes_sent >= LATEST_OPTION {
                marks.seen = Seen::Broken;
            }
            let place = usize::from(marks.estimate).checked_sub(1)?;
            let bytes = &mut marks.bytes[place];
            *bytes = bytes.wrapping_add(delivered.bytes);
            let marked = marks.estimate == Codepoint::Ce.bits();
            return Some(if marked { delivered.bytes } else { 0 });
        };
        marks.note_option(&option);
        if marks.seen == Seen::Broken {
            return None;
        }
        marks.take_counters(&option)
    }
}

impl Marks {
    /// The option of a segment of the handshake, or the first later one (RFC 9768 section
    /// 3.2.3.2.4).
    pub(in crate::tcp) fn note_option(&mut self, option: &AccEcn) {
        if self.seen >= Seen::Counters {
            return;
        }
        let is_zero = |field: Option<u32>| field == Some(0);
        self.seen = if option.counters().is_empty() {
            Seen::Empty
        } else if is_zero(option.ect0_bytes()) || is_zero(option.ect1_bytes()) {
            Seen::Broken
        } else {
            Seen::Counters
        };
    }

    /// The fields of an option. Answers how many more bytes came marked; `None` if several
    /// counters have changed, or one went back.
    fn take_counters(&mut self, option: &AccEcn) -> Option<u32> {
        let mut certain = self.estimate != 0;
        let (mut changed, mut unclear, mut marked) = (0, false, 0);
        for (codepoint, field, begins) in [
            (Codepoint::Ect0, option.ect0_bytes(), ECT_BYTES_BEGIN),
            (Codepoint::Ce, option.ce_bytes(), 0),
            (Codepoint::Ect1, option.ect1_bytes(), ECT_BYTES_BEGIN),
        ] {
            let Some(field) = field else { continue };
            let bytes = &mut self.bytes[usize::from(codepoint.bits()) - 1];
            let more = field.wrapping_sub(begins).wrapping_sub(*bytes) % FIELD_VALUES;
            let back = more >= FIELD_VALUES / 2;
            let more = if back {
                more.wrapping_sub(FIELD_VALUES)
            } else {
                more
            };
            *bytes = bytes.wrapping_add(more);
            if more == 0 {
                continue;
            }
            unclear |= back;
            if codepoint == Codepoint::Ce && !back {
                marked = more;
            }
            if codepoint.bits() != self.estimate {
                unclear |= changed != 0;
                changed = codepoint.bits();
            }
        }
        certain &= !unclear;
        if unclear {
            self.estimate = 0;
        } else if changed != 0 {
            self.estimate = changed;
        }
        certain.then_some(marked)
    }

    /// The peer has told that our SYN-ACK came marked (RFC 9768 section 3.2.2.1).
    pub(in crate::tcp) fn note_marked_syn_ack(&mut self) {
        self.segments = self.segments.max(1);
    }

    /// ACE is not what it should be: what it tells is not heeded.
    pub(in crate::tcp) fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Whether the peer has sent the option.
    pub(in crate::tcp) fn has_seen_option(&self) -> bool {
        self.seen != Seen::Nothing
    }

    /// `tcpi_accecn_opt_seen`.
    pub(in crate::tcp) fn option_seen(&self) -> u8 {
        self.seen as u8
    }

    /// Our part of `tcpi_accecn_fail_mode`.
    pub(in crate::tcp) fn fail_mode(&self) -> u8 {
        let ace = if self.distrusted { ACE_FAIL_RECV } else { 0 };
        let option = if self.seen == Seen::Broken {
            OPT_FAIL_RECV
        } else {
            0
        };
        ace | option
    }

    /// Segments of ours that arrived marked.
    pub(in crate::tcp) fn segments(&self) -> u32 {
        self.segments
    }

    /// Bytes of ours that arrived as ECT(1), ECT(0) and CE.
    pub(in crate::tcp) fn bytes(&self) -> [u32; 3] {
        self.bytes
    }
}

/// How many segments a step of the ACE field by `least` stands for: it may have wrapped as often
/// as the segments delivered allow, and then the safest likely case holds (RFC 9768 section
/// 3.2.2.5.2, appendix A.2). `marked`: bytes that arrived marked, by the option.
fn unwrapped(least: u32, delivered: &Delivered, marked: Option<u32>) -> u32 {
    let segments = delivered.segments;
    if segments < ACE_VALUES {
        return least;
    }
    // As many as it can be: of the same remainder, and not more than were delivered.
    let most = segments - segments.wrapping_sub(least) % ACE_VALUES;
    let Some(marked) = marked else {
        return most;
    };
    let (marked, bytes) = (u64::from(marked), u64::from(delivered.bytes));
    if marked == 0 {
        return least;
    }
    if delivered.exact && segments >= 2 * ACE_VALUES {
        // Several wraps: the share of the bytes tells how many.
        if bytes <= marked {
            return most;
        }
        let share = (marked * u64::from(segments)).div_ceil(bytes);
        let wraps = share / u64::from(ACE_VALUES) * u64::from(ACE_VALUES);
        return most.min(least.saturating_add(u32::try_from(wraps).unwrap_or(u32::MAX)));
    }
    let size = |segments: u32| u64::from(segments) * u64::from(delivered.mss);
    if marked > size(least) {
        most
    } else if marked < size(most) / SAFETY_FACTOR {
        least
    } else {
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zcn_wire::AccEcnOrder;

    const MSS: u32 = 1000;

    fn delivered(segments: u32) -> Delivered {
        Delivered {
            segments,
            bytes: segments * MSS,
            acked: segments > 0,
            exact: true,
            mss: MSS,
        }
    }

    /// A peer that counts, and tells in the option what `option` says.
    #[derive(Default)]
    struct Peer {
        segments: u32,
        bytes: [u32; 3],
    }

    impl Peer {
        fn take(&mut self, codepoint: Codepoint, segments: u32) {
            if codepoint == Codepoint::Ce {
                self.segments = self.segments.wrapping_add(segments);
            }
            let bytes = &mut self.bytes[usize::from(codepoint.bits()) - 1];
            *bytes = bytes.wrapping_add(segments * MSS);
        }

        fn ace(&self) -> u8 {
            (self.segments.wrapping_add(CEP_BEGINS) % ACE_VALUES) as u8
        }

        fn option(&self, order: AccEcnOrder) -> Option<AccEcn> {
            let [ect1, ect0, ce] = self.bytes;
            let (ect1, ect0) = (ect1.wrapping_add(1), ect0.wrapping_add(1));
            match order {
                AccEcnOrder::Zero => AccEcn::new(order, &[ect0, ce, ect1]),
                AccEcnOrder::One => AccEcn::new(order, &[ect1, ce, ect0]),
            }
        }
    }

    fn read(marks: &mut Marks, ace: u8, counters: Option<AccEcn>, delivered: &Delivered) -> u32 {
        let mut feedback = Feedback {
            marks,
            ace: Some(ace),
            counters,
            later: false,
            bytes_sent: 0,
            fallback: true,
        };
        feedback.read(delivered)
    }

    #[test]
    fn up_to_seven_are_told_by_the_header_alone() {
        let mut marks = Marks::default();
        for (ace, segments, more) in [(5, 2, 0), (7, 2, 2), (0, 2, 1), (0, 7, 0), (7, 7, 7)] {
            assert_eq!(read(&mut marks, ace, None, &delivered(segments)), more);
        }
        assert_eq!(marks.segments(), 10);
    }

    #[test]
    fn without_the_option_the_worst_is_assumed() {
        // Appendix A.2.1: of so many delivered and a step of so many, so many were marked.
        for (segments, least, more) in [(8, 0, 8), (8, 1, 1), (9, 1, 9), (20, 3, 19), (20, 5, 13)] {
            let mut marks = Marks {
                checked: true,
                ..Marks::default()
            };
            let ace = ((CEP_BEGINS + least) % ACE_VALUES) as u8;
            assert_eq!(read(&mut marks, ace, None, &delivered(segments)), more);
        }
    }

    #[test]
    fn the_option_tells_that_nothing_wrapped() {
        let mut marks = Marks::default();
        let mut peer = Peer::default();
        peer.take(Codepoint::Ect0, 2);
        let option = peer.option(AccEcnOrder::Zero);
        assert_eq!(read(&mut marks, peer.ace(), option, &delivered(2)), 0);
        peer.take(Codepoint::Ect0, 40);
        let option = peer.option(AccEcnOrder::One);
        assert_eq!(read(&mut marks, peer.ace(), option, &delivered(40)), 0);
        peer.take(Codepoint::Ect0, 1);
        assert_eq!(read(&mut marks, peer.ace(), None, &delivered(1)), 0);
        assert_eq!(marks.bytes(), [0, 43 * MSS, 0]);
    }

    #[test]
    fn an_acknowledgement_that_is_superseded_says_nothing() {
        let mut marks = Marks::default();
        assert_eq!(read(&mut marks, 6, None, &delivered(0)), 0);
        let mut feedback = Feedback {
            marks: &mut marks,
            ace: Some(6),
            counters: None,
            later: true,
            bytes_sent: 0,
            fallback: true,
        };
        assert_eq!(feedback.read(&delivered(0)), 1);
    }

    #[test]
    fn fields_that_begin_with_zero_are_not_read() {
        for (order, fields, seen) in [
            (AccEcnOrder::Zero, [0, 0, 1], Seen::Broken),
            (AccEcnOrder::One, [1, 0, 0], Seen::Broken),
            (AccEcnOrder::One, [1, 0, 1], Seen::Counters),
        ] {
            let mut marks = Marks::default();
            marks.note_option(&AccEcn::new(order, &fields).unwrap());
            assert_eq!(marks.seen, seen, "{order:?} {fields:?}");
        }
        let mut marks = Marks::default();
        marks.note_option(&AccEcn::new(AccEcnOrder::One, &[]).unwrap());
        assert_eq!(marks.option_seen(), 1);
        marks.note_option(&AccEcn::new(AccEcnOrder::One, &[0]).unwrap());
        assert_eq!((marks.option_seen(), marks.fail_mode()), (3, OPT_FAIL_RECV));
    }

    #[test]
    fn a_first_option_that_comes_late_may_have_wrapped() {
        let mut marks = Marks::default();
        let mut feedback = Feedback {
            marks: &mut marks,
            ace: Some(5),
            counters: None,
            later: false,
            bytes_sent: LATEST_OPTION,
            fallback: true,
        };
        feedback.read(&delivered(1));
        assert_eq!(marks.fail_mode(), OPT_FAIL_RECV);
    }

    #[test]
    fn a_counter_that_begins_with_zero_is_distrusted() {
        let mut marks = Marks::default();
        assert_eq!(read(&mut marks, 0, None, &delivered(1)), 0);
        assert_eq!(marks.fail_mode(), ACE_FAIL_RECV);
        assert_eq!(read(&mut marks, 3, None, &delivered(1)), 0);
        assert_eq!(marks.segments(), 0);
        let mut marks = Marks::default();
        assert_eq!(read(&mut marks, 6, None, &delivered(1)), 1);
        assert_eq!(read(&mut marks, 0, None, &delivered(2)), 2, "it wrapped");
    }

    proptest! {
        /// Every segment is acknowledged soon enough: the counts are the peer's, whatever comes
        /// in the option, in whichever order, across the wrap of the fields.
        #[test]
        fn counts_follow_the_peers(
            rounds in prop::collection::vec((0u8..3, 1u32..8, any::<bool>(), any::<bool>()), 1..60),
            begin in any::<u32>(),
        ) {
            let mut peer = Peer { segments: begin, bytes: [begin; 3] };
            let mut marks = Marks { segments: begin, bytes: [begin; 3], seen: Seen::Counters, checked: true, ..Marks::default() };
            for (which, segments, with_option, zero) in rounds {
                let codepoint = [Codepoint::Ect0, Codepoint::Ce, Codepoint::Ect1][usize::from(which)];
                let before = peer.segments;
                peer.take(codepoint, segments);
                let order = if zero { AccEcnOrder::Zero } else { AccEcnOrder::One };
                let option = peer.option(order).filter(|_| with_option);
                let more = read(&mut marks, peer.ace(), option, &delivered(segments));
                prop_assert_eq!(more, peer.segments.wrapping_sub(before));
                if with_option {
                    prop_assert_eq!(marks.bytes, peer.bytes);
                }
            }
        }

        /// Whatever comes, what is added has the remainder that ACE tells, and is no more than
        /// was delivered and the field itself.
        #[test]
        fn a_step_is_bounded(
            ace in 0u8..8,
            segments in 0u32..100_000,
            bytes in any::<u32>(),
            exact in any::<bool>(),
            fields in prop::collection::vec(any::<u32>(), 0..4),
            estimate in 0u8..4,
        ) {
            let mut marks = Marks { seen: Seen::Counters, checked: true, estimate, ..Marks::default() };
            let option = AccEcn::new(AccEcnOrder::One, &fields);
            let delivered = Delivered { segments, bytes, acked: true, exact, mss: MSS };
            let more = read(&mut marks, ace, option, &delivered);
            prop_assert!(more <= segments.max(ACE_VALUES - 1));
            prop_assert_eq!((more + CEP_BEGINS) % ACE_VALUES, u32::from(ace));
        }
    }
}
