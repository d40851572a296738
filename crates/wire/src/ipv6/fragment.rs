//! The fragment header of IPv6 (RFC 8200, section 4.5).

use crate::bytes::{be16, be32, put};
use crate::error::EmitError;
use crate::protocol::Protocol;

/// Bytes of the fragment header.
pub const FRAGMENT_LEN: usize = 8;

/// A fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentHeader {
    /// What the fragmentable part begins with.
    pub next_header: Protocol,
    /// Where the fragment's payload stands in the fragmentable part, in bytes: a multiple of
    /// 8.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// What the fragments of one packet have in common.
    pub ident: u32,
}

impl FragmentHeader {
    /// Whether this is the whole packet (RFC 6946): no other fragment can belong to it.
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    pub(super) fn parse(bytes: &[u8; FRAGMENT_LEN]) -> Self {
        let offset = be16(bytes, 2);
        Self {
            next_header: Protocol(bytes[0]),
            offset: offset & !7,
            more: offset & 1 != 0,
            ident: be32(bytes, 4),
        }
    }

    /// Writes the header to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::FieldTooWide`] if the offset is no multiple
    /// of 8.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let header = bytes
            .first_chunk_mut::<FRAGMENT_LEN>()
            .ok_or(EmitError::BufferTooSmall)?;
        if !self.offset.is_multiple_of(8) {
            return Err(EmitError::FieldTooWide);
        }
        put(header, 0, [self.next_header.0, 0]);
        put(
            header,
            2,
            (self.offset | u16::from(self.more)).to_be_bytes(),
        );
        put(header, 4, self.ident.to_be_bytes());
        Ok(FRAGMENT_LEN)
    }
}
