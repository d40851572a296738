//! A header that arrived, as the state machine reads it.

use zcn_wire::{AccEcn, SackBlocks, SeqNum, TcpFlags, TcpTimestamps};

use super::segment::SegmentIn;

/// The fields of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) seq: SeqNum,
    /// Meaningless without the ACK bit, which `has_ack` says.
    pub(crate) ack: SeqNum,
    pub(crate) has_ack: bool,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) psh: bool,
    /// The peer's receiver saw congestion (RFC 3168).
    pub(crate) ece: bool,
    /// The peer has reduced its window.
    pub(crate) cwr: bool,
    /// The two ECN bits of the IP header.
    pub(crate) ecn: u8,
    pub(crate) window: u16,
    /// Whether the window counts in units of the scale: not on a SYN, even after what is
    /// new of a crossing SYN-ACK was taken for a plain ACK.
    pub(crate) window_scaled: bool,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// Segments of the wire.
    pub(crate) segments: u16,
    pub(crate) timestamps: Option<TcpTimestamps>,
    pub(crate) sack: SackBlocks,
    /// The ECN flags as the counter of accurate ECN (RFC 9768 section 3.2.2); `None` in a segment
    /// with SYN, where they are none.
    pub(crate) ace: Option<u8>,
    /// Counters of bytes.
    pub(crate) acc_ecn: Option<AccEcn>,
    /// Whether the timestamp moves `TS.Recent` on: no segment that left before the last one.
    pub(crate) later: bool,
}

impl Incoming {
    pub(crate) fn of(segment: &SegmentIn) -> Self {
        let flags = segment.tcp.flags;
        Self {
            seq: segment.tcp.seq,
            ack: segment.tcp.ack,
            has_ack: flags.ack(),
            syn: flags.syn(),
            fin: flags.fin(),
            rst: flags.rst(),
            psh: flags.psh() || segment.psh_seen,
            ece: flags.contains(TcpFlags::ECE),
            cwr: flags.contains(TcpFlags::CWR),
            ecn: segment.ecn,
            window: segment.tcp.window,
            window_scaled: !flags.syn(),
            len: segment.payload.len() as u32,
            segments: segment.segments.max(1),
            timestamps: segment.tcp.options.timestamps,
            sack: segment.tcp.options.sack,
            ace: (!flags.syn()).then(|| super::accurate::ace_of(flags)),
            acc_ecn: segment.tcp.options.acc_ecn,
            later: false,
        }
    }

    /// Leaves what follows a SYN that is known already.
    pub(crate) fn skip_syn(&mut self) {
        self.syn = false;
        self.seq += 1_u32;
    }

    /// Sequence numbers that the segment takes: SYN and FIN count as one each.
    pub(crate) fn seq_len(&self) -> u32 {
        self.len + u32::from(self.syn) + u32::from(self.fin)
    }

    /// The number behind its last one.
    pub(crate) fn end(&self) -> SeqNum {
        self.seq + self.seq_len()
    }
}
