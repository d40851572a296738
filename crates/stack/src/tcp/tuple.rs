//! The two ends of a connection.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::id::InterfaceId;

/// Both ends of a connection in 38 bytes: IPv4 addresses are kept as mapped ones
/// (RFC 4291 section 2.5.5.2), which never appear on the wire themselves.
#[derive(Clone, Copy, Debug, Eq)]
pub(crate) struct Tuple {
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    /// Tells link-local addresses apart; 0 for all others.
    scope: u16,
}

/// As derived, but by words: the compiler makes a call of each comparison of bytes.
impl PartialEq for Tuple {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let word = u128::from_ne_bytes;
        word(self.remote) == word(other.remote)
            && self.remote_port == other.remote_port
            && self.local_port == other.local_port
            && word(self.local) == word(other.local)
            && self.scope == other.scope
    }
}

/// The 96 bits in front of an IPv4 address that is mapped (RFC 4291 section 2.5.5.2).
const MAPPED: u128 = 0xffff;

#[inline]
fn pack(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => (MAPPED << 32 | u128::from(address.to_bits())).to_be_bytes(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl Tuple {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let scope = match remote {
            SocketAddr::V6(remote) => InterfaceId::from_scope_id(remote.scope_id()),
            SocketAddr::V4(_) => None,
        };
        Self {
            local: pack(local.ip()),
            remote: pack(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
            scope: scope.map_or(0, |interface| interface.0 + 1),
        }
    }

    /// The ends of a connection over IPv4, as [`new`](Self::new) packs them.
    #[inline]
    pub(crate) fn v4(local: SocketAddrV4, remote: SocketAddrV4) -> Self {
        Self {
            local: pack(IpAddr::V4(*local.ip())),
            remote: pack(IpAddr::V4(*remote.ip())),
            local_port: local.port(),
            remote_port: remote.port(),
            scope: 0,
        }
    }

    /// Both ends, ours first, of a connection over IPv4.
    #[inline]
    pub(crate) fn as_v4(&self) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let (local, remote) = (
            u128::from_be_bytes(self.local),
            u128::from_be_bytes(self.remote),
        );
        let address = |bits: u128, port| SocketAddrV4::new(Ipv4Addr::from_bits(bits as u32), port);
        (remote >> 32 == MAPPED && local >> 32 == MAPPED).then(|| {
            (
                address(local, self.local_port),
                address(remote, self.remote_port),
            )
        })
    }

    #[inline]
    fn unpack(&self, address: [u8; 16], port: u16) -> SocketAddr {
        let bits = u128::from_be_bytes(address);
        if bits >> 32 == MAPPED {
            let address = Ipv4Addr::from_bits(bits as u32);
            return SocketAddr::V4(SocketAddrV4::new(address, port));
        }
        let address = Ipv6Addr::from_bits(bits);
        SocketAddr::V6(SocketAddrV6::new(address, port, 0, u32::from(self.scope)))
    }

    #[inline]
    pub(crate) fn local(&self) -> SocketAddr {
        self.unpack(self.local, self.local_port)
    }

    #[inline]
    pub(crate) fn remote(&self) -> SocketAddr {
        self.unpack(self.remote, self.remote_port)
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        u128::from_be_bytes(self.remote) >> 32 != MAPPED
    }

    /// Bytes of the IP and TCP headers without options: what an MTU loses at least.
    pub(crate) fn header_bytes(&self) -> u32 {
        if self.is_ipv6() { 60 } else { 40 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back() {
        for (local, remote) in [
            ("10.0.0.1:80", "10.0.0.2:4000"),
            ("[2001:db8::1]:80", "[2001:db8::2]:4000"),
            ("[fe80::1%3]:80", "[fe80::2%3]:4000"),
        ] {
            let (local, remote): (SocketAddr, SocketAddr) =
                (local.parse().unwrap(), remote.parse().unwrap());
            let tuple = Tuple::new(local, remote);
            assert_eq!((tuple.local(), tuple.remote()), (local, remote));
            assert_eq!(tuple.is_ipv6(), remote.is_ipv6());
            match (local, remote) {
                (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
                    assert_eq!(Tuple::v4(local, remote), tuple);
                    assert_eq!(tuple.as_v4(), Some((local, remote)));
                }
                _ => assert_eq!(tuple.as_v4(), None),
            }
        }
        assert!(size_of::<Tuple>() <= 38);
    }
}
