//! Neighbours and addresses between two stacks: resolution, unreachability, duplicates.

mod net;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use net::*;
use zcn_stack::demux::Binding;
use zcn_stack::neighbour::NeighbourState;
use zcn_stack::route::Route;
use zcn_stack::slab::Id;
use zcn_stack::{AddressState, ConfigError, Instant, InterfaceConfig, Stack, StackConfig};
use zcn_wire::ndp::solicited_node;
use zcn_wire::{EtherType, EthernetAddress, EthernetRepr, Icmpv6Repr, Ipv6Repr, NdpRepr, Protocol};

fn socket(net: &mut Net, end: usize) -> Id {
    net.stacks[end]
        .udp_bind(Binding::new(at("[::]:5000")))
        .expect("bound")
}

fn send(net: &mut Net, socket: Id, to: &str) {
    let now = net.now;
    net.stacks[0]
        .udp_send(now, socket, Some(at(to)), b"hello")
        .expect("sent");
    net.run();
}

fn state(stack: &Stack, address: &str) -> Option<NeighbourState> {
    let address: IpAddr = ip(address);
    let found = stack.neighbours(IF).find(|(other, _, _)| *other == address);
    found.map(|(_, state, _)| state)
}

/// How many ARP packets and neighbour solicitations came from `end` since the last call.
fn questions(net: &mut Net, end: usize) -> usize {
    net.sent(end)
        .iter()
        .filter(|bytes| match (bytes[12], bytes[13]) {
            (8, 6) => bytes[21] == 1,
            (0x86, 0xdd) => bytes[20] == 58 && bytes[54] == 135,
            _ => false,
        })
        .count()
}

#[test]
fn the_life_of_a_neighbour() {
    for peer in ["10.0.0.2", "fd00::2"] {
        let to = &if peer.contains(':') {
            format!("[{peer}]:5000")
        } else {
            format!("{peer}:5000")
        };
        let mut net = Net::plain(1_500);
        let socket = socket(&mut net, 0);
        self::socket(&mut net, 1);
        net.run_for(Duration::from_secs(5));
        net.sent(0);
        send(&mut net, socket, to);
        assert_eq!(state(&net.stacks[0], peer), Some(NeighbourState::Reachable));
        assert_eq!(questions(&mut net, 0), 1);
        // Who asked is known to who was asked.
        let me = if peer.contains(':') {
            "fd00::1"
        } else {
            "10.0.0.1"
        };
        assert!(state(&net.stacks[1], me).is_some());
        net.run_for(Duration::from_secs(50));
        assert_eq!(state(&net.stacks[0], peer), Some(NeighbourState::Stale));
        // Used again: sent at once, and asked for only after five silent seconds.
        send(&mut net, socket, to);
        assert_eq!(state(&net.stacks[0], peer), Some(NeighbourState::Delay));
        net.run_for(Duration::from_millis(4_900));
        assert_eq!(questions(&mut net, 0), 0);
        net.run_for(Duration::from_millis(200));
        assert_eq!(state(&net.stacks[0], peer), Some(NeighbourState::Reachable));
        assert_eq!(questions(&mut net, 0), 1);
        // It goes away.
        net.filter = Some(Box::new(|end, frame| (end == 0).then_some(frame)));
        net.run_for(Duration::from_secs(50));
        send(&mut net, socket, to);
        net.run_for(Duration::from_millis(5_500));
        assert_eq!(state(&net.stacks[0], peer), Some(NeighbourState::Probe));
        net.run_for(Duration::from_secs(4));
        assert_eq!(state(&net.stacks[0], peer), None);
        assert_eq!(questions(&mut net, 0), 3);
    }
}

#[test]
fn an_address_is_announced_and_believed_where_it_is_known() {
    let mut net = Net::plain(1_500);
    let client = socket(&mut net, 0);
    net.run_for(Duration::from_secs(5));
    let announcements = net.sent(1);
    let gratuitous = |bytes: &&Vec<u8>| bytes[12..14] == [8, 6] && bytes[28..32] == bytes[38..42];
    assert_eq!(announcements.iter().filter(gratuitous).count(), 2);
    send(&mut net, client, "10.0.0.2:5000");
    net.run_for(Duration::from_secs(2));
    // The address moves to another station, which announces it.
    let mut moved = announcements
        .into_iter()
        .find(|bytes| gratuitous(&bytes))
        .unwrap();
    let station = [2, 0, 0, 0, 0, 0x77];
    moved[6..12].copy_from_slice(&station);
    moved[22..28].copy_from_slice(&station);
    net.inject(0, &[&moved]);
    let link = net.stacks[0]
        .neighbours(IF)
        .find(|n| n.0 == ip("10.0.0.2"))
        .unwrap();
    assert_eq!((link.1, link.2.0), (NeighbourState::Stale, station));
}

fn probing() -> StackConfig {
    let mut config = config();
    config.dad_transmits = 1;
    config
}

/// A stack with this one IPv6 address and link address.
fn v6(link: [u8; 6], address: &str) -> Stack {
    let mut stack = Stack::new(
        probing(),
        pool(),
        &link[..1].repeat(32).try_into().unwrap(),
        Instant::ZERO,
    );
    let capabilities =
        zcn_frame::Capabilities::plain(zcn_frame::Medium::Ethernet { address: link }, 1_500);
    let addresses = [address.parse().unwrap()];
    stack
        .add_interface(
            Instant::ZERO,
            &InterfaceConfig::new(capabilities, &addresses),
        )
        .unwrap();
    stack
}

fn address_state(stack: &Stack, address: &str) -> AddressState {
    let found = stack
        .addresses(IF)
        .find(|(cidr, _)| cidr.address() == ip(address));
    found.expect("an address").1
}

#[test]
fn an_address_that_nobody_has_is_ours_after_a_second() {
    let mut net = Net::new([v6(MAC[0], "fd00::1/64"), v6(MAC[1], "fd00::2/64")]);
    net.run();
    assert_eq!(
        address_state(&net.stacks[0], "fd00::1"),
        AddressState::Tentative
    );
    net.run_for(Duration::from_millis(1_100));
    for (end, address) in ["fd00::1", "fd00::2"].into_iter().enumerate() {
        assert_eq!(
            address_state(&net.stacks[end], address),
            AddressState::Preferred
        );
    }
}

#[test]
fn two_that_probe_for_one_address_both_give_it_up() {
    let mut net = Net::new([v6(MAC[0], "fd00::1/64"), v6(MAC[1], "fd00::1/64")]);
    // Their probes cross on the wire.
    let now = net.now;
    let [mut first, mut second] = [0, 1].map(|end| {
        let mut frames = Vec::new();
        net.stacks[end].handle_timeout(now);
        net.stacks[end].poll_frames(now, IF, &mut frames, 64);
        frames
    });
    net.stacks[0].handle_frames(now, IF, &mut second);
    net.stacks[1].handle_frames(now, IF, &mut first);
    net.run_for(Duration::from_secs(3));
    for stack in &net.stacks {
        assert_eq!(address_state(stack, "fd00::1"), AddressState::Duplicated);
        // Their link-local addresses differ.
        let own: Vec<_> = stack.addresses(IF).map(|(_, state)| state).collect();
        assert!(own.contains(&AddressState::Preferred));
        assert_eq!(stack.stats().neighbours.conflicts, 1);
    }
}

/// A link that brings everything back to the first stack, for as long as it is asked to.
fn looping(rounds: usize) -> (Net, Vec<Vec<u8>>) {
    let mut net = Net::new([v6(MAC[0], "fd00::1/64"), v6(MAC[1], "fd00::2/64")]);
    let mut probes = Vec::new();
    let mut frames = Vec::new();
    for _ in 0..rounds {
        let now = net.now;
        net.stacks[0].handle_timeout(now);
        net.stacks[0].poll_frames(now, IF, &mut frames, 64);
        probes.extend(
            frames
                .iter()
                .map(zcn_frame::Frame::to_vec)
                .filter(|bytes| bytes[20] == 58 && bytes[54] == 135),
        );
        let mut back: Vec<_> = frames
            .drain(..)
            .map(|frame| wire(&frame.to_vec()))
            .collect();
        net.stacks[0].handle_frames(now, IF, &mut back);
        net.now = net.stacks[0].poll_timeout().expect("probes").max(now);
    }
    (net, probes)
}

#[test]
fn a_probe_that_comes_back_is_no_duplicate() {
    let (mut net, probes) = looping(40);
    // As long as the link loops, who else has the address could not be heard.
    assert_eq!(
        address_state(&net.stacks[0], "fd00::1"),
        AddressState::Tentative
    );
    assert!(probes.len() > 4, "{}", probes.len());
    assert_eq!(net.drops(0, "ndp-looped"), probes.len() as u64);
    let nonces: std::collections::BTreeSet<_> =
        probes.iter().map(|bytes| bytes[78..86].to_vec()).collect();
    assert_eq!(nonces.len(), probes.len());
    assert!(nonces.iter().all(|nonce| nonce[..2] == [14, 1]));
    // The loop is removed.
    net.run_for(Duration::from_secs(10));
    assert_eq!(
        address_state(&net.stacks[0], "fd00::1"),
        AddressState::Preferred
    );
    assert_eq!(net.stacks[0].stats().neighbours.conflicts, 0);
    // A probe of ours from before asks for no answer.
    net.sent(0);
    net.inject(0, &[&probes[probes.len() - 1]]);
    assert_eq!(net.sent(0), Vec::<Vec<u8>>::new());
}

/// A probe for an address by another station.
fn probe(target: &str, nonce: Option<&[u8]>) -> Vec<u8> {
    let target = target.parse().expect("an IPv6 address");
    let group = solicited_node(target);
    let message = Icmpv6Repr::Ndp(NdpRepr::NeighborSolicitation {
        target,
        source_link_address: None,
        nonce,
    });
    let header = EthernetRepr {
        dst: EthernetAddress::from_ipv6_multicast(group),
        src: EthernetAddress(MAC[1]),
        ethertype: EtherType::IPV6,
        vlan: None,
    };
    let packet = Ipv6Repr {
        hop_limit: 255,
        ..Ipv6Repr::new(
            Ipv6Addr::UNSPECIFIED,
            group,
            Protocol::ICMPV6,
            message.buffer_len(),
        )
    };
    let mut bytes = vec![0; 14 + packet.buffer_len()];
    header.emit(&mut bytes).expect("room");
    packet.emit(&mut bytes[14..]).expect("room");
    let pseudo = packet.pseudo_header(Protocol::ICMPV6);
    message.emit(pseudo, &mut bytes[54..]).expect("room");
    bytes
}

#[test]
fn a_probe_with_another_nonce_or_none_is_that_of_somebody_else() {
    for nonce in [None, Some(&[1, 2, 3, 4, 5, 6][..]), Some(&[0; 14])] {
        let (mut net, _) = looping(2);
        net.inject(0, &[&probe("fd00::1", nonce)]);
        assert_eq!(
            address_state(&net.stacks[0], "fd00::1"),
            AddressState::Duplicated,
            "{nonce:?}"
        );
        assert_eq!(net.stacks[0].stats().neighbours.conflicts, 1);
    }
}

#[test]
fn who_has_the_address_keeps_it() {
    let mut net = Net::new([v6(MAC[0], "fd00::1/64"), v6(MAC[1], "fd00::2/64")]);
    net.run_for(Duration::from_secs(3));
    let now = net.now;
    net.stacks[1]
        .add_address(now, IF, "fd00::1/64".parse().unwrap())
        .unwrap();
    net.run_for(Duration::from_secs(3));
    assert_eq!(
        address_state(&net.stacks[0], "fd00::1"),
        AddressState::Preferred
    );
    assert_eq!(
        address_state(&net.stacks[1], "fd00::1"),
        AddressState::Duplicated
    );
}

#[test]
fn groups_are_not_sent_to_the_default_router() {
    // Solicitations once waited for the router that they were to find.
    let mut net = Net::plain(1_500);
    let socket = socket(&mut net, 0);
    net.run_for(Duration::from_secs(5));
    for gateway in ["10.0.0.2", "fd00::2"] {
        net.stacks[0]
            .add_route(Route::default(ip(gateway), IF))
            .unwrap();
    }
    net.sent(0);
    for group in ["224.1.2.3:9", "[ff05::1234]:9"] {
        send(&mut net, socket, group);
        let sent = net.sent(0);
        assert_eq!(sent.len(), 1, "{group}");
        assert!(sent[0][0] & 1 == 1, "{group}");
    }
}

#[test]
fn a_router_is_the_next_hop_of_far_destinations() {
    let mut net = Net::plain(1_500);
    let socket = socket(&mut net, 0);
    net.run_for(Duration::from_secs(5));
    for (gateway, far) in [
        ("10.0.0.2", "192.0.2.1:5000"),
        ("fd00::2", "[2001:db8::1]:5000"),
    ] {
        net.stacks[0]
            .add_route(Route::default(ip(gateway), IF))
            .unwrap();
        net.sent(0);
        send(&mut net, socket, far);
        assert!(state(&net.stacks[0], gateway).is_some());
        let sent = net.sent(0);
        let last = sent.last().unwrap();
        // To the router's station, but to the far host's address.
        assert_eq!(last[..6], MAC[1]);
        assert!(state(&net.stacks[0], &at(far).ip().to_string()).is_none());
    }
    assert_eq!(net.drops(1, "not-for-us"), 2);
}

#[test]
fn mistakes_of_a_configuration_are_named() {
    let mut net = Net::plain(1_500);
    let now = net.now;
    let stack = &mut net.stacks[0];
    let mut add = |text: &str| stack.add_address(now, IF, text.parse().unwrap());
    assert_eq!(
        add("10.0.0.1/24"),
        Err(ConfigError::AddressInUse(ip("10.0.0.1")))
    );
    for unusable in [
        "0.0.0.0/0",
        "127.0.0.1/8",
        "224.0.0.1/4",
        "10.1.0.255/24",
        "10.1.0.0/24",
        "255.255.255.255/32",
        "::/64",
        "::1/128",
        "ff02::1/64",
        "::ffff:10.0.0.5/128",
    ] {
        let result = add(unusable);
        assert!(
            matches!(result, Err(ConfigError::AddressUnusable(_))),
            "{unusable} {result:?}"
        );
    }
    add("10.1.0.0/31").unwrap();
    add("fd01::1/64").unwrap();
    for (gateway, reachable) in [
        ("10.0.0.77", true),
        ("192.0.2.1", false),
        ("fe80::9", true),
        ("10.0.0.2", true),
    ] {
        let result = stack.add_route(Route::default(ip(gateway), IF));
        assert_eq!(result.is_ok(), reachable, "{gateway}");
    }
    let mixed = Route {
        gateway: Some(ip("fd00::2")),
        ..Route::default(ip("10.0.0.2"), IF)
    };
    assert!(matches!(
        stack.add_route(mixed),
        Err(ConfigError::FamiliesDiffer { .. })
    ));
    assert!(stack.remove_address(now, IF, ip("10.9.9.9")).is_err());
    stack.remove_address(now, IF, ip("fd01::1")).unwrap();
    assert!(
        !stack
            .routes()
            .any(|route| route.destination.contains(ip("fd01::5")) && route.gateway.is_none())
    );

    // A link may carry more (the kernel's loopback: 65,536); a length in a header cannot say more.
    let mut beyond = InterfaceConfig::new(plain(1, u32::MAX), &[]);
    assert!(stack.add_interface(now, &beyond).is_ok());
    beyond.mtu = Some(65_536);
    assert_eq!(
        stack.add_interface(now, &beyond),
        Err(ConfigError::Mtu {
            mtu: 65_536,
            min: 68,
            max: 65_535
        })
    );

    let mut second = |mtu, addresses: &[&str]| {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let mut config = InterfaceConfig::new(plain(1, 1_500), &addresses);
        config.mtu = mtu;
        stack.add_interface(now, &config)
    };
    for (mtu, addresses) in [(Some(60), &[][..]), (Some(1_501), &[])] {
        let result = second(mtu, addresses);
        assert!(
            matches!(result, Err(ConfigError::Mtu { .. })),
            "{mtu:?} {result:?}"
        );
    }
    // No range of MTUs is told that the link cannot have.
    let small = second(Some(1_000), &["fd02::1/64"]);
    assert!(
        matches!(small, Err(ConfigError::MtuBelowIpv6 { mtu: 1_000, .. })),
        "{small:?}"
    );
    let twice = second(None, &["10.2.0.1/24", "10.2.0.1/16"]);
    assert_eq!(twice, Err(ConfigError::AddressInUse(ip("10.2.0.1"))));
    let taken = second(None, &["10.0.0.1/8"]);
    assert_eq!(taken, Err(ConfigError::AddressInUse(ip("10.0.0.1"))));
    let mut group = InterfaceConfig::new(plain(1, 1_500), &[]);
    group.link_address = Some(zcn_wire::EthernetAddress([3, 0, 0, 0, 0, 1]));
    assert!(matches!(
        stack.add_interface(now, &group),
        Err(ConfigError::LinkAddress(_))
    ));
    assert!(
        stack
            .add_address(
                now,
                zcn_stack::InterfaceId(5),
                "10.5.0.1/24".parse().unwrap()
            )
            .is_err()
    );
}
