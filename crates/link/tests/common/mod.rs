//! Frames made by hand.

#![allow(dead_code)] // Each test program uses its part.

pub(crate) mod namespace;
pub(crate) mod peer;
pub(crate) mod unsafe_options;

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;
use zcn_link::{Checksum, Frame, Gso, GsoKind};
use zcn_pool::SharedBuf;
use zcn_wire::{
    EtherType, EthernetAddress, EthernetRepr, Ipv4Repr, Protocol, PseudoHeader, UdpRepr,
};

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn pattern(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// How a UDP frame goes from here to there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    /// Ethernet addresses of sender and receiver; none for a link of IP packets.
    pub(crate) ethernet: Option<([u8; 6], [u8; 6])>,
    pub(crate) src: SocketAddrV4,
    pub(crate) dst: SocketAddrV4,
}

impl Path {
    /// Between two ends that exist nowhere, at ports of which tshark knows no protocol.
    pub(crate) fn invented() -> Self {
        Self {
            ethernet: Some(([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])),
            src: SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 1), 40404),
            dst: SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 2), 50505),
        }
    }

    /// A datagram with this payload: headers in the head, and its checksum either complete
    /// or left to the link. With `size` it is a super-frame of datagrams of that size.
    pub(crate) fn udp(&self, payload: &[u8], size: Option<u16>, partial: bool) -> Frame {
        let udp = UdpRepr {
            src_port: self.src.port(),
            dst_port: self.dst.port(),
            payload_len: payload.len(),
        };
        let ip = Ipv4Repr::new(
            *self.src.ip(),
            *self.dst.ip(),
            Protocol::UDP,
            udp.buffer_len(),
        );
        let mut bytes = vec![0; 14 + ip.buffer_len()];
        let mut at = 0;
        if let Some((src, dst)) = self.ethernet {
            let ethernet = EthernetRepr {
                dst: EthernetAddress(dst),
                src: EthernetAddress(src),
                ethertype: EtherType::IPV4,
                vlan: None,
            };
            at = ethernet.emit(&mut bytes).expect("room for Ethernet");
        }
        at += ip.emit(&mut bytes[at..]).expect("room for IPv4");
        let start = at;
        at += udp.emit(&mut bytes[at..]).expect("room for UDP");
        let mut frame = Frame::default();
        frame.head.extend_from_slice(&bytes[..at]).expect("short");
        frame
            .push(SharedBuf::from(Bytes::copy_from_slice(payload)))
            .expect("one slice");
        let pseudo = PseudoHeader::v4(*self.src.ip(), *self.dst.ip(), Protocol::UDP);
        let sum = pseudo.partial(8 + payload.len());
        frame.head[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
        frame.meta.checksum = Checksum::Partial {
            start: start as u16,
            offset: 6,
        };
        frame.meta.gso = size.map(|size| Gso {
            kind: GsoKind::UdpL4,
            size,
            hdr_len: at as u16,
            ecn: false,
        });
        if !partial {
            zcn_link::segment::complete_checksum(&mut frame).expect("sound");
        }
        frame
    }

    /// A TCP segment with its checksum left to the link; `fields` are sequence number,
    /// acknowledgement and flags.
    pub(crate) fn tcp(&self, fields: (u32, u32, u8), options: &[u8], data: &[u8]) -> Frame {
        let (seq, ack, flags) = fields;
        let mut frame = self.udp(&[], None, true);
        frame.head.truncate(frame.head.len() - 8);
        let start = frame.head.len();
        let mut tcp = Vec::new();
        tcp.extend(self.src.port().to_be_bytes());
        tcp.extend(self.dst.port().to_be_bytes());
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([
            ((20 + options.len()) / 4 * 16) as u8,
            flags,
            0xff,
            0xff,
            0,
            0,
            0,
            0,
        ]);
        tcp.extend(options);
        let repr = Ipv4Repr::new(
            *self.src.ip(),
            *self.dst.ip(),
            Protocol::TCP,
            tcp.len() + data.len(),
        );
        let pseudo = repr.pseudo_header().partial(tcp.len() + data.len());
        tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
        let header = start - 20;
        repr.emit(&mut frame.head[header..]).expect("room");
        frame.head.extend_from_slice(&tcp).expect("room");
        frame
            .push(Bytes::copy_from_slice(data).into())
            .expect("room");
        frame.meta.checksum = Checksum::Partial {
            start: start as u16,
            offset: 16,
        };
        frame
    }
}
