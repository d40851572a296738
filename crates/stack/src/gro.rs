//! Receive coalescing: segments of one flow that arrive together become one (GRO).
//!
//! The rules are those of Linux: same ends, next in order, same flags, acknowledgement,
//! window and options (so also the same timestamp); a short segment or PSH is the last.
//! Nothing is copied: the payloads become one chain.

use core::net::{SocketAddr, SocketAddrV4};

use zcn_frame::{Chain, GsoKind};
use zcn_wire::{SeqNum, Tcp4Segment, TcpFlags, TcpOptions, TcpRepr, TcpView};

use crate::id::InterfaceId;
use crate::packet::Packet;
use crate::stats::DropReason;
use crate::tcp::SegmentIn;
use crate::udp::endpoint;

/// Flows put together at the same time; the oldest goes on when one more comes.
const FLOWS: usize = 16;
/// What may be set if it is the same in all: a counter of accurate ECN (RFC 9768 section 3.3), or
/// the classic ECE. CWR of the classic one is set in one segment only.
const ECN_FLAGS: TcpFlags = TcpFlags::AE.union(TcpFlags::CWR).union(TcpFlags::ECE);
/// Bytes of one super-segment.
const BYTES_MAX: usize = 65_535 - 60 - 40;

/// A segment as it arrived, and the size of the pieces it may be made of already.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) segment: SegmentIn,
    /// Payload of each segment of the wire but the last.
    unit: usize,
}

impl Arrived {
    /// Takes a segment of IPv4 that was checked, and may be put together with others.
    pub(crate) fn fill(&mut self, header: &Tcp4Segment, interface: InterfaceId, payload: Chain) {
        self.unit = payload.len();
        let flags = if header.push {
            TcpFlags::ACK | TcpFlags::PSH
        } else {
            TcpFlags::ACK
        };
        let segment = &mut self.segment;
        segment.remote = SocketAddr::V4(SocketAddrV4::new(header.src, header.src_port));
        segment.local = SocketAddr::V4(SocketAddrV4::new(header.dst, header.dst_port));
        segment.interface = interface;
        segment.ecn = header.traffic_class.ecn().bits();
        segment.tcp = TcpRepr {
            src_port: header.src_port,
            dst_port: header.dst_port,
            seq: header.seq,
            ack: header.ack,
            flags,
            window: header.window,
            urgent: 0,
            options: TcpOptions {
                timestamps: header.timestamps,
                ..TcpOptions::NONE
            },
        };
        segment.payload = payload;
        segment.segments = 1;
        segment.psh_seen = header.push;
    }
}

/// Checks a TCP packet, and writes what its headers say and the payload to `arrived`.
///
/// # Errors
/// Why it is to be dropped.
pub(crate) fn segment_of(packet: Packet<'_>, arrived: &mut Arrived) -> Result<(), DropReason> {
    let malformed = DropReason::TcpMalformed;
    if packet.to_group || !crate::interface::is_unicast(packet.source) {
        return Err(DropReason::TcpNotUnicast);
    }
    let at = packet.transport;
    if !packet.frame.pull(at + zcn_wire::tcp::HEADER_LEN) {
        return Err(malformed);
    }
    let offset = packet
        .frame
        .linear()
        .get(at + 12)
        .map_or(0, |byte| byte >> 4);
    let header_len = usize::from(offset) * 4;
    if !packet.frame.pull(at + header_len) {
        return Err(malformed);
    }
    let header = packet.frame.linear().get(at..).ok_or(malformed)?;
    let view = TcpView::new(header).map_err(|_| malformed)?;
    let segment = &mut arrived.segment;
    segment.tcp = TcpRepr::parse(&view);
    let len = packet.payload_len();
    if !packet.checksum_trusted() && !packet.verify(Some(packet.pseudo_header()), len) {
        return Err(DropReason::TcpChecksum);
    }
    let payload_len = len - header_len;
    arrived.unit = match packet.frame.meta.gso {
        Some(gso) if matches!(gso.kind, GsoKind::Tcp4 | GsoKind::Tcp6) => {
            if gso.size == 0 {
                return Err(DropReason::FrameMetadata);
            }
            usize::from(gso.size)
        }
        _ => payload_len,
    };
    segment.segments = if payload_len > arrived.unit {
        payload_len.div_ceil(arrived.unit) as u16
    } else {
        1
    };
    let tcp = &segment.tcp;
    segment.remote = endpoint(packet.source, tcp.src_port, packet.interface);
    segment.local = endpoint(packet.destination, tcp.dst_port, packet.interface);
    segment.interface = packet.interface;
    segment.ecn = packet.traffic_class.ecn().bits();
    segment.psh_seen = tcp.flags.contains(TcpFlags::PSH);
    packet.frame.advance(at + header_len);
    segment.payload = packet.frame.take_body();
    Ok(())
}

/// The flows being put together.
#[derive(Debug, Default)]
pub(crate) struct Gro {
    held: Vec<Arrived>,
}

impl Gro {
    /// Whether nothing is being put together.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes the payload of a segment of IPv4 that was checked, if all it does is to go on where
    /// the flow that came last stands. Answers whether it did: what [`push`](Self::push) would do,
    /// without writing down the segment first.
    #[inline]
    pub(crate) fn extend(
        &mut self,
        header: &Tcp4Segment,
        interface: InterfaceId,
        payload: &mut Chain,
    ) -> bool {
        let Some(held) = self.held.last_mut() else {
            return false;
        };
        let segment = &mut held.segment;
        let (tcp, len) = (&segment.tcp, segment.payload.len());
        let goes_on = header.payload_len == held.unit
            && header.seq == tcp.seq + len as u32
            && header.ack == tcp.ack
            && header.window == tcp.window
            && header.timestamps == tcp.options.timestamps
            && !header.push
            && tcp.flags == TcpFlags::ACK
            && tcp.options.has_timestamps_only()
            && header.traffic_class.ecn().bits() == segment.ecn
            && interface == segment.interface
            && len + header.payload_len <= BYTES_MAX
            && segment.remote == SocketAddr::V4(SocketAddrV4::new(header.src, header.src_port))
            && segment.local == SocketAddr::V4(SocketAddrV4::new(header.dst, header.dst_port))
            && segment.payload.append(payload);
        if goes_on {
            segment.segments = segment.segments.saturating_add(1);
        }
        goes_on
    }

    /// Takes a segment out of `arrived`, which may be used again. What is complete goes to
    /// `deliver`, for each flow in the order of arrival.
    pub(crate) fn push(&mut self, arrived: &mut Arrived, mut deliver: impl FnMut(&mut SegmentIn)) {
        let new = &arrived.segment;
        let found = self.held.iter().position(|held| {
            let held = &held.segment;
            held.remote == new.remote && held.local == new.local && held.interface == new.interface
        });
        if let Some(at) = found {
            match join(&mut self.held[at], arrived) {
                Joined::Open => return,
                Joined::Complete => {
                    deliver(&mut self.held[at].segment);
                    self.held.remove(at);
                    return;
                }
                Joined::Refused => {
                    deliver(&mut self.held[at].segment);
                    if starts_a_train(arrived) {
                        // In its place.
                        core::mem::swap(&mut self.held[at], arrived);
                        return;
                    }
                    self.held.remove(at);
                }
            }
        } else if starts_a_train(arrived) {
            if self.held.len() >= FLOWS {
                deliver(&mut self.held[0].segment);
                self.held.remove(0);
            }
            self.held.push(core::mem::take(arrived));
            return;
        }
        deliver(&mut arrived.segment);
    }

    /// The batch is over: everything goes to `deliver`.
    pub(crate) fn flush(&mut self, mut deliver: impl FnMut(&mut SegmentIn)) {
        for held in &mut self.held {
            deliver(&mut held.segment);
        }
        self.held.clear();
    }
}

/// Whether the next segment could belong to this one.
fn starts_a_train(arrived: &Arrived) -> bool {
    let segment = &arrived.segment;
    !segment.payload.is_empty()
        && segment.tcp.flags.without(ECN_FLAGS) == TcpFlags::ACK
        && segment.payload.len().is_multiple_of(arrived.unit)
}

enum Joined {
    /// More may follow.
    Open,
    /// That was the last one.
    Complete,
    /// They do not belong together.
    Refused,
}

fn join(held: &mut Arrived, arrived: &mut Arrived) -> Joined {
    let end: SeqNum = held.segment.tcp.seq + held.segment.payload.len() as u32;
    let (old, new) = (&held.segment, &arrived.segment);
    let flags = new.tcp.flags;
    let fits = !new.payload.is_empty()
        && new.tcp.seq == end
        && flags.without(TcpFlags::PSH) == old.tcp.flags
        && new.tcp.ack == old.tcp.ack
        && new.tcp.window == old.tcp.window
        && new.tcp.options == old.tcp.options
        && new.ecn == old.ecn
        && (arrived.unit == held.unit || new.payload.len() < held.unit)
        && old.payload.len() + new.payload.len() <= BYTES_MAX;
    if !fits {
        return Joined::Refused;
    }
    let len = arrived.segment.payload.len();
    if !held.segment.payload.append(&mut arrived.segment.payload) {
        return Joined::Refused;
    }
    held.segment.segments = held
        .segment
        .segments
        .saturating_add(arrived.segment.segments);
    held.segment.psh_seen |= arrived.segment.psh_seen;
    if flags.contains(TcpFlags::PSH) {
        held.segment.tcp.flags |= TcpFlags::PSH;
        return Joined::Complete;
    }
    if len.is_multiple_of(held.unit) {
        Joined::Open
    } else {
        Joined::Complete
    }
}

#[cfg(test)]
mod tests;
