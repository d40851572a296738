//! Records of a report of version 2 (RFC 9777, section 5.2).

use std::net::Ipv6Addr;

use crate::bytes::{array, be16, put};
use crate::error::{EmitError, ParseError};

/// Bytes of a record up to its sources.
const HEAD_LEN: usize = 20;

/// What a record says of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MldRecordKind {
    /// 1: it is listened to from these sources only.
    IsInclude,
    /// 2: it is listened to from all but these sources.
    IsExclude,
    /// 3: it is listened to from these sources only, from now on; without sources: no more.
    ToInclude,
    /// 4: it is listened to from all but these sources, from now on.
    ToExclude,
    /// 5: from these sources, too, from now on.
    Allow,
    /// 6: from these sources no more.
    Block,
    /// Any other: to be ignored.
    Other(u8),
}

impl MldRecordKind {
    /// The type on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::IsInclude => 1,
            Self::IsExclude => 2,
            Self::ToInclude => 3,
            Self::ToExclude => 4,
            Self::Allow => 5,
            Self::Block => 6,
            Self::Other(number) => number,
        }
    }

    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::IsInclude,
            2 => Self::IsExclude,
            3 => Self::ToInclude,
            4 => Self::ToExclude,
            5 => Self::Allow,
            6 => Self::Block,
            other => Self::Other(other),
        }
    }
}

/// What a host says of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MldRecord<'a> {
    /// What it says.
    pub kind: MldRecordKind,
    /// Of which group.
    pub group: Ipv6Addr,
    /// Of which sources.
    pub sources: &'a [[u8; 16]],
    /// Nothing that a version in use defines; a multiple of 4 bytes, at most 1,020.
    pub auxiliary: &'a [u8],
}

impl<'a> MldRecord<'a> {
    /// A record without sources.
    #[must_use]
    pub const fn new(kind: MldRecordKind, group: Ipv6Addr) -> Self {
        Self {
            kind,
            group,
            sources: &[],
            auxiliary: &[],
        }
    }

    /// Bytes of the record.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEAD_LEN + 16 * self.sources.len() + self.auxiliary.len()
    }

    /// Writes the record to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::TooLong`] beyond 65,535 sources;
    /// [`EmitError::FieldTooWide`] for auxiliary data that is no multiple of 4 bytes or too
    /// long.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.buffer_len();
        let record = bytes.get_mut(..len).ok_or(EmitError::BufferTooSmall)?;
        let sources = u16::try_from(self.sources.len()).map_err(|_| EmitError::TooLong)?;
        let words = u8::try_from(self.auxiliary.len() / 4)
            .ok()
            .filter(|_| self.auxiliary.len().is_multiple_of(4))
            .ok_or(EmitError::FieldTooWide)?;
        put(record, 0, [self.kind.number(), words]);
        put(record, 2, sources.to_be_bytes());
        put(record, 4, self.group.octets());
        let auxiliary_at = len - self.auxiliary.len();
        record[HEAD_LEN..auxiliary_at].copy_from_slice(self.sources.as_flattened());
        record[auxiliary_at..].copy_from_slice(self.auxiliary);
        Ok(len)
    }

    /// The first record of `bytes` and what follows; `None` if it is cut off.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_LEN>()?;
        let (sources, rest) = rest.split_at_checked(16 * usize::from(be16(head, 2)))?;
        let (auxiliary, rest) = rest.split_at_checked(4 * usize::from(head[1]))?;
        let record = Self {
            kind: MldRecordKind::from_number(head[0]),
            group: array::<16>(head, 4).into(),
            sources: sources.as_chunks::<16>().0,
            auxiliary,
        };
        Some((record, rest))
    }
}

/// The records of a report, raw, each of them known to be whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MldRecords<'a> {
    bytes: &'a [u8],
    count: u16,
}

impl<'a> MldRecords<'a> {
    /// Checks records as [`MldRecord::emit`] wrote them one after the other.
    ///
    /// # Errors
    ///
    /// [`ParseError::Truncated`] if the last one is cut off;
    /// [`ParseError::BadLength`] beyond 65,535 of them.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut rest = bytes;
        let mut count = 0_u16;
        while !rest.is_empty() {
            rest = MldRecord::split(rest).ok_or(ParseError::Truncated)?.1;
            count = count.checked_add(1).ok_or(ParseError::BadLength)?;
        }
        Ok(Self { bytes, count })
    }

    /// The first `count` records of `bytes`; what follows them is ignored (RFC 9777, section
    /// 5.2.11).
    pub(super) fn parse(count: u16, bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut rest = bytes;
        for _ in 0..count {
            rest = MldRecord::split(rest).ok_or(ParseError::Truncated)?.1;
        }
        let bytes = &bytes[..bytes.len() - rest.len()];
        Ok(Self { bytes, count })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records one by one.
    #[must_use]
    pub const fn iter(&self) -> MldRecordIter<'a> {
        MldRecordIter { rest: self.bytes }
    }
}

/// Walks the records of a report.
#[derive(Clone, Debug)]
pub struct MldRecordIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for MldRecordIter<'a> {
    type Item = MldRecord<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (record, rest) = MldRecord::split(self.rest)?;
        self.rest = rest;
        Some(record)
    }
}
