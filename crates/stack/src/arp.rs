//! ARP (RFC 826), with the announcements and defence of RFC 5227.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use zcn_frame::{Frame, Head};
use zcn_wire::{
    ArpOperation, ArpRepr, ArpView, EtherType, EthernetAddress, EthernetRepr, ParseError,
};

use crate::id::InterfaceId;
use crate::ip::Ip;
use crate::neighbour::Advertisement;
use crate::stats::DropReason;
use crate::time::Instant;

/// An address is defended once in this time (RFC 5227 section 1.1, DEFEND_INTERVAL).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Ip {
    /// Takes an ARP packet.
    pub(crate) fn arp_input(
        &mut self,
        now: Instant,
        id: InterfaceId,
        frame: &mut Frame,
    ) -> Result<(), DropReason> {
        let _ = frame.pull(zcn_wire::arp::PACKET_LEN);
        let arp = ArpView::new(frame.linear())
            .and_then(|view| ArpRepr::parse(&view))
            .map_err(|error| match error {
                ParseError::Unsupported => DropReason::FrameUnknownType,
                _ => DropReason::ArpMalformed,
            })?;
        let Some(interface) = self.interface(id) else {
            return Ok(());
        };
        let (sender, link) = (arp.sender_protocol, arp.sender_hardware);
        let own_link = interface.link_address;
        if !link.is_unicast() || Some(link) == own_link {
            return Err(DropReason::ArpBadSender);
        }
        if interface.address(sender.into()).is_some() {
            self.arp_conflict(now, id, sender);
            return Ok(());
        }
        let for_us = interface.has(arp.target_protocol.into());
        if sender.is_unspecified() {
            // A probe: answered, but nothing is learned (RFC 5227 section 2.1.1).
            if for_us && arp.operation == ArpOperation::Request {
                self.arp_reply(id, arp.target_protocol, sender, link);
            }
            return Ok(());
        }
        let impossible = interface.is_martian(sender.into());
        if impossible || !interface.on_link(sender.into()) {
            return Err(DropReason::ArpBadSender);
        }
        let address = IpAddr::V4(sender);
        let Some(interface) = self.interface_mut(id) else {
            return Ok(());
        };
        let waiting = match arp.operation {
            ArpOperation::Request if for_us => interface.neighbours.heard(now, address, link),
            operation => {
                let said = Advertisement {
                    link: Some(link),
                    // Only an answer to us, when we asked, says that it can hear us.
                    solicited: operation == ArpOperation::Reply
                        && for_us
                        && interface.neighbours.awaits(address),
                    overrides: true,
                };
                interface.neighbours.advertised(now, address, said)
            }
        };
        if let Some((link, frames)) = waiting {
            for mut frame in frames {
                // Full queues are counted there.
                let _ = self.send_ethernet(id, link, &mut frame);
            }
        }
        if arp.operation == ArpOperation::Request && for_us {
            self.arp_reply(id, arp.target_protocol, sender, link);
        }
        Ok(())
    }

    /// Somebody else says that it has one of our addresses.
    fn arp_conflict(&mut self, now: Instant, id: InterfaceId, address: Ipv4Addr) {
        self.stats.neighbours.conflicts += 1;
        let own = self.interface_mut(id).and_then(|interface| {
            interface
                .addresses
                .iter_mut()
                .find(|own| own.cidr.address() == IpAddr::V4(address))
        });
        if let Some(own) = own
            && own.defended.is_none_or(|at| now >= at + DEFEND_INTERVAL)
        {
            own.defended = Some(now);
            self.arp_announce(id, address);
        }
    }

    /// Asks who has `target`: everybody, or the one that had it last.
    pub(crate) fn arp_request(
        &mut self,
        id: InterfaceId,
        target: Ipv4Addr,
        link: Option<EthernetAddress>,
    ) {
        let Some(interface) = self.interface(id) else {
            return;
        };
        let source = interface.source_for(target.into(), target.into());
        let Some(IpAddr::V4(sender_protocol)) = source else {
            return;
        };
        let repr = ArpRepr {
            operation: ArpOperation::Request,
            sender_hardware: interface.link_address.unwrap_or_default(),
            sender_protocol,
            target_hardware: EthernetAddress::UNSPECIFIED,
            target_protocol: target,
        };
        self.send_arp(id, link.unwrap_or(EthernetAddress::BROADCAST), &repr);
    }

    /// Tells everybody that we have `address` (RFC 5227 section 2.3).
    pub(crate) fn arp_announce(&mut self, id: InterfaceId, address: Ipv4Addr) {
        let Some(interface) = self.interface(id) else {
            return;
        };
        let repr = ArpRepr {
            operation: ArpOperation::Request,
            sender_hardware: interface.link_address.unwrap_or_default(),
            sender_protocol: address,
            target_hardware: EthernetAddress::UNSPECIFIED,
            target_protocol: address,
        };
        self.send_arp(id, EthernetAddress::BROADCAST, &repr);
    }

    fn arp_reply(
        &mut self,
        id: InterfaceId,
        own: Ipv4Addr,
        target: Ipv4Addr,
        link: EthernetAddress,
    ) {
        let Some(interface) = self.interface(id) else {
            return;
        };
        let repr = ArpRepr {
            operation: ArpOperation::Reply,
            sender_hardware: interface.link_address.unwrap_or_default(),
            sender_protocol: own,
            target_hardware: link,
            target_protocol: target,
        };
        self.send_arp(id, link, &repr);
    }

    fn send_arp(&mut self, id: InterfaceId, link: EthernetAddress, arp: &ArpRepr) {
        let header = EthernetRepr {
            dst: link,
            src: arp.sender_hardware,
            ethertype: EtherType::ARP,
            vlan: None,
        };
        let mut head = Head::new();
        let written = head
            .grow(header.header_len())
            .is_ok_and(|bytes| header.emit(bytes).is_ok())
            && head
                .grow(arp.buffer_len())
                .is_ok_and(|bytes| arp.emit(bytes).is_ok());
        if written {
            // A full queue is counted there; whoever asks asks again.
            let _ = self.push_output(id, &mut Frame::new(head));
        }
    }
}
