//! Options of the IPv4 header.

use std::fmt;

use super::MAX_OPTIONS_LEN;
use crate::error::{EmitError, ParseError};

const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// The options of one header, raw: at most 40 bytes, kept inline.
#[derive(Clone, Copy)]
pub struct Ipv4Options {
    len: u8,
    bytes: [u8; MAX_OPTIONS_LEN],
}

impl Ipv4Options {
    /// No options.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; MAX_OPTIONS_LEN],
    };

    /// Options as they go into the header; they are padded with end-of-list there.
    ///
    /// # Errors
    ///
    /// [`EmitError::BadOptions`] beyond 40 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, EmitError> {
        if bytes.len() > MAX_OPTIONS_LEN {
            return Err(EmitError::BadOptions);
        }
        Ok(Self::of_header(bytes))
    }

    /// Options out of a header: never more than 40 bytes.
    #[inline]
    pub(super) fn of_header(bytes: &[u8]) -> Self {
        let mut options = Self::EMPTY;
        if !bytes.is_empty() {
            options.bytes[..bytes.len()].copy_from_slice(bytes);
            options.len = bytes.len() as u8;
        }
        options
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes in the header: rounded up to a multiple of 4.
    #[must_use]
    pub const fn padded_len(&self) -> usize {
        (self.len as usize).next_multiple_of(4)
    }

    /// The options one by one.
    #[must_use]
    pub fn iter(&self) -> Ipv4OptionIter<'_> {
        Ipv4OptionIter::new(self.as_bytes())
    }

    /// Writes them with their padding; `bytes` is `padded_len` long.
    pub(super) fn emit(&self, bytes: &mut [u8]) {
        let len = bytes.len();
        bytes.copy_from_slice(&self.bytes[..len]);
    }
}

impl Default for Ipv4Options {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for Ipv4Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_bytes())
    }
}

impl PartialEq for Ipv4Options {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Ipv4Options {}

impl std::hash::Hash for Ipv4Options {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl<'a> IntoIterator for &'a Ipv4Options {
    type Item = Result<Ipv4Option<'a>, ParseError>;
    type IntoIter = Ipv4OptionIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// The type byte: copied flag, class and number.
    pub kind: u8,
    /// What follows the length byte.
    pub data: &'a [u8],
}

impl Ipv4Option<'_> {
    /// Loose source routing (RFC 791).
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source routing (RFC 791).
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Record route (RFC 791).
    pub const RECORD_ROUTE: u8 = 7;
    /// Internet timestamp (RFC 791).
    pub const TIMESTAMP: u8 = 68;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;

    /// Whether every fragment carries the option, not only the first.
    #[must_use]
    pub const fn is_copied(&self) -> bool {
        self.kind & 0x80 != 0
    }

    /// Whether the option asks for source routing, which hosts refuse (RFC 7126).
    #[must_use]
    pub const fn is_source_route(&self) -> bool {
        matches!(
            self.kind,
            Self::LOOSE_SOURCE_ROUTE | Self::STRICT_SOURCE_ROUTE
        )
    }
}

/// Walks raw options; ends after end-of-list, or after the first malformed option with
/// [`ParseError::BadOption`]. No-operation is skipped.
#[derive(Clone, Debug)]
pub struct Ipv4OptionIter<'a> {
    rest: &'a [u8],
}

impl<'a> Ipv4OptionIter<'a> {
    /// Over the options of a header.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Ipv4OptionIter<'a> {
    type Item = Result<Ipv4Option<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&kind, rest) = self.rest.split_first()?;
            match kind {
                END => {
                    self.rest = &[];
                    return None;
                }
                NO_OPERATION => self.rest = rest,
                _ => break,
            }
        }
        let len = self.rest.get(1).copied().map_or(0, usize::from);
        let option = self.rest.split_at_checked(len).filter(|_| len >= 2);
        let Some((option, rest)) = option else {
            self.rest = &[];
            return Some(Err(ParseError::BadOption));
        };
        self.rest = rest;
        Some(Ok(Ipv4Option {
            kind: option[0],
            data: &option[2..],
        }))
    }
}
