//! IPv6 packets that arrive (RFC 8200).

use core::net::IpAddr;

use bytes::Bytes;
use zcn_frame::{Chain, Checksum, Frame, FrameMeta, Head};
use zcn_pool::SharedBuf;
use zcn_wire::ipv6::{self, FRAGMENT_LEN, FragmentHeader};
use zcn_wire::{Ecn, Ipv6View, ParseError, Protocol};

use super::Ip;
use super::receive::Received;
use crate::icmp::ErrorMessage;
use crate::id::InterfaceId;
use crate::packet::Packet;
use crate::reassembly::{Fragment, FragmentKey};
use crate::stats::DropReason;
use crate::time::Instant;

const FIXED_LEN: usize = ipv6::HEADER_LEN;

impl Ip {
    pub(super) fn receive_v6<'a>(
        &mut self,
        now: Instant,
        id: InterfaceId,
        frame: &'a mut Frame,
        to_link_group: bool,
    ) -> Received<'a> {
        self.stats.ipv6.in_receives += 1;
        self.stats.ipv6.in_octets += frame.len() as u64;
        let _ = frame.pull(FIXED_LEN);
        let view = match Ipv6View::quoted(frame.linear()) {
            Ok(view) if FIXED_LEN + view.payload_len() <= frame.len() => view,
            Ok(_) | Err(ParseError::Truncated) => {
                self.stats.ipv6.in_truncated_pkts += 1;
                return Err(DropReason::Ipv6Malformed);
            }
            Err(_) => {
                self.stats.ipv6.in_hdr_errors += 1;
                return Err(DropReason::Ipv6Malformed);
            }
        };
        let (source, destination) = (IpAddr::V6(view.src()), IpAddr::V6(view.dst()));
        let (hop_limit, traffic_class) = (view.hop_limit(), view.traffic_class());
        let len = FIXED_LEN + view.payload_len();
        // What follows is padding of the link.
        frame.truncate(len);
        let to_group = self.check_addresses(id, source, destination, to_link_group)?;
        let packet = Packet {
            interface: id,
            source,
            destination,
            protocol: Protocol::NO_NEXT_HEADER,
            hop_limit,
            traffic_class,
            frame,
            transport: FIXED_LEN,
            next_header_at: 6,
            to_group,
            fragmented: false,
        };
        self.receive_chain(now, packet)
    }

    /// Follows the extension headers of a packet, fragmented or put together.
    fn receive_chain<'a>(&mut self, now: Instant, mut packet: Packet<'a>) -> Received<'a> {
        let reassembled = packet.fragmented;
        if has_extensions(packet.frame) {
            make_linear(packet.frame);
        }
        let view =
            Ipv6View::quoted(packet.frame.linear()).map_err(|_| DropReason::Ipv6Malformed)?;
        let chain = match ipv6::Chain::walk(&view) {
            Ok(chain) => chain,
            Err(error) => {
                self.stats.ipv6.in_hdr_errors += 1;
                if let Some((code, pointer)) = error.parameter_problem(view.dst()) {
                    let message = ErrorMessage::ParameterProblem { code, pointer };
                    self.send_error(now, &packet, message);
                }
                return Err(DropReason::Ipv6Extensions);
            }
        };
        packet.protocol = chain.upper;
        packet.transport = chain.offset;
        packet.next_header_at = named_at(packet.frame.linear(), chain.offset);
        match chain.fragment {
            // Fragments of fragments are nonsense.
            Some(_) if reassembled => return Err(DropReason::Ipv6Extensions),
            Some(header) if !header.is_atomic() => {
                return self.reassemble_v6(now, packet, header);
            }
            // An atomic fragment is a packet like any other (RFC 6946).
            Some(_) => packet.fragmented = true,
            None => {}
        }
        if packet.protocol == Protocol::NO_NEXT_HEADER {
            return Err(DropReason::UnknownProtocol);
        }
        self.stats.ipv6.in_delivers += 1;
        Ok(Some(packet))
    }

    fn reassemble_v6<'a>(
        &mut self,
        now: Instant,
        mut packet: Packet<'a>,
        header: FragmentHeader,
    ) -> Received<'a> {
        self.stats.ipv6.reasm_reqds += 1;
        let mut frame = core::mem::take(packet.frame);
        let linear = frame.linear();
        let fragment_at = first_of(linear, Protocol::FRAGMENT).ok_or(DropReason::Ipv6Malformed)?;
        // The headers before the fragment header, which then is not named any more.
        let mut before = linear[..fragment_at].to_vec();
        before[named_at(linear, fragment_at)] = header.next_header.0;
        frame.advance(fragment_at + FRAGMENT_LEN);
        let payload = frame.into_body();
        let fragment = Fragment {
            key: FragmentKey {
                source: packet.source,
                destination: packet.destination,
                identification: header.ident,
                protocol: 0,
                interface: packet.interface,
            },
            offset: header.offset.into(),
            more: header.more,
            ecn: packet.traffic_class.ecn().bits(),
            payload: &payload,
            header: &before,
        };
        let mut evicted = 0;
        let inserted = self.reassembly.insert(now, &fragment, &mut evicted);
        self.count_evicted(true, evicted);
        let whole = match inserted {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(reason) => {
                self.stats.ipv6.reasm_fails += 1;
                return Err(reason);
            }
        };
        let mut header = whole.header;
        let len = header.len() - FIXED_LEN + whole.payload.len();
        let Ok(len) = u16::try_from(len) else {
            self.stats.ipv6.reasm_fails += 1;
            return Err(DropReason::FragmentMalformed);
        };
        header[4..6].copy_from_slice(&len.to_be_bytes());
        self.stats.ipv6.reasm_oks += 1;
        let ecn = Ecn::from_bits(whole.ecn);
        packet.traffic_class = packet.traffic_class.with_ecn(ecn);
        let mut head = Head::new();
        *packet.frame = if head.extend_from_slice(&header).is_ok() {
            Frame {
                meta: FrameMeta::default(),
                head,
                body: Chain::from(whole.payload),
            }
        } else {
            Frame::from(SharedBuf::from(Bytes::from(
                [&header[..], &whole.payload].concat(),
            )))
        };
        packet.fragmented = true;
        self.receive_chain(now, packet)
    }
}

fn has_extensions(frame: &Frame) -> bool {
    let next = frame.linear().get(6).copied();
    next.is_some_and(|next| Protocol(next).is_extension_header())
}

/// Copies a frame of several parts together, for who reads more than its first headers.
fn make_linear(frame: &mut Frame) {
    if frame.linear().len() < frame.len() {
        let meta = frame.meta;
        *frame = Frame::from(SharedBuf::from(Bytes::from(frame.to_vec())));
        frame.meta = meta;
        if let Checksum::Partial { .. } = meta.checksum {
            // Nothing here finishes it; the bytes are to be trusted all the same.
            frame.meta.checksum = Checksum::Verified;
        }
    }
}

/// Extension headers from the fixed header on: the place of each and of the field that
/// names it, up to the first that is none.
fn headers(bytes: &[u8]) -> impl Iterator<Item = (Protocol, usize, usize)> + '_ {
    let mut named_at = 6;
    let mut at = FIXED_LEN;
    core::iter::from_fn(move || {
        let protocol = Protocol(*bytes.get(named_at)?);
        let found = (protocol, at, named_at);
        if !protocol.is_extension_header() {
            named_at = usize::MAX;
            return Some(found);
        }
        let len = match protocol {
            Protocol::FRAGMENT => FRAGMENT_LEN,
            _ => 8 + usize::from(bytes.get(at + 1).copied().unwrap_or(0)) * 8,
        };
        named_at = at;
        at += len;
        Some(found)
    })
}

/// Where the field is that names the header at `at`.
fn named_at(bytes: &[u8], at: usize) -> usize {
    headers(bytes)
        .find(|&(_, header_at, _)| header_at == at)
        .map_or(6, |(_, _, named_at)| named_at)
}

/// Where the first header of this protocol is.
fn first_of(bytes: &[u8], protocol: Protocol) -> Option<usize> {
    headers(bytes)
        .find(|&(found, _, _)| found == protocol)
        .map(|(_, at, _)| at)
}
