//! Frames that should not be: spoofed, malformed, too many. The rows of the table of
//! attacks that concern the network layer.

mod net;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use net::*;
use zcn_stack::Stack;
use zcn_stack::demux::Binding;
use zcn_stack::neighbour::NeighbourState;
use zcn_wire::icmpv4::UnreachableV4;
use zcn_wire::ipv6::FragmentHeader;
use zcn_wire::{
    ArpOperation, ArpRepr, EtherType, EthernetAddress, EthernetRepr, Icmpv4Repr, Icmpv6Repr,
    Ipv4Options, Ipv4Repr, Ipv6Repr, Protocol, PseudoHeader, UdpRepr, udp,
};

const STRANGER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);
const US: EthernetAddress = EthernetAddress(MAC[0]);

fn frame(dst: EthernetAddress, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = EthernetRepr {
        dst,
        src: STRANGER,
        ethertype,
        vlan: None,
    };
    let mut bytes = vec![0; 14];
    header.emit(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

/// An IPv4 packet in a frame to us.
fn v4(header: Ipv4Repr, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Repr {
        payload_len: payload.len(),
        ..header
    };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    frame(US, EtherType::IPV4, &bytes)
}

fn header(source: [u8; 4], destination: [u8; 4], protocol: Protocol) -> Ipv4Repr {
    Ipv4Repr {
        dont_fragment: false,
        ident: 7,
        ..Ipv4Repr::new(source.into(), destination.into(), protocol, 0)
    }
}

const TO_US: [u8; 4] = [10, 0, 0, 1];
const FROM: [u8; 4] = [10, 0, 0, 9];

fn echo_v4(len: usize) -> Vec<u8> {
    let data = content(len);
    let message = Icmpv4Repr::EchoRequest {
        ident: 1,
        seq: 2,
        data: &data,
    };
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes).unwrap();
    bytes
}

fn datagram(source: IpAddr, destination: IpAddr, port: u16, len: usize) -> Vec<u8> {
    let repr = UdpRepr {
        src_port: 4_000,
        dst_port: port,
        payload_len: len,
    };
    let mut bytes = vec![0; 8];
    repr.emit(&mut bytes).unwrap();
    bytes.extend(content(len));
    let pseudo = PseudoHeader::new(source, destination, Protocol::UDP).unwrap();
    udp::fill_checksum(&mut bytes, pseudo).unwrap();
    bytes
}

const TO_US_V6: &str = "fd00::1";
const FROM_V6: &str = "fd00::9";

/// An IPv6 packet in a frame to us.
fn v6(source: &str, destination: &str, next: Protocol, payload: &[u8]) -> Vec<u8> {
    let (source, destination): (Ipv6Addr, Ipv6Addr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let header = Ipv6Repr::new(source, destination, next, payload.len());
    let mut bytes = vec![0; 40];
    header.emit(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    frame(US, EtherType::IPV6, &bytes)
}

fn echo_v6(source: &str, destination: &str, len: usize) -> Vec<u8> {
    let data = content(len);
    let message = Icmpv6Repr::EchoRequest {
        ident: 1,
        seq: 2,
        data: &data,
    };
    let mut bytes = vec![0; message.buffer_len()];
    let pseudo = PseudoHeader::v6(
        source.parse().unwrap(),
        destination.parse().unwrap(),
        Protocol::ICMPV6,
    );
    message.emit(pseudo, &mut bytes).unwrap();
    bytes
}

/// A fragment header and what follows it.
fn fragment_v6(next_header: Protocol, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let header = FragmentHeader {
        next_header,
        offset,
        more,
        ident: 5,
    };
    let mut bytes = vec![0; 8];
    header.emit(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

/// The first stack, to whom the stranger is known already. Only frames of its own are in
/// the log afterwards.
fn net_with(config: zcn_stack::StackConfig) -> Net {
    let mut net = Net::with(config, 1_500);
    net.run_for(Duration::from_secs(5));
    let now = net.now;
    for address in [IpAddr::from(FROM), FROM_V6.parse().unwrap()] {
        net.stacks[0]
            .set_neighbour(now, IF, address, STRANGER)
            .unwrap();
    }
    net.log.clear();
    net
}

fn net() -> Net {
    net_with(config())
}

/// Type and code of the ICMP messages that the first stack sent since the last call.
fn answers(net: &mut Net) -> Vec<(u8, u8)> {
    net.sent(0)
        .iter()
        .filter_map(|bytes| match (bytes[12], bytes[13]) {
            (8, 0) if bytes[23] == 1 => Some((bytes[34], bytes[35])),
            (0x86, 0xdd) if bytes[20] == 58 => Some((bytes[54], bytes[55])),
            _ => None,
        })
        .collect()
}

#[test]
fn a_sound_request_is_answered() {
    // What the other tests rest on.
    let mut net = net();
    net.inject(0, &[&v4(header(FROM, TO_US, Protocol::ICMP), &echo_v4(40))]);
    assert_eq!(answers(&mut net), [(0, 0)]);
    let echo = echo_v6(FROM_V6, TO_US_V6, 40);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::ICMPV6, &echo)]);
    assert_eq!(answers(&mut net), [(129, 0)]);
}

#[test]
fn origin_other_peoples_addresses_are_not_ours() {
    // ustack: "accepts any destination address".
    let mut net = net();
    for destination in [
        [10, 0, 0, 3],
        [192, 0, 2, 1],
        [10, 0, 0, 0],
        [224, 0, 0, 9],
        [127, 0, 0, 1],
    ] {
        net.inject(
            0,
            &[&v4(header(FROM, destination, Protocol::ICMP), &echo_v4(40))],
        );
    }
    assert_eq!(answers(&mut net), []);
    assert_eq!(net.drops(0, "not-for-us"), 4);
    // Nor are frames to other stations.
    let mut bytes = v4(header(FROM, TO_US, Protocol::ICMP), &echo_v4(40));
    bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
    net.inject(0, &[&bytes]);
    // And a packet to one host in a frame to all is not for us, either.
    bytes[..6].fill(0xff);
    net.inject(0, &[&bytes]);
    assert_eq!(answers(&mut net), []);
    assert_eq!(net.drops(0, "frame-not-for-us"), 1);
    assert_eq!(net.drops(0, "not-for-us"), 5);
}

#[test]
fn martian_sources_and_the_land_attack_are_dropped() {
    let mut net = net();
    for source in [
        TO_US,
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [10, 0, 0, 255],
        [0, 0, 0, 0],
        [240, 0, 0, 1],
    ] {
        net.inject(
            0,
            &[&v4(header(source, TO_US, Protocol::ICMP), &echo_v4(40))],
        );
    }
    for source in [TO_US_V6, "::1", "ff02::1", "::ffff:10.0.0.9"] {
        let echo = echo_v6(source, TO_US_V6, 40);
        net.inject(0, &[&v6(source, TO_US_V6, Protocol::ICMPV6, &echo)]);
    }
    assert_eq!(answers(&mut net), []);
    assert_eq!(net.drops(0, "martian-source"), 11);
}

#[test]
fn broadcast_pings_are_not_answered() {
    let mut net = net();
    for destination in [[10, 0, 0, 255], [255, 255, 255, 255], [224, 0, 0, 1]] {
        let mut bytes = v4(header(FROM, destination, Protocol::ICMP), &echo_v4(40));
        bytes[..6].fill(0xff);
        net.inject(0, &[&bytes]);
    }
    assert_eq!(answers(&mut net), []);
    assert_eq!(net.drops(0, "icmp-echo-ignored"), 3);
}

#[test]
fn broken_headers_are_dropped_in_silence() {
    let mut net = net();
    let sound = v4(header(FROM, TO_US, Protocol::ICMP), &echo_v4(40));
    for (at, value) in [
        (14, 0x55),
        (14, 0x44),
        (14, 0x4f),
        (16, 0xff),
        (17, 10),
        (24, 0),
    ] {
        let mut bytes = sound.clone();
        bytes[at] = value;
        net.inject(0, &[&bytes]);
    }
    for len in 0..sound.len() {
        net.inject(0, &[&sound[..len]]);
    }
    assert_eq!(answers(&mut net), []);
    let sound = v6(
        FROM_V6,
        TO_US_V6,
        Protocol::ICMPV6,
        &echo_v6(FROM_V6, TO_US_V6, 40),
    );
    for len in 0..sound.len() {
        net.inject(0, &[&sound[..len]]);
    }
    assert_eq!(answers(&mut net), []);
    let total: u64 = net.stacks[0].stats().drops.total();
    assert!(total > 100);
}

#[test]
fn options_are_read_and_source_routes_refused() {
    let mut net = net();
    let mut with = |options: &[u8]| {
        let header = Ipv4Repr {
            options: Ipv4Options::new(options).unwrap(),
            ..header(FROM, TO_US, Protocol::ICMP)
        };
        net.inject(0, &[&v4(header, &echo_v4(40))]);
        answers(&mut net)
    };
    // Router alert, record route, timestamp: answered.
    assert_eq!(with(&[148, 4, 0, 0]), [(0, 0)]);
    assert_eq!(with(&[7, 7, 4, 0, 0, 0, 0, 0]), [(0, 0)]);
    assert_eq!(with(&[68, 8, 5, 0, 0, 0, 0, 0]), [(0, 0)]);
    // Source routes: silence. Nonsense: a parameter problem.
    assert_eq!(with(&[131, 7, 4, 10, 0, 0, 9, 0]), []);
    assert_eq!(with(&[137, 7, 4, 10, 0, 0, 9, 0]), []);
    for nonsense in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 9, 0, 0]] {
        assert_eq!(with(&nonsense), [(12, 0)]);
    }
}

#[test]
fn unknown_protocols_are_told() {
    let mut net = net();
    net.inject(0, &[&v4(header(FROM, TO_US, Protocol(99)), b"12345678")]);
    assert_eq!(answers(&mut net), [(3, 2)]);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol(99), b"12345678")]);
    let sent = net.sent(0);
    // Parameter problem, unrecognised next header; the pointer names the field.
    assert_eq!((sent[0][54], sent[0][55]), (4, 1));
    assert_eq!(sent[0][58..62], [0, 0, 0, 6]);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::NO_NEXT_HEADER, &[])]);
    assert_eq!(answers(&mut net), []);
}

#[test]
fn origin_extension_headers_are_followed() {
    // ustack: "no extension headers".
    let mut net = net();
    let echo = echo_v6(FROM_V6, TO_US_V6, 40);
    // Hop-by-hop with padding, routing with nothing left, destination options.
    let mut chain = vec![43, 0, 1, 4, 0, 0, 0, 0];
    chain.extend([60, 0, 0, 0, 0, 0, 0, 0]);
    chain.extend([58, 0, 1, 4, 0, 0, 0, 0]);
    chain.extend(&echo);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::HOP_BY_HOP, &chain)]);
    assert_eq!(answers(&mut net), [(129, 0)]);
    // A routing header of type 0 that still routes is an error (RFC 5095).
    let mut routed = vec![58, 2, 0, 1, 0, 0, 0, 0];
    routed.extend([0; 16]);
    routed.extend(&echo);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::ROUTING, &routed)]);
    assert_eq!(answers(&mut net), [(4, 0)]);
    // Unknown options, by their two highest bits.
    for (kind, expected) in [
        (0x1e, Some((129, 0))),
        (0x5e, None),
        (0x9e, Some((4, 2))),
        (0xde, Some((4, 2))),
    ] {
        let mut options = vec![58, 0, kind, 4, 0, 0, 0, 0];
        options.extend(&echo);
        net.inject(
            0,
            &[&v6(
                FROM_V6,
                TO_US_V6,
                Protocol::DESTINATION_OPTIONS,
                &options,
            )],
        );
        assert_eq!(answers(&mut net).first().copied(), expected, "{kind:#x}");
    }
    // A chain of many headers.
    let mut long = [60, 0, 1, 4, 0, 0, 0, 0].repeat(20);
    *long.last_chunk_mut::<8>().unwrap() = [58, 0, 1, 4, 0, 0, 0, 0];
    long.extend(&echo);
    net.inject(
        0,
        &[&v6(FROM_V6, TO_US_V6, Protocol::DESTINATION_OPTIONS, &long)],
    );
    assert_eq!(answers(&mut net), []);
}

#[test]
fn origin_ipv6_checksums_are_verified() {
    // ustack: "no checksum check" of IPv6.
    let mut net = net();
    let mut echo = echo_v6(FROM_V6, TO_US_V6, 40);
    echo[20] ^= 1;
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::ICMPV6, &echo)]);
    assert_eq!(answers(&mut net), []);
    assert_eq!(net.drops(0, "icmp-checksum"), 1);
}

/// The fragments of an echo request of this length, 1,480 bytes each.
fn fragments_v4(len: usize) -> Vec<Vec<u8>> {
    let echo = echo_v4(len);
    let parts: Vec<_> = echo.chunks(1_480).collect();
    (0..parts.len())
        .map(|at| {
            let header = Ipv4Repr {
                more_fragments: at + 1 < parts.len(),
                fragment_offset: (at * 1_480) as u16,
                ..header(FROM, TO_US, Protocol::ICMP)
            };
            v4(header, parts[at])
        })
        .collect()
}

#[test]
fn fragments_in_any_order_and_twice() {
    let mut net = net();
    let mut fragments = fragments_v4(20_000);
    fragments.reverse();
    for fragment in &fragments[..fragments.len() - 1] {
        net.inject(0, &[fragment, fragment]);
    }
    assert_eq!(answers(&mut net), []);
    net.inject(0, &[&fragments[fragments.len() - 1]]);
    let stats = net.stacks[0].stats();
    assert_eq!(stats.ipv4.reasm_oks, 1);
    assert_eq!(stats.icmpv4.out_echo_reps, 1);
    assert_eq!(net.stacks[0].reassembly_memory(), 0);
}

#[test]
fn teardrop_ping_of_death_and_jolt() {
    let mut net = net();
    let fragments = fragments_v4(4_000);
    let at = |offset: u16, more, payload: &[u8]| {
        let header = Ipv4Repr {
            more_fragments: more,
            fragment_offset: offset,
            ..header(FROM, TO_US, Protocol::ICMP)
        };
        v4(header, payload)
    };
    // Teardrop: the second fragment ends inside the first.
    net.inject(
        0,
        &[
            &fragments[0],
            &at(24, false, &[0; 4]),
            &fragments[1],
            &fragments[2],
        ],
    );
    assert_eq!(answers(&mut net), []);
    assert_eq!(net.drops(0, "fragment-overlap"), 1);
    assert_eq!(net.drops(0, "fragment-of-dropped"), 2);
    // Ping of death: beyond 65,535.
    net.inject(0, &[&at(65_528, false, &[0; 400])]);
    assert_eq!(net.drops(0, "fragment-malformed"), 1);
    // All there, but with its header longer than a packet can be.
    let mut net = net_with(config());
    let whole = content(65_535);
    for (number, part) in whole.chunks(1_024).enumerate() {
        net.inject(0, &[&at((number * 1_024) as u16, number < 63, part)]);
    }
    assert_eq!(net.stacks[0].stats().ipv4.reasm_fails, 1);
    // It still answers.
    net.inject(0, &[&v4(header(FROM, TO_US, Protocol::ICMP), &echo_v4(40))]);
    assert_eq!(answers(&mut net), [(0, 0)]);
}

#[test]
fn fragment_smack_leaves_memory_flat_and_others_unharmed() {
    let mut net = net();
    let (cap, mut most) = (4 << 20, 0);
    for number in 0..100_000_u32 {
        let header = Ipv4Repr {
            ident: (number / 7) as u16,
            more_fragments: true,
            fragment_offset: (8 * (1 + number % 900)) as u16,
            ..header([10, 0, 0, (2 + number % 200) as u8], TO_US, Protocol::UDP)
        };
        let mut frames = vec![wire(&v4(header, &[0; 8]))];
        let now = net.now;
        net.stacks[0].handle_frames(now, IF, &mut frames);
        most = most.max(net.stacks[0].reassembly_memory());
    }
    assert!(most <= cap && most > 100_000, "{most}");
    let fragments = fragments_v4(3_000);
    let fragments: Vec<&[u8]> = fragments.iter().map(|bytes| &bytes[..]).collect();
    net.inject(0, &fragments);
    assert!(answers(&mut net).contains(&(0, 0)));
    net.run_for(Duration::from_secs(31));
    assert_eq!(net.stacks[0].reassembly_memory(), 0);
}

#[test]
fn late_fragments_are_told_of_once_the_first_was_there() {
    let mut net = net();
    let fragments = fragments_v4(4_000);
    net.inject(0, &[&fragments[0], &fragments[1]]);
    net.run_for(Duration::from_secs(29));
    assert_eq!(answers(&mut net), []);
    net.run_for(Duration::from_secs(2));
    assert_eq!(answers(&mut net), [(11, 1)]);
    // Without the first one there is nothing to quote.
    net.inject(0, &[&fragments[1]]);
    net.run_for(Duration::from_secs(31));
    assert_eq!(answers(&mut net), []);
    let first = fragment_v6(
        Protocol::ICMPV6,
        0,
        true,
        &echo_v6(FROM_V6, TO_US_V6, 40)[..40],
    );
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::FRAGMENT, &first)]);
    net.run_for(Duration::from_secs(61));
    assert_eq!(answers(&mut net), [(3, 1)]);
}

#[test]
fn atomic_fragments_pass_and_do_not_meet_others() {
    // RFC 6946.
    let mut net = net();
    let echo = echo_v6(FROM_V6, TO_US_V6, 40);
    let other = fragment_v6(Protocol::ICMPV6, 8, false, &[0; 16]);
    let atomic = fragment_v6(Protocol::ICMPV6, 0, false, &echo);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::FRAGMENT, &other)]);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::FRAGMENT, &atomic)]);
    assert_eq!(answers(&mut net), [(129, 0)]);
}

#[test]
fn first_fragments_hold_all_headers() {
    // RFC 7112; and RFC 8200 section 4.5 for the lengths.
    let mut net = net();
    let cut = fragment_v6(Protocol::TCP, 0, true, &[0; 8]);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::FRAGMENT, &cut)]);
    assert_eq!(answers(&mut net), [(4, 3)]);
    let odd = fragment_v6(Protocol::UDP, 0, true, &[0; 15]);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::FRAGMENT, &odd)]);
    assert_eq!(answers(&mut net), [(4, 0)]);
    let beyond = fragment_v6(Protocol::UDP, 65_528, false, &[0; 16]);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::FRAGMENT, &beyond)]);
    assert_eq!(answers(&mut net), [(4, 0)]);
    assert_eq!(net.stacks[0].reassembly_memory(), 0);
}

#[test]
fn errors_are_never_about_errors_nor_to_groups() {
    let mut net = net();
    let quoted = &v4(header(TO_US, FROM, Protocol::UDP), &[0; 8])[14..];
    let error = Icmpv4Repr::DestinationUnreachable {
        reason: UnreachableV4::Port,
        quoted,
    };
    let mut message = vec![0; error.buffer_len()];
    error.emit(&mut message).unwrap();
    // An error with nonsense options: an ordinary packet would be told of it.
    let nonsense = Ipv4Repr {
        options: Ipv4Options::new(&[7, 0, 0, 0]).unwrap(),
        ..header(FROM, TO_US, Protocol::ICMP)
    };
    net.inject(0, &[&v4(nonsense, &message)]);
    assert_eq!(answers(&mut net), []);
    // Nobody listens at a group's port, and nobody is told.
    let all = [10, 0, 0, 255];
    let payload = datagram(FROM.into(), all.into(), 9, 40);
    net.inject(0, &[&v4(header(FROM, all, Protocol::UDP), &payload)]);
    // Nor where the frame alone was to everybody.
    let payload = datagram(FROM.into(), TO_US.into(), 9, 40);
    let mut bytes = v4(header(FROM, TO_US, Protocol::UDP), &payload);
    bytes[..6].fill(0xff);
    net.inject(0, &[&bytes]);
    assert_eq!(answers(&mut net), []);
    bytes[..6].copy_from_slice(&MAC[0]);
    net.inject(0, &[&bytes]);
    assert_eq!(answers(&mut net), [(3, 3)]);
}

#[test]
fn errors_are_limited_for_one_host_and_for_all() {
    let mut config = config();
    config.icmp = zcn_stack::IcmpConfig::default();
    let mut net = net_with(config);
    let payload = datagram(FROM.into(), TO_US.into(), 9, 40);
    let bytes = v4(header(FROM, TO_US, Protocol::UDP), &payload);
    for _ in 0..1_000 {
        net.inject(0, &[&bytes]);
    }
    assert_eq!(answers(&mut net).len(), 6);
    assert_eq!(net.stacks[0].stats().icmpv4.out_rate_limited, 994);
    net.run_for(Duration::from_secs(3));
    net.sent(0);
    for _ in 0..1_000 {
        net.inject(0, &[&bytes]);
    }
    assert_eq!(answers(&mut net).len(), 3);
}

#[test]
fn quotes_are_as_long_as_the_rules_say() {
    let mut net = net();
    let payload = datagram(FROM.into(), TO_US.into(), 9, 1_400);
    net.inject(0, &[&v4(header(FROM, TO_US, Protocol::UDP), &payload)]);
    assert_eq!(net.sent(0)[0].len(), 14 + 576);
    let (source, destination) = (FROM_V6.parse().unwrap(), TO_US_V6.parse().unwrap());
    let payload = datagram(source, destination, 9, 1_400);
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::UDP, &payload)]);
    assert_eq!(net.sent(0)[0].len(), 14 + 1_280);
}

#[test]
fn redirects_and_router_advertisements_change_nothing() {
    let mut net = net();
    let routes: Vec<_> = net.stacks[0].routes().copied().collect();
    let redirect = Icmpv4Repr::Redirect {
        code: 1,
        gateway: [10, 0, 0, 66].into(),
        quoted: &v4(header(TO_US, [192, 0, 2, 1], Protocol::UDP), &[0; 8])[14..],
    };
    let mut message = vec![0; redirect.buffer_len()];
    redirect.emit(&mut message).unwrap();
    net.inject(0, &[&v4(header(FROM, TO_US, Protocol::ICMP), &message)]);
    assert_eq!(net.drops(0, "icmp-redirect"), 1);
    assert!(net.stacks[0].routes().copied().eq(routes));
}

fn arp(operation: ArpOperation, sender: (EthernetAddress, [u8; 4]), target: [u8; 4]) -> Vec<u8> {
    let repr = ArpRepr {
        operation,
        sender_hardware: sender.0,
        sender_protocol: sender.1.into(),
        target_hardware: US,
        target_protocol: target.into(),
    };
    let mut bytes = vec![0; 28];
    repr.emit(&mut bytes).unwrap();
    frame(EthernetAddress::BROADCAST, EtherType::ARP, &bytes)
}

fn neighbours(stack: &Stack) -> Vec<(IpAddr, NeighbourState, EthernetAddress)> {
    stack.neighbours(IF).collect()
}

#[test]
fn origin_arp_is_not_learned_from_any_packet() {
    // ustack: "learns MAC from any packet", "spoofable".
    let mut net = Net::plain(1_500);
    net.run_for(Duration::from_secs(5));
    let known = neighbours(&net.stacks[0]).len();
    let host = |number: u8| [10, 0, 0, number];
    // Replies and announcements that nobody asked for.
    for number in 20..60 {
        let sender = (STRANGER, host(number));
        net.inject(0, &[&arp(ArpOperation::Reply, sender, TO_US)]);
        net.inject(0, &[&arp(ArpOperation::Request, sender, host(number))]);
        net.inject(0, &[&arp(ArpOperation::Request, sender, host(2))]);
        net.inject(
            0,
            &[&v4(header(host(number), TO_US, Protocol::UDP), &[0; 4])],
        );
    }
    assert_eq!(neighbours(&net.stacks[0]).len(), known);
    // Senders that no host can be.
    for sender in [
        host(255),
        [0, 0, 0, 1],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [192, 0, 2, 1],
    ] {
        net.inject(0, &[&arp(ArpOperation::Request, (STRANGER, sender), TO_US)]);
    }
    let group = EthernetAddress([3, 0, 0, 0, 0, 1]);
    net.inject(0, &[&arp(ArpOperation::Request, (group, host(30)), TO_US)]);
    assert_eq!(neighbours(&net.stacks[0]).len(), known);
    assert_eq!(net.drops(0, "arp-bad-sender"), 6);
    // Who asks for us is remembered, unconfirmed.
    net.inject(
        0,
        &[&arp(ArpOperation::Request, (STRANGER, host(20)), TO_US)],
    );
    let learned = (host(20).into(), NeighbourState::Stale, STRANGER);
    assert!(neighbours(&net.stacks[0]).contains(&learned));
}

#[test]
fn a_hundred_thousand_neighbours_leave_memory_flat() {
    let mut config = config();
    config.neighbours.entries = 64;
    let mut net = Net::with(config, 1_500);
    let now = net.now;
    let socket = net.stacks[0]
        .udp_bind(Binding::new(at("0.0.0.0:5000")))
        .unwrap();
    net.stacks[0]
        .udp_send(now, socket, Some(at("10.0.0.2:9")), b"x")
        .unwrap();
    net.run();
    net.stacks[0]
        .add_address(now, IF, "11.0.0.1/8".parse().unwrap())
        .unwrap();
    for number in 0..100_000_u32 {
        let now = now + Duration::from_millis(u64::from(number));
        let stranger = Ipv4Addr::from_bits(0x0b01_0000 + number);
        // From outside: somebody asks for us. From inside: we send to somebody.
        let bytes = arp(
            ArpOperation::Request,
            (STRANGER, stranger.octets()),
            [11, 0, 0, 1],
        );
        net.stacks[0].handle_frames(now, IF, &mut vec![wire(&bytes)]);
        let nobody = Ipv4Addr::from_bits(0x0b80_0000 + number);
        let _ = net.stacks[0].udp_send(now, socket, Some((nobody, 9).into()), b"x");
        net.stacks[0].poll_frames(now, IF, &mut Vec::new(), 64);
        assert!(net.stacks[0].neighbours(IF).count() <= 64);
        assert!(net.stacks[0].waiting_for_neighbours() <= 64);
    }
    let peer = neighbours(&net.stacks[0])
        .into_iter()
        .find(|n| n.0 == ip("10.0.0.2"));
    assert!(
        peer.is_some(),
        "the neighbour that was in use is still there"
    );
}

#[test]
fn somebody_with_our_address_is_counted_and_answered_rarely() {
    let mut net = Net::plain(1_500);
    net.run_for(Duration::from_secs(5));
    net.sent(0);
    for _ in 0..100 {
        net.inject(0, &[&arp(ArpOperation::Request, (STRANGER, TO_US), TO_US)]);
        net.now += Duration::from_millis(110);
    }
    assert_eq!(net.stacks[0].stats().neighbours.conflicts, 100);
    // 11 seconds, one announcement in 10.
    assert_eq!(net.sent(0).len(), 2);
}

#[test]
fn neighbour_messages_from_afar_or_in_fragments_are_dropped() {
    let mut net = net();
    let (source, destination): (Ipv6Addr, Ipv6Addr) =
        (FROM_V6.parse().unwrap(), TO_US_V6.parse().unwrap());
    let message = Icmpv6Repr::Ndp(zcn_wire::ndp::NdpRepr::NeighborSolicitation {
        target: destination,
        source_link_address: Some(STRANGER),
        nonce: None,
    });
    let mut bytes = vec![0; message.buffer_len()];
    let pseudo = PseudoHeader::v6(source, destination, Protocol::ICMPV6);
    message.emit(pseudo, &mut bytes).unwrap();
    // Hop limit 64: it has crossed a router.
    net.inject(0, &[&v6(FROM_V6, TO_US_V6, Protocol::ICMPV6, &bytes)]);
    let mut near = v6(FROM_V6, TO_US_V6, Protocol::ICMPV6, &bytes);
    near[14 + 7] = 255;
    let atomic = fragment_v6(Protocol::ICMPV6, 0, false, &bytes);
    let mut hidden = v6(FROM_V6, TO_US_V6, Protocol::FRAGMENT, &atomic);
    hidden[14 + 7] = 255;
    net.inject(0, &[&hidden]);
    assert_eq!(answers(&mut net), []);
    assert_eq!(net.drops(0, "ndp-malformed"), 2);
    net.inject(0, &[&near]);
    assert_eq!(answers(&mut net), [(136, 0)]);
}

#[test]
fn identifications_of_fragments_are_not_a_counter() {
    let mut net = net();
    let now = net.now;
    let socket = net.stacks[0]
        .udp_bind(Binding::new(at("0.0.0.0:5000")))
        .unwrap();
    let mut first = Vec::new();
    for host in 2..250_u8 {
        let address: IpAddr = [10, 0, 0, host].into();
        net.stacks[0]
            .set_neighbour(now, IF, address, STRANGER)
            .unwrap();
        let to = Some((address, 9).into());
        net.stacks[0]
            .udp_send(now, socket, to, &content(2_000))
            .unwrap();
        net.run();
        let sent = net.sent(0);
        assert_eq!(sent[0][18..20], sent[1][18..20]);
        first.push(u16::from_be_bytes([sent[0][18], sent[0][19]]));
    }
    let steps: Vec<_> = first
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]))
        .collect();
    let small = steps.iter().filter(|&&step| step < 256).count();
    assert!(small < 10, "{small} of {} small steps", steps.len());
}
