//! Numbers that both versions of IP share: protocols and the traffic class.

use std::fmt;

/// The protocol number of an IP payload (IANA, "Assigned Internet Protocol Numbers"), in IPv6
/// also the number of an extension header.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// IGMP.
    pub const IGMP: Self = Self(2);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// Encapsulating security payload.
    pub const ESP: Self = Self(50);
    /// Authentication header.
    pub const AH: Self = Self(51);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// IPv6: no next header.
    pub const NO_NEXT_HEADER: Self = Self(59);
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: Self = Self(60);

    /// Whether this is an IPv6 extension header that [`ipv6::Chain`](crate::ipv6::Chain) walks.
    #[must_use]
    pub const fn is_extension_header(self) -> bool {
        matches!(
            self,
            Self::HOP_BY_HOP | Self::ROUTING | Self::FRAGMENT | Self::DESTINATION_OPTIONS
        )
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HOP_BY_HOP => f.write_str("hop-by-hop options"),
            Self::ICMP => f.write_str("ICMP"),
            Self::IGMP => f.write_str("IGMP"),
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::ROUTING => f.write_str("routing header"),
            Self::FRAGMENT => f.write_str("fragment header"),
            Self::ESP => f.write_str("ESP"),
            Self::AH => f.write_str("AH"),
            Self::ICMPV6 => f.write_str("ICMPv6"),
            Self::NO_NEXT_HEADER => f.write_str("no next header"),
            Self::DESTINATION_OPTIONS => f.write_str("destination options"),
            Self(number) => write!(f, "protocol {number}"),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The ECN field (RFC 3168, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not do ECN.
    #[default]
    NotEct = 0b00,
    /// ECN-capable, codepoint 1 (L4S, RFC 9331).
    Ect1 = 0b01,
    /// ECN-capable, codepoint 0.
    Ect0 = 0b10,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// The two low bits of `bits`.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The field as its two bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// The byte that IPv4 once called type of service and IPv6 calls traffic class: DSCP
/// (RFC 2474) above, ECN (RFC 3168) in the two low bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrafficClass(pub u8);

impl TrafficClass {
    /// From a DSCP (its six low bits count) and the ECN field.
    #[must_use]
    pub const fn new(dscp: u8, ecn: Ecn) -> Self {
        Self((dscp << 2) | ecn.bits())
    }

    /// The DSCP, 0 to 63.
    #[must_use]
    pub const fn dscp(self) -> u8 {
        self.0 >> 2
    }

    /// The ECN field.
    #[must_use]
    pub const fn ecn(self) -> Ecn {
        Ecn::from_bits(self.0)
    }

    /// The same DSCP with another ECN field.
    #[must_use]
    pub const fn with_ecn(self, ecn: Ecn) -> Self {
        Self((self.0 & !0b11) | ecn.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traffic_class_is_dscp_and_ecn() {
        for byte in 0..=255 {
            let class = TrafficClass(byte);
            assert_eq!(TrafficClass::new(class.dscp(), class.ecn()), class);
        }
        let class = TrafficClass::new(46, Ecn::Ect0);
        assert_eq!(class, TrafficClass(0xba));
        assert_eq!(class.with_ecn(Ecn::Ce), TrafficClass(0xbb));
    }

    #[test]
    fn protocols_have_names() {
        assert_eq!(Protocol::TCP.to_string(), "TCP");
        assert_eq!(format!("{:?}", Protocol(200)), "protocol 200");
        assert!(Protocol::FRAGMENT.is_extension_header());
        assert!(!Protocol::TCP.is_extension_header());
    }
}
