//! An interface: its link, its addresses, its neighbours, and what waits to leave by it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::VecDeque;

use zcn_frame::{Capabilities, Frame};
use zcn_wire::ndp::solicited_node;
use zcn_wire::{EthernetAddress, IpCidr};

use crate::id::InterfaceId;
use crate::mld::Listener;
use crate::neighbour::NeighbourCache;
use crate::time::Instant;

/// The interface of the stack to itself, which is always there.
pub const LOOPBACK: InterfaceId = InterfaceId(u16::MAX);

/// Whether an address may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressState {
    /// Asking whether somebody else has it (RFC 4862 section 5.4).
    Tentative,
    /// In use.
    Preferred,
    /// Somebody else has it; not used.
    Duplicated,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterfaceAddress {
    pub(crate) cidr: IpCidr,
    pub(crate) state: AddressState,
    /// Probes or announcements still to be sent.
    pub(crate) left: u8,
    /// Probes that were sent: each has a nonce of its own.
    pub(crate) probes: u32,
    /// Whether the link brought one of them back (RFC 7527).
    pub(crate) looped: bool,
    /// When to send the next one, or when the last one counts as unanswered.
    pub(crate) next: Option<Instant>,
    /// When an announcement last defended it (RFC 5227 section 2.4).
    pub(crate) defended: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) id: InterfaceId,
    pub(crate) capabilities: Capabilities,
    /// `None`: a link without addresses.
    pub(crate) link_address: Option<EthernetAddress>,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<InterfaceAddress>,
    pub(crate) neighbours: NeighbourCache,
    /// The groups of the addresses, where links have addresses.
    pub(crate) listener: Listener,
    pub(crate) output: VecDeque<Frame>,
}

/// To whom an address belongs, as one interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address of the interface, in use.
    Own,
    /// A broadcast address, or a group we are in.
    Group,
    /// Somebody else's.
    Other,
}

impl Interface {
    /// The address with its state.
    pub(crate) fn address(&self, address: IpAddr) -> Option<&InterfaceAddress> {
        self.addresses
            .iter()
            .find(|own| own.cidr.address() == address)
    }

    /// Whether `address` is an address of this interface, in use.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.address(address)
            .is_some_and(|own| own.state == AddressState::Preferred)
    }

    /// What a packet to `address` is to this interface.
    pub(crate) fn destination(&self, address: IpAddr) -> Destination {
        if self.has(address) {
            return Destination::Own;
        }
        let group = match address {
            IpAddr::V4(address) => {
                address == ALL_SYSTEMS || address.is_broadcast() || self.is_broadcast(address)
            }
            IpAddr::V6(address) => {
                address == ALL_NODES
                    || address == ALL_NODES_INTERFACE
                    || self.addresses.iter().any(|own| {
                        own.state != AddressState::Duplicated
                            && matches!(own.cidr.address(), IpAddr::V6(own) if address == solicited_node(own))
                    })
            }
        };
        if group {
            Destination::Group
        } else {
            Destination::Other
        }
    }

    /// Whether `address` names all hosts of one of this interface's networks.
    pub(crate) fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|own| match own.cidr {
            IpCidr::V4(cidr) => cidr.broadcast() == Some(address),
            IpCidr::V6(_) => false,
        })
    }

    /// Whether nobody can have sent a packet from `address` (RFC 1122 section 3.2.1.3):
    /// groups, broadcasts, loopback, and our own addresses (the land attack). The
    /// unspecified IPv6 address is valid, for neighbour discovery.
    pub(crate) fn is_martian(&self, address: IpAddr) -> bool {
        let impossible = match address {
            IpAddr::V4(address) => {
                address.is_multicast()
                    || address.is_broadcast()
                    || address.is_loopback()
                    // 0.0.0.0/8 is "this network", 240.0.0.0/4 reserved.
                    || address.octets()[0] == 0
                    || address.octets()[0] >= 240
                    || self.is_broadcast(address)
            }
            IpAddr::V6(address) => {
                address.is_multicast()
                    || address.is_loopback()
                    || address.to_ipv4_mapped().is_some()
            }
        };
        impossible || self.has(address)
    }

    /// Whether a packet from one IPv4 host to another is to an address of ours, in use, and from
    /// somebody who can have sent it: [`destination`](Self::destination) and
    /// [`is_martian`](Self::is_martian) in one, for packets that are to nobody else.
    #[inline]
    pub(crate) fn takes_v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let mut ours = false;
        for own in &self.addresses {
            let IpCidr::V4(cidr) = own.cidr else {
                continue;
            };
            let in_use = own.state == AddressState::Preferred;
            if cidr.broadcast() == Some(source) || in_use && cidr.address() == source {
                return false;
            }
            ours |= in_use && cidr.address() == destination;
        }
        ours && is_unicast(IpAddr::V4(source)) && source.octets()[0] != 0 && !source.is_loopback()
    }

    /// The address to send from towards `next_hop` and `destination` (a part of RFC 6724:
    /// same family, fitting scope, the network of the next hop, longest common prefix).
    pub(crate) fn source_for(&self, next_hop: IpAddr, destination: IpAddr) -> Option<IpAddr> {
        self.addresses
            .iter()
            .filter(|own| {
                own.state == AddressState::Preferred
                    && own.cidr.address().is_ipv4() == destination.is_ipv4()
            })
            .max_by_key(|own| {
                let address = own.cidr.address();
                (
                    is_link_scope(address) == is_link_scope(destination),
                    own.cidr.contains(next_hop),
                    common_prefix_len(address, destination),
                    // The first one, where nothing else decides.
                    core::cmp::Reverse(self.addresses.iter().position(|a| a.cidr == own.cidr)),
                )
            })
            .map(|own| own.cidr.address())
    }

    /// Whether `address` is on one of the interface's networks.
    pub(crate) fn on_link(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.cidr.contains(address))
            || is_link_scope(address) && address.is_ipv6()
    }
}

/// All systems on the link (RFC 1112).
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// All nodes on the link (RFC 4291 section 2.7.1).
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_INTERFACE: Ipv6Addr = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1);

/// The link-local address made of a link address (RFC 4291 appendix A).
pub(crate) fn link_local(link: EthernetAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = link.0;
    let pair = u16::from_be_bytes;
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        pair([a ^ 2, b]),
        pair([c, 0xff]),
        pair([0xfe, d]),
        pair([e, f]),
    )
}

fn is_link_scope(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => crate::demux::is_link_local(&address),
    }
}

/// How many leading bits two addresses share; none across families.
fn common_prefix_len(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// Whether an address names one host: what TCP connects to, and a source can be.
#[inline]
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_unspecified() && !address.is_multicast() && address.octets()[0] < 240
        }
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts worth asking about: ours, everybody's, nobody's, and others.
    const HOSTS: [[u8; 4]; 16] = [
        [10, 0, 0, 1],
        [10, 0, 0, 2],
        [10, 0, 0, 0],
        [10, 0, 0, 255],
        [10, 0, 1, 255],
        [192, 0, 2, 1],
        [192, 0, 2, 9],
        [192, 0, 2, 15],
        [198, 51, 100, 7],
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [169, 254, 1, 1],
    ];

    #[test]
    fn what_is_taken_at_once_is_what_all_checks_let_through() {
        let own = |text: &str, state| InterfaceAddress {
            cidr: text.parse().unwrap(),
            state,
            left: 0,
            probes: 0,
            looped: false,
            next: None,
            defended: None,
        };
        let seed = [3; 32];
        let interface = Interface {
            id: InterfaceId(0),
            capabilities: Capabilities::plain(zcn_frame::Medium::Ip, 1500),
            link_address: None,
            mtu: 1500,
            addresses: vec![
                own("10.0.0.1/24", AddressState::Preferred),
                own("fe80::1/64", AddressState::Preferred),
                own("192.0.2.1/28", AddressState::Preferred),
                own("198.51.100.7/32", AddressState::Duplicated),
            ],
            neighbours: NeighbourCache::new(
                crate::neighbour::NeighbourConfig::default(),
                crate::random::Random::new(&seed, "neighbours"),
                Instant::ZERO,
            ),
            listener: Listener::new(crate::random::Random::new(&seed, "groups")),
            output: VecDeque::new(),
        };
        let mut taken = 0;
        for from in HOSTS.map(Ipv4Addr::from) {
            for to in HOSTS.map(Ipv4Addr::from) {
                let all = interface.destination(to.into()) == Destination::Own
                    && !interface.is_martian(from.into())
                    && is_unicast(from.into());
                assert_eq!(interface.takes_v4(from, to), all, "{from} to {to}");
                taken += usize::from(all);
            }
        }
        assert!(taken > 4, "{taken}");
    }

    #[test]
    fn a_link_local_address_is_made_of_the_link_address() {
        let link = EthernetAddress([0x02, 0, 0x5e, 0x10, 0, 1]);
        assert_eq!(link_local(link).to_string(), "fe80::5eff:fe10:1");
    }
}
