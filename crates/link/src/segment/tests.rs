use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use proptest::prelude::*;
use zcn_frame::FrameMeta;
use zcn_pool::SharedBuf;
use zcn_wire::checksum::{PseudoHeader, checksum};
use zcn_wire::{Ipv4View, Ipv6View, Protocol, TcpView, UdpView, tcp};

use super::*;

/// A super-frame as the stack makes it: headers in the head, payload behind it in slices.
#[derive(Debug, Clone)]
struct Made {
    kind: GsoKind,
    v6: bool,
    vlan: bool,
    ethernet: bool,
    /// Of IPv4 options, or IPv6 destination options.
    ip_options: usize,
    tcp_options: usize,
    flags: u8,
    seq: u32,
    ident: u16,
    size: u16,
    payload: Vec<Vec<u8>>,
    partial: bool,
    headers_in_body: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let kind = prop_oneof![
        Just(GsoKind::Tcp4),
        Just(GsoKind::Tcp6),
        Just(GsoKind::UdpL4)
    ];
    let payload = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..8);
    (
        (
            kind,
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            0usize..3,
            0usize..4,
        ),
        (
            any::<u8>(),
            any::<u32>(),
            any::<u16>(),
            40u16..1500,
            payload,
        ),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(
                (kind, v6, vlan, ethernet, ip_options, tcp_options),
                (flags, seq, ident, size, payload),
                (partial, headers_in_body),
            )| Made {
                kind,
                v6: match kind {
                    GsoKind::Tcp4 => false,
                    GsoKind::Tcp6 => true,
                    GsoKind::UdpL4 => v6,
                },
                vlan: vlan && ethernet,
                ethernet,
                ip_options: ip_options * 8,
                tcp_options: tcp_options * 4,
                flags,
                seq,
                ident,
                size,
                payload,
                partial,
                headers_in_body,
            },
        )
}

impl Made {
    /// Whether CWR is said once, as half of those have it that have it set.
    fn cwr_once(&self) -> bool {
        self.flags & 0x80 != 0 && self.ident.is_multiple_of(2)
    }

    fn link_header(&self) -> usize {
        if self.ethernet { 14 } else { 0 }
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        if self.v6 {
            (
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
            )
        } else {
            (
                Ipv4Addr::new(10, 1, 2, 3).into(),
                Ipv4Addr::new(10, 1, 2, 4).into(),
            )
        }
    }

    fn protocol(&self) -> u8 {
        if self.kind == GsoKind::UdpL4 {
            UDP
        } else {
            TCP
        }
    }

    fn frame(&self) -> Frame {
        let mut bytes = Vec::new();
        if self.ethernet {
            bytes.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
            if self.vlan {
                bytes.extend([0x81, 0, 0, 5]);
            }
            bytes.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        }
        let payload_len: usize = self.payload.iter().map(Vec::len).sum();
        let transport_header = if self.protocol() == TCP {
            20 + self.tcp_options
        } else {
            8
        };
        let transport_len = transport_header + payload_len;
        let (src, dst) = self.addresses();
        let network = bytes.len();
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header_len = 20 + self.ip_options;
                let total_len = (header_len + transport_len) as u16;
                bytes.extend([0x40 | (header_len / 4) as u8, 0]);
                bytes.extend(total_len.to_be_bytes());
                bytes.extend(self.ident.to_be_bytes());
                bytes.extend([0x40, 0, 64, self.protocol(), 0, 0]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend(std::iter::repeat_n(1, self.ip_options));
                let sum = checksum(&bytes[network..]);
                bytes[network + 10..network + 12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(((self.ip_options + transport_len) as u16).to_be_bytes());
                let next = if self.ip_options > 0 {
                    60
                } else {
                    self.protocol()
                };
                bytes.extend([next, 64]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                if self.ip_options > 0 {
                    // Destination options, all padding (RFC 8200, 4.2).
                    bytes.extend([self.protocol(), (self.ip_options / 8 - 1) as u8]);
                    bytes.extend([1, (self.ip_options - 4) as u8]);
                    bytes.extend(std::iter::repeat_n(0, self.ip_options - 4));
                }
            }
            _ => unreachable!("both are of one family"),
        }
        let transport = bytes.len();
        bytes.extend([0x30, 0x39, 0, 80]);
        let offset = if self.protocol() == TCP {
            bytes.extend(self.seq.to_be_bytes());
            bytes.extend([0, 0, 0, 9, ((transport_header / 4) << 4) as u8, self.flags]);
            bytes.extend([1, 0, 0, 0, 0, 0]);
            bytes.extend(std::iter::repeat_n(1, self.tcp_options));
            16
        } else {
            bytes.extend((transport_len as u16).to_be_bytes());
            bytes.extend([0, 0]);
            6
        };
        let pseudo = PseudoHeader::new(src, dst, Protocol(self.protocol())).expect("one family");
        let field = transport + offset;
        bytes[field..field + 2].copy_from_slice(&pseudo.partial(transport_len).to_be_bytes());
        let hdr_len = bytes.len() as u16;
        let mut frame = Frame::new(Head::new());
        if self.headers_in_body {
            frame
                .push(SharedBuf::from(Bytes::from(bytes)))
                .expect("room");
        } else {
            frame
                .head
                .extend_from_slice(&bytes)
                .expect("below the most");
        }
        for part in &self.payload {
            let part = SharedBuf::from(Bytes::from(part.clone()));
            frame.push(part).expect("few slices");
        }
        frame.meta = FrameMeta {
            checksum: Checksum::Partial {
                start: transport as u16,
                offset: offset as u16,
            },
            gso: Some(Gso {
                kind: self.kind,
                size: self.size,
                hdr_len,
                ecn: self.cwr_once(),
            }),
        };
        if !self.partial {
            complete_checksum(&mut frame).expect("sound");
        }
        frame
    }

    /// Checks a packet against what was cut, and returns its payload.
    fn check(&self, packet: &Frame, index: usize, count: usize) -> Vec<u8> {
        assert_eq!(packet.meta.checksum, Checksum::Unverified);
        assert_eq!(packet.meta.gso, None);
        let bytes = packet.to_vec();
        let link = self.link_header() + if self.vlan { 4 } else { 0 };
        let ip = &bytes[link..];
        let (pseudo, transport) = if self.v6 {
            let view = Ipv6View::new(ip).expect("a sound IPv6 header");
            assert_eq!(view.payload().len() + 40, ip.len());
            let transport = &view.payload()[self.ip_options..];
            let (IpAddr::V6(src), IpAddr::V6(dst)) = self.addresses() else {
                unreachable!("it is IPv6")
            };
            assert_eq!((view.src(), view.dst()), (src, dst));
            (
                PseudoHeader::v6(src, dst, Protocol(self.protocol())),
                transport,
            )
        } else {
            let view = Ipv4View::new(ip).expect("a sound IPv4 header");
            view.verify_checksum().expect("its checksum");
            assert_eq!(view.total_len(), ip.len());
            assert_eq!(view.ident(), self.ident.wrapping_add(index as u16));
            (view.pseudo_header(), view.payload())
        };
        if self.protocol() == UDP {
            let view = UdpView::new(transport).expect("a sound UDP header");
            view.verify_checksum(pseudo).expect("its checksum");
            return view.payload().to_vec();
        }
        let view = TcpView::new(transport).expect("a sound TCP header");
        view.verify_checksum(pseudo).expect("its checksum");
        let offset = (index * usize::from(self.size)) as u32;
        let seq = u32::from_be_bytes(transport[4..8].try_into().expect("four bytes"));
        assert_eq!(seq, self.seq.wrapping_add(offset));
        let mut flags = self.flags;
        if index + 1 < count {
            flags &= !0x09;
        }
        if index > 0 && self.cwr_once() {
            flags &= !0x80;
        }
        assert_eq!(transport[13], flags);
        view.payload().to_vec()
    }
}

proptest! {
    #[test]
    fn packets_are_sound_and_carry_the_payload(made in made()) {
        let mut packets = Vec::new();
        let count = segment(made.frame(), made.link_header(), &mut packets).expect("sound");
        prop_assert_eq!(count, packets.len());
        let mut payload = Vec::new();
        for (index, packet) in packets.iter_mut().enumerate() {
            let left = matches!(packet.meta.checksum, Checksum::Partial { .. });
            prop_assert_eq!(left, made.partial);
            complete_checksum(packet).expect("the field is in the head");
            let part = made.check(packet, index, count);
            if index + 1 < count {
                prop_assert_eq!(part.len(), usize::from(made.size));
            }
            payload.extend(part);
        }
        prop_assert_eq!(payload, made.payload.concat());
    }

    #[test]
    fn bytes_of_any_kind_are_cut_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::UdpL4)],
        size in any::<u16>(),
        link_header in prop_oneof![Just(0usize), Just(14)],
    ) {
        let len = bytes.len();
        let mut frame = Frame::from(SharedBuf::from(Bytes::from(bytes)));
        frame.meta.gso = Some(Gso { kind, size, hdr_len: 0, ecn: false });
        let mut packets = Vec::new();
        match segment(frame, link_header, &mut packets) {
            Ok(count) => prop_assert!(count == packets.len() && count <= SEGMENTS_MAX),
            Err(_) => prop_assert!(packets.is_empty()),
        }
        prop_assert!(packets.iter().all(|packet| packet.len() <= len));
    }
}

fn plain(kind: GsoKind, payload: usize) -> Made {
    Made {
        kind,
        v6: kind == GsoKind::Tcp6,
        vlan: false,
        ethernet: true,
        ip_options: 0,
        tcp_options: 12,
        flags: 0x19,
        seq: u32::MAX - 100,
        ident: u16::MAX,
        size: 1448,
        payload: vec![vec![0x5a; payload]],
        partial: true,
        headers_in_body: false,
    }
}

#[test]
fn a_frame_that_is_no_super_frame_passes() {
    let frame = Frame::from(SharedBuf::from_static(b"anything"));
    let mut packets = Vec::new();
    assert_eq!(segment(frame, 14, &mut packets), Ok(1));
    assert_eq!(packets[0].to_vec(), b"anything");
}

#[test]
fn too_many_segments_are_refused() {
    let mut made = plain(GsoKind::Tcp4, 60_000);
    made.size = 8;
    let mut packets = Vec::new();
    assert_eq!(
        segment(made.frame(), 14, &mut packets),
        Err(SegmentError::TooManySegments)
    );
    made.size = 0;
    assert_eq!(
        segment(made.frame(), 14, &mut packets),
        Err(SegmentError::Malformed)
    );
    assert!(packets.is_empty());
}

#[test]
fn metadata_that_names_another_protocol_is_refused() {
    for (made, claimed) in [
        (GsoKind::Tcp4, GsoKind::Tcp6),
        (GsoKind::Tcp6, GsoKind::UdpL4),
        (GsoKind::UdpL4, GsoKind::Tcp4),
    ] {
        let mut frame = plain(made, 3000).frame();
        let gso = frame.meta.gso.as_mut().expect("a super-frame");
        gso.kind = claimed;
        let result = segment(frame, 14, &mut Vec::new());
        assert_eq!(
            result,
            Err(SegmentError::Malformed),
            "{made:?} as {claimed:?}"
        );
    }
}

#[test]
fn a_checksum_outside_the_frame_is_refused() {
    let mut frame = Frame::from(SharedBuf::from_static(&[0; 20]));
    frame.meta.checksum = Checksum::Partial {
        start: 14,
        offset: 5,
    };
    assert_eq!(complete_checksum(&mut frame), Err(SegmentError::Malformed));
    let mut frame = Frame::from(SharedBuf::from(Bytes::from(vec![0; 400])));
    frame.meta.checksum = Checksum::Partial {
        start: 300,
        offset: 6,
    };
    assert_eq!(
        complete_checksum(&mut frame),
        Err(SegmentError::HeadersTooLong)
    );
    assert_eq!(frame.len(), 400);
}

#[test]
fn a_sum_of_zero_is_sent_as_ones_by_udp_alone() {
    // Ones in a TCP segment were an error to tshark, once in 65,536.
    for (offset, sum) in [(udp::CHECKSUM_OFFSET, 0xff), (tcp::CHECKSUM_OFFSET, 0)] {
        let mut bytes = vec![0; usize::from(offset) + 2];
        bytes[..2].fill(0xff);
        let mut frame = Frame::from(SharedBuf::from(Bytes::from(bytes)));
        frame.meta.checksum = Checksum::Partial { start: 0, offset };
        complete_checksum(&mut frame).expect("inside");
        assert_eq!(frame.to_vec()[usize::from(offset)..], [sum, sum]);
    }
}
