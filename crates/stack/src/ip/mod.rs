//! The network layer: interfaces, addresses, routes; IPv4 and IPv6 in and out.

mod receive;
mod send;
mod tcp4;
mod timeout;
mod v4;
mod v6;
mod ways;

use core::net::IpAddr;
use std::collections::VecDeque;

use zcn_frame::Frame;
use zcn_wire::ndp::solicited_node;
use zcn_wire::{EthernetAddress, IpCidr};

use crate::config::{ConfigError, InterfaceConfig, StackConfig};
use crate::error::{NetworkError, RouteError};
use crate::icmp::IcmpLimits;
use crate::id::InterfaceId;
use crate::interface::{
    AddressState, Interface, InterfaceAddress, LOOPBACK, is_unicast, link_local,
};
use crate::mld::Listener;
use crate::neighbour::NeighbourCache;
use crate::pmtu::{PathMtu, PathMtus};
use crate::random::{Random, SecretKey, Seed};
use crate::reassembly::Reassembly;
use crate::route::{Route, RouteTable};
use crate::stats::{DropReason, IcmpStats, IpStats, NeighbourStats, Stats};
use crate::tcp::{Path, Paths};
use crate::time::Instant;

pub(crate) use send::{IpHeader, SendError, header_len};
pub(crate) use tcp4::{Lane, Sent};
use ways::{LinkWay, Way, Ways};

/// Largest packet: what the length in an IPv4 header can say (RFC 791).
const MAX_MTU: u32 = 65_535;
/// Smallest MTU of a link: of IPv4 (RFC 791), and of IPv6 (RFC 8200 section 5).
const MIN_MTU_V4: u32 = 68;
const MIN_MTU_V6: u32 = 1_280;
/// Packets to ourselves that wait; further ones are dropped.
const LOOPBACK_QUEUE: usize = 4_096;
/// Identifications counted apart, by a secret hash of the hosts (RFC 7739 section 5.3).
const IDENTIFICATIONS: usize = 1_024;

/// What an error message, or a silent neighbour, says of a packet of ours.
#[derive(Debug)]
pub(crate) struct Report {
    /// The packet, from its IP header on, as much as there is.
    pub(crate) quoted: Vec<u8>,
    pub(crate) error: NetworkError,
}

/// The network layer.
#[derive(Debug)]
pub(crate) struct Ip {
    pub(crate) config: StackConfig,
    pub(crate) interfaces: Vec<Interface>,
    /// Packets to our own addresses, on their way back in.
    pub(crate) loopback: VecDeque<Frame>,
    routes: RouteTable,
    ways: Ways,
    pub(crate) path_mtus: PathMtus,
    pub(crate) reassembly: Reassembly,
    pub(crate) limits: IcmpLimits,
    /// Errors to be told to the sockets they concern.
    pub(crate) reports: VecDeque<Report>,
    pub(crate) stats: Stats,
    seed: Seed,
    identifications: Vec<u32>,
    identification_key: SecretKey,
    /// Makes the nonces of probes for duplicate addresses.
    pub(crate) nonce_key: SecretKey,
}

impl Ip {
    pub(crate) fn new(config: StackConfig, seed: &Seed) -> Self {
        let mut random = Random::new(seed, "identifications");
        Self {
            path_mtus: PathMtus::new(config.path_mtus, config.path_mtu_lifetime),
            reassembly: Reassembly::new(config.reassembly.clone()),
            limits: IcmpLimits::new(&config.icmp, seed),
            interfaces: Vec::new(),
            loopback: VecDeque::new(),
            routes: RouteTable::default(),
            ways: Ways::new(),
            reports: VecDeque::new(),
            stats: Stats::default(),
            seed: *seed,
            identifications: (0..IDENTIFICATIONS).map(|_| random.next_u32()).collect(),
            identification_key: SecretKey::derive(seed, "identification hosts"),
            nonce_key: SecretKey::derive(seed, "nonces of probes"),
            config,
        }
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.stats.drops.count(reason);
    }

    pub(crate) fn ip_stats(&mut self, v6: bool) -> &mut IpStats {
        if v6 {
            &mut self.stats.ipv6
        } else {
            &mut self.stats.ipv4
        }
    }

    pub(crate) fn icmp_stats(&mut self, v6: bool) -> &mut IcmpStats {
        if v6 {
            &mut self.stats.icmpv6
        } else {
            &mut self.stats.icmpv4
        }
    }

    /// Counters of all interfaces together.
    pub(crate) fn neighbour_stats(&self) -> NeighbourStats {
        let mut sum = NeighbourStats {
            conflicts: self.stats.neighbours.conflicts,
            ..NeighbourStats::default()
        };
        for interface in &self.interfaces {
            let stats = &interface.neighbours.stats;
            sum.entries += stats.entries;
            sum.allocs += stats.allocs;
            sum.destroys += stats.destroys;
            sum.res_failed += stats.res_failed;
            sum.unres_discards += stats.unres_discards;
            sum.table_fulls += stats.table_fulls;
            sum.solicits += stats.solicits;
        }
        sum
    }

    pub(crate) fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))
    }

    pub(crate) fn interface_mut(&mut self, id: InterfaceId) -> Option<&mut Interface> {
        self.interfaces.get_mut(usize::from(id.0))
    }

    /// The interface that has `address`, in whatever state.
    fn owner(&self, address: IpAddr) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.address(address).is_some())
    }

    /// Whether `address` is ours: of an interface and in use, or loopback.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback()
            || self
                .interfaces
                .iter()
                .any(|interface| interface.has(address))
    }

    pub(crate) fn add_interface(
        &mut self,
        now: Instant,
        config: &InterfaceConfig,
    ) -> Result<InterfaceId, ConfigError> {
        let capabilities = config.capabilities;
        let max = capabilities.mtu.min(MAX_MTU);
        let mtu = config.mtu.unwrap_or(max);
        if !(MIN_MTU_V4..=max).contains(&mtu) {
            return Err(ConfigError::Mtu {
                mtu,
                min: MIN_MTU_V4,
                max,
            });
        }
        let link_address = config.ethernet_address();
        if let Some(address) = link_address
            && !address.is_unicast()
        {
            return Err(ConfigError::LinkAddress(address));
        }
        for (at, cidr) in config.addresses.iter().enumerate() {
            check_mtu(mtu, *cidr)?;
            self.check_address(*cidr)?;
            let twice = config.addresses[..at]
                .iter()
                .any(|other| other.address() == cidr.address());
            if twice {
                return Err(ConfigError::AddressInUse(cidr.address()));
            }
        }
        self.ways.forget();
        let id = InterfaceId(self.interfaces.len() as u16);
        let random = |of: &str| Random::new(&self.seed, &format!("{of} of {id}"));
        self.interfaces.push(Interface {
            id,
            capabilities,
            link_address,
            mtu,
            addresses: Vec::new(),
            neighbours: NeighbourCache::new(
                self.config.neighbours.clone(),
                random("neighbours"),
                now,
            ),
            listener: Listener::new(random("groups")),
            output: VecDeque::new(),
        });
        if let Some(link) = link_address
            && self.config.link_local
            && mtu >= MIN_MTU_V6
        {
            let own = link_local(link);
            if !config.addresses.iter().any(|cidr| cidr.address() == own)
                && let Some(cidr) = IpCidr::new(own.into(), 64)
            {
                self.assign(now, id, cidr);
            }
        }
        for &cidr in &config.addresses {
            self.assign(now, id, cidr);
        }
        Ok(id)
    }

    /// Whether `cidr` can become an address of an interface.
    fn check_address(&self, cidr: IpCidr) -> Result<(), ConfigError> {
        let address = cidr.address();
        let whole_network = match cidr {
            IpCidr::V4(cidr) => {
                cidr.prefix_len() < 31
                    && (cidr.broadcast() == Some(cidr.address())
                        || cidr.network().address() == cidr.address())
            }
            IpCidr::V6(_) => false,
        };
        let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let reserved = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0);
        if !is_unicast(address) || address.is_loopback() || whole_network || mapped || reserved {
            return Err(ConfigError::AddressUnusable(cidr));
        }
        // A link-local address may be that of several interfaces, on different links.
        let scoped = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !scoped && self.owner(address).is_some() {
            return Err(ConfigError::AddressInUse(address));
        }
        Ok(())
    }

    pub(crate) fn add_address(
        &mut self,
        now: Instant,
        id: InterfaceId,
        cidr: IpCidr,
    ) -> Result<(), ConfigError> {
        let interface = self
            .interface(id)
            .ok_or(ConfigError::InterfaceUnknown(id))?;
        if interface.address(cidr.address()).is_some() {
            return Err(ConfigError::AddressInUse(cidr.address()));
        }
        check_mtu(interface.mtu, cidr)?;
        self.check_address(cidr)?;
        self.assign(now, id, cidr);
        Ok(())
    }

    /// Gives the interface an address that was checked, and the route to its network.
    fn assign(&mut self, now: Instant, id: InterfaceId, cidr: IpCidr) {
        self.ways.forget();
        let probes = self.config.dad_transmits;
        let Some(interface) = self.interface_mut(id) else {
            return;
        };
        let has_neighbours = interface.link_address.is_some();
        let (state, left) = match cidr {
            // Announced twice (RFC 5227 section 2.3), but used at once.
            IpCidr::V4(_) if has_neighbours => (AddressState::Preferred, 2),
            IpCidr::V6(_) if has_neighbours && probes > 0 => (AddressState::Tentative, probes),
            _ => (AddressState::Preferred, 0),
        };
        let next = (left > 0).then_some(now);
        if let IpCidr::V6(cidr) = cidr
            && has_neighbours
        {
            // At once: RFC 4862 section 5.4.2 has the first message of an interface wait for up
            // to a second, against machines that all start together.
            interface.listener.join(now, solicited_node(cidr.address()));
        }
        interface.addresses.push(InterfaceAddress {
            cidr,
            state,
            left,
            probes: 0,
            looped: false,
            next,
            defended: None,
        });
        let source = Some(cidr.address());
        let scoped = matches!(cidr.address(), IpAddr::V6(v6) if v6.is_unicast_link_local());
        self.routes.insert(Route {
            source: source.filter(|_| !scoped),
            ..Route::on_link(cidr, id)
        });
    }

    pub(crate) fn remove_address(
        &mut self,
        now: Instant,
        id: InterfaceId,
        address: IpAddr,
    ) -> Result<(), ConfigError> {
        let interface = self
            .interface_mut(id)
            .ok_or(ConfigError::InterfaceUnknown(id))?;
        let at = interface
            .addresses
            .iter()
            .position(|own| own.cidr.address() == address)
            .ok_or(ConfigError::AddressUnknown(address))?;
        let removed = interface.addresses.remove(at);
        if removed.state != AddressState::Duplicated
            && let IpAddr::V6(address) = address
        {
            interface.listener.leave(now, solicited_node(address));
        }
        let network = removed.cidr.network();
        let still_there = interface
            .addresses
            .iter()
            .any(|own| own.cidr.network() == network);
        self.remove_routes(|route| {
            route.interface == id
                && (route.source == Some(address) && route.gateway.is_some()
                    || !still_there && route.gateway.is_none() && route.destination == network)
        });
        Ok(())
    }

    pub(crate) fn add_route(&mut self, route: Route) -> Result<(), ConfigError> {
        let id = route.interface;
        let interface = self
            .interface(id)
            .ok_or(ConfigError::InterfaceUnknown(id))?;
        if let Some(gateway) = route.gateway {
            if gateway.is_ipv4() != route.destination.address().is_ipv4() {
                return Err(ConfigError::FamiliesDiffer {
                    destination: route.destination,
                    gateway,
                });
            }
            if !interface.on_link(gateway) || !is_unicast(gateway) {
                return Err(ConfigError::GatewayUnreachable { gateway });
            }
        }
        if let Some(source) = route.source
            && interface.address(source).is_none()
        {
            return Err(ConfigError::AddressUnknown(source));
        }
        self.routes.insert(route);
        self.ways.forget();
        Ok(())
    }

    pub(crate) fn remove_routes(&mut self, is: impl FnMut(&Route) -> bool) -> usize {
        self.ways.forget();
        self.routes.remove(is)
    }

    /// Every route, longest prefix first, IPv4 before IPv6.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// An address of ours came into use, or is not in use any more.
    pub(crate) fn addresses_changed(&mut self) {
        self.ways.forget();
    }

    /// Where packets to `destination` go, by `interface` if one is given.
    fn way(&mut self, destination: IpAddr, interface: Option<InterfaceId>) -> Option<Way> {
        if let Some(&way) = self.ways.get(destination, interface) {
            return Some(way);
        }
        let way = self.find_way(destination, interface)?;
        self.ways.remember(destination, interface, way);
        Some(way)
    }

    fn find_way(&self, destination: IpAddr, interface: Option<InterfaceId>) -> Option<Way> {
        if self.is_own(destination) {
            return Some(Way::Own);
        }
        let (id, next_hop, route) = self.next_hop(destination, interface)?;
        let out = self.interface(id)?;
        let group = match next_hop {
            IpAddr::V4(address) if address.is_broadcast() || out.is_broadcast(address) => {
                Some(EthernetAddress::BROADCAST)
            }
            IpAddr::V4(address) if address.is_multicast() => {
                Some(EthernetAddress::from_ipv4_multicast(address))
            }
            IpAddr::V6(address) if address.is_multicast() => {
                Some(EthernetAddress::from_ipv6_multicast(address))
            }
            _ => None,
        };
        Some(Way::Link(LinkWay {
            interface: id,
            next_hop,
            route_mtu: route.and_then(|route| route.mtu),
            group,
            neighbour: out.neighbours.id_of(next_hop),
        }))
    }

    /// The way to `destination`, by `interface` if one is given: the interface, the next
    /// hop, and the route if there is one.
    pub(crate) fn next_hop(
        &self,
        destination: IpAddr,
        interface: Option<InterfaceId>,
    ) -> Option<(InterfaceId, IpAddr, Option<&Route>)> {
        let group = match destination {
            IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_multicast(),
        };
        let scoped = crate::icmp::needs_interface(destination);
        let route = self.routes.get(destination, interface);
        if group || scoped {
            // On the link itself, whatever router the default route names.
            let by_route = route.map(|route| route.interface);
            let first = self.interfaces.first().map(|interface| interface.id);
            let id = interface.or(by_route).or(first.filter(|_| group))?;
            return Some((id, destination, None));
        }
        let route = route?;
        let next_hop = route.gateway.unwrap_or(destination);
        Some((route.interface, next_hop, Some(route)))
    }

    /// The largest packet for `destination`: of the link, the route and the path.
    pub(crate) fn path_mtu(
        &self,
        now: Instant,
        destination: IpAddr,
        interface: InterfaceId,
        route_mtu: Option<u32>,
    ) -> PathMtu {
        let link = match self.interface(interface) {
            Some(interface) => interface.mtu,
            None => MAX_MTU,
        };
        let link = link.min(route_mtu.unwrap_or(u32::MAX));
        match self.path_mtus.get(now, destination) {
            Some(path) if path.mtu < link || path.fragment_on_the_way => PathMtu {
                mtu: path.mtu.min(link),
                ..path
            },
            _ => PathMtu {
                mtu: link,
                fragment_on_the_way: false,
            },
        }
    }

    /// The source address for packets to `destination`, and the interface they leave by.
    pub(crate) fn source_for(
        &self,
        destination: IpAddr,
        interface: Option<InterfaceId>,
    ) -> Result<(IpAddr, InterfaceId), RouteError> {
        if self.is_own(destination) {
            return Ok((destination, LOOPBACK));
        }
        let (id, next_hop, route) = self
            .next_hop(destination, interface)
            .ok_or(RouteError::NoRoute)?;
        let wished = route.and_then(|route| route.source);
        let out = self.interface(id).ok_or(RouteError::NoRoute)?;
        let source = wished
            .filter(|&source| out.has(source))
            .or_else(|| out.source_for(next_hop, destination))
            .ok_or(RouteError::NoSource)?;
        Ok((source, id))
    }

    /// TCP got through to `remote` and back: so did the next hop on the way (RFC 4861
    /// section 7.3.1).
    pub(crate) fn confirm(&mut self, now: Instant, interface: InterfaceId, remote: IpAddr) {
        let Some(Way::Link(way)) = self.way(remote, Some(interface)) else {
            return;
        };
        if let Some(interface) = self.interface_mut(way.interface) {
            interface
                .neighbours
                .confirm(now, way.neighbour, way.next_hop);
        }
    }

    /// The next identification for fragments between two hosts.
    fn identification(&mut self, source: IpAddr, destination: IpAddr) -> u32 {
        let hash = self.identification_key.hash_hosts(source, destination);
        let count = &mut self.identifications[hash as usize % IDENTIFICATIONS];
        *count = count.wrapping_add(1);
        // What others see of a count is hidden by a part that is secret to the two hosts.
        count.wrapping_add((hash >> 32) as u32)
    }
}

/// Whether the MTU allows an address of that family.
fn check_mtu(mtu: u32, cidr: IpCidr) -> Result<(), ConfigError> {
    if mtu < MIN_MTU_V6 && matches!(cidr, IpCidr::V6(_)) {
        return Err(ConfigError::MtuBelowIpv6 { mtu, address: cidr });
    }
    Ok(())
}

impl Paths for Ip {
    fn path(
        &mut self,
        now: Instant,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Result<Path, RouteError> {
        if !is_unicast(remote) {
            return Err(RouteError::NotUnicast);
        }
        if let Some(local) = local
            && !self.is_own(local)
        {
            return Err(RouteError::SourceNotOurs);
        }
        if self.is_own(remote) {
            return Ok(Path {
                local: local.unwrap_or(remote),
                interface: LOOPBACK,
                mtu: MAX_MTU,
                initial_window: None,
                gso_max_size: MAX_MTU,
            });
        }
        // Where the address does not say by which interface, that of ours does.
        let scoped = matches!(remote, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let only = match local {
            Some(local) if scoped => self.owner(local).map(|interface| interface.id),
            _ => None,
        };
        let (id, next_hop, route) = self.next_hop(remote, only).ok_or(RouteError::NoRoute)?;
        let (route_mtu, initial_window, wished) = match route {
            Some(route) => (route.mtu, route.initial_window, route.source),
            None => (None, None, None),
        };
        let out = self.interface(id).ok_or(RouteError::NoRoute)?;
        if let IpAddr::V4(address) = remote
            && out.is_broadcast(address)
        {
            return Err(RouteError::NotUnicast);
        }
        let local = match local {
            Some(local) => local,
            None => wished
                .filter(|&source| out.has(source))
                .or_else(|| out.source_for(next_hop, remote))
                .ok_or(RouteError::NoSource)?,
        };
        let path = self.path_mtu(now, remote, id, route_mtu);
        let kinds = out.capabilities.gso;
        let takes_super_frames = if remote.is_ipv4() {
            kinds.tcp4
        } else {
            kinds.tcp6
        };
        let gso_max_size = if takes_super_frames {
            out.capabilities.gso_max_size.clamp(path.mtu, MAX_MTU)
        } else {
            path.mtu
        };
        Ok(Path {
            local,
            interface: id,
            mtu: path.mtu,
            initial_window,
            gso_max_size,
        })
    }
}
