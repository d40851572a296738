//! Why bytes were not understood, and why they could not be written.

use std::fmt;

/// What is wrong with received bytes.
///
/// One small set for every protocol, so that a stack can keep one counter for each pair of
/// protocol and reason: [`index`](Self::index) numbers them densely below
/// [`COUNT`](Self::COUNT) and [`name`](Self::name) is the counter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ParseError {
    /// Fewer bytes than the header needs, or than it announces.
    Truncated,
    /// The version field is not that of the protocol.
    BadVersion,
    /// The header length field is below the minimum or beyond the packet.
    BadHeaderLength,
    /// A length or offset field contradicts the rest of the packet.
    BadLength,
    /// The checksum does not match.
    BadChecksum,
    /// An option whose length or content the RFC rules out.
    BadOption,
    /// A hop limit other than the one the RFC demands (255 for neighbour discovery).
    BadHopLimit,
    /// An address that may not stand where it does.
    BadAddress,
    /// A code or flag value that the RFC rules out for this type of message.
    BadCode,
    /// A kind of packet that this crate does not interpret.
    Unsupported,
    /// More extension headers or bytes of them than the limit allows.
    TooManyHeaders,
}

impl ParseError {
    /// How many reasons there are: the size of a table of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: [Self; 11] = [
        Self::Truncated,
        Self::BadVersion,
        Self::BadHeaderLength,
        Self::BadLength,
        Self::BadChecksum,
        Self::BadOption,
        Self::BadHopLimit,
        Self::BadAddress,
        Self::BadCode,
        Self::Unsupported,
        Self::TooManyHeaders,
    ];

    /// The number of this reason, below [`COUNT`](Self::COUNT).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name of this reason as a counter: lower case, words joined by `_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::BadVersion => "bad_version",
            Self::BadHeaderLength => "bad_header_length",
            Self::BadLength => "bad_length",
            Self::BadChecksum => "bad_checksum",
            Self::BadOption => "bad_option",
            Self::BadHopLimit => "bad_hop_limit",
            Self::BadAddress => "bad_address",
            Self::BadCode => "bad_code",
            Self::Unsupported => "unsupported",
            Self::TooManyHeaders => "too_many_headers",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet ends before its header or announced length does",
            Self::BadVersion => "wrong protocol version",
            Self::BadHeaderLength => "impossible header length",
            Self::BadLength => "a length field contradicts the packet",
            Self::BadChecksum => "wrong checksum",
            Self::BadOption => "malformed option",
            Self::BadHopLimit => "hop limit not allowed here",
            Self::BadAddress => "address not allowed here",
            Self::BadCode => "code or flags not allowed here",
            Self::Unsupported => "not a kind of packet that is interpreted here",
            Self::TooManyHeaders => "too many or too long extension headers",
        })
    }
}

impl std::error::Error for ParseError {}

/// Why a header could not be written: always the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EmitError {
    /// The buffer is shorter than the header, see `header_len`.
    BufferTooSmall,
    /// The packet would be longer than its length field can say.
    TooLong,
    /// The options do not fit into the header, or are not a multiple of its unit.
    BadOptions,
    /// A field is wider than its bits on the wire.
    FieldTooWide,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferTooSmall => "the buffer is shorter than the header",
            Self::TooLong => "the packet is longer than its length field can say",
            Self::BadOptions => "the options do not fit into the header",
            Self::FieldTooWide => "a field is wider than its bits on the wire",
        })
    }
}

impl std::error::Error for EmitError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_dense_and_names_differ() {
        for (at, error) in ParseError::ALL.into_iter().enumerate() {
            assert_eq!(error.index(), at);
            assert!(!error.to_string().is_empty());
        }
        let mut names: Vec<_> = ParseError::ALL.iter().map(|error| error.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ParseError::COUNT);
    }
}
