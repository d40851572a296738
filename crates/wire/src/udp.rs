//! UDP (RFC 768).

use crate::bytes::{be16, put};
use crate::checksum::PseudoHeader;
use crate::error::{EmitError, ParseError};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum stands: the `csum_offset` of a virtio-net header.
pub const CHECKSUM_OFFSET: u16 = 6;

/// A received datagram.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    header: &'a [u8; HEADER_LEN],
    /// Header and payload.
    datagram: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Checks header and length; `bytes` is the whole IP payload, and what stands behind the
    /// length is left out.
    ///
    /// # Errors
    ///
    /// [`Truncated`](ParseError::Truncated); [`BadLength`](ParseError::BadLength) if the
    /// length does not hold the header.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = bytes
            .first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        let len = usize::from(be16(header, 4));
        if len < HEADER_LEN {
            return Err(ParseError::BadLength);
        }
        let datagram = bytes.get(..len).ok_or(ParseError::Truncated)?;
        Ok(Self { header, datagram })
    }

    /// A super-frame of several datagrams (UDP segmentation or receive offload): its length
    /// field is not looked at, everything behind the header is payload.
    ///
    /// # Errors
    ///
    /// [`ParseError::Truncated`].
    #[inline]
    pub fn super_frame(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = bytes
            .first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        Ok(Self {
            header,
            datagram: bytes,
        })
    }

    /// The source port; 0 if no answer is possible.
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

    /// The checksum; 0 means that the sender made none.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        be16(self.header, 6)
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.datagram[HEADER_LEN..]
    }

    /// Checks the checksum; one of zero passes, as IPv4 allows. Over IPv6 the caller refuses
    /// zero (RFC 8200, section 8.1).
    ///
    /// # Errors
    ///
    /// [`ParseError::BadChecksum`].
    #[inline]
    pub fn verify_checksum(&self, pseudo: PseudoHeader) -> Result<(), ParseError> {
        if self.checksum() == 0 {
            return Ok(());
        }
        if pseudo.is_valid(self.datagram, &[]) {
            Ok(())
        } else {
            Err(ParseError::BadChecksum)
        }
    }
}

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpRepr {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// Bytes of the payload.
    pub payload_len: usize,
}

impl UdpRepr {
    /// The header of a datagram.
    #[inline]
    #[must_use]
    pub fn parse(view: &UdpView<'_>) -> Self {
        Self {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            payload_len: view.payload().len(),
        }
    }

    /// Bytes of the header: 8.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Bytes of header and payload.
    #[inline]
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// Writes the header, checksum zero, to the start of `bytes` and tells its length. Then
    /// one of [`fill_checksum`], [`fill_checksum_parts`] and [`fill_partial`].
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::TooLong`] beyond 65,535 bytes.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let header = bytes
            .first_chunk_mut::<HEADER_LEN>()
            .ok_or(EmitError::BufferTooSmall)?;
        let len = u16::try_from(self.buffer_len()).map_err(|_| EmitError::TooLong)?;
        put(header, 0, self.src_port.to_be_bytes());
        put(header, 2, self.dst_port.to_be_bytes());
        put(header, 4, len.to_be_bytes());
        put(header, 6, [0, 0]);
        Ok(HEADER_LEN)
    }
}

/// Fills in the checksum of a datagram that lies in one piece.
///
/// # Errors
///
/// [`EmitError::BufferTooSmall`] if `datagram` does not hold a header.
#[inline]
pub fn fill_checksum(datagram: &mut [u8], pseudo: PseudoHeader) -> Result<(), EmitError> {
    fill_checksum_parts(datagram, &[], pseudo)
}

/// Fills in the checksum of a datagram whose payload goes on in other pieces, of any length.
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
    // RFC 768: a sum of zero goes out as all ones, zero means "none".
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    put(first, CHECKSUM_OFFSET.into(), checksum.to_be_bytes());
    Ok(())
}

/// Puts the sum of the pseudo header into the checksum field, for a device that finishes it.
/// `len` is that of header and payload.
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
mod tests {
    use super::*;
    use crate::protocol::Protocol;
    use proptest::prelude::*;

    fn pseudo() -> PseudoHeader {
        PseudoHeader::v4([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), Protocol::UDP)
    }

    proptest! {
        #[test]
        fn datagrams_survive_a_round_trip(
            src_port: u16,
            dst_port: u16,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            cut: proptest::sample::Index,
        ) {
            let header = UdpRepr { src_port, dst_port, payload_len: payload.len() };
            let mut bytes = vec![0; header.buffer_len()];
            header.emit(&mut bytes).expect("room");
            bytes[HEADER_LEN..].copy_from_slice(&payload);
            fill_checksum(&mut bytes, pseudo()).expect("a header");
            let cut = HEADER_LEN + cut.index(payload.len() + 1);
            let mut first = bytes[..cut].to_vec();
            fill_checksum_parts(&mut first, &[&bytes[cut..]], pseudo()).expect("a header");
            prop_assert_eq!(&first[..], &bytes[..cut]);
            bytes.extend([0xaa; 3]);
            let view = UdpView::new(&bytes).expect("whole");
            prop_assert_eq!(UdpRepr::parse(&view), header);
            prop_assert_eq!(view.payload(), &payload[..]);
            prop_assert_eq!(view.verify_checksum(pseudo()), Ok(()));
            bytes[3] ^= 1;
            let view = UdpView::new(&bytes).expect("whole");
            prop_assert_eq!(view.verify_checksum(pseudo()), Err(ParseError::BadChecksum));
        }
    }

    #[test]
    fn a_sum_of_zero_goes_out_as_ones() {
        let header = UdpRepr {
            src_port: 0,
            dst_port: 0,
            payload_len: 2,
        };
        let mut bytes = [0; 10];
        header.emit(&mut bytes).expect("room");
        // The payload that brings the sum to 0xffff.
        let mut sum = pseudo().sum(10);
        sum.add(&bytes);
        put(&mut bytes, 8, sum.checksum().to_be_bytes());
        fill_checksum(&mut bytes, pseudo()).expect("a header");
        assert_eq!(bytes[6..8], [0xff, 0xff]);
        let view = UdpView::new(&bytes).expect("whole");
        assert_eq!(view.verify_checksum(pseudo()), Ok(()));
    }

    #[test]
    fn a_partial_sum_is_finished_by_summing_the_datagram() {
        let header = UdpRepr {
            src_port: 7,
            dst_port: 9,
            payload_len: 5,
        };
        let mut bytes = *b"........hello";
        header.emit(&mut bytes).expect("room");
        fill_partial(&mut bytes, 13, pseudo()).expect("a header");
        // What a device does: sum from csum_start, complement, store at csum_offset.
        let finished = crate::checksum::checksum(&bytes);
        fill_checksum(&mut bytes, pseudo()).expect("a header");
        assert_eq!(be16(&bytes, 6), finished);
    }

    #[test]
    fn each_fault_has_its_name() {
        assert_eq!(UdpView::new(&[0; 7]).err(), Some(ParseError::Truncated));
        assert_eq!(
            UdpView::new(&[0, 0, 0, 0, 0, 7, 0, 0]).err(),
            Some(ParseError::BadLength)
        );
        assert_eq!(
            UdpView::new(&[0, 0, 0, 0, 0, 9, 0, 0]).err(),
            Some(ParseError::Truncated)
        );
        assert!(UdpView::super_frame(&[0; 8]).is_ok());
        let long = UdpRepr {
            src_port: 1,
            dst_port: 1,
            payload_len: 65_528,
        };
        assert_eq!(long.emit(&mut [0; 8]), Err(EmitError::TooLong));
    }
}
