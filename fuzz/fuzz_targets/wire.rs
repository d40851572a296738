//! Every parser of packet formats on any bytes: none panics, and what one takes comes out of
//! its writer as it went in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use zcn_wire::checksum::{Sum, copy_and_sum};
use zcn_wire::ipv6::Chain;
use zcn_wire::{
    ArpRepr, ArpView, EtherType, EthernetRepr, EthernetView, Icmpv4Repr, Icmpv4View, Icmpv6Repr,
    Icmpv6View, Ipv4Repr, Ipv4View, Ipv6Repr, Ipv6View, NdpOptions, OptionLayout, Protocol,
    PseudoHeader, QuotedPacket, TcpRepr, TcpView, UdpRepr, UdpView, VirtioNetHeader, ipv4,
};

const PSEUDO: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];

fn pseudo() -> PseudoHeader {
    PseudoHeader::v4(PSEUDO[0].into(), PSEUDO[1].into(), Protocol::TCP)
}

fuzz_target!(|data: &[u8]| {
    // A frame as a driver hands it over, then each parser on the bare bytes.
    for header_len in [10, 12] {
        if let Ok((header, bytes)) = VirtioNetHeader::parse(data, header_len) {
            let mut again = [0; 12];
            header.emit(&mut again, header_len).expect("room");
            let parsed = VirtioNetHeader::parse_header(&again[..header_len]);
            assert_eq!(parsed, Ok(header));
            frame(bytes);
        }
    }
    frame(data);
    arp(data);
    packet_v4(data);
    packet_v6(data);
    for first in [0, 43, 44, 60] {
        if let Ok(chain) = Chain::walk_from(Protocol(first), data) {
            assert_eq!(chain.offset + chain.payload.len(), 40 + data.len());
        }
    }
    for protocol in [Protocol::ICMP, Protocol::ICMPV6, Protocol::TCP, Protocol::UDP] {
        upper(protocol, data);
    }
    if let Ok(options) = NdpOptions::new(data) {
        let len: usize = options.iter().map(|option| option.buffer_len()).sum();
        assert_eq!(len, data.len());
    }
    sums(data);
});

fn frame(bytes: &[u8]) {
    let Ok(view) = EthernetView::new(bytes) else { return };
    let header = EthernetRepr::parse(&view);
    let mut again = [0; 18];
    let len = header.emit(&mut again).expect("room");
    assert_eq!(again[..len], bytes[..len]);
    match view.ethertype() {
        EtherType::ARP => arp(view.payload()),
        EtherType::IPV4 => packet_v4(view.payload()),
        EtherType::IPV6 => packet_v6(view.payload()),
        _ => {}
    }
}

fn arp(bytes: &[u8]) {
    let Ok(view) = ArpView::new(bytes) else { return };
    if let Ok(packet) = ArpRepr::parse(&view) {
        let mut again = [0; 28];
        packet.emit(&mut again).expect("room");
        assert_eq!(again, bytes[..28]);
    }
}

fn packet_v4(bytes: &[u8]) {
    let _ = QuotedPacket::v4(bytes);
    let Ok(view) = Ipv4View::new(bytes) else { return };
    let header = Ipv4Repr::parse(&view);
    let _ = header.options.iter().count();
    let mut again = vec![0; header.header_len()];
    header.emit(&mut again).expect("room");
    let sound = Ipv4View::quoted(&again).expect("sound");
    assert_eq!(sound.verify_checksum(), Ok(()));
    assert_eq!(Ipv4Repr::parse(&sound), header);
    let left = ipv4::decrement_ttl(&mut again).expect("sound");
    assert_eq!(left, header.ttl.saturating_sub(1));
    let sound = Ipv4View::quoted(&again).expect("sound");
    assert_eq!(sound.verify_checksum(), Ok(()));
    if !view.is_fragment() {
        upper(view.protocol(), view.payload());
    }
}

fn packet_v6(bytes: &[u8]) {
    let _ = QuotedPacket::v6(bytes);
    let Ok(view) = Ipv6View::new(bytes) else { return };
    let header = Ipv6Repr::parse(&view);
    let mut again = [0; 40];
    header.emit(&mut again).expect("room");
    assert_eq!(again, bytes[..40]);
    match Chain::walk(&view) {
        Ok(chain) if !chain.is_fragment() => upper(chain.upper, chain.payload),
        Ok(_) => {}
        Err(error) => {
            if let Some((code, pointer)) = error.parameter_problem(view.dst()) {
                assert!(code <= 3 && (pointer as usize) < bytes.len());
            }
        }
    }
}

fn upper(protocol: Protocol, bytes: &[u8]) {
    match protocol {
        Protocol::ICMP => {
            let Ok(view) = Icmpv4View::new(bytes) else { return };
            let message = Icmpv4Repr::parse(&view);
            let mut again = vec![0; message.buffer_len()];
            message.emit(&mut again).expect("room");
            let view = Icmpv4View::new(&again).expect("sound");
            assert_eq!(view.verify_checksum(), Ok(()));
            assert_eq!(Icmpv4Repr::parse(&view), message);
        }
        Protocol::ICMPV6 => {
            let Ok(view) = Icmpv6View::new(bytes) else { return };
            let Ok(message) = Icmpv6Repr::parse(&view) else { return };
            let mut again = vec![0; message.buffer_len()];
            message.emit(pseudo(), &mut again).expect("room");
            let view = Icmpv6View::new(&again).expect("sound");
            assert_eq!(view.verify_checksum(pseudo()), Ok(()));
            assert_eq!(Icmpv6Repr::parse(&view), Ok(message));
        }
        Protocol::TCP => segment(bytes),
        Protocol::UDP => {
            let Ok(view) = UdpView::new(bytes) else { return };
            let header = UdpRepr::parse(&view);
            let mut again = [0; 8];
            header.emit(&mut again).expect("room");
            assert_eq!(again[..6], bytes[..6]);
            let _ = view.verify_checksum(pseudo());
        }
        _ => {}
    }
}

fn segment(bytes: &[u8]) {
    let Ok(view) = TcpView::new(bytes) else { return };
    let header = TcpRepr::parse(&view);
    for layout in [OptionLayout::Linux, OptionLayout::FreeBsd] {
        let mut again = vec![0; header.header_len(layout)];
        // The padding of a layout may be more than there was.
        if header.emit(layout, &mut again).is_ok() {
            zcn_wire::tcp::fill_checksum(&mut again, pseudo()).expect("a header");
            let view = TcpView::new(&again).expect("sound");
            assert_eq!(view.verify_checksum(pseudo()), Ok(()));
            assert_eq!(TcpRepr::parse(&view), header);
        }
    }
}

/// The vector sum, in pieces and copying, is the plain one.
fn sums(bytes: &[u8]) {
    let plain = Sum::scalar(bytes).folded();
    assert_eq!(Sum::of(bytes).folded(), plain);
    let mut to = vec![0; bytes.len()];
    assert_eq!(copy_and_sum(&mut to, bytes).folded(), plain);
    assert_eq!(to, bytes);
    let cut = bytes.first().map_or(0, |&cut| usize::from(cut).min(bytes.len()));
    let mut pieces = Sum::of(&bytes[..cut]);
    pieces.add(&bytes[cut..]);
    assert_eq!(pieces.folded(), plain);
}
