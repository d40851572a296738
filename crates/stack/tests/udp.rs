//! UDP between two stacks.

mod net;

use std::net::SocketAddr;
use std::time::Duration;

use net::*;
use zcn_frame::Chain;
use zcn_pool::SharedBuf;
use zcn_stack::demux::Binding;
use zcn_stack::error::NetworkError;
use zcn_stack::event::Readiness;
use zcn_stack::slab::Id;
use zcn_stack::udp::{Datagram, UdpBindError, UdpRecvError, UdpSendError};
use zcn_stack::{SocketId, Stack};
use zcn_wire::checksum::Sum;

fn bind(net: &mut Net, end: usize, address: &str) -> Id {
    net.stacks[end]
        .udp_bind(Binding::new(at(address)))
        .expect("bound")
}

fn send(net: &mut Net, end: usize, socket: Id, to: &str, bytes: &[u8]) -> Result<(), UdpSendError> {
    let now = net.now;
    let chain = Chain::from(SharedBuf::from(bytes::Bytes::copy_from_slice(bytes)));
    let sent = net.stacks[end].udp_send_buf(now, socket, Some(at(to)), chain, None);
    net.run();
    sent
}

fn recv(net: &mut Net, end: usize, socket: Id) -> Option<Datagram> {
    net.stacks[end].udp_recv(socket).ok()
}

#[test]
fn datagrams_of_all_sizes_go_there_and_back() {
    for (mtu, offloads) in [(576, false), (1_500, false), (9_000, false), (1_500, true)] {
        for (to, largest) in [("10.0.0.2:7", 65_507), ("[fd00::2]:7", 65_527)] {
            if mtu < 1_280 && to.starts_with('[') {
                continue;
            }
            let mut net = if offloads {
                Net::offloading(mtu)
            } else {
                Net::plain(mtu)
            };
            let server = bind(&mut net, 1, "[::]:7");
            let client = bind(&mut net, 0, "[::]:0");
            let port = net.stacks[0].udp_local(client).unwrap().port();
            for size in [0, 1, 512, 1_472, 1_473, 9_000, 65_507, largest] {
                let bytes = content(size);
                send(&mut net, 0, client, to, &bytes).unwrap();
                let request = recv(&mut net, 1, server).unwrap_or_else(|| panic!("{to} {size}"));
                assert_eq!(request.payload.to_vec(), bytes);
                assert_eq!((request.remote.port(), request.local), (port, at(to)));
                let now = net.now;
                net.stacks[1]
                    .udp_send_buf(now, server, Some(request.remote), request.payload, None)
                    .unwrap();
                net.run();
                let answer = recv(&mut net, 0, client).expect("an answer");
                assert_eq!(answer.payload.to_vec(), bytes);
                assert_eq!(answer.remote, at(to));
            }
            let too_long = send(&mut net, 0, client, to, &vec![0; largest + 1]);
            assert_eq!(too_long, Err(UdpSendError::MessageTooLong { max: largest }));
            assert_eq!(net.faults(1), 0);
        }
    }
}

#[test]
fn origin_port_unreachable_reaches_the_socket() {
    // ustack: "no ICMP port-unreachable".
    for to in ["10.0.0.2:9", "[fd00::2]:9"] {
        let mut net = Net::plain(1_500);
        let client = bind(&mut net, 0, "[::]:0");
        net.stacks[0].udp_connect(client, at(to)).unwrap();
        let now = net.now;
        net.stacks[0]
            .udp_send(now, client, None, b"anybody?")
            .unwrap();
        net.run();
        let readiness = net.ready(0, SocketId::Udp(client));
        assert!(readiness.contains(Readiness::ERROR));
        let error = net.stacks[0].udp_take_error(client).expect("an error");
        assert_eq!(
            (error.remote, error.error),
            (at(to), NetworkError::PortUnreachable)
        );
        assert_eq!(error.error.errno(), 111);
        assert_eq!(net.stacks[0].udp_take_error(client), None);
        assert_eq!(net.stacks[1].stats().udp.no_ports, 1);
    }
}

/// Found by tshark, in what traceroute was answered over a TAP device: the kernel leaves
/// checksums to the device, and what was quoted had the sum of the pseudo header only.
#[test]
fn what_an_icmp_error_quotes_has_its_checksum_finished() {
    for (to, ip, icmp) in [("10.0.0.2:9", 20, 8), ("[fd00::2]:9", 40, 8)] {
        let mut net = Net::offloading(1_500);
        let client = bind(&mut net, 0, "[::]:0");
        net.stacks[0].udp_connect(client, at(to)).unwrap();
        let now = net.now;
        net.stacks[0]
            .udp_send(now, client, None, b"anybody?")
            .unwrap();
        net.run();
        let error = net.sent(1).pop().expect("port unreachable");
        let quoted = &error[14 + ip + icmp..];
        let (header, datagram) = quoted.split_at(ip);
        let (src, dst) = match ip {
            20 => (&header[12..16], &header[16..20]),
            _ => (&header[8..24], &header[24..40]),
        };
        let mut sum = Sum::of(src);
        sum.add(dst);
        sum.add(datagram);
        sum.add_u16(17);
        sum.add_u16(datagram.len() as u16);
        assert_eq!(datagram.len(), 16);
        assert!(sum.is_valid(), "{to}: {datagram:02x?}");
    }
}

#[test]
fn origin_receive_checksum_is_verified() {
    // ustack: "no rx checksum".
    for to in ["10.0.0.2:7", "[fd00::2]:7"] {
        let mut net = Net::plain(1_500);
        let server = bind(&mut net, 1, "[::]:7");
        let client = bind(&mut net, 0, "[::]:0");
        send(&mut net, 0, client, to, b"intact").unwrap();
        assert!(recv(&mut net, 1, server).is_some());
        let sound = net.sent(0).pop().unwrap();
        let start = sound.len() - b"intact".len() - 8;
        for at in start..sound.len() {
            // The ports lead elsewhere, the length is checked before.
            if at < start + 6 {
                continue;
            }
            let mut bad = sound.clone();
            bad[at] ^= 0x10;
            net.inject(1, &[&bad]);
            assert!(recv(&mut net, 1, server).is_none(), "byte {at}");
        }
        assert_eq!(net.stacks[1].stats().udp.in_csum_errors, 8);
        // No checksum at all is for IPv4 only.
        let mut none = sound.clone();
        none[start + 6..start + 8].fill(0);
        net.inject(1, &[&none]);
        assert_eq!(recv(&mut net, 1, server).is_some(), !to.starts_with('['));
    }
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let mut net = Net::plain(1_500);
    let server = bind(&mut net, 1, "10.0.0.2:7");
    let other = bind(&mut net, 1, "10.0.0.2:8");
    let client = bind(&mut net, 0, "0.0.0.0:5000");
    net.stacks[0].udp_connect(client, at("10.0.0.2:7")).unwrap();
    assert_eq!(net.stacks[0].udp_local(client), Some(at("10.0.0.1:5000")));
    send(&mut net, 1, other, "10.0.0.1:5000", b"stranger").unwrap();
    assert!(recv(&mut net, 0, client).is_none());
    // The stranger is told that nobody listens for him.
    assert!(net.stacks[1].udp_take_error(other).is_some());
    send(&mut net, 1, server, "10.0.0.1:5000", b"peer").unwrap();
    assert_eq!(recv(&mut net, 0, client).unwrap().payload.to_vec(), b"peer");
    net.stacks[0].udp_disconnect(client).unwrap();
    send(&mut net, 1, other, "10.0.0.1:5000", b"stranger").unwrap();
    assert!(recv(&mut net, 0, client).is_some());
}

/// Buffers are charged whole: a socket that nobody reads keeps no more of them than it may.
#[test]
fn tiny_datagrams_in_large_buffers_keep_few_of_them() {
    for (size, count) in [(4_096, 512), (68 << 10, 64)] {
        let mut net = Net::plain(1_500);
        let server = bind(&mut net, 1, "0.0.0.0:7");
        let client = bind(&mut net, 0, "0.0.0.0:0");
        send(&mut net, 0, client, "10.0.0.2:7", b"x").unwrap();
        assert!(recv(&mut net, 1, server).is_some());
        let frame = net.sent(0).pop().unwrap();
        let frames = zcn_pool::BufferPool::builder()
            .buffer_size(size)
            .count(count);
        let frames = frames.build().expect("memory");
        let limit = net.stacks[1].udp_options(server).unwrap().receive_buffer;
        for _ in 0..1_000 {
            let mut buf = frames.acquire().expect("buffers come back");
            buf.extend_from_slice(&frame).expect("room");
            let mut batch = vec![zcn_frame::Frame::from(SharedBuf::from(buf))];
            let now = net.now;
            net.stacks[1].handle_frames(now, IF, &mut batch);
        }
        let busy = frames.stats().in_use * size;
        assert!(busy <= limit, "{busy} of {limit}");
        let mut read = 0;
        while let Some(datagram) = recv(&mut net, 1, server) {
            assert_eq!(datagram.payload.to_vec(), b"x");
            read += 1;
        }
        assert!(read > 100, "{read}");
        assert_eq!(frames.stats().in_use, 0);
    }
}

#[test]
fn a_full_socket_drops_and_counts() {
    let mut net = Net::plain(1_500);
    let server = bind(&mut net, 1, "0.0.0.0:7");
    let client = bind(&mut net, 0, "0.0.0.0:0");
    for _ in 0..1_000 {
        send(&mut net, 0, client, "10.0.0.2:7", &[0; 100]).unwrap();
    }
    let stats = net.stacks[1].stats();
    let kept = stats.udp.in_datagrams;
    assert!(kept > 100 && kept < 400, "{kept}");
    assert_eq!(stats.udp.rcvbuf_errors, 1_000 - kept);
    assert_eq!(net.drops(1, "udp-queue-full"), 1_000 - kept);
    let mut read = 0;
    while recv(&mut net, 1, server).is_some() {
        read += 1;
    }
    assert_eq!(read, kept);
    send(&mut net, 0, client, "10.0.0.2:7", b"again").unwrap();
    assert!(recv(&mut net, 1, server).is_some());
}

#[test]
fn an_event_comes_once_however_many_datagrams_do() {
    let mut net = Net::plain(1_500);
    let server = bind(&mut net, 1, "0.0.0.0:7");
    let client = bind(&mut net, 0, "0.0.0.0:0");
    let now = net.now;
    send(&mut net, 0, client, "10.0.0.2:7", b"first").unwrap();
    net.events[1].clear();
    for _ in 0..10 {
        net.stacks[0]
            .udp_send(now, client, Some(at("10.0.0.2:7")), b"more")
            .unwrap();
    }
    net.run();
    assert_eq!(net.events[1].len(), 1);
    assert_eq!(net.events[1][0].socket, SocketId::Udp(server));
}

/// Sends 10 datagrams of 1,000 bytes and one of 7 as one super-datagram.
fn send_many(net: &mut Net, client: Id) -> Vec<u8> {
    let bytes = content(10_007);
    let chain = Chain::from(SharedBuf::from(bytes::Bytes::from(bytes.clone())));
    let now = net.now;
    net.stacks[0]
        .udp_send_buf(now, client, Some(at("10.0.0.2:7")), chain, Some(1_000))
        .expect("sent");
    net.run();
    bytes
}

#[test]
fn super_datagrams_are_cut_where_the_link_takes_none() {
    let mut net = Net::plain(1_500);
    let server = bind(&mut net, 1, "0.0.0.0:7");
    let client = bind(&mut net, 0, "0.0.0.0:0");
    let bytes = send_many(&mut net, client);
    for part in bytes.chunks(1_000) {
        assert_eq!(recv(&mut net, 1, server).unwrap().payload.to_vec(), part);
    }
    assert!(recv(&mut net, 1, server).is_none());
    assert_eq!(net.stacks[1].stats().udp.in_datagrams, 11);
}

#[test]
fn super_datagrams_cross_whole_where_the_link_takes_them() {
    let mut net = Net::offloading(1_500);
    let server = bind(&mut net, 1, "0.0.0.0:7");
    let client = bind(&mut net, 0, "0.0.0.0:0");
    send(&mut net, 0, client, "10.0.0.2:7", b"resolve").unwrap();
    recv(&mut net, 1, server).unwrap();
    net.sent(0);
    let bytes = send_many(&mut net, client);
    assert_eq!(net.sent(0).len(), 1);
    // A socket that did not ask for it gets single ones.
    for part in bytes.chunks(1_000) {
        assert_eq!(recv(&mut net, 1, server).unwrap().payload.to_vec(), part);
    }
    let mut options = net.stacks[1].udp_options(server).unwrap();
    options.coalesce = true;
    net.stacks[1].udp_set_options(server, options).unwrap();
    send_many(&mut net, client);
    let datagram = recv(&mut net, 1, server).unwrap();
    assert_eq!(datagram.segment_size, Some(1_000));
    assert_eq!(datagram.payload.to_vec(), bytes);
    assert_eq!(datagram.count(), 11);
}

#[test]
fn datagrams_of_one_flow_are_received_at_once_if_their_boundaries_can_be_told() {
    let mut net = Net::plain(1_500);
    let server = bind(&mut net, 1, "0.0.0.0:7");
    let mut options = net.stacks[1].udp_options(server).unwrap();
    options.coalesce = true;
    net.stacks[1].udp_set_options(server, options).unwrap();
    let (client, other) = (
        bind(&mut net, 0, "0.0.0.0:0"),
        bind(&mut net, 0, "0.0.0.0:0"),
    );
    let bytes = send_many(&mut net, client);
    let datagram = recv(&mut net, 1, server).unwrap();
    assert_eq!((datagram.segment_size, datagram.count()), (Some(1_000), 11));
    assert_eq!(datagram.payload.to_vec(), bytes);
    assert_eq!(net.stacks[1].stats().udp.in_datagrams, 11);
    // A short one ends a train; an empty or a longer one and another sender begin anew.
    for (socket, len) in [
        (client, 10),
        (client, 10),
        (client, 4),
        (client, 10),
        (client, 11),
        (client, 0),
        (client, 5),
        (other, 5),
        (other, 5),
    ] {
        send(&mut net, 0, socket, "10.0.0.2:7", &content(len)).unwrap();
    }
    let mut received = Vec::new();
    while let Some(datagram) = recv(&mut net, 1, server) {
        received.push((datagram.payload.len(), datagram.segment_size));
    }
    let expected = [
        (24, Some(10)),
        (10, None),
        (11, None),
        (0, None),
        (5, None),
        (10, Some(5)),
    ];
    assert_eq!(received, expected);
}

#[test]
fn pieces_larger_than_the_path_are_refused() {
    let mut net = Net::offloading(1_500);
    let client = bind(&mut net, 0, "0.0.0.0:0");
    let now = net.now;
    let chain = || Chain::from(SharedBuf::from_static(&[0; 4_000]));
    let to = Some(at("10.0.0.2:7"));
    for (size, max) in [(Some(1_473), 1_472), (Some(0), 1_472)] {
        let sent = net.stacks[0].udp_send_buf(now, client, to, chain(), size);
        assert_eq!(sent, Err(UdpSendError::MessageTooLong { max }));
    }
    let sent = net.stacks[0].udp_send_buf(now, client, to, chain(), Some(10));
    assert_eq!(sent, Err(UdpSendError::MessageTooLong { max: 1_280 }));
}

#[test]
fn mistakes_of_the_caller_are_named() {
    let mut net = Net::plain(1_500);
    let mut bind_at = |address: &str| net.stacks[0].udp_bind(Binding::new(at(address)));
    let first = bind_at("0.0.0.0:7").unwrap();
    assert_eq!(
        bind_at("10.0.0.1:7"),
        Err(UdpBindError::AddressInUse(at("10.0.0.1:7")))
    );
    for foreign in [
        "10.0.0.2:8",
        "192.0.2.1:8",
        "224.0.0.1:8",
        "255.255.255.255:8",
    ] {
        let result = bind_at(foreign);
        assert_eq!(result, Err(UdpBindError::AddressNotLocal(at(foreign).ip())));
    }
    let now = net.now;
    let stack: &mut Stack = &mut net.stacks[0];
    let mut send_to = |to: &str| stack.udp_send(now, first, Some(at(to)), b"x");
    assert_eq!(send_to("10.0.0.2:0"), Err(UdpSendError::InvalidDestination));
    assert_eq!(
        send_to("[fd00::2]:7"),
        Err(UdpSendError::InvalidDestination)
    );
    assert!(matches!(
        send_to("192.0.2.1:7"),
        Err(UdpSendError::Route(_))
    ));
    assert_eq!(send_to("255.255.255.255:7"), Err(UdpSendError::Broadcast));
    assert_eq!(send_to("10.0.0.255:7"), Err(UdpSendError::Broadcast));
    assert_eq!(
        stack.udp_send(now, first, None, b"x"),
        Err(UdpSendError::DestinationRequired)
    );
    stack.udp_close(first).unwrap();
    assert_eq!(stack.udp_recv(first).unwrap_err(), UdpRecvError::NotFound);
    assert!(stack.udp_close(first).is_err());
    assert_eq!(stack.udp_sockets(), 0);
}

#[test]
fn a_pool_without_buffers_is_an_ordinary_answer() {
    for (size, count) in [(4_096, 17), (65_536, 1)] {
        let mut net = Net::plain(1_500);
        let pool = zcn_pool::BufferPool::builder()
            .buffer_size(size)
            .count(count);
        let pool = pool.build().expect("memory");
        let mut stack = Stack::new(config(), pool.local(), &[5; 32], net.now);
        let addresses = ["10.0.0.1/24".parse().expect("an address")];
        let interface = zcn_stack::InterfaceConfig::new(plain(0, 1_500), &addresses);
        stack.add_interface(net.now, &interface).expect("sound");
        net.stacks[0] = stack;
        let server = bind(&mut net, 1, "0.0.0.0:7");
        let client = bind(&mut net, 0, "0.0.0.0:0");
        let (now, to) = (net.now, Some(at("10.0.0.2:7")));
        net.stacks[0]
            .udp_send(now, client, to, &content(65_507))
            .expect("sent");
        net.run();
        assert_eq!(
            recv(&mut net, 1, server).expect("all of it").payload.len(),
            65_507
        );
        // It is over when a buffer is back.
        let taken: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
        let sent = net.stacks[0].udp_send(now, client, to, b"x");
        assert_eq!(sent, Err(UdpSendError::WouldBlock));
        drop(taken);
        net.stacks[0].udp_send(now, client, to, b"x").expect("sent");
    }
}

#[test]
fn broadcasts_and_groups_are_heard() {
    let mut net = Net::plain(1_500);
    let server = bind(&mut net, 1, "0.0.0.0:7");
    let server6 = bind(&mut net, 1, "[::]:9");
    let client = bind(&mut net, 0, "0.0.0.0:0");
    let client6 = bind(&mut net, 0, "[::]:0");
    let mut options = net.stacks[0].udp_options(client).unwrap();
    options.broadcast = true;
    net.stacks[0].udp_set_options(client, options).unwrap();
    for to in ["10.0.0.255:7", "255.255.255.255:7", "224.0.0.1:7"] {
        send(&mut net, 0, client, to, b"all").unwrap();
        let datagram = recv(&mut net, 1, server).expect(to);
        assert_eq!(
            (datagram.local, datagram.remote.ip()),
            (at(to), ip("10.0.0.1"))
        );
    }
    send(&mut net, 0, client6, "[ff02::1%1]:9", b"all").unwrap();
    let datagram = recv(&mut net, 1, server6).expect("all nodes");
    assert_eq!(datagram.local, at("[ff02::1%1]:9"));
    // To a group nobody is told that nobody listens.
    send(&mut net, 0, client, "10.0.0.255:1234", b"all").unwrap();
    assert_eq!(net.stacks[1].stats().icmpv4.out_msgs, 0);
}

#[test]
fn ephemeral_ports_are_not_guessable() {
    // RFC 6056: 10,000 ports, none following from the one before.
    let mut net = Net::plain(1_500);
    let mut ports = Vec::new();
    for _ in 0..10_000 {
        let socket = bind(&mut net, 0, "0.0.0.0:0");
        ports.push(net.stacks[0].udp_local(socket).unwrap().port());
        net.stacks[0].udp_close(socket).unwrap();
    }
    let range = 32_768..=60_999;
    assert!(ports.iter().all(|port| range.contains(port)));
    let mut steps = std::collections::BTreeMap::new();
    for pair in ports.windows(2) {
        *steps.entry(pair[1].wrapping_sub(pair[0])).or_insert(0) += 1;
    }
    let most = steps.values().max().unwrap();
    assert!(*most < 10, "one step was taken {most} times");
}

#[test]
fn all_ports_taken_is_an_error() {
    let mut config = config();
    config.udp.ports = (40_000, 40_003);
    let mut net = Net::with(config, 1_500);
    let mut ports: Vec<_> = (0..4)
        .map(|_| {
            let socket = bind(&mut net, 0, "0.0.0.0:0");
            net.stacks[0].udp_local(socket).unwrap().port()
        })
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [40_000, 40_001, 40_002, 40_003]);
    let next = net.stacks[0].udp_bind(Binding::new(at("0.0.0.0:0")));
    assert_eq!(next, Err(UdpBindError::NoPort));
}

#[test]
fn a_full_way_out_blocks_and_tells_when_there_is_room() {
    let mut config = config();
    config.output_queue = 8;
    let mut net = Net::with(config, 1_500);
    let client = bind(&mut net, 0, "0.0.0.0:0");
    send(&mut net, 0, client, "10.0.0.2:7", b"resolve").unwrap();
    net.events[0].clear();
    let now = net.now;
    let to: Option<SocketAddr> = Some(at("10.0.0.2:7"));
    for _ in 0..8 {
        net.stacks[0].udp_send(now, client, to, b"x").unwrap();
    }
    let full = net.stacks[0].udp_send(now, client, to, b"x");
    assert_eq!(full, Err(UdpSendError::WouldBlock));
    net.run();
    let readiness = net.ready(0, SocketId::Udp(client));
    assert!(readiness.contains(Readiness::WRITABLE));
    net.stacks[0].udp_send(now, client, to, b"x").unwrap();
}

#[test]
fn path_mtu_is_learned_validated_and_forgotten() {
    let mut net = Net::plain(1_500);
    let server = bind(&mut net, 1, "0.0.0.0:7");
    let client = bind(&mut net, 0, "0.0.0.0:5000");
    let mut options = net.stacks[0].udp_options(client).unwrap();
    options.dont_fragment = true;
    net.stacks[0].udp_set_options(client, options).unwrap();
    send(&mut net, 0, client, "10.0.0.2:7", &content(1_472)).unwrap();
    let quoted = net.sent(0).pop().unwrap()[14..42].to_vec();
    // From a router, about a packet that somebody else sent.
    let mut foreign = quoted.clone();
    foreign[20..22].copy_from_slice(&4_999_u16.to_be_bytes());
    net.inject(0, &[&too_big(&foreign, 1_400)]);
    assert_eq!(net.stacks[0].path_mtus(), 0);
    assert_eq!(net.drops(0, "icmp-unmatched"), 1);
    net.inject(0, &[&too_big(&quoted, 1_400)]);
    assert_eq!(net.stacks[0].path_mtus(), 1);
    let error = net.stacks[0].udp_take_error(client).unwrap();
    assert_eq!(error.error, NetworkError::TooBig { mtu: 1_400 });
    let sent = send(&mut net, 0, client, "10.0.0.2:7", &content(1_400));
    assert_eq!(sent, Err(UdpSendError::MessageTooLong { max: 1_372 }));
    // It cannot be brought below the floor.
    net.inject(0, &[&too_big(&quoted, 68)]);
    let sent = send(&mut net, 0, client, "10.0.0.2:7", &content(600));
    assert_eq!(sent, Err(UdpSendError::MessageTooLong { max: 524 }));
    net.run_for(Duration::from_secs(601));
    send(&mut net, 0, client, "10.0.0.2:7", &content(1_472)).unwrap();
    while recv(&mut net, 1, server).is_some() {}
    // Who lets packets be cut sends as before, in fragments.
    options.dont_fragment = false;
    net.stacks[0].udp_set_options(client, options).unwrap();
    net.inject(0, &[&too_big(&quoted, 1_400)]);
    net.sent(0);
    send(&mut net, 0, client, "10.0.0.2:7", &content(1_472)).unwrap();
    assert!(net.sent(0).iter().all(|frame| frame.len() <= 14 + 1_400));
    assert_eq!(
        recv(&mut net, 1, server).unwrap().payload.to_vec(),
        content(1_472)
    );
}

/// A frame to the first stack: fragmentation needed, from a router at 10.0.0.9.
fn too_big(quoted: &[u8], mtu: u16) -> Vec<u8> {
    use zcn_wire::icmpv4::UnreachableV4;
    let message = zcn_wire::Icmpv4Repr::DestinationUnreachable {
        reason: UnreachableV4::FragmentationNeeded { mtu },
        quoted,
    };
    icmp_frame(&message)
}

fn icmp_frame(message: &zcn_wire::Icmpv4Repr<'_>) -> Vec<u8> {
    let header = zcn_wire::Ipv4Repr::new(
        [10, 0, 0, 9].into(),
        [10, 0, 0, 1].into(),
        zcn_wire::Protocol::ICMP,
        message.buffer_len(),
    );
    let mut bytes = vec![0; 14 + header.buffer_len()];
    bytes[..6].copy_from_slice(&MAC[0]);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    bytes[12] = 8;
    let at = 14 + header.emit(&mut bytes[14..]).unwrap();
    message.emit(&mut bytes[at..]).unwrap();
    bytes
}
