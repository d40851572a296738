//! Header prediction: segments with nothing unusual in their headers go straight to where they
//! belong.

use core::net::IpAddr;

use zcn_frame::Frame;
use zcn_wire::{EtherType, EthernetView, Tcp4Segment, ipv4};

use super::{Stack, handle_segment};
use crate::frames::Frames;
use crate::id::InterfaceId;
use crate::ip::{Ip, Lane};
use crate::packet::frame_sum;
use crate::tcp::Tcp;
use crate::time::Instant;

/// Sends the next segment of TCP if its headers are those of nearly every segment, and if it can
/// leave by `id`, where nothing waits: the opposite of [`Stack::predict`]. Answers whether it
/// did; if not, nothing has changed. `lane` is that of the segment before, if nothing else left
/// since, and of this one afterwards.
pub(super) fn send_plain(
    tcp: &mut Tcp,
    ip: &mut Ip,
    now: Instant,
    id: InterfaceId,
    frames: &mut impl Frames,
    lane: &mut Option<Lane>,
) -> bool {
    let Some(plain) = tcp.next_plain() else {
        return false;
    };
    let (remote, len) = (*plain.remote.ip(), plain.packet_len);
    let found = match lane {
        Some(lane) if lane.takes(remote, len, plain.slices) => lane,
        _ => {
            *lane = ip
                .lane(now, remote, len, len, plain.slices)
                .filter(|lane| lane.interface == id);
            match lane {
                Some(lane) => lane,
                None => return false,
            }
        }
    };
    let frame = frames.add();
    let hop_limit = ip.config.hop_limit;
    let Some(header) = tcp.send_plain(now, &plain, hop_limit, &mut frame.body) else {
        debug_assert!(false, "a segment that has just been there");
        return false;
    };
    found.write(frame, &header, None);
    ip.count_sent(len);
    true
}

impl Stack {
    /// Takes a frame that arrived if its headers are those of nearly every segment, and if it is
    /// what an open connection waits for: the next data in order, or the acknowledgement of
    /// something (Van Jacobson's header prediction). One that is not alone in its batch is put
    /// together with the others first. Answers whether it took the frame; if not, nothing has
    /// changed, and it goes the long way, which would have come to the same.
    pub(super) fn predict(
        &mut self,
        now: Instant,
        id: InterfaceId,
        frame: &mut Frame,
        alone: bool,
    ) -> bool {
        let Some(interface) = self.ip.interface(id) else {
            return false;
        };
        let linear = frame.linear();
        let link_header = match interface.link_address {
            Some(own) => match EthernetView::new(linear) {
                Ok(header)
                    if header.dst() == own
                        && header.ethertype() == EtherType::IPV4
                        && header.vlan().is_none() =>
                {
                    zcn_wire::ethernet::HEADER_LEN
                }
                _ => return false,
            },
            None => 0,
        };
        let Some(segment) = Tcp4Segment::parse(&linear[link_header..]) else {
            return false;
        };
        let header_len = link_header + segment.header_len();
        let len = frame.len();
        if frame.meta.gso.is_some()
            || len != header_len + segment.payload_len
            || !interface.takes_v4(segment.src, segment.dst)
        {
            return false;
        }
        // Before its payload is looked at: who goes the long way has it summed up there.
        let connection = if alone {
            let Some(connection) = self.tcp.predicted(&segment) else {
                return false;
            };
            Some(connection)
        } else {
            None
        };
        if !frame.meta.checksum.is_trusted() {
            let transport = link_header + ipv4::HEADER_LEN;
            let pseudo = segment.pseudo_header().sum(len - transport);
            if !frame_sum(pseudo, frame, transport, len - transport).is_valid() {
                return false;
            }
        }
        let stats = &mut self.ip.stats.ipv4;
        stats.in_receives += 1;
        stats.in_octets += (len - link_header) as u64;
        stats.in_delivers += 1;
        frame.advance(header_len);
        if !frame.head.is_empty() {
            // Payload that lies in the head: as a slice of its own.
            frame.body = frame.take_body();
        }
        let Self {
            tcp,
            ip,
            gro,
            arrived,
            ..
        } = self;
        if let Some(connection) = connection {
            if tcp.handle_predicted(now, connection, &segment, &mut frame.body) {
                ip.confirm(now, id, IpAddr::V4(segment.src));
            }
        } else if !gro.extend(&segment, id, &mut frame.body) {
            arrived.fill(&segment, id, core::mem::take(&mut frame.body));
            gro.push(arrived, |segment| handle_segment(tcp, ip, now, segment));
        }
        true
    }
}
