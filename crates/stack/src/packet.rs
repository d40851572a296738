//! IP packets between the network layer and the protocols above it.

use core::net::IpAddr;

use bytes::Bytes;
use zcn_frame::{Chain, Checksum, Frame, GsoKind};
use zcn_pool::SharedBuf;
use zcn_wire::checksum::Sum;
use zcn_wire::{Protocol, PseudoHeader, TrafficClass};

use crate::id::InterfaceId;

/// Room in front of a transport header: Ethernet, IPv6 and a fragment header.
pub(crate) const HEADROOM: usize = 14 + 40 + 8;

/// A packet that arrived for us: its IP header checked, its fragments put together.
///
/// The frame stays where it was received, and is borrowed: moving it from layer to layer would
/// cost more than what they do with it.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) interface: InterfaceId,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: TrafficClass,
    /// From the IP header on, without padding.
    pub(crate) frame: &'a mut Frame,
    /// Where the transport header begins in it.
    pub(crate) transport: usize,
    /// Where the field that named the protocol is (IPv6 parameter problems tell).
    pub(crate) next_header_at: usize,
    /// Sent to a group or to everybody, by its IP or its link address: no errors, no
    /// connections (RFC 1122 section 3.2.2).
    pub(crate) to_group: bool,
    /// Came in fragments, or with a fragment header: no neighbour discovery (RFC 6980).
    pub(crate) fragmented: bool,
}

impl Packet<'_> {
    /// Bytes behind the IP headers.
    pub(crate) fn payload_len(&self) -> usize {
        self.frame.len() - self.transport
    }

    /// Whether somebody vouches for the transport checksum.
    pub(crate) fn checksum_trusted(&self) -> bool {
        self.frame.meta.checksum.is_trusted()
    }

    /// The pseudo header of TCP, UDP and ICMPv6.
    pub(crate) fn pseudo_header(&self) -> PseudoHeader {
        pseudo_header(self.source, self.destination, self.protocol)
    }

    /// Whether the sum of the payload, and of the pseudo header if there is one, is right.
    pub(crate) fn verify(&self, pseudo: Option<PseudoHeader>, len: usize) -> bool {
        let start = pseudo.map_or(Sum::ZERO, |pseudo| pseudo.sum(len));
        frame_sum(start, self.frame, self.transport, len).is_valid()
    }

    /// Copies at most `max` bytes of the packet, from the IP header on: what an ICMP error
    /// quotes. A checksum that the sender left to its device is finished: what is quoted
    /// may travel on, where nobody would take it for right.
    pub(crate) fn quote(&self, max: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.frame.len().min(max)];
        self.frame.copy_to_slice(0, &mut bytes);
        if let Checksum::Partial { offset, .. } = self.frame.meta.checksum
            && self.frame.meta.gso.is_none()
        {
            let field = self.transport + usize::from(offset);
            if let Some(field) = bytes.get_mut(field..field + 2) {
                // The field itself holds the sum of the pseudo header.
                let sum = frame_sum(Sum::ZERO, self.frame, self.transport, self.payload_len());
                let sum = match sum.checksum() {
                    // RFC 768: zero would say that there is none.
                    0 if self.protocol == Protocol::UDP => 0xffff,
                    sum => sum,
                };
                field.copy_from_slice(&sum.to_be_bytes());
            }
        }
        bytes
    }
}

/// The pseudo header for two addresses, of the same family or never on a wire.
pub(crate) fn pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
) -> PseudoHeader {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PseudoHeader::v4(source, destination, protocol)
        }
        (source, destination) => {
            let as_v6 = |address| match address {
                IpAddr::V4(address) => core::net::Ipv4Addr::to_ipv6_mapped(&address),
                IpAddr::V6(address) => address,
            };
            PseudoHeader::v6(as_v6(source), as_v6(destination), protocol)
        }
    }
}

/// Continues `sum` with `len` bytes of `frame` from `from` on.
pub(crate) fn frame_sum(mut sum: Sum, frame: &Frame, from: usize, len: usize) -> Sum {
    let mut skip = from;
    let mut left = len;
    let head: &[u8] = &frame.head;
    let parts = core::iter::once(head).chain(frame.body.slices().iter().map(|slice| &slice[..]));
    for part in parts {
        if skip >= part.len() {
            skip -= part.len();
            continue;
        }
        let part = &part[skip..];
        skip = 0;
        let part = &part[..part.len().min(left)];
        sum.add(part);
        left -= part.len();
        if left == 0 {
            break;
        }
    }
    sum
}

/// The bytes of a payload in memory of their own, for where they wait: they keep no buffer that is
/// larger than themselves.
pub(crate) fn copied(payload: &Chain) -> Chain {
    Chain::from(SharedBuf::from(Bytes::from(payload.to_vec())))
}

/// A packet to send: what the network layer has to know of it. Its bytes, from the transport
/// header on, are in a frame of their own, with [`HEADROOM`] before them.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// By which interface; `None`: as the routes say.
    pub(crate) interface: Option<InterfaceId>,
    pub(crate) protocol: Protocol,
    /// `None`: the stack's.
    pub(crate) hop_limit: Option<u8>,
    pub(crate) traffic_class: TrafficClass,
    /// Not to be fragmented, neither here nor on the way.
    pub(crate) dont_fragment: bool,
    /// To be cut into pieces of this payload.
    pub(crate) gso: Option<(GsoKind, u16)>,
    /// Where the transport checksum lies in the frame's head, if it is to be filled in;
    /// otherwise it is complete.
    pub(crate) checksum_at: Option<u16>,
}

impl Outgoing {
    /// A packet of `protocol` that may be fragmented and has a complete checksum.
    pub(crate) fn new(source: IpAddr, destination: IpAddr, protocol: Protocol) -> Self {
        Self {
            source,
            destination,
            interface: None,
            protocol,
            hop_limit: None,
            traffic_class: TrafficClass(0),
            dont_fragment: false,
            gso: None,
            checksum_at: None,
        }
    }

    /// Fills in the transport checksum of `frame`. UDP's zero goes out as all ones (RFC 768).
    pub(crate) fn complete_checksum(&self, frame: &mut Frame) {
        let Some(at) = self.checksum_at else {
            return;
        };
        let at = usize::from(at);
        if frame.head.len() < at + 2 {
            return;
        }
        frame.head[at..at + 2].fill(0);
        // ICMP for IPv4 is the one protocol without pseudo header.
        let mut sum = if self.protocol == Protocol::ICMP {
            Sum::ZERO
        } else {
            pseudo_header(self.source, self.destination, self.protocol).sum(frame.len())
        };
        sum.add(&frame.head);
        for slice in frame.body.slices() {
            sum.add(slice);
        }
        let mut checksum = sum.checksum();
        if checksum == 0 && self.protocol == Protocol::UDP {
            checksum = 0xffff;
        }
        frame.head[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Where the checksum is that a device may finish: that of TCP and UDP.
    pub(crate) fn partial_at(&self) -> Option<u16> {
        self.checksum_at
            .filter(|_| matches!(self.protocol, Protocol::TCP | Protocol::UDP))
    }

    /// Puts the sum of the pseudo header into the checksum field of `frame`, for a device that
    /// finishes it.
    pub(crate) fn partial_checksum(&self, at: u16, frame: &mut Frame) {
        let at = usize::from(at);
        if frame.head.len() < at + 2 {
            return;
        }
        let pseudo = pseudo_header(self.source, self.destination, self.protocol);
        let partial = pseudo.partial(frame.len());
        frame.head[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    }
}
