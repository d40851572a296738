//! Multicast listener discovery: version 2 (RFC 9777, before that RFC 3810) and version 1
//! (RFC 2710). Hosts say which groups they listen to, so that switches and routers send them
//! those and no others.

mod record;

pub use record::{MldRecord, MldRecordIter, MldRecordKind, MldRecords};

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::bytes::{be16, put};
use crate::error::{EmitError, ParseError};
use crate::icmpv6::{HEADER_LEN, Icmpv6View};

/// The hop limit of every message: it stays on its link.
pub const HOP_LIMIT: u8 = 1;
/// Where reports of version 2 go: all routers that speak it (RFC 9777, section 5.2.14).
pub const ALL_MLDV2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Where [`MldRepr::Done`] goes: all routers of the link (RFC 2710, section 5).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

const QUERY: u8 = 130;
const REPORT_V1: u8 = 131;
const DONE: u8 = 132;
const REPORT: u8 = 143;

/// Bytes of a message of version 1, and of a query up to its group.
const GROUP_END: usize = HEADER_LEN + 16;
/// Bytes of a query of version 2 up to its sources.
const QUERY_LEN: usize = GROUP_END + 4;

const SUPPRESS: u8 = 0x08;
const ROBUSTNESS_MAX: u8 = 7;

/// Whether an ICMPv6 type belongs to multicast listener discovery.
#[must_use]
pub const fn is_mld(message_type: u8) -> bool {
    matches!(message_type, QUERY | REPORT_V1 | DONE | REPORT)
}

/// What only a query of version 2 says (RFC 9777, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MldQuerier<'a> {
    /// Whether routers are to leave their timers as they are.
    pub suppress: bool,
    /// How many losses the querier counts on, at most 7; 0 if it does not say.
    pub robustness: u8,
    /// Between two general queries, as it is on the wire; see
    /// [`interval`](Self::interval).
    pub interval_code: u8,
    /// The sources that are asked about; none: all of them.
    pub sources: &'a [[u8; 16]],
}

impl MldQuerier<'_> {
    /// Between two general queries (RFC 9777, section 5.1.9).
    #[must_use]
    pub const fn interval(&self) -> Duration {
        let code = self.interval_code as u64;
        Duration::from_secs(if code < 0x80 {
            code
        } else {
            (code & 0xf | 0x10) << ((code >> 4 & 7) + 3)
        })
    }
}

/// A question who listens to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MldQuery<'a> {
    /// Within which time to answer, as it is on the wire; see
    /// [`max_response_delay`](Self::max_response_delay).
    pub max_response_code: u16,
    /// Who listens to this group; unspecified in a general query, which asks for all groups.
    pub group: Ipv6Addr,
    /// What follows in version 2; absent in version 1.
    pub querier: Option<MldQuerier<'a>>,
}

impl MldQuery<'_> {
    /// Within which time to answer (RFC 9777, section 5.1.3; RFC 2710, section 3.4).
    #[must_use]
    pub const fn max_response_delay(&self) -> Duration {
        let code = self.max_response_code as u64;
        Duration::from_millis(if code < 0x8000 || self.querier.is_none() {
            code
        } else {
            (code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3)
        })
    }
}

/// A message of multicast listener discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MldRepr<'a> {
    /// Type 130: asks who listens.
    Query(MldQuery<'a>),
    /// Type 131: somebody listens to the group (version 1).
    ReportV1 {
        /// The group.
        group: Ipv6Addr,
    },
    /// Type 132: somebody listens to the group no more (version 1).
    Done {
        /// The group.
        group: Ipv6Addr,
    },
    /// Type 143: what somebody listens to, and what has changed (version 2).
    Report(MldRecords<'a>),
}

impl<'a> MldRepr<'a> {
    /// The message. Bytes behind it are ignored, and so is its code (RFC 9777, sections 5.1.2
    /// and 5.1.12). What is demanded of the packet around it is the caller's to see: the hop
    /// limit, a source of link-local scope, a router alert
    /// ([`Chain::router_alert`](crate::ipv6::Chain::router_alert)).
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ParseError::Unsupported) for another type;
    /// [`Truncated`](ParseError::Truncated); [`BadLength`](ParseError::BadLength) for a query
    /// that is too long for version 1 and too short for version 2 (RFC 9777, section 8.1).
    pub fn parse(view: &Icmpv6View<'a>) -> Result<Self, ParseError> {
        if !is_mld(view.message_type()) {
            return Err(ParseError::Unsupported);
        }
        let (rest, body) = (view.rest(), view.payload());
        if view.message_type() == REPORT {
            return MldRecords::parse(be16(&rest, 2), body).map(Self::Report);
        }
        let (group, rest_of_query) = body
            .split_first_chunk::<16>()
            .ok_or(ParseError::Truncated)?;
        let group = (*group).into();
        Ok(match view.message_type() {
            QUERY => Self::Query(MldQuery {
                max_response_code: be16(&rest, 0),
                group,
                querier: querier(rest_of_query)?,
            }),
            REPORT_V1 => Self::ReportV1 { group },
            _ => Self::Done { group },
        })
    }

    /// Bytes of the message, ICMPv6 header included.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        match self {
            Self::Query(MldQuery {
                querier: Some(querier),
                ..
            }) => QUERY_LEN + 16 * querier.sources.len(),
            Self::Query(_) | Self::ReportV1 { .. } | Self::Done { .. } => GROUP_END,
            Self::Report(records) => HEADER_LEN + records.as_bytes().len(),
        }
    }

    /// Writes the message, checksum zero, to the start of `bytes` and tells its length.
    /// [`Icmpv6Repr::emit`](crate::Icmpv6Repr::emit) fills in the checksum too.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::TooLong`] beyond 65,535 sources;
    /// [`EmitError::FieldTooWide`] if the robustness is more than 7.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.buffer_len();
        let message = bytes.get_mut(..len).ok_or(EmitError::BufferTooSmall)?;
        let head = |message: &mut [u8], message_type, first: u16, second: u16| {
            put(message, 0, [message_type, 0, 0, 0]);
            put(message, 4, first.to_be_bytes());
            put(message, 6, second.to_be_bytes());
        };
        match *self {
            Self::Query(query) => {
                head(message, QUERY, query.max_response_code, 0);
                put(message, HEADER_LEN, query.group.octets());
                if let Some(querier) = query.querier {
                    emit_querier(&querier, &mut message[GROUP_END..])?;
                }
            }
            Self::ReportV1 { group } => {
                head(message, REPORT_V1, 0, 0);
                put(message, HEADER_LEN, group.octets());
            }
            Self::Done { group } => {
                head(message, DONE, 0, 0);
                put(message, HEADER_LEN, group.octets());
            }
            Self::Report(records) => {
                head(message, REPORT, 0, records.len());
                message[HEADER_LEN..].copy_from_slice(records.as_bytes());
            }
        }
        Ok(len)
    }
}

/// What follows the group of a query.
fn querier(bytes: &[u8]) -> Result<Option<MldQuerier<'_>>, ParseError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (head, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(ParseError::BadLength)?;
    let (sources, _) = rest.as_chunks::<16>();
    Ok(Some(MldQuerier {
        suppress: head[0] & SUPPRESS != 0,
        robustness: head[0] & ROBUSTNESS_MAX,
        interval_code: head[1],
        sources: sources
            .get(..usize::from(be16(head, 2)))
            .ok_or(ParseError::Truncated)?,
    }))
}

fn emit_querier(querier: &MldQuerier<'_>, bytes: &mut [u8]) -> Result<(), EmitError> {
    let sources = u16::try_from(querier.sources.len()).map_err(|_| EmitError::TooLong)?;
    if querier.robustness > ROBUSTNESS_MAX {
        return Err(EmitError::FieldTooWide);
    }
    let suppress = if querier.suppress { SUPPRESS } else { 0 };
    put(
        bytes,
        0,
        [suppress | querier.robustness, querier.interval_code],
    );
    put(bytes, 2, sources.to_be_bytes());
    bytes[4..].copy_from_slice(querier.sources.as_flattened());
    Ok(())
}

/// Bytes of [`router_alert`].
pub const ROUTER_ALERT_LEN: usize = 8;

/// The header of hop-by-hop options that stands before every message (RFC 9777, section 5):
/// a router alert for multicast listener discovery (RFC 2711), and padding.
#[must_use]
pub const fn router_alert() -> [u8; ROUTER_ALERT_LEN] {
    let next_header = crate::Protocol::ICMPV6.0;
    [next_header, 0, 5, 2, 0, 0, 1, 0]
}

#[cfg(test)]
mod tests;
