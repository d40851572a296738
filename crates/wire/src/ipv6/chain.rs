//! The chain of extension headers between the fixed header of IPv6 and the upper protocol.

use std::net::Ipv6Addr;

use super::fragment::{FRAGMENT_LEN, FragmentHeader};
use super::{HEADER_LEN, Ipv6View};
use crate::error::ParseError;
use crate::protocol::Protocol;

/// Most extension headers of a packet. RFC 8504, section 5.3, lets a host set such limits.
pub const MAX_HEADERS: usize = 8;
/// Most bytes of extension headers of a packet.
pub const MAX_BYTES: usize = 1024;
/// Most options, padding not counted, of one header: the default of Linux
/// (`net.ipv6.max_dst_opts_number`).
pub const MAX_OPTIONS: usize = 8;

/// Where the next-header field of the fixed header stands.
const FIRST_NEXT_HEADER: usize = 6;
/// Where the payload length field of the fixed header stands.
const PAYLOAD_LENGTH: usize = 4;

const ERRONEOUS_FIELD: u8 = 0;
const UNRECOGNIZED_NEXT_HEADER: u8 = 1;
const UNRECOGNIZED_OPTION: u8 = 2;
const INCOMPLETE_CHAIN: u8 = 3;

const PAD_1: u8 = 0;
const PAD_N: u8 = 1;
const ROUTER_ALERT: u8 = 5;
/// The value of an alert to multicast listener discovery (RFC 2711, section 2.1).
const ALERT_MLD: [u8; 2] = [0, 0];

/// The result of walking the extension headers as the destination does: in order, each one
/// obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// What [`payload`](Self::payload) is: the upper protocol; for a fragment other than the
    /// first, what the fragmentable part begins with.
    pub upper: Protocol,
    /// The upper packet; of a fragment (not an atomic one) its part of the fragmentable part,
    /// for reassembly.
    pub payload: &'a [u8],
    /// Where `payload` begins, in bytes from the start of the fixed header.
    pub offset: usize,
    /// The fragment header, if there is one; an atomic one is stepped over.
    pub fragment: Option<FragmentHeader>,
    /// Whether the hop-by-hop options alert routers to multicast listener discovery
    /// (RFC 2711).
    pub router_alert: bool,
}

/// Why a chain cannot be walked to its end, and what the sender is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainError {
    /// What is wrong.
    pub reason: ParseError,
    problem: Option<Problem>,
}

/// An ICMPv6 parameter problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Problem {
    code: u8,
    pointer: u32,
    even_if_multicast: bool,
}

impl ChainError {
    const fn silent(reason: ParseError) -> Self {
        Self {
            reason,
            problem: None,
        }
    }

    const fn told(reason: ParseError, code: u8, pointer: usize) -> Self {
        Self {
            reason,
            problem: Some(Problem {
                code,
                pointer: pointer as u32,
                even_if_multicast: false,
            }),
        }
    }

    /// The code and pointer of the ICMPv6 parameter problem that the packet to `dst` calls
    /// for; `None` if it is dropped without a word. Whether the source may be answered at all
    /// is the caller's to see (RFC 4443, section 2.4).
    #[must_use]
    pub fn parameter_problem(&self, dst: Ipv6Addr) -> Option<(u8, u32)> {
        self.problem
            .filter(|problem| problem.even_if_multicast || !dst.is_multicast())
            .map(|problem| (problem.code, problem.pointer))
    }
}

impl std::fmt::Display for ChainError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "extension headers: {}", self.reason)
    }
}

impl std::error::Error for ChainError {}

impl<'a> Chain<'a> {
    /// Walks the extension headers of a packet.
    ///
    /// At most [`MAX_HEADERS`] of them, [`MAX_BYTES`] in all, [`MAX_OPTIONS`] options each. A
    /// routing header with segments left is refused, type 0 (RFC 5095) like any other. The
    /// first of several fragments must hold the whole chain and the upper header (RFC 7112).
    ///
    /// # Errors
    ///
    /// A [`ChainError`] that says what is wrong and what to answer.
    #[inline]
    pub fn walk(view: &Ipv6View<'a>) -> Result<Self, ChainError> {
        Self::walk_from(view.next_header(), view.payload())
    }

    /// As [`walk`](Self::walk), for a payload put together from fragments; `first` is what it
    /// begins with.
    ///
    /// # Errors
    ///
    /// As [`walk`](Self::walk).
    #[inline]
    pub fn walk_from(first: Protocol, payload: &'a [u8]) -> Result<Self, ChainError> {
        if !first.is_extension_header() {
            return Ok(Self {
                upper: first,
                payload,
                offset: HEADER_LEN,
                fragment: None,
                router_alert: false,
            });
        }
        Walk::new(first, payload, false).run()
    }

    /// As [`walk`](Self::walk), for the packet that an ICMPv6 error quotes: cut short anywhere,
    /// so that the lengths of a fragment say nothing.
    pub(crate) fn walk_quoted(view: &Ipv6View<'a>) -> Result<Self, ChainError> {
        Walk::new(view.next_header(), view.payload(), true).run()
    }

    /// Whether the packet is to be put together with others.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_atomic())
    }
}

/// A walk in progress.
struct Walk<'a> {
    /// What stands at `at`.
    next: Protocol,
    /// Where the field stands that said so, from the start of the fixed header.
    next_at: usize,
    payload: &'a [u8],
    /// Position in `payload`.
    at: usize,
    headers: usize,
    fragment: Option<FragmentHeader>,
    router_alert: bool,
    /// Whether the payload may be cut short.
    quoted: bool,
}

impl<'a> Walk<'a> {
    const fn new(first: Protocol, payload: &'a [u8], quoted: bool) -> Self {
        Self {
            next: first,
            next_at: FIRST_NEXT_HEADER,
            payload,
            at: 0,
            headers: 0,
            fragment: None,
            router_alert: false,
            quoted,
        }
    }

    fn run(mut self) -> Result<Chain<'a>, ChainError> {
        while self.next.is_extension_header() {
            self.headers += 1;
            if self.headers > MAX_HEADERS || self.at > MAX_BYTES {
                return Err(ChainError::silent(ParseError::TooManyHeaders));
            }
            match self.next {
                Protocol::FRAGMENT => {
                    if let Some(chain) = self.fragment_header()? {
                        return Ok(chain);
                    }
                }
                Protocol::ROUTING => self.routing_header()?,
                _ => self.options_header()?,
            }
        }
        Ok(self.end())
    }

    fn end(&self) -> Chain<'a> {
        Chain {
            upper: self.next,
            payload: self.payload.get(self.at..).unwrap_or_default(),
            offset: HEADER_LEN + self.at,
            fragment: self.fragment,
            router_alert: self.router_alert,
        }
    }

    /// The whole header at `at`: its length is in units of 8 bytes behind the first 8.
    fn header(&self) -> Result<&'a [u8], ChainError> {
        let rest = self.payload.get(self.at..).unwrap_or_default();
        rest.get(1)
            .map(|&len| (usize::from(len) + 1) * 8)
            .and_then(|len| rest.get(..len))
            .ok_or(ChainError::silent(ParseError::Truncated))
    }

    /// Goes behind `header`.
    fn step(&mut self, header: &[u8]) {
        self.next = Protocol(header[0]);
        self.next_at = HEADER_LEN + self.at;
        self.at += header.len();
    }

    fn options_header(&mut self) -> Result<(), ChainError> {
        // RFC 8200, section 4.1: hop-by-hop options stand first or not at all.
        if self.next == Protocol::HOP_BY_HOP && self.next_at != FIRST_NEXT_HEADER {
            let (reason, code) = (ParseError::BadCode, UNRECOGNIZED_NEXT_HEADER);
            return Err(ChainError::told(reason, code, self.next_at));
        }
        let header = self.header()?;
        self.options(header)?;
        self.step(header);
        Ok(())
    }

    fn options(&mut self, header: &[u8]) -> Result<(), ChainError> {
        let mut at = 2;
        let mut options = 0;
        while let Some(&kind) = header.get(at) {
            if kind == PAD_1 {
                at += 1;
                continue;
            }
            let len = header.get(at + 1).copied().map(usize::from);
            let Some(end) = len
                .map(|len| at + 2 + len)
                .filter(|&end| end <= header.len())
            else {
                return Err(ChainError::silent(ParseError::BadOption));
            };
            if kind != PAD_N {
                options += 1;
                if options > MAX_OPTIONS {
                    return Err(ChainError::silent(ParseError::TooManyHeaders));
                }
                if kind != ROUTER_ALERT {
                    self.unknown_option(kind, HEADER_LEN + self.at + at)?;
                } else if self.next == Protocol::HOP_BY_HOP {
                    self.router_alert |= header[at + 2..end] == ALERT_MLD;
                }
            }
            at = end;
        }
        Ok(())
    }

    /// What the two high bits of an unknown option demand (RFC 8200, section 4.2).
    fn unknown_option(&self, kind: u8, pointer: usize) -> Result<(), ChainError> {
        let mut error = ChainError::told(ParseError::BadOption, UNRECOGNIZED_OPTION, pointer);
        match kind >> 6 {
            0b00 => return Ok(()),
            0b01 => error.problem = None,
            0b10 => {
                if let Some(problem) = &mut error.problem {
                    problem.even_if_multicast = true;
                }
            }
            _ => {}
        }
        Err(error)
    }

    fn routing_header(&mut self) -> Result<(), ChainError> {
        let header = self.header()?;
        // RFC 8200, section 4.4: with segments left an unknown type is a problem, and so is
        // type 0 (RFC 5095, section 3); without, the header is ignored.
        if header[3] != 0 {
            let (reason, at) = (ParseError::Unsupported, HEADER_LEN + self.at + 2);
            return Err(ChainError::told(reason, ERRONEOUS_FIELD, at));
        }
        self.step(header);
        Ok(())
    }

    /// Steps over an atomic fragment header; of any other the walk ends here.
    fn fragment_header(&mut self) -> Result<Option<Chain<'a>>, ChainError> {
        let at = self.at;
        let Some(header) = self
            .payload
            .get(at..)
            .and_then(|rest| rest.first_chunk::<FRAGMENT_LEN>())
        else {
            return Err(ChainError::silent(ParseError::Truncated));
        };
        let fragment = FragmentHeader::parse(header);
        if self.fragment.is_some() {
            // One packet is fragmented once; a second header hides what the first checks.
            return Err(ChainError::silent(ParseError::BadCode));
        }
        self.fragment = Some(fragment);
        self.step(header);
        if fragment.is_atomic() {
            return Ok(None);
        }
        let chain = self.end();
        if self.quoted {
            return Ok(Some(chain));
        }
        let len = chain.payload.len();
        if fragment.more && !len.is_multiple_of(8) {
            let reason = ParseError::BadLength;
            return Err(ChainError::told(reason, ERRONEOUS_FIELD, PAYLOAD_LENGTH));
        }
        if usize::from(fragment.offset) + len > usize::from(u16::MAX) {
            let (reason, at) = (ParseError::BadLength, HEADER_LEN + at + 2);
            return Err(ChainError::told(reason, ERRONEOUS_FIELD, at));
        }
        if fragment.offset == 0 {
            self.whole_chain_in_first_fragment()?;
        }
        Ok(Some(chain))
    }

    /// RFC 7112, section 5: without the whole chain and the upper header in the first fragment,
    /// filters cannot judge the packet, and it is dropped.
    fn whole_chain_in_first_fragment(&mut self) -> Result<(), ChainError> {
        let missing = ChainError::told(ParseError::Truncated, INCOMPLETE_CHAIN, 0);
        while self.next.is_extension_header() {
            self.headers += 1;
            if self.headers > MAX_HEADERS || self.at > MAX_BYTES {
                return Err(ChainError::silent(ParseError::TooManyHeaders));
            }
            if self.next == Protocol::FRAGMENT {
                return Err(ChainError::silent(ParseError::BadCode));
            }
            let header = self.header().map_err(|_| missing)?;
            self.step(header);
        }
        let needed = match self.next {
            Protocol::TCP => crate::tcp::HEADER_LEN,
            Protocol::UDP => crate::udp::HEADER_LEN,
            Protocol::ICMPV6 => crate::icmpv6::HEADER_LEN,
            _ => 0,
        };
        if self.end().payload.len() < needed {
            return Err(missing);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
