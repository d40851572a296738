//! The way out: routes, fragments, checksums, link addresses.

use core::net::IpAddr;

use bytes::Bytes;
use zcn_frame::{Chain, Checksum, Frame, Gso, Medium};
use zcn_pool::SharedBuf;
use zcn_wire::ipv6::{FRAGMENT_LEN, FragmentHeader};
use zcn_wire::{
    EtherType, EthernetAddress, EthernetRepr, Ipv4Repr, Ipv6Repr, Protocol, TrafficClass,
};

use super::ways::{LinkWay, Way};
use super::{Ip, LOOPBACK_QUEUE};
use crate::fragment;
use crate::id::InterfaceId;
use crate::interface::{LOOPBACK, is_unicast};
use crate::neighbour::Resolution;
use crate::packet::Outgoing;
use crate::stats::DropReason;
use crate::time::Instant;

/// Why a packet did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// No route, or no interface.
    NoRoute,
    /// Larger than the link takes, or than a packet can be.
    TooBig { mtu: u32 },
    /// The queue of the interface, or of the neighbour, is full.
    QueueFull,
}

/// The IP header of a packet, without its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpHeader {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: TrafficClass,
    pub(crate) dont_fragment: bool,
    pub(crate) identification: u32,
    /// Offset of the fragment in bytes, and whether more follow.
    pub(crate) fragment: Option<(u16, bool)>,
}

impl IpHeader {
    /// Writes the header in front of `frame`, whose bytes are the payload. Answers whether
    /// there was room.
    pub(crate) fn write(&self, frame: &mut Frame) -> bool {
        let payload_len = frame.len();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (fragment_offset, more_fragments) = self.fragment.unwrap_or((0, false));
                let repr = Ipv4Repr {
                    ttl: self.hop_limit,
                    traffic_class: self.traffic_class,
                    ident: self.identification as u16,
                    dont_fragment: self.dont_fragment,
                    more_fragments,
                    fragment_offset,
                    ..Ipv4Repr::new(source, destination, self.protocol, payload_len)
                };
                let len = repr.header_len();
                frame
                    .head
                    .grow_front(len)
                    .is_ok_and(|bytes| repr.emit(bytes).is_ok())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut next_header = self.protocol;
                let mut payload_len = payload_len;
                if let Some((offset, more)) = self.fragment {
                    let header = FragmentHeader {
                        next_header,
                        offset,
                        more,
                        ident: self.identification,
                    };
                    let bytes = frame.head.grow_front(FRAGMENT_LEN);
                    if !bytes.is_ok_and(|bytes| header.emit(bytes).is_ok()) {
                        return false;
                    }
                    next_header = Protocol::FRAGMENT;
                    payload_len += FRAGMENT_LEN;
                }
                let repr = Ipv6Repr {
                    hop_limit: self.hop_limit,
                    traffic_class: self.traffic_class,
                    ..Ipv6Repr::new(source, destination, next_header, payload_len)
                };
                frame
                    .head
                    .grow_front(repr.header_len())
                    .is_ok_and(|bytes| repr.emit(bytes).is_ok())
            }
            _ => false,
        }
    }
}

/// Bytes of an IP header without options.
pub(crate) fn header_len(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => zcn_wire::ipv4::HEADER_LEN,
        IpAddr::V6(_) => zcn_wire::ipv6::HEADER_LEN,
    }
}

impl Ip {
    /// Sends a packet, whose bytes from the transport header on are in `frame`: to its link, to
    /// the queue of its neighbour, or back to ourselves. The frame is taken, or left as it is
    /// for the caller to drop.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        packet: &Outgoing,
        frame: &mut Frame,
    ) -> Result<(), SendError> {
        let v6 = packet.destination.is_ipv6();
        self.ip_stats(v6).out_requests += 1;
        let result = self.route_and_send(now, packet, frame);
        match result {
            Ok(()) => {}
            Err(SendError::NoRoute) => {
                self.ip_stats(v6).out_no_routes += 1;
                self.drop(DropReason::NoRoute);
            }
            Err(SendError::TooBig { .. }) => {
                self.ip_stats(v6).out_frag_fails += 1;
                self.drop(DropReason::TooBig);
            }
            // Counted where it happened.
            Err(SendError::QueueFull) => self.ip_stats(v6).out_discards += 1,
        }
        result
    }

    fn route_and_send(
        &mut self,
        now: Instant,
        packet: &Outgoing,
        frame: &mut Frame,
    ) -> Result<(), SendError> {
        let destination = packet.destination;
        let length = header_len(destination) + frame.len();
        let longest = match destination {
            IpAddr::V4(_) => 65_535,
            IpAddr::V6(_) => 65_535 + header_len(destination),
        };
        if length > longest {
            return Err(SendError::TooBig { mtu: 65_535 });
        }
        let mut header = IpHeader {
            source: packet.source,
            destination,
            protocol: packet.protocol,
            hop_limit: packet.hop_limit.unwrap_or(self.config.hop_limit),
            traffic_class: packet.traffic_class,
            dont_fragment: packet.dont_fragment,
            identification: 0,
            fragment: None,
        };
        let way = match self.way(destination, packet.interface) {
            Some(Way::Link(way)) => way,
            Some(Way::Own) => return self.send_to_self(&header, packet, frame),
            None => return Err(SendError::NoRoute),
        };
        let path = self.path_mtu(now, destination, way.interface, way.route_mtu);
        let out = self.interface(way.interface).ok_or(SendError::NoRoute)?;
        let link_mtu = out.mtu;
        let link_header = out.capabilities.medium.header_len();
        let scatter_max = out.capabilities.scatter_max;
        let offloads = out.capabilities.checksum.transmit;
        if path.fragment_on_the_way {
            header.dont_fragment = false;
        }
        let head_len = frame.head.len();
        let piece = match packet.gso {
            Some((_, size)) => length.min(header_len(destination) + head_len + usize::from(size)),
            None => length,
        };
        // What must not be cut may still find out on the way that it is too large.
        let limit = if packet.dont_fragment {
            link_mtu
        } else {
            path.mtu
        };
        if piece > limit as usize {
            if packet.dont_fragment || packet.gso.is_some() {
                return Err(SendError::TooBig { mtu: limit });
            }
            header.identification = self.identification(packet.source, destination);
            header.dont_fragment = false;
            return self.send_fragments(now, &way, &header, packet, frame, limit);
        }
        if !header.dont_fragment && destination.is_ipv4() {
            header.identification = self.identification(packet.source, destination);
        }
        let whole_header = header_len(destination) + head_len;
        let gso = packet
            .gso
            .filter(|&(_, size)| length > whole_header + usize::from(size));
        match packet.partial_at() {
            Some(at) if offloads || gso.is_some() => {
                packet.partial_checksum(at, frame);
                frame.meta.checksum = Checksum::Partial {
                    start: (link_header + header_len(destination)) as u16,
                    offset: at,
                };
            }
            _ => packet.complete_checksum(frame),
        }
        frame.meta.gso = gso.map(|(kind, size)| Gso {
            kind,
            size,
            hdr_len: (link_header + whole_header) as u16,
            ecn: false,
        });
        if 1 + frame.body.slices().len() > scatter_max {
            frame.body = Chain::from(SharedBuf::from(Bytes::from(frame.body.to_vec())));
        }
        if !header.write(frame) {
            return Err(SendError::TooBig { mtu: limit });
        }
        self.send_frame(now, &way, packet, frame)
    }

    /// Cuts a packet into fragments and sends them.
    fn send_fragments(
        &mut self,
        now: Instant,
        way: &LinkWay,
        header: &IpHeader,
        packet: &Outgoing,
        frame: &mut Frame,
        mtu: u32,
    ) -> Result<(), SendError> {
        let destination = header.destination;
        let v6 = destination.is_ipv6();
        self.ip_stats(v6).out_frag_reqds += 1;
        packet.complete_checksum(frame);
        let room = mtu as usize - header_len(destination);
        let Frame { head, body, .. } = core::mem::take(frame);
        let fragments = fragment::cut(header, head, body, room);
        let Some(fragments) = fragments else {
            return Err(SendError::TooBig { mtu });
        };
        let mut result = Ok(());
        for mut frame in fragments {
            self.ip_stats(v6).out_frag_creates += 1;
            // One that is lost makes the others useless, but not harmful.
            result = result.and(self.send_frame(now, way, packet, &mut frame));
        }
        if result.is_ok() {
            self.ip_stats(v6).out_frag_oks += 1;
        }
        result
    }

    /// Back to ourselves: as a super-frame, its checksum never computed.
    fn send_to_self(
        &mut self,
        header: &IpHeader,
        packet: &Outgoing,
        frame: &mut Frame,
    ) -> Result<(), SendError> {
        if self.loopback.len() >= LOOPBACK_QUEUE {
            self.drop(DropReason::OutputQueueFull);
            return Err(SendError::QueueFull);
        }
        let head_len = frame.head.len();
        if let Some(at) = packet.partial_at() {
            packet.partial_checksum(at, frame);
            frame.meta.checksum = Checksum::Partial {
                start: header_len(header.destination) as u16,
                offset: at,
            };
        } else {
            packet.complete_checksum(frame);
            frame.meta.checksum = Checksum::Verified;
        }
        frame.meta.gso = packet
            .gso
            .filter(|&(_, size)| frame.len() > head_len + usize::from(size))
            .map(|(kind, size)| Gso {
                kind,
                size,
                hdr_len: (header_len(header.destination) + head_len) as u16,
                ecn: false,
            });
        if !header.write(frame) {
            return Err(SendError::TooBig { mtu: 65_535 });
        }
        self.count_out(header.destination, frame.len());
        self.loopback.push_back(core::mem::take(frame));
        Ok(())
    }

    fn count_out(&mut self, destination: IpAddr, octets: usize) {
        let group = !is_unicast(destination);
        let stats = self.ip_stats(destination.is_ipv6());
        stats.out_transmits += 1;
        stats.out_octets += octets as u64;
        match destination {
            IpAddr::V4(address) if address.is_broadcast() => stats.out_bcast_pkts += 1,
            _ if group => stats.out_mcast_pkts += 1,
            _ => {}
        }
    }

    /// Sends an IP packet on its way, when the link address of the next hop is known.
    fn send_frame(
        &mut self,
        now: Instant,
        way: &LinkWay,
        packet: &Outgoing,
        frame: &mut Frame,
    ) -> Result<(), SendError> {
        self.count_out(packet.destination, frame.len());
        let id = way.interface;
        let interface = self.interface_mut(id).ok_or(SendError::NoRoute)?;
        if let Medium::Ip = interface.capabilities.medium {
            return self.push_output(id, frame);
        }
        if let Some(link) = way.group {
            return self.send_ethernet(id, link, frame);
        }
        let neighbours = &mut interface.neighbours;
        let known = way.neighbour;
        if let Some(link) = known.and_then(|id| neighbours.resolve_known(now, id, way.next_hop)) {
            return self.send_ethernet(id, link, frame);
        }
        let resolution = neighbours.resolve(now, way.next_hop, frame);
        // The neighbour has an entry from now on, or another one.
        self.ways.forget_one(packet.destination, packet.interface);
        match resolution {
            Resolution::Send(link) => self.send_ethernet(id, link, frame),
            Resolution::Waits => Ok(()),
            Resolution::Solicit => {
                self.solicit(now, id, way.next_hop, None);
                Ok(())
            }
            Resolution::Displaced => {
                self.drop(DropReason::NeighbourQueueFull);
                Ok(())
            }
            Resolution::Full => {
                self.drop(DropReason::NeighbourTableFull);
                Err(SendError::QueueFull)
            }
        }
    }

    /// Asks for a neighbour's link address: everybody, or the one that had it last.
    pub(crate) fn solicit(
        &mut self,
        now: Instant,
        id: InterfaceId,
        target: IpAddr,
        link: Option<EthernetAddress>,
    ) {
        match target {
            IpAddr::V4(target) => self.arp_request(id, target, link),
            IpAddr::V6(target) => self.neighbour_solicitation(now, id, target, link),
        }
    }

    /// Puts the Ethernet header in front of an IP packet and queues it.
    pub(crate) fn send_ethernet(
        &mut self,
        id: InterfaceId,
        link: EthernetAddress,
        frame: &mut Frame,
    ) -> Result<(), SendError> {
        let ethertype = match frame.linear().first() {
            Some(first) if first >> 4 == 6 => EtherType::IPV6,
            _ => EtherType::IPV4,
        };
        let source = self
            .interface(id)
            .and_then(|interface| interface.link_address)
            .ok_or(SendError::NoRoute)?;
        let header = EthernetRepr {
            dst: link,
            src: source,
            ethertype,
            vlan: None,
        };
        let written = frame
            .head
            .grow_front(header.header_len())
            .is_ok_and(|bytes| header.emit(bytes).is_ok());
        if !written {
            return Err(SendError::TooBig { mtu: 65_535 });
        }
        self.push_output(id, frame)
    }

    /// Queues a complete frame for the driver of an interface.
    pub(crate) fn push_output(
        &mut self,
        id: InterfaceId,
        frame: &mut Frame,
    ) -> Result<(), SendError> {
        let cap = self.config.output_queue;
        let Some(interface) = self.interface_mut(id) else {
            return Err(SendError::NoRoute);
        };
        if interface.output.len() >= cap {
            self.drop(DropReason::OutputQueueFull);
            return Err(SendError::QueueFull);
        }
        interface.output.push_back(core::mem::take(frame));
        Ok(())
    }

    /// Whether the queue towards `destination` has room for another packet.
    pub(crate) fn has_room(&self, id: InterfaceId) -> bool {
        match self.interface(id) {
            Some(interface) => interface.output.len() < self.config.output_queue,
            None => id == LOOPBACK && self.loopback.len() < LOOPBACK_QUEUE,
        }
    }
}
