//! Ethernet II with at most one 802.1Q tag.

use std::fmt;
use std::str::FromStr;

use crate::bytes::{array, be16, put};
use crate::error::{EmitError, ParseError};

/// A 48-bit link address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EthernetAddress(pub [u8; 6]);

impl EthernetAddress {
    /// Everyone on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address.
    pub const UNSPECIFIED: Self = Self([0; 6]);

    /// Whether this is the broadcast address.
    #[inline]
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether this names a group: multicast or broadcast.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this names one station: neither a group nor all zeros.
    #[inline]
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::UNSPECIFIED
    }

    /// Whether the address was chosen by an administrator, not a vendor.
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// The group address of an IPv4 multicast group (RFC 1112, section 6.4).
    #[must_use]
    pub const fn from_ipv4_multicast(group: std::net::Ipv4Addr) -> Self {
        let group = group.octets();
        Self([0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]])
    }

    /// The group address of an IPv6 multicast group (RFC 2464, section 7).
    #[must_use]
    pub const fn from_ipv6_multicast(group: std::net::Ipv6Addr) -> Self {
        let group = group.octets();
        Self([0x33, 0x33, group[12], group[13], group[14], group[15]])
    }
}

impl fmt::Display for EthernetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for EthernetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six two-digit hexadecimal numbers joined by `:` or by `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetAddressError;

impl fmt::Display for EthernetAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an Ethernet address is written like 02:00:00:00:00:01")
    }
}

impl std::error::Error for EthernetAddressError {}

impl FromStr for EthernetAddress {
    type Err = EthernetAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        let mut address = [0; 6];
        for octet in &mut address {
            let part = parts.next().ok_or(EthernetAddressError)?;
            // from_str_radix would take a sign.
            if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(EthernetAddressError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| EthernetAddressError)?;
        }
        match parts.next() {
            None => Ok(Self(address)),
            Some(_) => Err(EthernetAddressError),
        }
    }
}

/// What an Ethernet frame carries (IEEE 802 numbers).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// An 802.1Q tag follows.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// An 802.1ad service tag follows.
    pub const SERVICE_VLAN: Self = Self(0x88a8);

    /// Whether the field is an 802.3 length instead of a type.
    #[must_use]
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("IPv4"),
            Self::ARP => f.write_str("ARP"),
            Self::VLAN => f.write_str("802.1Q"),
            Self::IPV6 => f.write_str("IPv6"),
            Self::SERVICE_VLAN => f.write_str("802.1ad"),
            Self(number) => write!(f, "{number:#06x}"),
        }
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The control information of an 802.1Q tag: priority, drop eligibility, VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTag(pub u16);

impl VlanTag {
    /// A tag; the low 12 bits of `id` and the low 3 of `priority` count.
    #[must_use]
    pub const fn new(id: u16, priority: u8, drop_eligible: bool) -> Self {
        let priority = (priority as u16 & 7) << 13;
        Self(priority | (drop_eligible as u16) << 12 | (id & 0x0fff))
    }

    /// The VLAN, 0 to 4095; 0 means that the tag carries a priority only.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.0 & 0x0fff
    }

    /// The priority code point, 0 to 7.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Whether the frame may be dropped first.
    #[must_use]
    pub const fn drop_eligible(self) -> bool {
        self.0 & 0x1000 != 0
    }
}

/// A received frame: destination, source, type, at most one 802.1Q tag, payload.
#[derive(Clone, Copy, Debug)]
pub struct EthernetView<'a> {
    header: &'a [u8; HEADER_LEN],
    vlan: Option<VlanTag>,
    ethertype: EtherType,
    payload: &'a [u8],
}

/// Bytes of a header without a tag.
pub const HEADER_LEN: usize = 14;
/// Bytes of an 802.1Q tag.
pub const VLAN_LEN: usize = 4;

impl<'a> EthernetView<'a> {
    /// Checks that the header is whole.
    ///
    /// # Errors
    ///
    /// [`ParseError::Truncated`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, payload) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        let ethertype = EtherType(be16(header, 12));
        if ethertype != EtherType::VLAN {
            return Ok(Self {
                header,
                vlan: None,
                ethertype,
                payload,
            });
        }
        let (tag, payload) = payload
            .split_first_chunk::<VLAN_LEN>()
            .ok_or(ParseError::Truncated)?;
        Ok(Self {
            header,
            vlan: Some(VlanTag(be16(tag, 0))),
            ethertype: EtherType(be16(tag, 2)),
            payload,
        })
    }

    /// The destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> EthernetAddress {
        EthernetAddress(array(self.header, 0))
    }

    /// The source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> EthernetAddress {
        EthernetAddress(array(self.header, 6))
    }

    /// The type of the payload, behind the tag if there is one.
    #[inline]
    #[must_use]
    pub const fn ethertype(&self) -> EtherType {
        self.ethertype
    }

    /// The 802.1Q tag.
    #[inline]
    #[must_use]
    pub const fn vlan(&self) -> Option<VlanTag> {
        self.vlan
    }

    /// The bytes behind the header, padding of short frames included.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes of the header: 14, or 18 with a tag.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + if self.vlan.is_some() { VLAN_LEN } else { 0 }
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EthernetRepr {
    /// The destination.
    pub dst: EthernetAddress,
    /// The source.
    pub src: EthernetAddress,
    /// The type of the payload.
    pub ethertype: EtherType,
    /// The 802.1Q tag, if the frame has one.
    pub vlan: Option<VlanTag>,
}

impl EthernetRepr {
    /// The header of a frame.
    #[inline]
    #[must_use]
    pub fn parse(view: &EthernetView<'_>) -> Self {
        Self {
            dst: view.dst(),
            src: view.src(),
            ethertype: view.ethertype(),
            vlan: view.vlan(),
        }
    }

    /// Bytes of the header: 14, or 18 with a tag.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + if self.vlan.is_some() { VLAN_LEN } else { 0 }
    }

    /// Writes the header to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`].
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.header_len();
        let bytes = bytes.get_mut(..len).ok_or(EmitError::BufferTooSmall)?;
        put(bytes, 0, self.dst.0);
        put(bytes, 6, self.src.0);
        if let Some(tag) = self.vlan {
            put(bytes, 12, EtherType::VLAN.0.to_be_bytes());
            put(bytes, 14, tag.0.to_be_bytes());
        }
        put(bytes, len - 2, self.ethertype.0.to_be_bytes());
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_survive_a_round_trip(
            dst: [u8; 6], src: [u8; 6], ethertype: u16, tag in proptest::option::of(any::<u16>()),
        ) {
            prop_assume!(tag.is_some() || ethertype != EtherType::VLAN.0);
            let header = EthernetRepr {
                dst: EthernetAddress(dst),
                src: EthernetAddress(src),
                ethertype: EtherType(ethertype),
                vlan: tag.map(VlanTag),
            };
            let mut bytes = [0xaa; 32];
            let len = header.emit(&mut bytes).expect("room");
            prop_assert_eq!(len, header.header_len());
            let view = EthernetView::new(&bytes).expect("whole");
            prop_assert_eq!(EthernetRepr::parse(&view), header);
            prop_assert_eq!(view.payload(), &bytes[len..]);
            prop_assert_eq!(view.header_len(), len);
            prop_assert!(EthernetView::new(&bytes[..len - 1]).is_err());
            prop_assert_eq!(header.emit(&mut bytes[..len - 1]), Err(EmitError::BufferTooSmall));
        }

        #[test]
        fn addresses_survive_as_text(octets: [u8; 6]) {
            let address = EthernetAddress(octets);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn tags_are_their_parts(tag: u16) {
            let tag = VlanTag(tag);
            let again = VlanTag::new(tag.id(), tag.priority(), tag.drop_eligible());
            prop_assert_eq!(again, tag);
        }
    }

    #[test]
    fn kinds_of_addresses() {
        let station: EthernetAddress = "02-00-5E-10-00-01".parse().expect("an address");
        assert!(station.is_unicast() && station.is_local() && !station.is_multicast());
        assert!(EthernetAddress::BROADCAST.is_multicast());
        assert!(!EthernetAddress::UNSPECIFIED.is_unicast());
        let all_hosts = EthernetAddress::from_ipv4_multicast([224, 128, 0, 1].into());
        assert_eq!(all_hosts.to_string(), "01:00:5e:00:00:01");
        let group = "ff02::1:ff00:1234".parse().expect("an address");
        assert_eq!(
            EthernetAddress::from_ipv6_multicast(group).to_string(),
            "33:33:ff:00:12:34"
        );
    }

    #[test]
    fn texts_that_are_no_addresses() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "02:00:00:00:00:0g",
            "+2:00:00:00:00:01",
        ] {
            assert_eq!(
                text.parse::<EthernetAddress>(),
                Err(EthernetAddressError),
                "{text}"
            );
        }
    }
}
