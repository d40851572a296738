//! Neighbour discovery (RFC 4861) and duplicate addresses (RFC 4862).

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use zcn_frame::{Frame, Head};
use zcn_wire::icmpv6::Icmpv6Repr;
use zcn_wire::ndp::{self, NdpRepr, solicited_node};
use zcn_wire::{EthernetAddress, Protocol};

use crate::id::InterfaceId;
use crate::interface::{ALL_NODES, AddressState};
use crate::ip::Ip;
use crate::neighbour::Advertisement;
use crate::packet::{HEADROOM, Outgoing, Packet, pseudo_header};
use crate::stats::DropReason;
use crate::time::Instant;

/// Bytes of a nonce: as many as an option of one unit has (RFC 3971 section 5.3.2).
const NONCE_BYTES: usize = 6;
/// So many of the last probes for an address are known again when a link brings them back.
const NONCES_KNOWN: u32 = 16;
/// An address is announced against somebody else's claim once in this time.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Ip {
    /// Takes a message whose ICMPv6 checksum was right.
    pub(crate) fn ndp_input(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        message: NdpRepr<'_>,
    ) -> Result<(), DropReason> {
        let id = packet.interface;
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source, packet.destination)
        else {
            return Err(DropReason::NdpMalformed);
        };
        // RFC 6980: fragments hide what guards of switches have to see.
        let sound = message
            .validate(source, destination, packet.hop_limit)
            .is_ok();
        if !sound || packet.fragmented {
            return Err(DropReason::NdpMalformed);
        }
        let has_links = self
            .interface(id)
            .is_some_and(|interface| interface.link_address.is_some());
        if !has_links {
            return Err(DropReason::IcmpUnknownType);
        }
        match message {
            NdpRepr::NeighborSolicitation {
                target,
                source_link_address,
                nonce,
            } => {
                if source.is_unspecified() && self.is_own_probe(id, target, nonce) {
                    return Err(DropReason::NdpLooped);
                }
                self.solicited(now, id, source, target, source_link_address);
                Ok(())
            }
            NdpRepr::NeighborAdvertisement {
                solicited,
                override_entry,
                target,
                target_link_address,
                ..
            } => {
                let said = Advertisement {
                    link: target_link_address,
                    solicited,
                    overrides: override_entry,
                };
                self.advertised(now, id, target, said)
            }
            NdpRepr::Redirect { .. } => {
                self.stats.icmpv6.in_redirects += 1;
                Err(DropReason::IcmpRedirect)
            }
            // Addresses and routes are configured, not advertised.
            NdpRepr::RouterSolicitation { .. } | NdpRepr::RouterAdvertisement(_) => {
                Err(DropReason::IcmpUnknownType)
            }
        }
    }

    /// Whether a probe for `target` is one of ours that the link brought back, and not that of
    /// somebody who wants the same address (RFC 7527 section 4.2). Remembers it if so.
    fn is_own_probe(&mut self, id: InterfaceId, target: Ipv6Addr, nonce: Option<&[u8]>) -> bool {
        let own = self
            .interface(id)
            .and_then(|interface| interface.address(target.into()));
        let (Some(own), Some(nonce)) = (own, nonce) else {
            return false;
        };
        let is_ours = (0..NONCES_KNOWN.min(own.probes))
            .any(|before| self.nonce(id, target, own.probes - before) == *nonce);
        if is_ours
            && let Some(interface) = self.interface_mut(id)
            && let Some(own) = interface
                .addresses
                .iter_mut()
                .find(|own| own.cidr.address() == IpAddr::V6(target))
        {
            own.looped = true;
        }
        is_ours
    }

    /// The nonce of a probe for an address: not to be guessed by who has not seen it, and another
    /// one for another station with the same seed, as tests have it.
    fn nonce(&self, id: InterfaceId, address: Ipv6Addr, number: u32) -> [u8; NONCE_BYTES] {
        let interface = self.interface(id);
        let link = interface.and_then(|interface| interface.link_address);
        let mut input = [0; 2 + 6 + 16 + 4];
        input[..2].copy_from_slice(&id.0.to_be_bytes());
        input[2..8].copy_from_slice(&link.unwrap_or(EthernetAddress::UNSPECIFIED).0);
        input[8..24].copy_from_slice(&address.octets());
        input[24..].copy_from_slice(&number.to_be_bytes());
        let [nonce @ .., _, _] = self.nonce_key.hash(&input).to_be_bytes();
        nonce
    }

    /// RFC 4861 section 7.2.3.
    fn solicited(
        &mut self,
        now: Instant,
        id: InterfaceId,
        source: Ipv6Addr,
        target: Ipv6Addr,
        link: Option<EthernetAddress>,
    ) {
        let Some(interface) = self.interface_mut(id) else {
            return;
        };
        let probe = source.is_unspecified();
        let state = interface.address(target.into()).map(|own| own.state);
        match state {
            // Somebody else probes what we probe (RFC 4862 section 5.4.3).
            Some(AddressState::Tentative) if probe => return self.duplicated(now, id, target),
            Some(AddressState::Preferred) => {}
            _ => return,
        }
        let own_link = interface.link_address;
        if let Some(link) = link
            && link.is_unicast()
            && Some(link) != own_link
            && !probe
        {
            let waiting = interface.neighbours.heard(now, source.into(), link);
            if let Some((link, frames)) = waiting {
                for mut frame in frames {
                    let _ = self.send_ethernet(id, link, &mut frame);
                }
            }
        }
        // Who has no address yet is answered through the group of all nodes.
        let to = if probe { ALL_NODES } else { source };
        self.neighbour_advertisement(now, id, target, to, !probe);
    }

    /// RFC 4861 section 7.2.5.
    fn advertised(
        &mut self,
        now: Instant,
        id: InterfaceId,
        target: Ipv6Addr,
        said: Advertisement,
    ) -> Result<(), DropReason> {
        let Some(interface) = self.interface_mut(id) else {
            return Ok(());
        };
        match interface.address(target.into()).map(|own| own.state) {
            Some(AddressState::Tentative) => {
                self.duplicated(now, id, target);
                return Ok(());
            }
            Some(_) => {
                self.ndp_conflict(now, id, target);
                return Ok(());
            }
            None => {}
        }
        let own_link = interface.link_address;
        if said
            .link
            .is_some_and(|link| !link.is_unicast() || Some(link) == own_link)
        {
            return Err(DropReason::NdpMalformed);
        }
        // An answer that nobody waits for is an announcement.
        let said = Advertisement {
            solicited: said.solicited && interface.neighbours.awaits(target.into()),
            ..said
        };
        if let Some((link, frames)) = interface.neighbours.advertised(now, target.into(), said) {
            for mut frame in frames {
                let _ = self.send_ethernet(id, link, &mut frame);
            }
        }
        Ok(())
    }

    /// Somebody has the address that we wanted.
    fn duplicated(&mut self, now: Instant, id: InterfaceId, address: Ipv6Addr) {
        self.stats.neighbours.conflicts += 1;
        let Some(interface) = self.interface_mut(id) else {
            return;
        };
        let own = interface
            .addresses
            .iter_mut()
            .find(|own| own.cidr.address() == IpAddr::V6(address));
        if let Some(own) = own {
            own.state = AddressState::Duplicated;
            own.next = None;
            own.left = 0;
            interface.listener.leave(now, solicited_node(address));
            self.addresses_changed();
        }
    }

    /// Somebody says that it has an address of ours.
    fn ndp_conflict(&mut self, now: Instant, id: InterfaceId, address: Ipv6Addr) {
        self.stats.neighbours.conflicts += 1;
        let own = self.interface_mut(id).and_then(|interface| {
            interface
                .addresses
                .iter_mut()
                .find(|own| own.cidr.address() == IpAddr::V6(address))
        });
        if let Some(own) = own
            && own.state == AddressState::Preferred
            && own.defended.is_none_or(|at| now >= at + DEFEND_INTERVAL)
        {
            own.defended = Some(now);
            self.announce_v6(now, id, address);
        }
    }

    /// Asks for a neighbour's link address, or whether it is still there.
    pub(crate) fn neighbour_solicitation(
        &mut self,
        now: Instant,
        id: InterfaceId,
        target: Ipv6Addr,
        link: Option<EthernetAddress>,
    ) {
        let Some(interface) = self.interface(id) else {
            return;
        };
        let source = interface.source_for(target.into(), target.into());
        let Some(IpAddr::V6(source)) = source else {
            return;
        };
        let message = NdpRepr::NeighborSolicitation {
            target,
            source_link_address: interface.link_address,
            nonce: None,
        };
        // The group reaches it where its link address is not known.
        let to = match link {
            Some(_) => target,
            None => solicited_node(target),
        };
        self.send_ndp(now, id, source, to, message);
    }

    /// Asks whether somebody has `address` (RFC 4862 section 5.4.2), for the `number`th time.
    pub(crate) fn probe_v6(
        &mut self,
        now: Instant,
        id: InterfaceId,
        address: Ipv6Addr,
        number: u32,
    ) {
        let nonce = self.nonce(id, address, number);
        let message = NdpRepr::NeighborSolicitation {
            target: address,
            source_link_address: None,
            nonce: Some(&nonce),
        };
        let group = solicited_node(address);
        self.send_ndp(now, id, Ipv6Addr::UNSPECIFIED, group, message);
    }

    /// Tells everybody that we have `address` (RFC 4861 section 7.2.6).
    pub(crate) fn announce_v6(&mut self, now: Instant, id: InterfaceId, address: Ipv6Addr) {
        self.neighbour_advertisement(now, id, address, ALL_NODES, false);
    }

    fn neighbour_advertisement(
        &mut self,
        now: Instant,
        id: InterfaceId,
        target: Ipv6Addr,
        to: Ipv6Addr,
        solicited: bool,
    ) {
        let link = self
            .interface(id)
            .and_then(|interface| interface.link_address);
        let message = NdpRepr::NeighborAdvertisement {
            router: false,
            solicited,
            override_entry: true,
            target,
            target_link_address: link,
        };
        self.send_ndp(now, id, target, to, message);
    }

    fn send_ndp(
        &mut self,
        now: Instant,
        id: InterfaceId,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: NdpRepr<'_>,
    ) {
        let message = Icmpv6Repr::Ndp(message);
        let pseudo = pseudo_header(source.into(), destination.into(), Protocol::ICMPV6);
        let mut head = Head::with_room(HEADROOM);
        let written = head
            .grow(message.buffer_len())
            .is_ok_and(|bytes| message.emit(pseudo, bytes).is_ok());
        if !written {
            return;
        }
        self.stats.icmpv6.out_msgs += 1;
        // What does not leave is asked for, or answered, again.
        let _ = self.send(
            now,
            &Outgoing {
                interface: Some(id),
                hop_limit: Some(ndp::HOP_LIMIT),
                dont_fragment: true,
                ..Outgoing::new(source.into(), destination.into(), Protocol::ICMPV6)
            },
            &mut Frame::new(head),
        );
    }
}
