//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::bytes::{array, be16, put};
use crate::error::{EmitError, ParseError};
use crate::ethernet::{EtherType, EthernetAddress};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

const ETHERNET: u16 = 1;

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArpOperation {
    /// Asks who has the target address, or announces the sender's.
    Request,
    /// Answers.
    Reply,
}

/// A received ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug)]
pub struct ArpView<'a> {
    packet: &'a [u8; PACKET_LEN],
}

impl<'a> ArpView<'a> {
    /// Checks the length and that hardware is Ethernet and protocol IPv4.
    ///
    /// # Errors
    ///
    /// [`ParseError::Truncated`], or [`ParseError::Unsupported`] for other kinds of address.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let packet = bytes
            .first_chunk::<PACKET_LEN>()
            .ok_or(ParseError::Truncated)?;
        let kinds = (be16(packet, 0), EtherType(be16(packet, 2)));
        if kinds != (ETHERNET, EtherType::IPV4) || packet[4..6] != [6, 4] {
            return Err(ParseError::Unsupported);
        }
        Ok(Self { packet })
    }

    /// The operation as its number; 1 is a request, 2 a reply.
    #[must_use]
    pub fn operation(&self) -> u16 {
        be16(self.packet, 6)
    }

    /// The sender's link address.
    #[must_use]
    pub fn sender_hardware(&self) -> EthernetAddress {
        EthernetAddress(array(self.packet, 8))
    }

    /// The sender's IPv4 address.
    #[must_use]
    pub fn sender_protocol(&self) -> Ipv4Addr {
        array(self.packet, 14).into()
    }

    /// The target's link address; of no meaning in a request.
    #[must_use]
    pub fn target_hardware(&self) -> EthernetAddress {
        EthernetAddress(array(self.packet, 18))
    }

    /// The target's IPv4 address.
    #[must_use]
    pub fn target_protocol(&self) -> Ipv4Addr {
        array(self.packet, 24).into()
    }
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArpRepr {
    /// Request or reply.
    pub operation: ArpOperation,
    /// The sender's link address.
    pub sender_hardware: EthernetAddress,
    /// The sender's IPv4 address; unspecified in a probe (RFC 5227).
    pub sender_protocol: Ipv4Addr,
    /// The target's link address; zero in a request.
    pub target_hardware: EthernetAddress,
    /// The target's IPv4 address.
    pub target_protocol: Ipv4Addr,
}

impl ArpRepr {
    /// The packet.
    ///
    /// # Errors
    ///
    /// [`ParseError::Unsupported`] for an operation other than request and reply.
    pub fn parse(view: &ArpView<'_>) -> Result<Self, ParseError> {
        let operation = match view.operation() {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(ParseError::Unsupported),
        };
        Ok(Self {
            operation,
            sender_hardware: view.sender_hardware(),
            sender_protocol: view.sender_protocol(),
            target_hardware: view.target_hardware(),
            target_protocol: view.target_protocol(),
        })
    }

    /// Whether the packet announces the sender's own address (RFC 5227, section 3).
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_protocol == self.target_protocol
    }

    /// Bytes of the packet: 28.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        PACKET_LEN
    }

    /// Writes the packet to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`].
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let packet = bytes
            .first_chunk_mut::<PACKET_LEN>()
            .ok_or(EmitError::BufferTooSmall)?;
        put(packet, 0, ETHERNET.to_be_bytes());
        put(packet, 2, EtherType::IPV4.0.to_be_bytes());
        put(packet, 4, [6, 4]);
        let operation: u16 = match self.operation {
            ArpOperation::Request => 1,
            ArpOperation::Reply => 2,
        };
        put(packet, 6, operation.to_be_bytes());
        put(packet, 8, self.sender_hardware.0);
        put(packet, 14, self.sender_protocol.octets());
        put(packet, 18, self.target_hardware.0);
        put(packet, 24, self.target_protocol.octets());
        Ok(PACKET_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packets_survive_a_round_trip(
            request: bool, sha: [u8; 6], spa: [u8; 4], tha: [u8; 6], tpa: [u8; 4],
        ) {
            let packet = ArpRepr {
                operation: if request { ArpOperation::Request } else { ArpOperation::Reply },
                sender_hardware: EthernetAddress(sha),
                sender_protocol: spa.into(),
                target_hardware: EthernetAddress(tha),
                target_protocol: tpa.into(),
            };
            let mut bytes = [0xaa; PACKET_LEN];
            prop_assert_eq!(packet.emit(&mut bytes), Ok(PACKET_LEN));
            let view = ArpView::new(&bytes).expect("whole");
            prop_assert_eq!(ArpRepr::parse(&view), Ok(packet));
            prop_assert!(ArpView::new(&bytes[..27]).is_err());
        }
    }

    #[test]
    fn other_hardware_and_operations_are_told_apart() {
        let mut bytes = [0; PACKET_LEN];
        assert_eq!(ArpView::new(&bytes).err(), Some(ParseError::Unsupported));
        put(&mut bytes, 0, [0, 1, 8, 0, 6, 4, 0, 9]);
        let view = ArpView::new(&bytes).expect("Ethernet and IPv4");
        assert_eq!(ArpRepr::parse(&view), Err(ParseError::Unsupported));
    }
}
