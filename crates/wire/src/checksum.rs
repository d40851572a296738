//! The Internet checksum (RFC 1071): full, in pieces, incremental, and partial for offload.

mod scalar;
#[cfg(target_arch = "x86_64")]
mod simd;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::EmitError;
use crate::protocol::Protocol;

/// Sums in the machine's byte order: 16-bit words read as they lie in memory. RFC 1071,
/// section 2(B): the one's complement sum does not depend on the byte order, so the result is
/// swapped once, at the end.
#[inline]
fn sum_words(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    return simd::sum(bytes);
    #[cfg(not(target_arch = "x86_64"))]
    return scalar::sum(bytes);
}

/// As [`sum_words`], copying `from` to `to` of the same length on the way.
#[inline]
fn copy_words(to: &mut [u8], from: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    return simd::copy(to, from);
    #[cfg(not(target_arch = "x86_64"))]
    {
        to.copy_from_slice(from);
        return scalar::sum(from);
    }
}

/// Folds the carries of a sum into 16 bits.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// A running one's complement sum over bytes that may come in pieces of any length.
///
/// ```
/// use zcn_wire::checksum::Sum;
///
/// // The example of RFC 1071, section 3.
/// let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
/// assert_eq!(Sum::of(&bytes).folded(), 0xddf2);
/// let mut pieces = Sum::of(&bytes[..3]);
/// pieces.add(&bytes[3..]);
/// assert_eq!(pieces.checksum(), !0xddf2);
/// ```
#[derive(Clone, Copy, Default)]
pub struct Sum {
    /// Words in the machine's byte order.
    words: u64,
    /// Whether an odd number of bytes went in: the next byte is the low half of a word.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self {
        words: 0,
        odd: false,
    };

    /// The sum of `bytes`.
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            words: sum_words(bytes),
            odd: bytes.len() % 2 == 1,
        }
    }

    /// As [`of`](Self::of), of a header whose length the compiler knows.
    #[inline]
    pub(crate) fn of_ipv4_header(header: &[u8; crate::ipv4::HEADER_LEN]) -> Self {
        Self {
            words: scalar::sum(header),
            odd: false,
        }
    }

    /// As [`of`](Self::of) without vector instructions: what tests and benchmarks compare with.
    #[must_use]
    pub fn scalar(bytes: &[u8]) -> Self {
        Self {
            words: scalar::sum(bytes),
            odd: bytes.len() % 2 == 1,
        }
    }

    /// Continues with `bytes`, whatever number of bytes went before.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        self.join(sum_words(bytes), bytes.len());
    }

    /// Continues with a sum of its own over the bytes that follow.
    #[inline]
    pub fn append(&mut self, next: Self) {
        self.join(next.words, usize::from(next.odd));
    }

    /// Adds the 16-bit field `value`, wherever it stands in the packet, as long as that is an
    /// even position. The position of the sum does not move.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        self.add_words(value.to_be().into());
    }

    /// Adds the 32-bit field `value`, at an even position. The position does not move.
    #[inline]
    pub fn add_u32(&mut self, value: u32) {
        self.add_words(value.to_be().into());
    }

    /// The sum, folded to 16 bits, not complemented; a number, not bytes of the wire.
    #[inline]
    #[must_use]
    pub const fn folded(self) -> u16 {
        u16::from_be(fold(self.words))
    }

    /// The complement of the sum: what goes into a checksum field.
    #[inline]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Whether a packet summed whole, with its checksum field, is sound.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        fold(self.words) == 0xffff
    }

    #[inline]
    fn join(&mut self, words: u64, len: usize) {
        if self.odd {
            // Each byte of the piece is in the other half of its word.
            self.add_words(fold(words).swap_bytes().into());
        } else {
            self.add_words(words);
        }
        self.odd ^= len % 2 == 1;
    }

    #[inline]
    fn add_words(&mut self, words: u64) {
        let (sum, carry) = self.words.overflowing_add(words);
        self.words = sum + u64::from(carry);
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sum({:#06x})", self.folded())
    }
}

/// The checksum of `bytes`: the complement of their sum.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).checksum()
}

/// The checksum after a 16-bit field of the packet changed from `old` to `new` (RFC 1624,
/// section 3, equation 3).
///
/// A UDP checksum of zero means "none" and is not updated: that is the caller's to see.
#[inline]
#[must_use]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The checksum after a 32-bit field at an even position changed from `old` to `new`.
#[inline]
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// Copies `from` to the start of `to` and sums it, in one pass.
///
/// # Panics
///
/// If `to` is shorter than `from`.
#[inline]
pub fn copy_and_sum(to: &mut [u8], from: &[u8]) -> Sum {
    Sum {
        words: copy_words(&mut to[..from.len()], from),
        odd: from.len() % 2 == 1,
    }
}

/// The pseudo header of TCP, UDP and ICMPv6 (RFC 9293, section 3.1; RFC 8200, section 8.1)
/// without its length: both addresses and the protocol.
///
/// It is the same in both directions and for every segment of a connection, so it can be kept.
#[derive(Clone, Copy, Debug)]
pub struct PseudoHeader(Sum);

impl PseudoHeader {
    /// Of two addresses of either family.
    ///
    /// `None` if the families differ.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, protocol: Protocol) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::v4(src, dst, protocol)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::v6(src, dst, protocol)),
            _ => None,
        }
    }

    /// Of two IPv4 addresses.
    #[inline]
    #[must_use]
    pub fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol) -> Self {
        let mut sum = Sum::ZERO;
        sum.add_u32(src.to_bits());
        sum.add_u32(dst.to_bits());
        sum.add_u16(protocol.0.into());
        Self(sum)
    }

    /// Of two IPv6 addresses; the final destination if there is a routing header.
    #[inline]
    #[must_use]
    pub fn v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol) -> Self {
        let mut sum = Sum::ZERO;
        for address in [src, dst] {
            let octets = address.octets();
            for at in [0, 4, 8, 12] {
                sum.add_u32(crate::bytes::be32(&octets, at));
            }
        }
        sum.add_u16(protocol.0.into());
        Self(sum)
    }

    /// The sum of the whole pseudo header; `length` is that of the transport header and its
    /// payload in bytes. Continue it with those bytes.
    #[inline]
    #[must_use]
    pub fn sum(self, length: usize) -> Sum {
        let mut sum = self.0;
        // Packets of more than 4 GiB do not exist.
        sum.add_u32(length as u32);
        sum
    }

    /// What goes into the checksum field when a device, or the kernel, is to finish it
    /// (`VIRTIO_NET_HDR_F_NEEDS_CSUM`): the sum of the pseudo header, *not* complemented.
    #[inline]
    #[must_use]
    pub fn partial(self, length: usize) -> u16 {
        self.sum(length).folded()
    }

    /// The checksum of a transport packet that begins in `first` and goes on in `rest`, in
    /// pieces of any length, whatever stands in its checksum field, which is at `offset`.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`] if `first` does not hold that field.
    #[inline]
    pub fn checksum(self, first: &[u8], rest: &[&[u8]], offset: usize) -> Result<u16, EmitError> {
        let end = offset.checked_add(2).ok_or(EmitError::BufferTooSmall)?;
        let field = first.get(offset..end).ok_or(EmitError::BufferTooSmall)?;
        let mut sum = self.sum_parts(first, rest);
        // Takes the field out again: it and its complement sum to zero.
        sum.add_u16(!crate::bytes::be16(field, 0));
        Ok(sum.checksum())
    }

    /// Whether a transport packet that begins in `first` and goes on in `rest` is sound.
    #[inline]
    #[must_use]
    pub fn is_valid(self, first: &[u8], rest: &[&[u8]]) -> bool {
        self.sum_parts(first, rest).is_valid()
    }

    #[inline]
    fn sum_parts(self, first: &[u8], rest: &[&[u8]]) -> Sum {
        let len = rest.iter().fold(first.len(), |len, part| len + part.len());
        let mut sum = self.sum(len);
        sum.add(first);
        for part in rest {
            sum.add(part);
        }
        sum
    }
}

#[cfg(test)]
mod tests;
