//! Settings of a stack and of its interfaces.

use core::net::IpAddr;
use core::time::Duration;

use zcn_frame::{Capabilities, Medium};
use zcn_wire::{EthernetAddress, IpCidr, OptionLayout};

use crate::neighbour::NeighbourConfig;
use crate::reassembly::ReassemblyConfig;
use crate::tcp::TcpConfig;
use crate::udp::UdpConfig;

/// Settings of a stack. Every default can stand; change fields of
/// [`StackConfig::default`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StackConfig {
    /// Hop limit of what we send (RFC 1700: 64).
    pub hop_limit: u8,
    /// Neighbour caches.
    pub neighbours: NeighbourConfig,
    /// Reassembly of fragments.
    pub reassembly: ReassemblyConfig,
    /// What ICMP says, and how often.
    pub icmp: IcmpConfig,
    /// UDP sockets.
    pub udp: UdpConfig,
    /// TCP.
    pub tcp: TcpConfig,
    /// In which order TCP's options stand in a header; peers do not mind.
    pub option_layout: OptionLayout,
    /// Destinations whose path MTU is remembered.
    pub path_mtus: usize,
    /// How long a path MTU is believed (RFC 8201 section 4).
    pub path_mtu_lifetime: Duration,
    /// Probes for a duplicate before an IPv6 address is used (RFC 4862); 0: none.
    pub dad_transmits: u8,
    /// Whether an Ethernet interface gets a link-local IPv6 address of its own.
    pub link_local: bool,
    /// Frames that wait for one interface to take them; further ones are dropped.
    pub output_queue: usize,
    /// Whether received segments of one flow are put together (GRO).
    pub coalesce: bool,
    /// Whether segments of open connections that are as expected take a shorter way through the
    /// stack, in and out. What comes of it is the same; tests switch it off to see that.
    pub header_prediction: bool,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            hop_limit: 64,
            neighbours: NeighbourConfig::default(),
            reassembly: ReassemblyConfig::default(),
            icmp: IcmpConfig::default(),
            udp: UdpConfig::default(),
            tcp: TcpConfig::default(),
            option_layout: OptionLayout::Linux,
            path_mtus: 4_096,
            path_mtu_lifetime: Duration::from_secs(600),
            dad_transmits: 1,
            link_local: true,
            output_queue: 1_024,
            coalesce: true,
            header_prediction: true,
        }
    }
}

/// What ICMP says, and how often.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IcmpConfig {
    /// Errors in a second, to all hosts together (RFC 4443 section 2.4 f).
    pub errors: u32,
    /// As many at once.
    pub errors_burst: u32,
    /// Errors in a second to one host.
    pub errors_per_host: u32,
    /// As many at once to one host.
    pub errors_per_host_burst: u32,
    /// Whether echo requests are answered.
    pub echo: bool,
    /// Echo replies in a second.
    pub echo_replies: u32,
    /// As many at once.
    pub echo_replies_burst: u32,
}

impl Default for IcmpConfig {
    fn default() -> Self {
        Self {
            errors: 1_000,
            errors_burst: 50,
            errors_per_host: 1,
            errors_per_host_burst: 6,
            echo: true,
            echo_replies: 100_000,
            echo_replies_burst: 10_000,
        }
    }
}

/// An interface to be added to a stack.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// What the driver says of its link.
    pub capabilities: Capabilities,
    /// The link address, if it is not to be the one that the driver proposes. A stack
    /// beside the kernel wants one of its own, as the kernel answers for its addresses.
    pub link_address: Option<EthernetAddress>,
    /// Largest IP packet, if it is to be smaller than what the link takes.
    pub mtu: Option<u32>,
    /// Addresses with their networks; routes to the networks come with them.
    pub addresses: Vec<IpCidr>,
}

impl InterfaceConfig {
    /// An interface on a driver with these capabilities, and these addresses.
    pub fn new(capabilities: Capabilities, addresses: &[IpCidr]) -> Self {
        Self {
            capabilities,
            link_address: None,
            mtu: None,
            addresses: addresses.to_vec(),
        }
    }

    /// The link address that the interface will have; `None` where there are none.
    pub(crate) fn ethernet_address(&self) -> Option<EthernetAddress> {
        match self.capabilities.medium {
            Medium::Ethernet { address } => {
                Some(self.link_address.unwrap_or(EthernetAddress(address)))
            }
            Medium::Ip => None,
        }
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Another interface, or this one, has the address.
    #[error("{0} is assigned already; every address belongs to one interface")]
    AddressInUse(IpAddr),
    /// No host can have the address.
    #[error(
        "{0} cannot be the address of a host: it is unspecified, loopback, multicast or names the whole network"
    )]
    AddressUnusable(IpCidr),
    /// There is no such address.
    #[error("{0} is not assigned to the interface")]
    AddressUnknown(IpAddr),
    /// There is no such interface.
    #[error("there is no interface {0}")]
    InterfaceUnknown(crate::id::InterfaceId),
    /// The MTU is not possible.
    #[error("an MTU of {mtu} is not possible here; choose {min} to {max}")]
    Mtu {
        /// What was asked for.
        mtu: u32,
        /// Smallest: 68 for IPv4 (RFC 791).
        min: u32,
        /// Largest that the link takes.
        max: u32,
    },
    /// The MTU is too small for the family of an address.
    #[error(
        "an MTU of {mtu} is too small for {address}: IPv6 needs 1280 (RFC 8200); raise the MTU of the link, or leave IPv6 out"
    )]
    MtuBelowIpv6 {
        /// The MTU.
        mtu: u32,
        /// The address.
        address: IpCidr,
    },
    /// The link address is a group, or all zeros.
    #[error("{0} cannot be the address of a station: choose one like 02:00:00:00:00:01")]
    LinkAddress(EthernetAddress),
    /// Packets to the gateway would not reach it.
    #[error(
        "the gateway {gateway} is not on a network of the interface; add an address of its network first"
    )]
    GatewayUnreachable {
        /// The gateway.
        gateway: IpAddr,
    },
    /// Destination and gateway are of different families.
    #[error("destination {destination} and gateway {gateway} are not of the same family")]
    FamiliesDiffer {
        /// The destination.
        destination: IpCidr,
        /// The gateway.
        gateway: IpAddr,
    },
}
