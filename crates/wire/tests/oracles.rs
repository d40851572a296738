//! What this crate writes, `etherparse` and `smoltcp` read, and the other way round.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, PacketHeaders, TcpOptionElement, TransportHeader};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as peer;
use zcn_wire::ipv6::Chain;
use zcn_wire::{
    ArpOperation, ArpRepr, EtherType, EthernetAddress, EthernetRepr, EthernetView, Icmpv4Repr,
    Icmpv6Repr, Icmpv6View, Ipv4Repr, Ipv4View, Ipv6Repr, Ipv6View, NdpRepr, OptionLayout,
    Protocol, PseudoHeader, SackBlock, SeqNum, TcpFlags, TcpOptions, TcpRepr, TcpTimestamps,
    TcpView, UdpRepr, UdpView, VlanTag, tcp, udp,
};

const SRC_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const DST_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

/// Two addresses of one family.
fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(src, dst)| (src.into(), dst.into())),
        any::<([u8; 16], [u8; 16])>().prop_map(|(src, dst)| (src.into(), dst.into())),
    ]
}

prop_compose! {
    /// A segment with what all three know: no fast open, no Accurate ECN.
    fn segment()(
        ports in (1..=u16::MAX, 1..=u16::MAX), seq: u32, ack: u32, flags in 0..0x100_u16,
        window: u16, urgent: u16, mss: Option<u16>,
        scale in proptest::option::of(0..15_u8),
        permitted: bool, stamps: Option<(u32, u32)>,
        blocks in proptest::collection::vec(any::<(u32, u32)>(), 0..=4),
    ) -> TcpRepr {
        let mut options = TcpOptions {
            mss,
            window_scale: scale,
            sack_permitted: permitted,
            timestamps: stamps.map(|(val, ecr)| TcpTimestamps { val, ecr }),
            sack: blocks
                .into_iter()
                .map(|(left, right)| SackBlock::new(SeqNum(left), SeqNum(right)))
                .collect(),
            ..TcpOptions::NONE
        };
        while options.len(OptionLayout::Linux) > 40 {
            options.sack.truncate(options.sack.len() - 1);
        }
        TcpRepr {
            src_port: ports.0,
            dst_port: ports.1,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags: TcpFlags::from_bits(flags),
            window,
            urgent,
            options,
        }
    }
}

fn layout() -> impl Strategy<Value = OptionLayout> {
    prop_oneof![Just(OptionLayout::Linux), Just(OptionLayout::FreeBsd)]
}

/// Link and network headers before `payload`.
fn frame(
    src: IpAddr,
    dst: IpAddr,
    protocol: Protocol,
    tag: Option<u16>,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    let ethernet = |ethertype| EthernetRepr {
        dst: DST_MAC,
        src: SRC_MAC,
        ethertype,
        vlan: tag.map(VlanTag),
    };
    let at = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let at = ethernet(EtherType::IPV4).emit(&mut bytes).expect("room");
            let header = Ipv4Repr::new(src, dst, protocol, payload.len());
            at + header.emit(&mut bytes[at..]).expect("room")
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let at = ethernet(EtherType::IPV6).emit(&mut bytes).expect("room");
            let header = Ipv6Repr::new(src, dst, protocol, payload.len());
            at + header.emit(&mut bytes[at..]).expect("room")
        }
        _ => panic!("two families"),
    };
    bytes.truncate(at);
    bytes.extend(payload);
    bytes
}

fn pseudo(src: IpAddr, dst: IpAddr, protocol: Protocol) -> PseudoHeader {
    PseudoHeader::new(src, dst, protocol).expect("one family")
}

/// A segment with its payload and checksum.
fn segment_bytes(
    header: &TcpRepr,
    layout: OptionLayout,
    payload: &[u8],
    pseudo: PseudoHeader,
) -> Vec<u8> {
    let mut bytes = vec![0; header.header_len(layout)];
    header.emit(layout, &mut bytes).expect("room");
    bytes.extend(payload);
    tcp::fill_checksum(&mut bytes, pseudo).expect("a header");
    bytes
}

/// The options that etherparse found.
fn options_of(header: &etherparse::TcpHeader) -> TcpOptions {
    let mut options = TcpOptions::NONE;
    for element in header.options_iterator() {
        match element.expect("sound options") {
            TcpOptionElement::Noop => {}
            TcpOptionElement::MaximumSegmentSize(mss) => options.mss = Some(mss),
            TcpOptionElement::WindowScale(shift) => options.window_scale = Some(shift),
            TcpOptionElement::SelectiveAcknowledgementPermitted => options.sack_permitted = true,
            TcpOptionElement::SelectiveAcknowledgement(first, rest) => {
                options.sack = std::iter::once(first)
                    .chain(rest.into_iter().flatten())
                    .map(|(left, right)| SackBlock::new(SeqNum(left), SeqNum(right)))
                    .collect();
            }
            TcpOptionElement::Timestamp(val, ecr) => {
                options.timestamps = Some(TcpTimestamps { val, ecr });
            }
        }
    }
    options
}

proptest! {
    #[test]
    fn etherparse_reads_our_segments(
        (src, dst) in addresses(), header in segment(), layout in layout(),
        tag: Option<u16>, payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let segment = segment_bytes(&header, layout, &payload, pseudo(src, dst, Protocol::TCP));
        let bytes = frame(src, dst, Protocol::TCP, tag, &segment);
        let headers = PacketHeaders::from_ethernet_slice(&bytes).expect("sound");
        let Some(TransportHeader::Tcp(found)) = headers.transport else {
            return Err(TestCaseError::fail("no TCP"));
        };
        let ports = (found.source_port, found.destination_port);
        prop_assert_eq!(ports, (header.src_port, header.dst_port));
        let numbers = (found.sequence_number, found.acknowledgment_number);
        prop_assert_eq!(numbers, (header.seq.0, header.ack.0));
        let others = (found.window_size, found.urgent_pointer, found.header_len());
        prop_assert_eq!(others, (header.window, header.urgent, header.header_len(layout)));
        let flags = [found.fin, found.syn, found.rst, found.psh, found.ack, found.urg, found.ece, found.cwr];
        let bits = (0..8).map(|bit| header.flags.bits() >> bit & 1 == 1);
        prop_assert!(flags.into_iter().eq(bits));
        prop_assert_eq!(options_of(&found), header.options);
        prop_assert_eq!(headers.payload.slice(), &payload[..]);
        let checksum = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                found.calc_checksum_ipv4_raw(src.octets(), dst.octets(), &payload)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                found.calc_checksum_ipv6_raw(src.octets(), dst.octets(), &payload)
            }
            _ => return Err(TestCaseError::fail("two families")),
        };
        prop_assert_eq!(checksum.ok(), Some(found.checksum));
        if let Some(etherparse::NetHeaders::Ipv4(ip, _)) = headers.net {
            prop_assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
        }
        prop_assert_eq!(headers.link_exts.is_empty(), tag.is_none());
    }

    #[test]
    fn smoltcp_reads_our_segments(
        (src, dst) in addresses(), header in segment(), layout in layout(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        // smoltcp refuses some combinations of flags.
        let header = TcpRepr { flags: TcpFlags::ACK | TcpFlags::PSH, ..header };
        let segment = segment_bytes(&header, layout, &payload, pseudo(src, dst, Protocol::TCP));
        let packet = peer::TcpPacket::new_checked(&segment[..]).expect("sound");
        let checks = ChecksumCapabilities::default();
        let found = peer::TcpRepr::parse(&packet, &src.into(), &dst.into(), &checks);
        let found = found.expect("sound");
        prop_assert_eq!(found.seq_number.0, header.seq.0.cast_signed());
        prop_assert_eq!(found.ack_number.map(|ack| ack.0), Some(header.ack.0.cast_signed()));
        prop_assert_eq!(found.max_seg_size, header.options.mss);
        prop_assert_eq!(found.window_scale, header.options.window_scale);
        prop_assert_eq!(found.sack_permitted, header.options.sack_permitted);
        let stamps = found.timestamp.map(|stamps| TcpTimestamps { val: stamps.tsval, ecr: stamps.tsecr });
        prop_assert_eq!(stamps, header.options.timestamps);
        // smoltcp keeps three blocks.
        let blocks: Vec<_> = found.sack_ranges.into_iter().flatten().collect();
        let ours: Vec<_> = header.options.sack.iter().take(3).map(|block| (block.left.0, block.right.0)).collect();
        prop_assert_eq!(blocks, ours);
        prop_assert_eq!(found.payload, &payload[..]);
    }

    #[test]
    fn we_read_the_segments_of_etherparse(
        (src, dst) in addresses(), ports: (u16, u16), seq: u32, ack: u32, window: u16,
        stamps: (u32, u32), mss: u16, shift: u8, block: (u32, u32),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let elements = [
            TcpOptionElement::Timestamp(stamps.0, stamps.1),
            TcpOptionElement::WindowScale(shift),
            TcpOptionElement::SelectiveAcknowledgement(block, [None; 3]),
            TcpOptionElement::MaximumSegmentSize(mss),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
        ];
        let builder = PacketBuilder::ethernet2(SRC_MAC.0, DST_MAC.0);
        let builder = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => builder.ipv4(src.octets(), dst.octets(), 9),
            (IpAddr::V6(src), IpAddr::V6(dst)) => builder.ipv6(src.octets(), dst.octets(), 9),
            _ => return Err(TestCaseError::fail("two families")),
        };
        let builder = builder.tcp(ports.0, ports.1, seq, window).ack(ack).options(&elements);
        let mut bytes = Vec::new();
        builder.expect("options that fit").write(&mut bytes, &payload).expect("a packet");
        let view = EthernetView::new(&bytes).expect("sound");
        let (segment, pseudo) = if src.is_ipv4() {
            let packet = Ipv4View::new(view.payload()).expect("sound");
            prop_assert_eq!(packet.verify_checksum(), Ok(()));
            prop_assert_eq!(packet.ttl(), 9);
            (packet.payload(), packet.pseudo_header())
        } else {
            let packet = Ipv6View::new(view.payload()).expect("sound");
            let chain = Chain::walk(&packet).expect("sound");
            prop_assert_eq!(packet.hop_limit(), 9);
            (chain.payload, packet.pseudo_header(chain.upper))
        };
        let view = TcpView::new(segment).expect("sound");
        prop_assert_eq!(view.verify_checksum(pseudo), Ok(()));
        prop_assert_eq!(view.payload(), &payload[..]);
        let wanted = TcpRepr {
            src_port: ports.0,
            dst_port: ports.1,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags: TcpFlags::ACK,
            window,
            urgent: 0,
            options: TcpOptions {
                mss: Some(mss),
                window_scale: Some(shift),
                sack_permitted: true,
                timestamps: Some(TcpTimestamps { val: stamps.0, ecr: stamps.1 }),
                sack: [SackBlock::new(SeqNum(block.0), SeqNum(block.1))].into_iter().collect(),
                ..TcpOptions::NONE
            },
        };
        prop_assert_eq!(TcpRepr::parse(&view), wanted);
    }

    #[test]
    fn both_read_our_datagrams(
        (src, dst) in addresses(), src_port in 1..=u16::MAX, dst_port in 1..=u16::MAX,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let header = UdpRepr { src_port, dst_port, payload_len: payload.len() };
        let mut datagram = vec![0; 8];
        header.emit(&mut datagram).expect("room");
        datagram.extend(&payload);
        udp::fill_checksum(&mut datagram, pseudo(src, dst, Protocol::UDP)).expect("a header");
        let packet = peer::UdpPacket::new_checked(&datagram[..]).expect("sound");
        let checks = ChecksumCapabilities::default();
        let found = peer::UdpRepr::parse(&packet, &src.into(), &dst.into(), &checks);
        prop_assert_eq!(found.map(|found| (found.src_port, found.dst_port)), Ok((src_port, dst_port)));
        prop_assert_eq!(packet.payload(), &payload[..]);
        let bytes = frame(src, dst, Protocol::UDP, None, &datagram);
        let headers = PacketHeaders::from_ethernet_slice(&bytes).expect("sound");
        let Some(TransportHeader::Udp(found)) = headers.transport else {
            return Err(TestCaseError::fail("no UDP"));
        };
        prop_assert_eq!((found.source_port, found.destination_port), (src_port, dst_port));
        prop_assert_eq!(headers.payload.slice(), &payload[..]);
    }

    #[test]
    fn we_read_the_datagrams_of_smoltcp(
        (src, dst) in addresses(), src_port in 1..=u16::MAX, dst_port in 1..=u16::MAX,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = vec![0; 8 + payload.len()];
        let header = peer::UdpRepr { src_port, dst_port };
        header.emit(
            &mut peer::UdpPacket::new_unchecked(&mut bytes[..]),
            &src.into(),
            &dst.into(),
            payload.len(),
            |to| to.copy_from_slice(&payload),
            &ChecksumCapabilities::default(),
        );
        let view = UdpView::new(&bytes).expect("sound");
        prop_assert_eq!(view.verify_checksum(pseudo(src, dst, Protocol::UDP)), Ok(()));
        let wanted = UdpRepr { src_port, dst_port, payload_len: payload.len() };
        prop_assert_eq!(UdpRepr::parse(&view), wanted);
    }

    #[test]
    fn smoltcp_reads_our_arp_and_echoes(
        sender: [u8; 4], target: [u8; 4], ident: u16, seq: u16,
        data in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let packet = ArpRepr {
            operation: ArpOperation::Request,
            sender_hardware: SRC_MAC,
            sender_protocol: sender.into(),
            target_hardware: EthernetAddress::UNSPECIFIED,
            target_protocol: target.into(),
        };
        let mut bytes = [0; 28];
        packet.emit(&mut bytes).expect("room");
        let found = peer::ArpPacket::new_checked(&bytes[..]).and_then(|found| peer::ArpRepr::parse(&found));
        let wanted = peer::ArpRepr::EthernetIpv4 {
            operation: peer::ArpOperation::Request,
            source_hardware_addr: peer::EthernetAddress(SRC_MAC.0),
            source_protocol_addr: sender.into(),
            target_hardware_addr: peer::EthernetAddress([0; 6]),
            target_protocol_addr: target.into(),
        };
        prop_assert_eq!(found, Ok(wanted));

        let message = Icmpv4Repr::EchoRequest { ident, seq, data: &data };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes).expect("room");
        let found = peer::Icmpv4Packet::new_checked(&bytes[..]).expect("sound");
        let found = peer::Icmpv4Repr::parse(&found, &ChecksumCapabilities::default());
        let wanted = peer::Icmpv4Repr::EchoRequest { ident, seq_no: seq, data: &data };
        prop_assert_eq!(found, Ok(wanted));
    }

    #[test]
    fn neighbour_discovery_goes_both_ways(
        src: [u8; 16], dst: [u8; 16], target: [u8; 16], link: Option<[u8; 6]>, flags in 0..8_u8,
    ) {
        let (src, dst) = (Ipv6Addr::from(src), Ipv6Addr::from(dst));
        let target = Ipv6Addr::from(target);
        let message = Icmpv6Repr::Ndp(NdpRepr::NeighborAdvertisement {
            router: flags & 4 != 0,
            solicited: flags & 2 != 0,
            override_entry: flags & 1 != 0,
            target,
            target_link_address: link.map(EthernetAddress),
        });
        let pseudo = PseudoHeader::v6(src, dst, Protocol::ICMPV6);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(pseudo, &mut bytes).expect("room");
        let checks = ChecksumCapabilities::default();
        let packet = peer::Icmpv6Packet::new_checked(&bytes[..]).expect("sound");
        let found = peer::Icmpv6Repr::parse(&src, &dst, &packet, &checks).expect("sound");
        let wanted = peer::Icmpv6Repr::Ndisc(peer::NdiscRepr::NeighborAdvert {
            flags: peer::NdiscNeighborFlags::from_bits_truncate(flags << 5),
            target_addr: target,
            lladdr: link.map(|link| peer::EthernetAddress(link).into()),
        });
        prop_assert_eq!(found, wanted);
        let mut theirs = vec![0; wanted.buffer_len()];
        wanted.emit(&src, &dst, &mut peer::Icmpv6Packet::new_unchecked(&mut theirs[..]), &checks);
        let view = Icmpv6View::new(&theirs).expect("sound");
        prop_assert_eq!(view.verify_checksum(pseudo), Ok(()));
        prop_assert_eq!(Icmpv6Repr::parse(&view), Ok(message));
    }

    #[test]
    fn all_agree_on_which_ipv4_headers_are_whole(
        bytes in proptest::collection::vec(any::<u8>(), 20..80), total: u8, first in 0x40..0x50_u8,
    ) {
        let mut bytes = bytes;
        bytes[0] = first;
        bytes[2] = 0;
        bytes[3] = total;
        let ours = Ipv4View::new(&bytes);
        let theirs = etherparse::Ipv4Slice::from_slice(&bytes);
        // etherparse looks into an authentication header, we do not.
        prop_assume!(bytes[9] != 51);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        let smoltcp = peer::Ipv4Packet::new_checked(&bytes[..]);
        prop_assert_eq!(ours.is_ok(), smoltcp.is_ok());
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(ours.payload(), theirs.payload().payload);
            prop_assert_eq!(ours.src(), Ipv4Addr::from(theirs.header().source()));
            prop_assert_eq!(ours.fragment_offset(), theirs.header().fragments_offset().byte_offset());
        }
    }
}
