//! Errors that more than one protocol reports.

/// What the network said of packets we sent: ICMP, or a neighbour that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No way to the network (ENETUNREACH).
    #[error("network unreachable")]
    NetworkUnreachable,
    /// No way to the host, or it does not answer on its link (EHOSTUNREACH).
    #[error("no route to host")]
    HostUnreachable,
    /// Nobody listens at the port (ECONNREFUSED).
    #[error("connection refused")]
    PortUnreachable,
    /// The host does not speak the protocol (ENOPROTOOPT).
    #[error("protocol not available")]
    ProtocolUnreachable,
    /// A filter on the way said no (EACCES for IPv6, EHOSTUNREACH for IPv4).
    #[error("administratively prohibited")]
    Prohibited,
    /// Larger than the path takes (EMSGSIZE).
    #[error("message too long: the path takes packets of {mtu} bytes")]
    TooBig {
        /// Largest packet, headers of IP included.
        mtu: u32,
    },
    /// Too many hops, or a fragment that did not arrive (EHOSTUNREACH).
    #[error("time exceeded on the way")]
    TimeExceeded,
    /// A router or the host did not understand the header (EPROTO).
    #[error("protocol error")]
    ParameterProblem,
}

impl NetworkError {
    /// The error number that Linux gives for it.
    pub const fn errno(self) -> i32 {
        match self {
            Self::NetworkUnreachable => 101,
            Self::HostUnreachable | Self::TimeExceeded => 113,
            Self::PortUnreachable => 111,
            Self::ProtocolUnreachable => 92,
            Self::Prohibited => 13,
            Self::TooBig { .. } => 90,
            Self::ParameterProblem => 71,
        }
    }
}

/// No way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// No route covers it (ENETUNREACH).
    #[error(
        "network unreachable: no route covers the address; add one, or an interface of its network"
    )]
    NoRoute,
    /// The interface has no address of that family and scope that could be the source
    /// (EADDRNOTAVAIL).
    #[error(
        "no source address: the interface has none of that family (or it is still being checked for duplicates)"
    )]
    NoSource,
    /// The wished source address is not ours (EADDRNOTAVAIL).
    #[error("the source address is not one of this stack's")]
    SourceNotOurs,
    /// Not an address that one host has: unspecified, multicast or broadcast (EINVAL).
    #[error("not the address of one host")]
    NotUnicast,
}
