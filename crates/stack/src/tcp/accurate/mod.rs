//! Accurate ECN (AccECN, RFC 9768): each end counts how much arrived with which mark, and tells
//! its counts in every segment: in three bits of the header (ACE), and in an option.
//!
//! Here is what a connection does as the receiver of data, and the handshake. What the sender of
//! data reads out of the peer's counts, and what counters begin with, is in `sender/marks.rs`. The
//! classic ECN is in `ecn.rs`.

mod handshake;
mod option;
mod report;

use super::sender::{ACE_FAIL_RECV, Marks};
use zcn_wire::SeqNum;

use crate::time::Instant;

pub(super) use handshake::ace_of;
pub(crate) use handshake::{AccurateOffer, Asked};
pub(crate) use option::{RESERVED, fit};
pub(super) use report::{Room, Urgency};

/// `tcpi_accecn_fail_mode`: we sent a SYN-ACK without ECN although we had agreed on it.
pub(crate) const ACE_FAIL_SEND: u8 = 1;
/// The same: segments with our option seem to be lost.
pub(crate) const OPT_FAIL_SEND: u8 = 1 << 2;

/// Accurate ECN of a connection that has offered it, or uses it.
#[derive(Debug)]
pub(crate) struct AccurateEcn {
    /// Segments that came marked (r.cep, less what it begins with).
    received_ce: u32,
    /// Bytes of data that came as ECT(1), ECT(0) and CE: the codepoint less one is the place.
    received: [u32; 3],
    /// What the peer counts.
    pub(super) marks: Marks,
    /// When the option left last.
    option_sent_at: Instant,
    /// Where the duplicate began that was reported beside the option in the last segment.
    option_with_duplicate: Option<SeqNum>,
    /// Segments that came marked since ACE was told last.
    pending_ce: u8,
    /// Fields that the next option must have: up to the last one that changed.
    changed: u8,
    /// How many of the next options are wanted also where they are sent sparingly.
    demand: u8,
    /// The codepoint of the segment that came last.
    last: u8,
    /// The codepoint of the peer's SYN or SYN-ACK that came last.
    syn: u8,
    /// How often our SYN was sent again before the peer's crossed it.
    syn_retries: u8,
    /// A marked SYN-ACK was counted, which is done once.
    counted_syn_ack: bool,
    /// The peer's SYN came again: our SYN-ACK may have been lost for its option.
    syn_again: bool,
    /// The next pure acknowledgement tells how the SYN-ACK came.
    reflects: bool,
    /// Whether the option has its place in every segment of data.
    pub(super) reserves: bool,
    /// The bits of `tcpi_accecn_fail_mode` that are ours.
    pub(super) failures: u8,
}

impl AccurateEcn {
    /// Offered with our SYN, or taken from a peer's that came with the codepoint `syn`.
    pub(super) fn new(syn: u8) -> Self {
        Self {
            received_ce: 0,
            received: [0; 3],
            marks: Marks::default(),
            option_sent_at: Instant::ZERO,
            option_with_duplicate: None,
            pending_ce: 0,
            changed: 0,
            demand: 0,
            last: syn,
            syn,
            syn_retries: 0,
            counted_syn_ack: false,
            syn_again: false,
            reflects: false,
            reserves: false,
            failures: 0,
        }
    }

    /// Segments that came marked.
    pub(super) fn received_ce(&self) -> u32 {
        self.received_ce
    }

    /// Bytes of data that came as ECT(1), ECT(0) and CE.
    pub(super) fn received(&self) -> [u32; 3] {
        self.received
    }

    /// All bits of `tcpi_accecn_fail_mode`.
    pub(super) fn fail_mode(&self) -> u8 {
        self.failures | self.marks.fail_mode()
    }

    /// Whether our segments may be marked as of a capable transport.
    pub(super) fn is_capable(&self) -> bool {
        self.fail_mode() & (ACE_FAIL_SEND | ACE_FAIL_RECV) == 0
    }
}
