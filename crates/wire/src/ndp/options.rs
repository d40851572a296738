//! Options of neighbour discovery (RFC 4861, section 4.6; RFC 8106; RFC 3971,
//! section 5.3).

use std::net::Ipv6Addr;

use crate::bytes::{array, be32, put};
use crate::error::{EmitError, ParseError};
use crate::ethernet::EthernetAddress;

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const REDIRECTED_HEADER: u8 = 4;
const MTU: u8 = 5;
const NONCE: u8 = 14;
const RDNSS: u8 = 25;

const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

/// Most bytes of a packet in a redirected-header option: 255 units of 8 bytes without the
/// first.
pub(super) const MAX_REDIRECTED: usize = 254 * 8;

/// A prefix of the link (RFC 4861, section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixInformation {
    /// The length of the prefix in bits, at most 128.
    pub prefix_len: u8,
    /// Whether addresses of the prefix are on this link.
    pub on_link: bool,
    /// Whether hosts may make addresses of it (RFC 4862).
    pub autonomous: bool,
    /// Seconds for which the prefix is on the link; `u32::MAX` is for ever.
    pub valid_s: u32,
    /// Seconds for which addresses made of it are preferred; `u32::MAX` is for ever.
    pub preferred_s: u32,
    /// The prefix; bits behind its length are to be ignored.
    pub prefix: Ipv6Addr,
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NdpOption<'a> {
    /// The sender's link address.
    SourceLinkAddress(EthernetAddress),
    /// The target's link address.
    TargetLinkAddress(EthernetAddress),
    /// A prefix of the link.
    PrefixInformation(PrefixInformation),
    /// The packet that caused a redirect; zeros may stand behind it up to a multiple of 8.
    RedirectedHeader(&'a [u8]),
    /// The MTU of the link in bytes.
    Mtu(u32),
    /// A number used once, by which a sender knows its own message, or the answer to it (RFC
    /// 3971, section 5.3.2; RFC 7527): 6 bytes, or 8 more for each further unit.
    Nonce(&'a [u8]),
    /// Recursive name servers (RFC 8106).
    Rdnss {
        /// Seconds for which they may be used; `u32::MAX` is for ever.
        lifetime_s: u32,
        /// Their addresses, 16 bytes each.
        servers: &'a [[u8; 16]],
    },
    /// Any other.
    Other {
        /// The type.
        kind: u8,
        /// What follows the length: 6 bytes, or 8 more for each further unit.
        data: &'a [u8],
    },
}

impl<'a> NdpOption<'a> {
    /// Bytes of the option: a multiple of 8.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        let len: usize = match self {
            Self::SourceLinkAddress(_) | Self::TargetLinkAddress(_) | Self::Mtu(_) => 8,
            Self::PrefixInformation(_) => 32,
            Self::RedirectedHeader(packet) => 8 + packet.len(),
            Self::Rdnss { servers, .. } => 8 + 16 * servers.len(),
            Self::Nonce(data) | Self::Other { data, .. } => 2 + data.len(),
        };
        len.next_multiple_of(8)
    }

    /// Writes the option to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::TooLong`] beyond 2,040 bytes.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.buffer_len();
        let bytes = bytes.get_mut(..len).ok_or(EmitError::BufferTooSmall)?;
        let units = u8::try_from(len / 8).map_err(|_| EmitError::TooLong)?;
        bytes.fill(0);
        bytes[0] = self.kind();
        bytes[1] = units;
        match *self {
            Self::SourceLinkAddress(address) | Self::TargetLinkAddress(address) => {
                put(bytes, 2, address.0);
            }
            Self::PrefixInformation(prefix) => {
                let on_link = if prefix.on_link { ON_LINK } else { 0 };
                let autonomous = if prefix.autonomous { AUTONOMOUS } else { 0 };
                put(bytes, 2, [prefix.prefix_len, on_link | autonomous]);
                put(bytes, 4, prefix.valid_s.to_be_bytes());
                put(bytes, 8, prefix.preferred_s.to_be_bytes());
                put(bytes, 16, prefix.prefix.octets());
            }
            Self::RedirectedHeader(packet) => bytes[8..8 + packet.len()].copy_from_slice(packet),
            Self::Mtu(mtu) => put(bytes, 4, mtu.to_be_bytes()),
            Self::Rdnss {
                lifetime_s,
                servers,
            } => {
                put(bytes, 4, lifetime_s.to_be_bytes());
                bytes[8..].copy_from_slice(servers.as_flattened());
            }
            Self::Nonce(data) | Self::Other { data, .. } => {
                bytes[2..2 + data.len()].copy_from_slice(data);
            }
        }
        Ok(len)
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::SourceLinkAddress(_) => SOURCE_LINK_ADDRESS,
            Self::TargetLinkAddress(_) => TARGET_LINK_ADDRESS,
            Self::PrefixInformation(_) => PREFIX_INFORMATION,
            Self::RedirectedHeader(_) => REDIRECTED_HEADER,
            Self::Mtu(_) => MTU,
            Self::Nonce(_) => NONCE,
            Self::Rdnss { .. } => RDNSS,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// The option in `bytes`, whose length is that of the option: a multiple of 8, not 0.
    fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let link_address = || {
            let address: &[u8; 8] = bytes.try_into().map_err(|_| ParseError::BadOption)?;
            Ok(EthernetAddress(array(address, 2)))
        };
        Ok(match bytes[0] {
            SOURCE_LINK_ADDRESS => Self::SourceLinkAddress(link_address()?),
            TARGET_LINK_ADDRESS => Self::TargetLinkAddress(link_address()?),
            PREFIX_INFORMATION => {
                if bytes.len() != 32 || bytes[2] > 128 {
                    return Err(ParseError::BadOption);
                }
                Self::PrefixInformation(PrefixInformation {
                    prefix_len: bytes[2],
                    on_link: bytes[3] & ON_LINK != 0,
                    autonomous: bytes[3] & AUTONOMOUS != 0,
                    valid_s: be32(bytes, 4),
                    preferred_s: be32(bytes, 8),
                    prefix: array::<16>(bytes, 16).into(),
                })
            }
            REDIRECTED_HEADER => Self::RedirectedHeader(&bytes[8..]),
            MTU if bytes.len() == 8 => Self::Mtu(be32(bytes, 4)),
            MTU => return Err(ParseError::BadOption),
            NONCE => Self::Nonce(&bytes[2..]),
            RDNSS => {
                let (servers, rest) = bytes[8..].as_chunks::<16>();
                // RFC 8106, section 5.1: one server at least, and whole ones.
                if servers.is_empty() || !rest.is_empty() {
                    return Err(ParseError::BadOption);
                }
                Self::Rdnss {
                    lifetime_s: be32(bytes, 4),
                    servers,
                }
            }
            kind => Self::Other {
                kind,
                data: &bytes[2..],
            },
        })
    }
}

/// The options of a message, raw, each of them known to be sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NdpOptions<'a> {
    bytes: &'a [u8],
}

impl<'a> NdpOptions<'a> {
    /// Checks options as they stand in a message, or as [`NdpOption::emit`] wrote them one
    /// after the other.
    ///
    /// # Errors
    ///
    /// [`ParseError::BadOption`] if a length is zero, beyond `bytes`, or wrong for a known
    /// kind.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (option, next) = split(rest).ok_or(ParseError::BadOption)?;
            NdpOption::parse(option)?;
            rest = next;
        }
        Ok(Self { bytes })
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The options one by one.
    #[must_use]
    pub const fn iter(&self) -> NdpOptionIter<'a> {
        NdpOptionIter { rest: self.bytes }
    }

    /// The first source link address.
    #[must_use]
    pub fn source_link_address(&self) -> Option<EthernetAddress> {
        self.iter().find_map(|option| match option {
            NdpOption::SourceLinkAddress(address) => Some(address),
            _ => None,
        })
    }

    /// The first target link address.
    #[must_use]
    pub fn target_link_address(&self) -> Option<EthernetAddress> {
        self.iter().find_map(|option| match option {
            NdpOption::TargetLinkAddress(address) => Some(address),
            _ => None,
        })
    }

    /// The first MTU in bytes.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        self.iter().find_map(|option| match option {
            NdpOption::Mtu(mtu) => Some(mtu),
            _ => None,
        })
    }

    /// The first nonce.
    #[must_use]
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.iter().find_map(|option| match option {
            NdpOption::Nonce(nonce) => Some(nonce),
            _ => None,
        })
    }

    /// The prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = PrefixInformation> + use<'a> {
        self.iter().filter_map(|option| match option {
            NdpOption::PrefixInformation(prefix) => Some(prefix),
            _ => None,
        })
    }

    /// The packet of the first redirected header.
    #[must_use]
    pub fn redirected(&self) -> Option<&'a [u8]> {
        self.iter().find_map(|option| match option {
            NdpOption::RedirectedHeader(packet) => Some(packet),
            _ => None,
        })
    }
}

impl<'a> IntoIterator for NdpOptions<'a> {
    type Item = NdpOption<'a>;
    type IntoIter = NdpOptionIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Walks the options of a message.
#[derive(Clone, Debug)]
pub struct NdpOptionIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for NdpOptionIter<'a> {
    type Item = NdpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (option, rest) = split(self.rest)?;
        self.rest = rest;
        // The constructor of the options has refused what does not parse.
        NdpOption::parse(option).ok()
    }
}

/// The first option of `bytes` and what follows; `None` if its length is zero or beyond.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(*bytes.get(1)?) * 8;
    bytes.split_at_checked(len).filter(|_| len != 0)
}
