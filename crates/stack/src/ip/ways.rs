//! Where packets to a destination go, remembered.

use core::net::IpAddr;

use zcn_wire::EthernetAddress;

use crate::id::InterfaceId;
use crate::slab::Id;

/// Destinations remembered; a power of two.
const PLACES: usize = 256;

/// Where packets to one destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Back to ourselves.
    Own,
    /// To a link.
    Link(LinkWay),
}

/// The way to a destination on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkWay {
    pub(crate) interface: InterfaceId,
    pub(crate) next_hop: IpAddr,
    /// Largest packet that the route says.
    pub(crate) route_mtu: Option<u32>,
    /// The link address of a group, which is made of its address.
    pub(crate) group: Option<EthernetAddress>,
    /// The next hop's entry among the neighbours, stale once that is gone.
    pub(crate) neighbour: Option<Id>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    destination: IpAddr,
    /// The interface that was asked for.
    interface: Option<InterfaceId>,
    way: Way,
}

/// Ways found lately, so that a packet of a flow asks neither the addresses nor the routing
/// table. Everything is forgotten when one of those changes.
///
/// A place holds the destination that came last: peers that collide cost each other a search
/// of the tables, as before, and nothing else.
#[derive(Debug)]
pub(crate) struct Ways {
    places: Box<[Option<Entry>]>,
}

impl Ways {
    pub(crate) fn new() -> Self {
        Self {
            places: vec![None; PLACES].into_boxed_slice(),
        }
    }

    fn place(destination: IpAddr, interface: Option<InterfaceId>) -> usize {
        let bits = match destination {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (bits ^ bits >> 32 ^ bits >> 64) as u32
            }
        };
        let asked = interface.map_or(0, |interface| u32::from(interface.0) + 1);
        // Neighbouring addresses lie in neighbouring places.
        (bits ^ bits >> 8 ^ asked << 7) as usize % PLACES
    }

    #[inline]
    pub(crate) fn get(&self, destination: IpAddr, interface: Option<InterfaceId>) -> Option<&Way> {
        self.places[Self::place(destination, interface)]
            .as_ref()
            .filter(|entry| entry.destination == destination && entry.interface == interface)
            .map(|entry| &entry.way)
    }

    pub(crate) fn remember(
        &mut self,
        destination: IpAddr,
        interface: Option<InterfaceId>,
        way: Way,
    ) {
        self.places[Self::place(destination, interface)] = Some(Entry {
            destination,
            interface,
            way,
        });
    }

    /// A way is to be found anew.
    pub(crate) fn forget_one(&mut self, destination: IpAddr, interface: Option<InterfaceId>) {
        self.places[Self::place(destination, interface)] = None;
    }

    /// Addresses or routes have changed.
    pub(crate) fn forget(&mut self) {
        self.places.fill(None);
    }
}
