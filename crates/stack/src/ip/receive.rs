//! The way in: link headers, and to whom a packet is.

use core::net::IpAddr;

use zcn_frame::{Frame, Medium};
use zcn_wire::{EtherType, EthernetView};

use super::Ip;
use crate::id::InterfaceId;
use crate::interface::{Destination, LOOPBACK};
use crate::packet::Packet;
use crate::stats::DropReason;
use crate::time::Instant;

/// What came in, before the protocols above see it.
pub(crate) type Received<'a> = Result<Option<Packet<'a>>, DropReason>;

impl Ip {
    /// Takes a frame that arrived at an interface. Answers the packet in it, if it is one
    /// for us and whole; ARP and fragments are dealt with here.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        id: InterfaceId,
        frame: &'a mut Frame,
    ) -> Option<Packet<'a>> {
        match self.receive_frame(now, id, frame) {
            Ok(packet) => packet,
            Err(reason) => {
                self.drop(reason);
                None
            }
        }
    }

    /// Takes a packet that we sent to ourselves.
    pub(crate) fn receive_from_self<'a>(
        &mut self,
        now: Instant,
        frame: &'a mut Frame,
    ) -> Option<Packet<'a>> {
        let received = self.receive_packet(now, LOOPBACK, frame, false);
        match received {
            Ok(packet) => packet,
            Err(reason) => {
                self.drop(reason);
                None
            }
        }
    }

    fn receive_frame<'a>(
        &mut self,
        now: Instant,
        id: InterfaceId,
        frame: &'a mut Frame,
    ) -> Received<'a> {
        let interface = self.interface(id).ok_or(DropReason::FrameNotForUs)?;
        let Medium::Ethernet { .. } = interface.capabilities.medium else {
            return self.receive_packet(now, id, frame, false);
        };
        // As much as there is: a tagged header, or only an untagged one.
        let _ = frame.pull(zcn_wire::ethernet::HEADER_LEN + zcn_wire::ethernet::VLAN_LEN);
        let header = EthernetView::new(frame.linear()).map_err(|_| DropReason::FrameTruncated)?;
        let (destination, ethertype) = (header.dst(), header.ethertype());
        // A tag with VLAN 0 carries a priority only (802.1Q).
        if header.vlan().is_some_and(|tag| tag.id() != 0) {
            return Err(DropReason::FrameNotForUs);
        }
        let to_group = destination.is_multicast();
        if !to_group && Some(destination) != interface.link_address {
            return Err(DropReason::FrameNotForUs);
        }
        frame.advance(header.header_len());
        match ethertype {
            EtherType::IPV4 | EtherType::IPV6 => {
                let version = frame.linear().first().map(|first| first >> 4);
                let expected = if ethertype == EtherType::IPV4 { 4 } else { 6 };
                if version != Some(expected) {
                    return Err(if expected == 4 {
                        DropReason::Ipv4Malformed
                    } else {
                        DropReason::Ipv6Malformed
                    });
                }
                self.receive_packet(now, id, frame, to_group)
            }
            EtherType::ARP => {
                self.arp_input(now, id, frame)?;
                Ok(None)
            }
            _ => Err(DropReason::FrameUnknownType),
        }
    }

    fn receive_packet<'a>(
        &mut self,
        now: Instant,
        id: InterfaceId,
        frame: &'a mut Frame,
        to_link_group: bool,
    ) -> Received<'a> {
        match frame.linear().first().map(|first| first >> 4) {
            Some(4) => self.receive_v4(now, id, frame, to_link_group),
            Some(6) => self.receive_v6(now, id, frame, to_link_group),
            _ => Err(DropReason::FrameUnknownType),
        }
    }

    /// Checks both addresses of a packet. Answers whether it is to a group.
    pub(super) fn check_addresses(
        &mut self,
        id: InterfaceId,
        source: IpAddr,
        destination: IpAddr,
        to_link_group: bool,
    ) -> Result<bool, DropReason> {
        let v6 = destination.is_ipv6();
        let (own, group, martian) = match self.interface(id) {
            Some(interface) => {
                let to = interface.destination(destination);
                (
                    to == Destination::Own,
                    to == Destination::Group,
                    interface.is_martian(source),
                )
            }
            // From ourselves.
            None => (self.is_own(destination), false, false),
        };
        if martian {
            self.ip_stats(v6).in_addr_errors += 1;
            return Err(DropReason::MartianSource);
        }
        if !group && !own && destination.is_multicast() {
            self.ip_stats(v6).in_mcast_pkts += 1;
            return Err(DropReason::GroupNotJoined);
        }
        // A packet to one host in a frame to many is not for us (RFC 1122 section 3.3.6).
        if !group && (!own || to_link_group) {
            self.ip_stats(v6).in_addr_errors += 1;
            return Err(DropReason::NotForUs);
        }
        if group {
            let broadcast = matches!(destination, IpAddr::V4(v4) if !v4.is_multicast());
            let stats = self.ip_stats(v6);
            if broadcast {
                stats.in_bcast_pkts += 1;
            } else {
                stats.in_mcast_pkts += 1;
            }
        }
        Ok(group)
    }
}
