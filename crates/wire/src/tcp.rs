//! TCP (RFC 9293) with its options.

mod acc_ecn;
mod fast_open;
mod flags;
mod options;
mod sack;

pub use acc_ecn::{AccEcn, AccEcnOrder};
pub use fast_open::FastOpenCookie;
pub use flags::TcpFlags;
pub use options::{MAX_OPTIONS_LEN, OptionLayout, TcpOptions, TcpTimestamps};
pub use sack::{SackBlock, SackBlocks};

use crate::bytes::{be16, be32, put};
use crate::checksum::PseudoHeader;
use crate::error::{EmitError, ParseError};
use crate::seq::SeqNum;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Most bytes of a header with options.
pub const MAX_HEADER_LEN: usize = 60;
/// Where the checksum stands: the `csum_offset` of a virtio-net header.
pub const CHECKSUM_OFFSET: u16 = 16;

/// A received segment.
///
/// The header length is checked; the checksum is not, see
/// [`verify_checksum`](Self::verify_checksum).
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    header: &'a [u8; HEADER_LEN],
    /// Header, options and payload.
    segment: &'a [u8],
    header_len: usize,
}

impl<'a> TcpView<'a> {
    /// Checks the header; `bytes` is the whole IP payload, or its first piece if that holds
    /// header and options.
    ///
    /// # Errors
    ///
    /// [`Truncated`](ParseError::Truncated); [`BadHeaderLength`](ParseError::BadHeaderLength)
    /// if the data offset is below 5.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = bytes
            .first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < HEADER_LEN {
            return Err(ParseError::BadHeaderLength);
        }
        if header_len > bytes.len() {
            return Err(ParseError::Truncated);
        }
        Ok(Self {
            header,
            segment: bytes,
            header_len,
        })
    }

    /// The source port.
    #[inline]
    #[must_use]
    pub fn src_port(&self) -> u16 {
        be16(self.header, 0)
    }

    /// The destination port.
    #[inline]
    #[must_use]
    pub fn dst_port(&self) -> u16 {
        be16(self.header, 2)
    }

    /// The number of the first byte of payload, or of the SYN.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> SeqNum {
        SeqNum(be32(self.header, 4))
    }

    /// The acknowledgement field, whether or not the ACK flag says that it counts.
    #[inline]
    #[must_use]
    pub fn ack(&self) -> SeqNum {
        SeqNum(be32(self.header, 8))
    }

    /// The flags.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags::from_bits(be16(self.header, 12))
    }

    /// The window field, not scaled.
    #[inline]
    #[must_use]
    pub fn window(&self) -> u16 {
        be16(self.header, 14)
    }

    /// The checksum.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        be16(self.header, 16)
    }

    /// The urgent pointer, whether or not the URG flag says that it counts.
    #[inline]
    #[must_use]
    pub fn urgent(&self) -> u16 {
        be16(self.header, 18)
    }

    /// Bytes of the header, options included.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// The options as they lie in the header, padding included.
    #[inline]
    #[must_use]
    pub fn options(&self) -> &'a [u8] {
        &self.segment[HEADER_LEN..self.header_len]
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.segment[self.header_len..]
    }

    /// How much of the sequence space the segment takes: payload, SYN and FIN.
    #[inline]
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        (self.segment.len() - self.header_len) as u32 + self.flags().seq_len()
    }

    /// Checks the checksum of a segment that lies in one piece.
    ///
    /// # Errors
    ///
    /// [`ParseError::BadChecksum`].
    #[inline]
    pub fn verify_checksum(&self, pseudo: PseudoHeader) -> Result<(), ParseError> {
        self.verify_checksum_parts(&[], pseudo)
    }

    /// Checks the checksum of a segment whose payload goes on in `rest`.
    ///
    /// # Errors
    ///
    /// [`ParseError::BadChecksum`].
    #[inline]
    pub fn verify_checksum_parts(
        &self,
        rest: &[&[u8]],
        pseudo: PseudoHeader,
    ) -> Result<(), ParseError> {
        if pseudo.is_valid(self.segment, rest) {
            Ok(())
        } else {
            Err(ParseError::BadChecksum)
        }
    }
}

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpRepr {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// The number of the first byte of payload, or of the SYN.
    pub seq: SeqNum,
    /// The next number expected; of no meaning without [`TcpFlags::ACK`].
    pub ack: SeqNum,
    /// The flags.
    pub flags: TcpFlags,
    /// The window field, not scaled.
    pub window: u16,
    /// The urgent pointer; of no meaning without [`TcpFlags::URG`].
    pub urgent: u16,
    /// The options.
    pub options: TcpOptions,
}

impl TcpRepr {
    /// The header of a segment. Options that are malformed end the list, see
    /// [`TcpOptions::parse`].
    #[inline]
    #[must_use]
    pub fn parse(view: &TcpView<'_>) -> Self {
        Self {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            seq: view.seq(),
            ack: view.ack(),
            flags: view.flags(),
            window: view.window(),
            urgent: view.urgent(),
            options: TcpOptions::parse(view.options()),
        }
    }

    /// The acknowledgement, if the ACK flag says that there is one.
    #[inline]
    #[must_use]
    pub const fn ack_number(&self) -> Option<SeqNum> {
        if self.flags.contains(TcpFlags::ACK) {
            Some(self.ack)
        } else {
            None
        }
    }

    /// Bytes of the header with its options in `layout`.
    #[inline]
    #[must_use]
    pub fn header_len(&self, layout: OptionLayout) -> usize {
        HEADER_LEN + self.options.len(layout)
    }

    /// Writes the header, checksum zero, to the start of `bytes` and tells its length. Then
    /// one of [`fill_checksum`], [`fill_checksum_parts`] and [`fill_partial`].
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::BadOptions`] if the options take more than
    /// 40 bytes.
    #[inline]
    pub fn emit(&self, layout: OptionLayout, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.header_len(layout);
        if len > MAX_HEADER_LEN {
            return Err(EmitError::BadOptions);
        }
        let (header, options) = bytes
            .get_mut(..len)
            .and_then(|bytes| bytes.split_first_chunk_mut::<HEADER_LEN>())
            .ok_or(EmitError::BufferTooSmall)?;
        put(header, 0, self.src_port.to_be_bytes());
        put(header, 2, self.dst_port.to_be_bytes());
        put(header, 4, self.seq.0.to_be_bytes());
        put(header, 8, self.ack.0.to_be_bytes());
        let offset_and_flags = (len as u16 / 4) << 12 | self.flags.bits();
        put(header, 12, offset_and_flags.to_be_bytes());
        put(header, 14, self.window.to_be_bytes());
        put(header, 16, [0, 0]);
        put(header, 18, self.urgent.to_be_bytes());
        if !options.is_empty() {
            self.options.emit(layout, options)?;
        }
        Ok(len)
    }
}

/// Fills in the checksum of a segment that lies in one piece.
///
/// # Errors
///
/// [`EmitError::BufferTooSmall`] if `segment` does not hold a header.
#[inline]
pub fn fill_checksum(segment: &mut [u8], pseudo: PseudoHeader) -> Result<(), EmitError> {
    fill_checksum_parts(segment, &[], pseudo)
}

/// Fills in the checksum of a segment whose payload goes on in other pieces, of any length.
///
/// # Errors
///
/// [`EmitError::BufferTooSmall`] if `first` does not hold a header.
#[inline]
pub fn fill_checksum_parts(
    first: &mut [u8],
    rest: &[&[u8]],
    pseudo: PseudoHeader,
) -> Result<(), EmitError> {
    let checksum = pseudo.checksum(first, rest, CHECKSUM_OFFSET.into())?;
    put(first, CHECKSUM_OFFSET.into(), checksum.to_be_bytes());
    Ok(())
}

/// Puts the sum of the pseudo header into the checksum field, for a device that finishes it.
/// `len` is that of header, options and payload, of the whole super-frame if it is one.
///
/// # Errors
///
/// [`EmitError::BufferTooSmall`] if `header` does not hold a header.
#[inline]
pub fn fill_partial(header: &mut [u8], len: usize, pseudo: PseudoHeader) -> Result<(), EmitError> {
    let header = header
        .first_chunk_mut::<HEADER_LEN>()
        .ok_or(EmitError::BufferTooSmall)?;
    put(
        header,
        CHECKSUM_OFFSET.into(),
        pseudo.partial(len).to_be_bytes(),
    );
    Ok(())
}

#[cfg(test)]
mod tests;
