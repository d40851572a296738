//! IPv4 packets that arrive (RFC 791, RFC 1122).

use core::net::IpAddr;

use zcn_frame::{Chain, Frame, FrameMeta, Head};
use zcn_wire::ipv4::Ipv4Options;
use zcn_wire::{Ipv4Repr, Ipv4View, ParseError};

use super::Ip;
use super::receive::Received;
use crate::icmp::ErrorMessage;
use crate::id::InterfaceId;
use crate::packet::Packet;
use crate::reassembly::{Fragment, FragmentKey};
use crate::stats::DropReason;
use crate::time::Instant;

impl Ip {
    pub(super) fn receive_v4<'a>(
        &mut self,
        now: Instant,
        id: InterfaceId,
        frame: &'a mut Frame,
        to_link_group: bool,
    ) -> Received<'a> {
        self.stats.ipv4.in_receives += 1;
        self.stats.ipv4.in_octets += frame.len() as u64;
        let header_len = usize::from(frame.linear().first().map_or(0, |first| first & 0xf)) * 4;
        if !frame.pull(header_len.max(zcn_wire::ipv4::HEADER_LEN)) {
            self.stats.ipv4.in_truncated_pkts += 1;
            return Err(DropReason::Ipv4Malformed);
        }
        let header = match Ipv4View::quoted(frame.linear()) {
            Ok(view) if view.total_len() > frame.len() => {
                self.stats.ipv4.in_truncated_pkts += 1;
                return Err(DropReason::Ipv4Malformed);
            }
            Ok(view) => match view.verify_checksum() {
                Ok(()) => Ipv4Repr::parse(&view),
                Err(_) => {
                    self.stats.ipv4.in_hdr_errors += 1;
                    return Err(DropReason::Ipv4Checksum);
                }
            },
            Err(error) => {
                if error == ParseError::Truncated {
                    self.stats.ipv4.in_truncated_pkts += 1;
                } else {
                    self.stats.ipv4.in_hdr_errors += 1;
                }
                return Err(DropReason::Ipv4Malformed);
            }
        };
        // What follows is padding of the link.
        frame.truncate(header.buffer_len());
        let (source, destination) = (IpAddr::V4(header.src), IpAddr::V4(header.dst));
        let to_group = self.check_addresses(id, source, destination, to_link_group)?;
        let packet = Packet {
            interface: id,
            source,
            destination,
            protocol: header.protocol,
            hop_limit: header.ttl,
            traffic_class: header.traffic_class,
            frame,
            transport: header.header_len(),
            next_header_at: 9,
            to_group,
            fragmented: false,
        };
        if !header.options.is_empty() {
            self.check_options(now, &packet, &header.options)?;
        }
        if header.more_fragments || header.fragment_offset > 0 {
            return self.reassemble_v4(now, packet, &header);
        }
        self.stats.ipv4.in_delivers += 1;
        Ok(Some(packet))
    }

    /// Options are read to see that they make sense; source routes are refused (RFC 7126),
    /// the others are for routers.
    fn check_options(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        options: &Ipv4Options,
    ) -> Result<(), DropReason> {
        for option in options {
            match option {
                Ok(option) if option.is_source_route() => return Err(DropReason::Ipv4Options),
                Ok(_) => {}
                Err(_) => {
                    self.stats.ipv4.in_hdr_errors += 1;
                    let pointer = zcn_wire::ipv4::HEADER_LEN as u32;
                    let message = ErrorMessage::ParameterProblem { code: 0, pointer };
                    self.send_error(now, packet, message);
                    return Err(DropReason::Ipv4Options);
                }
            }
        }
        Ok(())
    }

    fn reassemble_v4<'a>(
        &mut self,
        now: Instant,
        packet: Packet<'a>,
        header: &Ipv4Repr,
    ) -> Received<'a> {
        self.stats.ipv4.reasm_reqds += 1;
        let key = FragmentKey {
            source: packet.source,
            destination: packet.destination,
            identification: header.ident.into(),
            protocol: header.protocol.0,
            interface: packet.interface,
        };
        let mut frame = core::mem::take(packet.frame);
        let first = frame.linear()[..packet.transport].to_vec();
        frame.advance(packet.transport);
        let payload = frame.into_body();
        let fragment = Fragment {
            key,
            offset: header.fragment_offset.into(),
            more: header.more_fragments,
            ecn: header.traffic_class.ecn().bits(),
            payload: &payload,
            header: &first,
        };
        let mut evicted = 0;
        let inserted = self.reassembly.insert(now, &fragment, &mut evicted);
        self.count_evicted(false, evicted);
        let whole = match inserted {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(reason) => {
                self.stats.ipv4.reasm_fails += 1;
                return Err(reason);
            }
        };
        let malformed = DropReason::FragmentMalformed;
        let view = Ipv4View::quoted(&whole.header).map_err(|_| malformed)?;
        let ecn = zcn_wire::Ecn::from_bits(whole.ecn);
        let header = Ipv4Repr {
            payload_len: whole.payload.len(),
            more_fragments: false,
            fragment_offset: 0,
            traffic_class: view.traffic_class().with_ecn(ecn),
            ..Ipv4Repr::parse(&view)
        };
        let mut head = Head::new();
        let bytes = head.grow(header.header_len()).map_err(|_| malformed)?;
        // Fails if header and payload together are above 65,535 bytes.
        header.emit(bytes).map_err(|_| {
            self.stats.ipv4.reasm_fails += 1;
            malformed
        })?;
        self.stats.ipv4.reasm_oks += 1;
        self.stats.ipv4.in_delivers += 1;
        *packet.frame = Frame {
            meta: FrameMeta::default(),
            head,
            body: Chain::from(whole.payload),
        };
        Ok(Some(Packet {
            transport: header.header_len(),
            traffic_class: header.traffic_class,
            hop_limit: header.ttl,
            fragmented: true,
            ..packet
        }))
    }

    /// Counts datagrams that made room for others.
    pub(super) fn count_evicted(&mut self, v6: bool, evicted: u64) {
        for _ in 0..evicted {
            self.drop(DropReason::FragmentEvicted);
        }
        self.ip_stats(v6).reasm_fails += evicted;
    }
}
