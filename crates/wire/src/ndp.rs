//! Neighbour discovery (RFC 4861).

mod options;

pub use options::{NdpOption, NdpOptionIter, NdpOptions, PrefixInformation};

use std::net::Ipv6Addr;

use crate::bytes::{array, be16, be32, put};
use crate::error::{EmitError, ParseError};
use crate::ethernet::EthernetAddress;
use crate::icmpv6::{HEADER_LEN, Icmpv6View};

/// The hop limit of every message: a router in between would have lowered it.
pub const HOP_LIMIT: u8 = 255;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

const MANAGED: u8 = 0x80;
const OTHER_CONFIG: u8 = 0x40;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Whether an ICMPv6 type belongs to neighbour discovery.
#[must_use]
pub const fn is_ndp(message_type: u8) -> bool {
    matches!(message_type, ROUTER_SOLICITATION..=REDIRECT)
}

/// The solicited-node multicast group of `address` (RFC 4291, section 2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let prefix = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(prefix | address.to_bits() & 0x00ff_ffff)
}

/// What a router tells about itself and the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouterAdvertisement<'a> {
    /// The hop limit that hosts should use; 0 if the router does not say.
    pub hop_limit: u8,
    /// Whether addresses come from DHCPv6.
    pub managed: bool,
    /// Whether other settings come from DHCPv6.
    pub other_config: bool,
    /// Seconds for which this is a default router; 0 if it is none.
    pub lifetime_s: u16,
    /// Milliseconds for which a neighbour counts as reachable; 0 if the router does not say.
    pub reachable_ms: u32,
    /// Milliseconds between solicitations; 0 if the router does not say.
    pub retransmit_ms: u32,
    /// Link address, MTU, prefixes, name servers.
    pub options: NdpOptions<'a>,
}

/// A message of neighbour discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NdpRepr<'a> {
    /// Asks routers to advertise themselves.
    RouterSolicitation {
        /// The sender's link address; absent if it has no address yet.
        source_link_address: Option<EthernetAddress>,
    },
    /// What a router tells.
    RouterAdvertisement(RouterAdvertisement<'a>),
    /// Asks for the link address of `target`, or whether it is still there.
    NeighborSolicitation {
        /// Whom.
        target: Ipv6Addr,
        /// The sender's link address; absent in duplicate address detection.
        source_link_address: Option<EthernetAddress>,
        /// By which the sender knows its own message when a link brings it back (RFC 7527).
        nonce: Option<&'a [u8]>,
    },
    /// Answers a solicitation, or announces a change.
    NeighborAdvertisement {
        /// Whether the sender is a router.
        router: bool,
        /// Whether this answers a solicitation.
        solicited: bool,
        /// Whether the link address replaces one that is known.
        override_entry: bool,
        /// Whose link address it is.
        target: Ipv6Addr,
        /// The link address.
        target_link_address: Option<EthernetAddress>,
    },
    /// A better first hop.
    Redirect {
        /// The better hop; the destination itself if that is on the link.
        target: Ipv6Addr,
        /// For packets to whom.
        destination: Ipv6Addr,
        /// The link address of `target`.
        target_link_address: Option<EthernetAddress>,
        /// The packet that caused this, as far as it came along; up to 7 bytes of padding
        /// may stand behind it.
        redirected: Option<&'a [u8]>,
    },
}

impl<'a> NdpRepr<'a> {
    /// The message. Of options that come twice the first one counts; those that make no sense
    /// for the message are ignored. [`validate`](Self::validate) has the rest of the checks.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ParseError::Unsupported) for another type;
    /// [`BadCode`](ParseError::BadCode); [`Truncated`](ParseError::Truncated);
    /// [`BadOption`](ParseError::BadOption) for an option of length zero or beyond the
    /// message, or of a known kind with a wrong length.
    pub fn parse(view: &Icmpv6View<'a>) -> Result<Self, ParseError> {
        if !is_ndp(view.message_type()) {
            return Err(ParseError::Unsupported);
        }
        if view.code() != 0 {
            return Err(ParseError::BadCode);
        }
        let (rest, body) = (view.rest(), view.payload());
        Ok(match view.message_type() {
            ROUTER_SOLICITATION => Self::RouterSolicitation {
                source_link_address: NdpOptions::new(body)?.source_link_address(),
            },
            ROUTER_ADVERTISEMENT => {
                let (timers, options) =
                    body.split_first_chunk::<8>().ok_or(ParseError::Truncated)?;
                Self::RouterAdvertisement(RouterAdvertisement {
                    hop_limit: rest[0],
                    managed: rest[1] & MANAGED != 0,
                    other_config: rest[1] & OTHER_CONFIG != 0,
                    lifetime_s: be16(&rest, 2),
                    reachable_ms: be32(timers, 0),
                    retransmit_ms: be32(timers, 4),
                    options: NdpOptions::new(options)?,
                })
            }
            NEIGHBOR_SOLICITATION => {
                let (target, options) = address(body)?;
                let options = NdpOptions::new(options)?;
                Self::NeighborSolicitation {
                    target,
                    source_link_address: options.source_link_address(),
                    nonce: options.nonce(),
                }
            }
            NEIGHBOR_ADVERTISEMENT => {
                let (target, options) = address(body)?;
                Self::NeighborAdvertisement {
                    router: rest[0] & ROUTER != 0,
                    solicited: rest[0] & SOLICITED != 0,
                    override_entry: rest[0] & OVERRIDE != 0,
                    target,
                    target_link_address: NdpOptions::new(options)?.target_link_address(),
                }
            }
            _ => {
                let (target, body) = address(body)?;
                let (destination, options) = address(body)?;
                let options = NdpOptions::new(options)?;
                Self::Redirect {
                    target,
                    destination,
                    target_link_address: options.target_link_address(),
                    redirected: options.redirected(),
                }
            }
        })
    }

    /// Checks what RFC 4861 (sections 6.1, 7.1 and 8.1) demands of the IPv6 header around the
    /// message and of the addresses inside.
    ///
    /// # Errors
    ///
    /// [`BadHopLimit`](ParseError::BadHopLimit) if it is not 255,
    /// [`BadAddress`](ParseError::BadAddress), [`BadOption`](ParseError::BadOption) for a link
    /// address without an address, [`BadCode`](ParseError::BadCode) for an advertisement to a
    /// group that claims to be solicited.
    pub fn validate(&self, src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> Result<(), ParseError> {
        if hop_limit != HOP_LIMIT {
            return Err(ParseError::BadHopLimit);
        }
        match *self {
            Self::RouterSolicitation {
                source_link_address,
            } if src.is_unspecified() && source_link_address.is_some() => {
                Err(ParseError::BadOption)
            }
            Self::RouterAdvertisement(_) if !src.is_unicast_link_local() => {
                Err(ParseError::BadAddress)
            }
            Self::NeighborSolicitation { target, .. }
            | Self::NeighborAdvertisement { target, .. }
                if target.is_multicast() =>
            {
                Err(ParseError::BadAddress)
            }
            Self::NeighborSolicitation {
                target,
                source_link_address,
                ..
            } if src.is_unspecified() => {
                if dst != solicited_node(target) {
                    Err(ParseError::BadAddress)
                } else if source_link_address.is_some() {
                    Err(ParseError::BadOption)
                } else {
                    Ok(())
                }
            }
            Self::NeighborAdvertisement {
                solicited: true, ..
            } if dst.is_multicast() => Err(ParseError::BadCode),
            Self::Redirect {
                target,
                destination,
                ..
            } if !src.is_unicast_link_local()
                || destination.is_multicast()
                || !(target.is_unicast_link_local() || target == destination) =>
            {
                Err(ParseError::BadAddress)
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the message, ICMPv6 header included.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        let mut len = HEADER_LEN;
        self.write(&mut [], &mut len);
        len
    }

    /// Writes the message, checksum zero, to the start of `bytes` and tells its length.
    /// [`Icmpv6Repr::emit`](crate::Icmpv6Repr::emit) fills in the checksum too.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; [`EmitError::TooLong`] if the redirected packet does not
    /// fit into an option.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        if let Self::Redirect {
            redirected: Some(packet),
            ..
        } = self
            && packet.len() > options::MAX_REDIRECTED
        {
            return Err(EmitError::TooLong);
        }
        let message = bytes
            .get_mut(..self.buffer_len())
            .ok_or(EmitError::BufferTooSmall)?;
        let (message_type, rest) = self.head();
        put(message, 0, [message_type, 0, 0, 0]);
        put(message, 4, rest);
        let mut len = HEADER_LEN;
        self.write(message, &mut len);
        Ok(len)
    }

    /// The type, and bytes 4 to 7.
    fn head(&self) -> (u8, [u8; 4]) {
        let flag = |set, flag| if set { flag } else { 0 };
        match *self {
            Self::RouterSolicitation { .. } => (ROUTER_SOLICITATION, [0; 4]),
            Self::RouterAdvertisement(advertisement) => {
                let flags = flag(advertisement.managed, MANAGED)
                    | flag(advertisement.other_config, OTHER_CONFIG);
                let [high, low] = advertisement.lifetime_s.to_be_bytes();
                let rest = [advertisement.hop_limit, flags, high, low];
                (ROUTER_ADVERTISEMENT, rest)
            }
            Self::NeighborSolicitation { .. } => (NEIGHBOR_SOLICITATION, [0; 4]),
            Self::NeighborAdvertisement {
                router,
                solicited,
                override_entry,
                ..
            } => {
                let flags = flag(router, ROUTER)
                    | flag(solicited, SOLICITED)
                    | flag(override_entry, OVERRIDE);
                (NEIGHBOR_ADVERTISEMENT, [flags, 0, 0, 0])
            }
            Self::Redirect { .. } => (REDIRECT, [0; 4]),
        }
    }

    /// Writes what follows the ICMPv6 header; into an empty slice it only counts.
    fn write(&self, bytes: &mut [u8], at: &mut usize) {
        match *self {
            Self::RouterSolicitation {
                source_link_address,
            } => option(
                bytes,
                at,
                source_link_address.map(NdpOption::SourceLinkAddress),
            ),
            Self::RouterAdvertisement(advertisement) => {
                field(bytes, at, &advertisement.reachable_ms.to_be_bytes());
                field(bytes, at, &advertisement.retransmit_ms.to_be_bytes());
                field(bytes, at, advertisement.options.as_bytes());
            }
            Self::NeighborSolicitation {
                target,
                source_link_address,
                nonce,
            } => {
                field(bytes, at, &target.octets());
                option(
                    bytes,
                    at,
                    source_link_address.map(NdpOption::SourceLinkAddress),
                );
                option(bytes, at, nonce.map(NdpOption::Nonce));
            }
            Self::NeighborAdvertisement {
                target,
                target_link_address,
                ..
            } => {
                field(bytes, at, &target.octets());
                option(
                    bytes,
                    at,
                    target_link_address.map(NdpOption::TargetLinkAddress),
                );
            }
            Self::Redirect {
                target,
                destination,
                target_link_address,
                redirected,
            } => {
                field(bytes, at, &target.octets());
                field(bytes, at, &destination.octets());
                option(
                    bytes,
                    at,
                    target_link_address.map(NdpOption::TargetLinkAddress),
                );
                option(bytes, at, redirected.map(NdpOption::RedirectedHeader));
            }
        }
    }
}

/// An address at the start of `bytes`, and what follows.
fn address(bytes: &[u8]) -> Result<(Ipv6Addr, &[u8]), ParseError> {
    let (address, rest) = bytes
        .split_first_chunk::<16>()
        .ok_or(ParseError::Truncated)?;
    Ok((array::<16>(address, 0).into(), rest))
}

/// Writes `value` if there is room, and goes behind it.
fn field(bytes: &mut [u8], at: &mut usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(*at..*at + value.len()) {
        place.copy_from_slice(value);
    }
    *at += value.len();
}

/// As [`field`], for an option.
fn option(bytes: &mut [u8], at: &mut usize, option: Option<NdpOption<'_>>) {
    let Some(option) = option else { return };
    // Too little room happens only while counting.
    let _ = option.emit(bytes.get_mut(*at..).unwrap_or_default());
    *at += option.buffer_len();
}

#[cfg(test)]
mod tests;
