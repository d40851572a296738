//! Which way a packet goes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use zcn_wire::{IpCidr, Ipv4Cidr, Ipv6Cidr};

use crate::id::InterfaceId;

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; `0.0.0.0/0` or `::/0` is the default route.
    pub destination: IpCidr,
    /// The router to hand packets to; `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Through which interface.
    pub interface: InterfaceId,
    /// Of two routes to the same network the one with the smaller metric is taken.
    pub metric: u32,
    /// Largest packet, where it is smaller than what the link takes.
    pub mtu: Option<u32>,
    /// TCP's initial congestion window, in segments.
    pub initial_window: Option<u32>,
    /// The source address of what leaves by it, where nothing else is asked for.
    pub source: Option<IpAddr>,
}

impl Route {
    /// A route to a network on the link of `interface`.
    pub fn on_link(destination: IpCidr, interface: InterfaceId) -> Self {
        Self {
            destination: destination.network(),
            gateway: None,
            interface,
            metric: 0,
            mtu: None,
            initial_window: None,
            source: None,
        }
    }

    /// The default route by `gateway`.
    pub fn default(gateway: IpAddr, interface: InterfaceId) -> Self {
        Self {
            gateway: Some(gateway),
            ..Self::on_link(every_address(gateway), interface)
        }
    }
}

/// The network of all addresses of the family of `address`.
fn every_address(address: IpAddr) -> IpCidr {
    match address {
        IpAddr::V4(_) => IpCidr::V4(const { Ipv4Cidr::new(Ipv4Addr::UNSPECIFIED, 0).unwrap() }),
        IpAddr::V6(_) => IpCidr::V6(const { Ipv6Cidr::new(Ipv6Addr::UNSPECIFIED, 0).unwrap() }),
    }
}

/// Routes by prefix length, longest first; inside one length by network.
type Family = BTreeMap<core::cmp::Reverse<u8>, BTreeMap<IpAddr, Vec<Route>>>;

/// The routing table: longest prefix first, then smallest metric, then first come.
///
/// A lookup costs one search for each prefix length in use.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    v4: Family,
    v6: Family,
    len: usize,
}

impl RouteTable {
    fn family(&self, address: IpAddr) -> &Family {
        match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        }
    }

    fn family_mut(&mut self, address: IpAddr) -> &mut Family {
        match address {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }

    /// Adds a route, in the place of one with the same destination, gateway, interface
    /// and metric.
    pub(crate) fn insert(&mut self, mut route: Route) {
        route.destination = route.destination.network();
        let network = route.destination.address();
        let routes = self
            .family_mut(network)
            .entry(core::cmp::Reverse(route.destination.prefix_len()))
            .or_default()
            .entry(network)
            .or_default();
        if let Some(old) = routes.iter_mut().find(|old| same_way(old, &route)) {
            *old = route;
            return;
        }
        let at = routes.partition_point(|other| other.metric <= route.metric);
        routes.insert(at, route);
        self.len += 1;
    }

    /// Takes out the routes for which `is` answers yes, and tells how many there were.
    pub(crate) fn remove(&mut self, mut is: impl FnMut(&Route) -> bool) -> usize {
        let mut removed = 0;
        for family in [&mut self.v4, &mut self.v6] {
            family.retain(|_, networks| {
                networks.retain(|_, routes| {
                    let before = routes.len();
                    routes.retain(|route| !is(route));
                    removed += before - routes.len();
                    !routes.is_empty()
                });
                !networks.is_empty()
            });
        }
        self.len -= removed;
        removed
    }

    /// The way to `destination`; only by `interface`, if one is given.
    pub(crate) fn get(
        &self,
        destination: IpAddr,
        interface: Option<InterfaceId>,
    ) -> Option<&Route> {
        self.family(destination)
            .iter()
            .find_map(|(&core::cmp::Reverse(prefix_len), networks)| {
                let network = IpCidr::new(destination, prefix_len)?.network().address();
                networks
                    .get(&network)?
                    .iter()
                    .find(|route| interface.is_none_or(|interface| route.interface == interface))
            })
    }

    /// Every route, in the order of lookup, IPv4 first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        [&self.v4, &self.v6]
            .into_iter()
            .flat_map(|family| family.values().flat_map(BTreeMap::values).flatten())
    }
}

fn same_way(a: &Route, b: &Route) -> bool {
    a.gateway == b.gateway && a.interface == b.interface && a.metric == b.metric
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(destination: &str, interface: u16, metric: u32) -> Route {
        Route {
            metric,
            ..Route::on_link(destination.parse().unwrap(), InterfaceId(interface))
        }
    }

    fn way(table: &RouteTable, to: &str) -> Option<u16> {
        let route = table.get(to.parse().unwrap(), None)?;
        Some(route.interface.0)
    }

    #[test]
    fn the_longest_prefix_wins_then_the_smallest_metric_then_the_first() {
        let mut table = RouteTable::default();
        assert_eq!(way(&table, "10.0.0.1"), None);
        table.insert(route("0.0.0.0/0", 0, 0));
        table.insert(route("10.0.0.0/8", 1, 50));
        table.insert(route("10.1.0.0/16", 2, 900));
        table.insert(route("10.0.0.0/8", 3, 10));
        table.insert(route("10.0.0.0/8", 4, 10));
        table.insert(route("::/0", 5, 0));
        for (to, interface) in [
            ("192.0.2.1", 0),
            ("10.2.0.1", 3),
            ("10.1.2.3", 2),
            ("fd00::1", 5),
        ] {
            assert_eq!(way(&table, to), Some(interface), "{to}");
        }
        let only = table.get([10, 1, 2, 3].into(), Some(InterfaceId(1)));
        assert_eq!(only.unwrap().interface, InterfaceId(1));
        assert_eq!(table.remove(|route| route.interface == InterfaceId(3)), 1);
        assert_eq!(way(&table, "10.2.0.1"), Some(4));
        assert_eq!(table.iter().count(), 5);
    }

    #[test]
    fn the_same_route_again_replaces_it() {
        let mut table = RouteTable::default();
        table.insert(route("10.0.0.0/8", 1, 5));
        table.insert(Route {
            mtu: Some(1_400),
            ..route("10.9.9.9/8", 1, 5)
        });
        assert_eq!(table.iter().count(), 1);
        assert_eq!(
            table.get([10, 0, 0, 1].into(), None).unwrap().mtu,
            Some(1_400)
        );
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_of_all_routes(
            routes in prop::collection::vec((any::<u32>(), 0..=32_u8, 0..3_u32), 0..40),
            targets in prop::collection::vec(any::<u32>(), 1..20),
        ) {
            let mut table = RouteTable::default();
            let mut list = Vec::<Route>::new();
            for (index, &(network, prefix_len, metric)) in routes.iter().enumerate() {
                // Few distinct networks, so that routes meet.
                let network = IpAddr::V4((network & 0xc000_0001).into());
                let route = Route {
                    metric,
                    ..Route::on_link(IpCidr::new(network, prefix_len).unwrap(), InterfaceId(index as u16))
                };
                table.insert(route);
                list.push(route);
            }
            for target in targets {
                let target = IpAddr::V4((target & 0xc000_0003).into());
                let best = list
                    .iter()
                    .filter(|route| route.destination.contains(target))
                    .min_by_key(|route| (core::cmp::Reverse(route.destination.prefix_len()), route.metric));
                prop_assert_eq!(table.get(target, None), best);
            }
        }
    }
}
