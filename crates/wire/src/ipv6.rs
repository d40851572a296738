//! IPv6 (RFC 8200) with extension headers.

mod chain;
mod fragment;

pub use chain::{Chain, ChainError, MAX_BYTES, MAX_HEADERS, MAX_OPTIONS};
pub use fragment::{FRAGMENT_LEN, FragmentHeader};

use std::net::Ipv6Addr;

use crate::bytes::{array, be16, be32, put};
use crate::checksum::PseudoHeader;
use crate::error::{EmitError, ParseError};
use crate::protocol::{Protocol, TrafficClass};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// The smallest MTU of a link (RFC 8200, section 5).
pub const MIN_MTU: usize = 1280;

/// A received packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6View<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Ipv6View<'a> {
    /// Checks the header; bytes behind the payload length are link padding and left out.
    /// Jumbograms (RFC 2675) are not supported: a payload length of zero is an empty payload.
    ///
    /// # Errors
    ///
    /// [`Truncated`](ParseError::Truncated), [`BadVersion`](ParseError::BadVersion).
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let view = Self::quoted(bytes)?;
        if view.payload_len() > view.payload.len() {
            return Err(ParseError::Truncated);
        }
        Ok(view)
    }

    /// As [`new`](Self::new), but the payload may be cut short: for the packet that an ICMPv6
    /// error quotes, and for the first piece of a packet in several.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); `Truncated` only if the fixed header is not whole.
    #[inline]
    pub fn quoted(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, payload) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(ParseError::BadVersion);
        }
        let len = usize::from(be16(header, 4));
        Ok(Self {
            header,
            payload: payload.get(..len).unwrap_or(payload),
        })
    }

    /// DSCP and ECN.
    #[inline]
    #[must_use]
    pub fn traffic_class(&self) -> TrafficClass {
        TrafficClass((be16(self.header, 0) >> 4) as u8)
    }

    /// The flow label, 20 bits.
    #[inline]
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        be32(self.header, 0) & 0x000f_ffff
    }

    /// Bytes behind the fixed header, extension headers included, as the header says.
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> usize {
        be16(self.header, 4).into()
    }

    /// What follows the fixed header: an extension header or the upper protocol.
    #[inline]
    #[must_use]
    pub const fn next_header(&self) -> Protocol {
        Protocol(self.header[6])
    }

    /// Hops left.
    #[inline]
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        self.header[7]
    }

    /// The source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        array::<16>(self.header, 8).into()
    }

    /// The destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        array::<16>(self.header, 24).into()
    }

    /// What follows the fixed header, without link padding.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The pseudo header for the checksum of an upper `protocol`, which is not that of the
    /// fixed header if there are extension headers.
    #[inline]
    #[must_use]
    pub fn pseudo_header(&self, protocol: Protocol) -> PseudoHeader {
        PseudoHeader::v6(self.src(), self.dst(), protocol)
    }
}

/// The fixed header of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ipv6Repr {
    /// The source.
    pub src: Ipv6Addr,
    /// The destination.
    pub dst: Ipv6Addr,
    /// What follows the fixed header.
    pub next_header: Protocol,
    /// Hops left.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: TrafficClass,
    /// The flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes behind the fixed header, extension headers included.
    pub payload_len: usize,
}

impl Ipv6Repr {
    /// A header with hop limit 64 and no flow label.
    #[inline]
    #[must_use]
    pub const fn new(
        src: Ipv6Addr,
        dst: Ipv6Addr,
        next_header: Protocol,
        payload_len: usize,
    ) -> Self {
        Self {
            src,
            dst,
            next_header,
            hop_limit: 64,
            traffic_class: TrafficClass(0),
            flow_label: 0,
            payload_len,
        }
    }

    /// The fixed header of a packet.
    #[inline]
    #[must_use]
    pub fn parse(view: &Ipv6View<'_>) -> Self {
        Self {
            src: view.src(),
            dst: view.dst(),
            next_header: view.next_header(),
            hop_limit: view.hop_limit(),
            traffic_class: view.traffic_class(),
            flow_label: view.flow_label(),
            payload_len: view.payload_len(),
        }
    }

    /// Bytes of the header: 40.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// Writes the header to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::TooLong`] if the payload is more than
    /// 65,535 bytes; [`EmitError::FieldTooWide`] if the flow label has more than 20 bits.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let header = bytes
            .first_chunk_mut::<HEADER_LEN>()
            .ok_or(EmitError::BufferTooSmall)?;
        let len = u16::try_from(self.payload_len).map_err(|_| EmitError::TooLong)?;
        if self.flow_label > 0x000f_ffff {
            return Err(EmitError::FieldTooWide);
        }
        let first = 6 << 28 | u32::from(self.traffic_class.0) << 20 | self.flow_label;
        put(header, 0, first.to_be_bytes());
        put(header, 4, len.to_be_bytes());
        header[6] = self.next_header.0;
        header[7] = self.hop_limit;
        put(header, 8, self.src.octets());
        put(header, 24, self.dst.octets());
        Ok(HEADER_LEN)
    }

    /// The pseudo header for the checksum of an upper `protocol`.
    #[inline]
    #[must_use]
    pub fn pseudo_header(&self, protocol: Protocol) -> PseudoHeader {
        PseudoHeader::v6(self.src, self.dst, protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_survive_a_round_trip(
            src: [u8; 16], dst: [u8; 16], next: u8, hop_limit: u8, class: u8,
            flow_label in 0..1_u32 << 20, payload_len in 0..3000_usize, padding in 0..8_usize,
        ) {
            let header = Ipv6Repr {
                src: src.into(),
                dst: dst.into(),
                next_header: Protocol(next),
                hop_limit,
                traffic_class: TrafficClass(class),
                flow_label,
                payload_len,
            };
            let mut bytes = vec![0xaa; header.buffer_len() + padding];
            prop_assert_eq!(header.emit(&mut bytes), Ok(HEADER_LEN));
            let view = Ipv6View::new(&bytes).expect("sound");
            prop_assert_eq!(Ipv6Repr::parse(&view), header);
            prop_assert_eq!(view.payload().len(), payload_len);
            let cut = &bytes[..header.buffer_len() - 1];
            prop_assert_eq!(Ipv6View::new(cut).err(), Some(ParseError::Truncated));
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        assert_eq!(
            Ipv6View::new(&[0x60; 39]).err(),
            Some(ParseError::Truncated)
        );
        assert_eq!(
            Ipv6View::new(&[0x40; 60]).err(),
            Some(ParseError::BadVersion)
        );
        let any = Ipv6Addr::UNSPECIFIED;
        let header = Ipv6Repr::new(any, any, Protocol::TCP, 65_536);
        assert_eq!(header.emit(&mut [0; 40]), Err(EmitError::TooLong));
        let header = Ipv6Repr {
            payload_len: 0,
            flow_label: 1 << 20,
            ..header
        };
        assert_eq!(header.emit(&mut [0; 40]), Err(EmitError::FieldTooWide));
        assert_eq!(header.emit(&mut [0; 39]), Err(EmitError::BufferTooSmall));
    }
}
