//! Segments of open connections, the short way out: straight to the queue of a link.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use zcn_frame::{Checksum, Frame, Gso, GsoKind};
use zcn_wire::tcp4::CHECKSUM_AT;
use zcn_wire::{
    EtherType, EthernetAddress, EthernetRepr, Tcp4Segment, TcpFlags, TrafficClass, ethernet, ipv4,
};

use super::Ip;
use super::ways::{LinkWay, Way};
use crate::frames::Frames;
use crate::id::InterfaceId;
use crate::interface::is_unicast;
use crate::tcp::SegmentOut;
use crate::time::Instant;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It cannot go this way, and nothing has changed.
    No,
    /// It waits in the queue of its interface.
    Queued,
    /// Whoever asked has it.
    Handed,
}

impl Ip {
    /// Sends a segment as [`send`](Self::send) would, if it is one as nearly all are: of IPv4,
    /// with plain flags and options, to a neighbour whose link address is known or by a link
    /// without them. If that is by the interface `asking`, and nothing waits there, the frame goes
    /// to `frames`, otherwise to the queue.
    pub(crate) fn send_tcp4(
        &mut self,
        now: Instant,
        segment: &mut SegmentOut,
        asking: InterfaceId,
        frames: &mut impl Frames,
    ) -> Sent {
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (segment.local, segment.remote)
        else {
            return Sent::No;
        };
        let push = segment.tcp.flags == TcpFlags::ACK | TcpFlags::PSH;
        let plain = (push || segment.tcp.flags == TcpFlags::ACK)
            && segment.tcp.options.has_timestamps_only()
            && segment.dont_fragment;
        if !plain {
            return Sent::No;
        }
        let header = Tcp4Segment {
            src: *local.ip(),
            dst: *remote.ip(),
            ttl: segment.hop_limit.unwrap_or(self.config.hop_limit),
            traffic_class: TrafficClass(segment.traffic_class),
            src_port: segment.tcp.src_port,
            dst_port: segment.tcp.dst_port,
            seq: segment.tcp.seq,
            ack: segment.tcp.ack,
            push,
            window: segment.tcp.window,
            timestamps: segment.tcp.options.timestamps,
            payload_len: segment.payload.len(),
        };
        let (headers, len) = (header.header_len(), header.buffer_len());
        let gso = segment
            .gso_size
            .filter(|&size| len > headers + usize::from(size));
        let piece = gso.map_or(len, |size| headers + usize::from(size));
        let slices = segment.payload.slices().len();
        let Some(lane) = self.lane(now, header.dst, len, piece, slices) else {
            return Sent::No;
        };
        let Some(out) = self.interfaces.get_mut(usize::from(lane.interface.0)) else {
            return Sent::No;
        };
        let (frame, sent) = if lane.interface == asking && out.output.is_empty() {
            (frames.add(), Sent::Handed)
        } else {
            (out.output.add(), Sent::Queued)
        };
        frame.body = core::mem::take(&mut segment.payload);
        lane.write(frame, &header, gso);
        self.count_sent(len);
        sent
    }

    /// Whether there may be a [`lane`](Self::lane) by this interface.
    pub(crate) fn has_lanes(&self, interface: InterfaceId) -> bool {
        self.path_mtus.is_empty() && self.interface(interface).is_some()
    }

    /// The lane for a packet of `len` bytes, in pieces of `piece`, to a neighbour whose link
    /// address is known, or by one, or by a link without addresses; none if it has to go the long
    /// way.
    pub(crate) fn lane(
        &mut self,
        now: Instant,
        to: Ipv4Addr,
        len: usize,
        piece: usize,
        slices: usize,
    ) -> Option<Lane> {
        let destination = IpAddr::V4(to);
        if !self.path_mtus.is_empty() || !is_unicast(destination) {
            return None;
        }
        let Some(&Way::Link(LinkWay {
            interface,
            next_hop,
            group: None,
            neighbour,
            ..
        })) = self.ways.get(destination, None)
        else {
            return None;
        };
        let out = self.interfaces.get_mut(usize::from(interface.0))?;
        if len > usize::from(u16::MAX)
            || piece > out.mtu as usize
            || 1 + slices > out.capabilities.scatter_max
            || out.output.len() >= self.config.output_queue
        {
            return None;
        }
        let ethernet = match out.link_address {
            Some(source) => {
                let link = out.neighbours.resolve_known(now, neighbour?, next_hop)?;
                Some((link, source))
            }
            None => None,
        };
        Some(Lane {
            interface,
            destination: to,
            longest: (out.mtu as usize).min(usize::from(u16::MAX)),
            slices: out.capabilities.scatter_max - 1,
            ethernet,
            sums: out.capabilities.checksum.transmit,
        })
    }

    /// Counts a packet of `len` bytes that left.
    #[inline]
    pub(crate) fn count_sent(&mut self, len: usize) {
        let stats = &mut self.stats.ipv4;
        stats.out_requests += 1;
        stats.out_transmits += 1;
        stats.out_octets += len as u64;
    }
}

/// The way of a packet as far as the link: where it leaves, and what is written before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) interface: InterfaceId,
    destination: Ipv4Addr,
    /// Bytes of the longest packet that leaves whole.
    longest: usize,
    /// Most slices of payload.
    slices: usize,
    /// Of Ethernet: to whom, from whom.
    ethernet: Option<(EthernetAddress, EthernetAddress)>,
    /// The link computes checksums.
    sums: bool,
}

impl Lane {
    /// Whether it is the one for a packet of `len` bytes to this destination, too, as long as
    /// nothing else has changed.
    #[inline]
    pub(crate) fn takes(&self, destination: Ipv4Addr, len: usize, slices: usize) -> bool {
        destination == self.destination && len <= self.longest && slices <= self.slices
    }

    /// Writes the headers before the payload of `frame`, whose head is empty.
    #[inline]
    pub(crate) fn write(&self, frame: &mut Frame, header: &Tcp4Segment, gso: Option<u16>) {
        let (headers, len) = (header.header_len(), header.buffer_len());
        let to_link = self.sums || gso.is_some();
        let link_header = self.ethernet.map_or(0, |_| ethernet::HEADER_LEN);
        let Frame { meta, head, body } = frame;
        let written = head.grow(link_header + headers).map(|bytes| {
            let (front, packet) = bytes.split_at_mut(link_header);
            let framed = self.ethernet.is_none_or(|(dst, src)| {
                let ethernet = EthernetRepr {
                    dst,
                    src,
                    ethertype: EtherType::IPV4,
                    vlan: None,
                };
                ethernet.emit(front).is_ok()
            });
            if !framed || header.emit(packet).is_err() {
                return false;
            }
            let (tcp, len) = (&mut packet[ipv4::HEADER_LEN..], len - ipv4::HEADER_LEN);
            let pseudo = header.pseudo_header();
            let sum = if to_link {
                pseudo.partial(len)
            } else {
                let mut sum = pseudo.sum(len);
                sum.add(tcp);
                for slice in body.slices() {
                    sum.add(slice);
                }
                sum.checksum()
            };
            packet[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
            true
        });
        debug_assert_eq!(written, Ok(true), "as long as they are");
        meta.checksum = if to_link {
            Checksum::Partial {
                start: (link_header + ipv4::HEADER_LEN) as u16,
                offset: zcn_wire::tcp::CHECKSUM_OFFSET,
            }
        } else {
            Checksum::Unverified
        };
        meta.gso = gso.map(|size| Gso {
            kind: GsoKind::Tcp4,
            size,
            hdr_len: (link_header + headers) as u16,
            ecn: false,
        });
    }
}
