//! Datagrams that arrive.

use core::net::SocketAddr;

use zcn_frame::{Chain, GsoKind};
use zcn_wire::UdpView;

use super::{Datagram, Udp, endpoint, first_bytes};
use crate::icmp::ErrorMessage;
use crate::ip::Ip;
use crate::packet::Packet;
use crate::slab::Id;
use crate::stats::DropReason;
use crate::time::Instant;

const HEADER_LEN: usize = zcn_wire::udp::HEADER_LEN;

/// A datagram that was checked, on its way to a socket.
#[derive(Debug)]
struct Incoming {
    local: SocketAddr,
    remote: SocketAddr,
    /// Payload bytes of each datagram, if they are several.
    segment_size: Option<u16>,
}

impl Udp {
    /// Takes a packet of UDP.
    pub(crate) fn input(&mut self, ip: &mut Ip, now: Instant, mut packet: Packet<'_>) {
        match self.check(&mut packet) {
            Ok(incoming) => match self.find(&incoming.local, &incoming.remote) {
                Some(id) => self.hand_over(ip, id, packet, &incoming),
                None => {
                    self.stats.no_ports += 1;
                    ip.drop(DropReason::UdpNoPort);
                    ip.send_error(now, &packet, ErrorMessage::PortUnreachable);
                }
            },
            Err(reason) => {
                self.stats.in_errors += 1;
                if reason == DropReason::UdpChecksum {
                    self.stats.in_csum_errors += 1;
                }
                ip.drop(reason);
            }
        }
    }

    /// Checks header and checksum, and cuts off what is beyond the datagram.
    fn check(&self, packet: &mut Packet<'_>) -> Result<Incoming, DropReason> {
        let malformed = DropReason::UdpMalformed;
        let at = packet.transport;
        if !packet.frame.pull(at + HEADER_LEN) {
            return Err(malformed);
        }
        let header = packet.frame.linear().get(at..).ok_or(malformed)?;
        let view = UdpView::super_frame(header).map_err(|_| malformed)?;
        let (from, to, checksum) = (view.src_port(), view.dst_port(), view.checksum());
        let announced = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let segment_size = packet
            .frame
            .meta
            .gso
            .filter(|gso| gso.kind == GsoKind::UdpL4)
            .map(|gso| gso.size);
        let len = match segment_size {
            Some(0) => return Err(DropReason::FrameMetadata),
            Some(_) => packet.payload_len(),
            None => announced,
        };
        if len < HEADER_LEN || len > packet.payload_len() || to == 0 {
            return Err(malformed);
        }
        packet.frame.truncate(at + len);
        // None at all is allowed for IPv4 only (RFC 8200 section 8.1).
        let none = checksum == 0 && packet.destination.is_ipv4();
        if !packet.checksum_trusted()
            && !none
            && (checksum == 0 || !packet.verify(Some(packet.pseudo_header()), len))
        {
            return Err(DropReason::UdpChecksum);
        }
        Ok(Incoming {
            local: endpoint(packet.destination, to, packet.interface),
            remote: endpoint(packet.source, from, packet.interface),
            segment_size,
        })
    }

    fn hand_over(&mut self, ip: &mut Ip, id: Id, packet: Packet<'_>, incoming: &Incoming) {
        packet.frame.advance(packet.transport + HEADER_LEN);
        let mut payload = core::mem::take(packet.frame).into_body();
        let datagram = |payload: Chain, segment_size| Datagram {
            remote: incoming.remote,
            local: incoming.local,
            interface: packet.interface,
            payload,
            segment_size,
            hop_limit: packet.hop_limit,
            traffic_class: packet.traffic_class.0,
        };
        let held = payload.footprint();
        let coalesce = self.get(id).is_some_and(|socket| socket.options().coalesce);
        match incoming.segment_size {
            Some(size) if !coalesce && payload.len() > usize::from(size) => {
                // They share what they came in.
                let whole = payload.len();
                while !payload.is_empty() {
                    let part = first_bytes(&mut payload, size.into());
                    let share = held * part.len() / whole;
                    self.deliver(ip, id, datagram(part, None), share);
                }
            }
            size => {
                let size = size.filter(|&size| payload.len() > usize::from(size));
                self.deliver(ip, id, datagram(payload, size), held);
            }
        }
    }
}
