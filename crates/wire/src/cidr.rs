//! An address with the length of its network's prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The text is no address, or its prefix is longer than the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CidrError {
    /// What stands before the `/` is no address of the family.
    Address,
    /// What stands behind the `/` is no number, or more than 32 or 128.
    Prefix,
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => {
                "expected an address and prefix length like 192.0.2.1/24 or fd00::1/64"
            }
            Self::Prefix => "the prefix length must be 0 to 32 for IPv4, 0 to 128 for IPv6",
        })
    }
}

impl std::error::Error for CidrError {}

macro_rules! cidr {
    ($(#[$doc:meta])* $name:ident, $address:ty, $bits:ty, $width:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            address: $address,
            prefix_len: u8,
        }

        impl $name {
            /// An address and the length of its prefix in bits; `None` if that is longer than
            /// the address. Host bits of the address are kept.
            #[must_use]
            pub const fn new(address: $address, prefix_len: u8) -> Option<Self> {
                if prefix_len > $width {
                    None
                } else {
                    Some(Self { address, prefix_len })
                }
            }

            /// The address, host bits included.
            #[must_use]
            pub const fn address(self) -> $address {
                self.address
            }

            /// The length of the prefix in bits.
            #[must_use]
            pub const fn prefix_len(self) -> u8 {
                self.prefix_len
            }

            /// Ones where the prefix is, zeros where the host is.
            #[must_use]
            pub const fn netmask(self) -> $address {
                <$address>::from_bits(self.mask())
            }

            /// The network: the same prefix, host bits zero.
            #[must_use]
            pub const fn network(self) -> Self {
                let bits = self.address.to_bits() & self.mask();
                Self { address: <$address>::from_bits(bits), prefix_len: self.prefix_len }
            }

            /// Whether `address` has the same prefix.
            #[inline]
            #[must_use]
            pub const fn contains(self, address: $address) -> bool {
                (self.address.to_bits() ^ address.to_bits()) & self.mask() == 0
            }

            /// Whether every address of `other` has the same prefix as this one.
            #[must_use]
            pub const fn contains_network(self, other: Self) -> bool {
                self.prefix_len <= other.prefix_len && self.contains(other.address)
            }

            const fn mask(self) -> $bits {
                match <$bits>::MAX.checked_shl($width - self.prefix_len as u32) {
                    Some(mask) => mask,
                    None => 0,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address, self.prefix_len)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = CidrError;

            /// `ADDRESS/PREFIX`; without a prefix the address stands alone.
            fn from_str(text: &str) -> Result<Self, CidrError> {
                let (address, prefix_len) = match text.split_once('/') {
                    Some((address, prefix)) => (address, parse_prefix(prefix)?),
                    None => (text, $width),
                };
                let address = address.parse().map_err(|_| CidrError::Address)?;
                Self::new(address, prefix_len).ok_or(CidrError::Prefix)
            }
        }
    };
}

cidr! {
    /// An IPv4 address with the length of its network's prefix.
    Ipv4Cidr, Ipv4Addr, u32, 32
}

cidr! {
    /// An IPv6 address with the length of its network's prefix.
    Ipv6Cidr, Ipv6Addr, u128, 128
}

/// Digits only, so that `+8` is refused.
fn parse_prefix(text: &str) -> Result<u8, CidrError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| CidrError::Prefix)
    } else {
        Err(CidrError::Prefix)
    }
}

impl Ipv4Cidr {
    /// The address that names every host of the network; `None` for /31 (RFC 3021) and /32,
    /// which have none.
    #[must_use]
    pub const fn broadcast(self) -> Option<Ipv4Addr> {
        if self.prefix_len >= 31 {
            return None;
        }
        Some(Ipv4Addr::from_bits(self.address.to_bits() | !self.mask()))
    }
}

/// An address of either family with the length of its network's prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpCidr {
    /// IPv4.
    V4(Ipv4Cidr),
    /// IPv6.
    V6(Ipv6Cidr),
}

impl IpCidr {
    /// An address and the length of its prefix in bits; `None` if that is longer than the
    /// address.
    #[must_use]
    pub const fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) => match Ipv4Cidr::new(address, prefix_len) {
                Some(cidr) => Some(Self::V4(cidr)),
                None => None,
            },
            IpAddr::V6(address) => match Ipv6Cidr::new(address, prefix_len) {
                Some(cidr) => Some(Self::V6(cidr)),
                None => None,
            },
        }
    }

    /// The address, host bits included.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        match self {
            Self::V4(cidr) => IpAddr::V4(cidr.address()),
            Self::V6(cidr) => IpAddr::V6(cidr.address()),
        }
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        match self {
            Self::V4(cidr) => cidr.prefix_len(),
            Self::V6(cidr) => cidr.prefix_len(),
        }
    }

    /// The network: the same prefix, host bits zero.
    #[must_use]
    pub const fn network(self) -> Self {
        match self {
            Self::V4(cidr) => Self::V4(cidr.network()),
            Self::V6(cidr) => Self::V6(cidr.network()),
        }
    }

    /// Whether `address` is of the same family and has the same prefix.
    #[must_use]
    pub const fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(cidr), IpAddr::V4(address)) => cidr.contains(address),
            (Self::V6(cidr), IpAddr::V6(address)) => cidr.contains(address),
            _ => false,
        }
    }
}

impl From<Ipv4Cidr> for IpCidr {
    fn from(cidr: Ipv4Cidr) -> Self {
        Self::V4(cidr)
    }
}

impl From<Ipv6Cidr> for IpCidr {
    fn from(cidr: Ipv6Cidr) -> Self {
        Self::V6(cidr)
    }
}

impl fmt::Display for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(cidr) => fmt::Display::fmt(cidr, f),
            Self::V6(cidr) => fmt::Display::fmt(cidr, f),
        }
    }
}

impl fmt::Debug for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IpCidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        if text.contains(':') {
            text.parse().map(Self::V6)
        } else {
            text.parse().map(Self::V4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> IpCidr {
        text.parse().expect("an address with prefix")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_contain_their_addresses() {
        let net = cidr("192.0.2.77/26");
        assert_eq!(net.network(), cidr("192.0.2.64/26"));
        assert!(net.contains(ip("192.0.2.127")) && !net.contains(ip("192.0.2.128")));
        assert!(!net.contains(ip("::ffff:192.0.2.77")));
        assert!(cidr("0.0.0.0/0").contains(ip("255.255.255.255")));
        let six = cidr("2001:db8::1/64");
        assert_eq!(six.network(), cidr("2001:db8::/64"));
        assert!(six.contains(ip("2001:db8::ffff")) && !six.contains(ip("2001:db8:0:1::")));
        assert!(cidr("::/0").contains(ip("ff02::1")));
        assert!(!cidr("::1").contains(ip("::2")));
    }

    #[test]
    fn masks_and_broadcast_addresses() {
        let net: Ipv4Cidr = "10.1.2.3/8".parse().expect("an address with prefix");
        assert_eq!(net.netmask(), Ipv4Addr::new(255, 0, 0, 0));
        assert_eq!(net.broadcast(), Some(Ipv4Addr::new(10, 255, 255, 255)));
        let part = Ipv4Cidr::new(Ipv4Addr::new(10, 9, 0, 0), 16).expect("16 is below 32");
        assert!(net.contains_network(part) && !part.contains_network(net));
        let pair = Ipv4Cidr::new(Ipv4Addr::new(10, 0, 0, 1), 31).expect("31 is below 32");
        assert_eq!(pair.broadcast(), None);
    }

    #[test]
    fn texts_are_checked() {
        for text in ["192.0.2.1/24", "fd00::1/128", "0.0.0.0/0"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        for text in [
            "192.0.2.1/33",
            "192.0.2.1/",
            "192.0.2.1/+8",
            "::/129",
            "::/256",
            "::/x",
        ] {
            assert_eq!(text.parse::<IpCidr>(), Err(CidrError::Prefix), "{text}");
        }
        for text in ["", "192.0.2/24", "host/24", "::g/3"] {
            assert_eq!(text.parse::<IpCidr>(), Err(CidrError::Address), "{text}");
        }
        assert_eq!(IpCidr::new(ip("192.0.2.1"), 33), None);
    }
}
