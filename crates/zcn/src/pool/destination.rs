//! Where pooled connections lead.

use std::fmt;
use std::net::SocketAddr;

/// What a connection of a [`ConnectionPool`](crate::ConnectionPool) leads to: connections to equal
/// destinations stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Destination {
    /// An address.
    Address(SocketAddr),
    /// `host:port`, looked up anew for each connect.
    Host(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl From<&str> for Destination {
    /// Text that is an address and port becomes [`Destination::Address`].
    fn from(host: &str) -> Self {
        match host.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Host(host.to_ascii_lowercase()),
        }
    }
}

impl From<String> for Destination {
    fn from(host: String) -> Self {
        Self::from(host.as_str())
    }
}

impl From<&Self> for Destination {
    fn from(destination: &Self) -> Self {
        destination.clone()
    }
}
