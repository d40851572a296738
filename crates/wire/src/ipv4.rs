//! IPv4 (RFC 791) with options and fragments.

mod options;

pub use options::{Ipv4Option, Ipv4OptionIter, Ipv4Options};

use std::net::Ipv4Addr;

use crate::bytes::{array, be16, put};
use crate::checksum::{self, PseudoHeader, Sum};
use crate::error::{EmitError, ParseError};
use crate::protocol::{Protocol, TrafficClass};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Most bytes of options.
pub const MAX_OPTIONS_LEN: usize = 40;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// A received packet.
///
/// Version, header length and total length are checked; the checksum is not, see
/// [`verify_checksum`](Self::verify_checksum).
#[derive(Clone, Copy, Debug)]
pub struct Ipv4View<'a> {
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4View<'a> {
    /// Checks the header; bytes behind the total length are link padding and left out.
    ///
    /// # Errors
    ///
    /// [`Truncated`](ParseError::Truncated), [`BadVersion`](ParseError::BadVersion),
    /// [`BadHeaderLength`](ParseError::BadHeaderLength), or
    /// [`BadLength`](ParseError::BadLength) if the total length does not hold the header.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let view = Self::quoted(bytes)?;
        if view.total_len() - view.header_len() > view.payload.len() {
            return Err(ParseError::Truncated);
        }
        Ok(view)
    }

    /// As [`new`](Self::new), but the payload may be cut short: for the packet that an ICMP
    /// error quotes, and for the first piece of a packet in several.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); `Truncated` only if the header is not whole.
    #[inline]
    pub fn quoted(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        if header[0] >> 4 != 4 {
            return Err(ParseError::BadVersion);
        }
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let options_len = header_len
            .checked_sub(HEADER_LEN)
            .ok_or(ParseError::BadHeaderLength)?;
        let payload_len = usize::from(be16(header, 2))
            .checked_sub(header_len)
            .ok_or(ParseError::BadLength)?;
        let (options, payload) = rest
            .split_at_checked(options_len)
            .ok_or(ParseError::Truncated)?;
        Ok(Self {
            header,
            options,
            payload: payload.get(..payload_len).unwrap_or(payload),
        })
    }

    /// # Errors
    ///
    /// [`ParseError::BadChecksum`] if the header checksum does not match.
    #[inline]
    pub fn verify_checksum(&self) -> Result<(), ParseError> {
        let mut sum = Sum::of(self.header);
        if !self.options.is_empty() {
            sum.add(self.options);
        }
        if sum.is_valid() {
            Ok(())
        } else {
            Err(ParseError::BadChecksum)
        }
    }

    /// Bytes of the header, options included.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Bytes of the whole packet, as the header says.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        be16(self.header, 2).into()
    }

    /// DSCP and ECN.
    #[inline]
    #[must_use]
    pub const fn traffic_class(&self) -> TrafficClass {
        TrafficClass(self.header[1])
    }

    /// What the fragments of one packet have in common.
    #[inline]
    #[must_use]
    pub fn ident(&self) -> u16 {
        be16(self.header, 4)
    }

    /// Whether routers may not fragment the packet.
    #[inline]
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        be16(self.header, 6) & DONT_FRAGMENT != 0
    }

    /// Whether this is a fragment and not the last.
    #[inline]
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        be16(self.header, 6) & MORE_FRAGMENTS != 0
    }

    /// Where this fragment's payload stands in the packet's, in bytes: a multiple of 8.
    #[inline]
    #[must_use]
    pub fn fragment_offset(&self) -> u16 {
        (be16(self.header, 6) & OFFSET) << 3
    }

    /// Whether this is a part of a packet only.
    #[inline]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        be16(self.header, 6) & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Time to live, in hops.
    #[inline]
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.header[8]
    }

    /// What the payload is.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        Protocol(self.header[9])
    }

    /// The header checksum.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        be16(self.header, 10)
    }

    /// The source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv4Addr {
        array(self.header, 12).into()
    }

    /// The destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        array(self.header, 16).into()
    }

    /// The options as they lie in the header, padding included.
    #[inline]
    #[must_use]
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The payload, without link padding.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The pseudo header for the checksum of the payload.
    #[inline]
    #[must_use]
    pub fn pseudo_header(&self) -> PseudoHeader {
        PseudoHeader::v4(self.src(), self.dst(), self.protocol())
    }
}

/// An IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ipv4Repr {
    /// The source.
    pub src: Ipv4Addr,
    /// The destination.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: Protocol,
    /// Time to live, in hops.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: TrafficClass,
    /// What the fragments of one packet have in common.
    pub ident: u16,
    /// Whether routers may not fragment the packet.
    pub dont_fragment: bool,
    /// Whether this is a fragment and not the last.
    pub more_fragments: bool,
    /// Where the payload stands in the whole packet's, in bytes: a multiple of 8.
    pub fragment_offset: u16,
    /// Bytes of the payload.
    pub payload_len: usize,
    /// Options, raw.
    pub options: Ipv4Options,
}

impl Ipv4Repr {
    /// The header of a whole packet without options: TTL 64, don't-fragment, identification
    /// zero (RFC 6864 lets such packets have any).
    #[inline]
    #[must_use]
    pub const fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, payload_len: usize) -> Self {
        Self {
            src,
            dst,
            protocol,
            ttl: 64,
            traffic_class: TrafficClass(0),
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            payload_len,
            options: Ipv4Options::EMPTY,
        }
    }

    /// The header of a packet; its checksum is not looked at.
    #[inline]
    #[must_use]
    pub fn parse(view: &Ipv4View<'_>) -> Self {
        Self {
            src: view.src(),
            dst: view.dst(),
            protocol: view.protocol(),
            ttl: view.ttl(),
            traffic_class: view.traffic_class(),
            ident: view.ident(),
            dont_fragment: view.dont_fragment(),
            more_fragments: view.more_fragments(),
            fragment_offset: view.fragment_offset(),
            payload_len: view.total_len() - view.header_len(),
            options: Ipv4Options::of_header(view.options),
        }
    }

    /// Bytes of the header, options included.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.padded_len()
    }

    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        self.header_len() + self.payload_len
    }

    /// Writes the header with its checksum to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::TooLong`] beyond 65,535 bytes;
    /// [`EmitError::FieldTooWide`] if the fragment offset is no multiple of 8.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.header_len();
        let bytes = bytes.get_mut(..len).ok_or(EmitError::BufferTooSmall)?;
        let total = u16::try_from(self.buffer_len()).map_err(|_| EmitError::TooLong)?;
        if !self.fragment_offset.is_multiple_of(8) {
            return Err(EmitError::FieldTooWide);
        }
        let mut flags = self.fragment_offset >> 3;
        if self.dont_fragment {
            flags |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            flags |= MORE_FRAGMENTS;
        }
        let (header, options) = bytes
            .split_first_chunk_mut::<HEADER_LEN>()
            .ok_or(EmitError::BufferTooSmall)?;
        header[0] = 0x40 | (len / 4) as u8;
        header[1] = self.traffic_class.0;
        put(header, 2, total.to_be_bytes());
        put(header, 4, self.ident.to_be_bytes());
        put(header, 6, flags.to_be_bytes());
        header[8] = self.ttl;
        header[9] = self.protocol.0;
        put(header, 10, [0, 0]);
        put(header, 12, self.src.octets());
        put(header, 16, self.dst.octets());
        let mut sum = Sum::of(header);
        if !options.is_empty() {
            self.options.emit(options);
            sum.add(options);
        }
        put(header, 10, sum.checksum().to_be_bytes());
        Ok(len)
    }

    /// The pseudo header for the checksum of the payload.
    #[inline]
    #[must_use]
    pub fn pseudo_header(&self) -> PseudoHeader {
        PseudoHeader::v4(self.src, self.dst, self.protocol)
    }
}

/// Computes the checksum of the header at the start of `bytes` anew.
///
/// # Errors
///
/// As [`Ipv4View::quoted`]; nothing is written then.
pub fn fill_checksum(bytes: &mut [u8]) -> Result<(), ParseError> {
    let len = Ipv4View::quoted(bytes)?.header_len();
    put(bytes, 10, [0, 0]);
    let sum = checksum::checksum(&bytes[..len]);
    put(bytes, 10, sum.to_be_bytes());
    Ok(())
}

/// Takes one hop off the header at the start of `bytes` and mends its checksum (RFC 1624).
/// Tells the hops that are left; a packet with none left is not changed.
///
/// # Errors
///
/// As [`Ipv4View::quoted`].
pub fn decrement_ttl(bytes: &mut [u8]) -> Result<u8, ParseError> {
    let view = Ipv4View::quoted(bytes)?;
    let (ttl, protocol, sum) = (view.ttl(), view.protocol().0, view.checksum());
    let Some(left) = ttl.checked_sub(1) else {
        return Ok(0);
    };
    let old = u16::from_be_bytes([ttl, protocol]);
    let new = u16::from_be_bytes([left, protocol]);
    bytes[8] = left;
    put(bytes, 10, checksum::update_u16(sum, old, new).to_be_bytes());
    Ok(left)
}

#[cfg(test)]
mod tests;
