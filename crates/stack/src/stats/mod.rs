//! Counters, in the names of the SNMP MIBs, and one for each reason to drop something.

mod drops;
mod mib;

pub use drops::{DropReason, Drops};
pub use mib::{IcmpStats, IpStats, NeighbourStats, TcpStats, UdpStats};

/// Everything a stack counts, as it was when asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// IPv4 (RFC 4293, `ipSystemStats` of version 4).
    pub ipv4: IpStats,
    /// IPv6 (RFC 4293, `ipSystemStats` of version 6).
    pub ipv6: IpStats,
    /// ICMP for IPv4 (RFC 4293, `icmpStats` of version 4, and the message types).
    pub icmpv4: IcmpStats,
    /// ICMP for IPv6.
    pub icmpv6: IcmpStats,
    /// UDP (RFC 4113).
    pub udp: UdpStats,
    /// TCP (RFC 4022, and what Linux adds).
    pub tcp: TcpStats,
    /// Neighbour caches of all interfaces, ARP and NDP.
    pub neighbours: NeighbourStats,
    /// What was dropped, by reason.
    pub drops: Drops,
}

impl Stats {
    /// Every counter with its name, zero or not, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> {
        let named = |prefix: &'static str, counters: Vec<(&'static str, u64)>| {
            counters
                .into_iter()
                .map(move |(name, count)| (format!("{prefix}{name}"), count))
        };
        named("ipv4.", self.ipv4.iter().collect())
            .chain(named("ipv6.", self.ipv6.iter().collect()))
            .chain(named("icmpv4.", self.icmpv4.iter().collect()))
            .chain(named("icmpv6.", self.icmpv6.iter().collect()))
            .chain(named("", self.udp.iter().collect()))
            .chain(named("", self.tcp.iter().collect()))
            .chain(named("", self.neighbours.iter().collect()))
            .chain(named(
                "drop.",
                self.drops
                    .iter()
                    .map(|(reason, count)| (reason.name(), count))
                    .collect(),
            ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_name() {
        let mut stats = Stats::default();
        stats.tcp.active_opens += 3;
        stats.drops.count(DropReason::Ipv4Checksum);
        let counters: Vec<_> = stats.iter().collect();
        let names: std::collections::BTreeSet<_> = counters.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), counters.len());
        let value = |name: &str| counters.iter().find(|(n, _)| n == name).map(|&(_, v)| v);
        assert_eq!(value("tcpActiveOpens"), Some(3));
        assert_eq!(value("drop.ipv4-checksum"), Some(1));
        assert_eq!(value("ipv6.ipSystemStatsInReceives"), Some(0));
    }
}
