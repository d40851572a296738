//! The packet that an ICMP error quotes.

use std::net::IpAddr;

use crate::bytes::{be16, be32};
use crate::error::ParseError;
use crate::ipv4::Ipv4View;
use crate::ipv6::{Chain, Ipv6View};
use crate::protocol::Protocol;
use crate::seq::SeqNum;

/// What an ICMP error tells about the packet that caused it: enough to find its socket and, for
/// TCP, to check that the sender of the error has seen the packet (RFC 5927, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedPacket<'a> {
    /// Who sent the packet: this host, if the error is meant for it.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The transport header and what came along behind it; eight bytes at least.
    pub transport: &'a [u8],
}

impl<'a> QuotedPacket<'a> {
    /// The packet in an error of ICMP for IPv4.
    ///
    /// # Errors
    ///
    /// Those of [`Ipv4View::quoted`]; [`ParseError::Unsupported`] for a fragment other than the
    /// first; [`ParseError::Truncated`] if less than eight bytes of the transport header came
    /// along.
    pub fn v4(quoted: &'a [u8]) -> Result<Self, ParseError> {
        let packet = Ipv4View::quoted(quoted)?;
        if packet.fragment_offset() != 0 {
            return Err(ParseError::Unsupported);
        }
        Self {
            src: packet.src().into(),
            dst: packet.dst().into(),
            protocol: packet.protocol(),
            transport: packet.payload(),
        }
        .checked()
    }

    /// The packet in an error of ICMPv6.
    ///
    /// # Errors
    ///
    /// Those of [`Ipv6View::quoted`] and of the extension headers; for the rest as
    /// [`v4`](Self::v4).
    pub fn v6(quoted: &'a [u8]) -> Result<Self, ParseError> {
        let packet = Ipv6View::quoted(quoted)?;
        let chain = Chain::walk_quoted(&packet).map_err(|error| error.reason)?;
        if chain.fragment.is_some_and(|fragment| fragment.offset != 0)
            || chain.upper.is_extension_header()
        {
            return Err(ParseError::Unsupported);
        }
        Self {
            src: packet.src().into(),
            dst: packet.dst().into(),
            protocol: chain.upper,
            transport: chain.payload,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, ParseError> {
        if self.transport.len() < 8 {
            return Err(ParseError::Truncated);
        }
        Ok(self)
    }

    /// Source and destination port, of TCP and UDP.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        matches!(self.protocol, Protocol::TCP | Protocol::UDP)
            .then(|| (be16(self.transport, 0), be16(self.transport, 2)))
    }

    /// The sequence number, of TCP.
    #[must_use]
    pub fn seq(&self) -> Option<SeqNum> {
        (self.protocol == Protocol::TCP).then(|| SeqNum(be32(self.transport, 4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::Ipv4Repr;
    use crate::ipv6::{FragmentHeader, Ipv6Repr};
    use std::net::{Ipv4Addr, Ipv6Addr};

    const TCP: [u8; 8] = [0, 80, 0x12, 0x34, 1, 2, 3, 4];

    #[test]
    fn eight_bytes_of_a_packet_name_its_socket() {
        let header = Ipv4Repr::new(
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::BROADCAST,
            Protocol::TCP,
            1000,
        );
        let mut bytes = [0; 28];
        header.emit(&mut bytes).expect("room");
        bytes[20..].copy_from_slice(&TCP);
        let quoted = QuotedPacket::v4(&bytes).expect("sound");
        assert_eq!(quoted.ports(), Some((80, 0x1234)));
        assert_eq!(quoted.seq(), Some(SeqNum(0x0102_0304)));
        assert_eq!(
            (quoted.src, quoted.dst),
            (header.src.into(), header.dst.into())
        );
        assert_eq!(QuotedPacket::v4(&bytes[..27]), Err(ParseError::Truncated));
        let later = Ipv4Repr {
            fragment_offset: 8,
            ..header
        };
        later.emit(&mut bytes).expect("room");
        assert_eq!(QuotedPacket::v4(&bytes), Err(ParseError::Unsupported));
    }

    #[test]
    fn fragments_of_ipv6_are_seen_through() {
        let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let packet = |offset, more| {
            let mut bytes = [0; 56];
            let header = Ipv6Repr::new(src, dst, Protocol::FRAGMENT, 1000);
            header.emit(&mut bytes).expect("room");
            let next_header = Protocol::UDP;
            let fragment = FragmentHeader {
                next_header,
                offset,
                more,
                ident: 1,
            };
            fragment.emit(&mut bytes[40..]).expect("room");
            bytes[48..].copy_from_slice(&TCP);
            bytes
        };
        let first = packet(0, true);
        let quoted = QuotedPacket::v6(&first).expect("sound");
        assert_eq!((quoted.ports(), quoted.seq()), (Some((80, 0x1234)), None));
        assert_eq!(
            QuotedPacket::v6(&packet(8, true)),
            Err(ParseError::Unsupported)
        );
    }
}
