//! TCP between two stacks: frames, super-frames, errors of the network.

mod net;

use std::time::Duration;

use net::*;
use zcn_frame::{Frame, Medium};
use zcn_stack::event::Readiness;
use zcn_stack::neighbour::NeighbourState;
use zcn_stack::slab::Id;
use zcn_stack::tcp::congestion::Algorithm;
use zcn_stack::tcp::{
    ListenError, RecvError, SendError, SocketOption, SocketOptions, State, TcpError,
};
use zcn_stack::{SocketId, Stack};

fn listen(net: &mut Net, address: &str) -> Id {
    net.stacks[1]
        .tcp_listen(at(address), 64, SocketOptions::default())
        .expect("listening")
}

fn connect(net: &mut Net, to: &str) -> Id {
    let now = net.now;
    net.stacks[0]
        .tcp_connect(now, at(to), None, SocketOptions::default())
        .expect("begun")
}

/// A connection from the first stack to the second, both ends.
fn pair(net: &mut Net, to: &str) -> (Id, Id) {
    let listener = listen(net, "[::]:80");
    let client = connect(net, to);
    net.run();
    let readiness = net.ready(0, SocketId::Tcp(client));
    assert!(readiness.contains(Readiness::CONNECTED), "{readiness:?}");
    let now = net.now;
    let (server, peer) = net.stacks[1].tcp_accept(now, listener).expect("accepted");
    assert_eq!(
        peer.ip(),
        net.stacks[0].tcp_addresses(client).unwrap().0.ip()
    );
    (client, server)
}

/// Carries `bytes` from one socket to the other, and takes no more than this long for it.
fn carry(net: &mut Net, from: (usize, Id), to: (usize, Id), bytes: &[u8], limit: Duration) {
    let end = net.now + limit;
    let (mut sent, mut received) = (0, Vec::new());
    let mut chunk = vec![0; 65_536];
    while received.len() < bytes.len() {
        assert!(net.now < end, "only {} bytes in {limit:?}", received.len());
        let now = net.now;
        if sent < bytes.len() {
            match net.stacks[from.0].tcp_send(now, from.1, &bytes[sent..], false) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error, SendError::WouldBlock),
            }
        }
        net.run();
        loop {
            match net.stacks[to.0].tcp_recv(now, to.1, &mut chunk) {
                Ok(count) => received.extend_from_slice(&chunk[..count]),
                Err(error) => {
                    assert_eq!(error, RecvError::WouldBlock);
                    break;
                }
            }
        }
        net.run_for(Duration::from_millis(1));
    }
    assert!(received == bytes, "the content differs");
}

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn bulk_both_ways_over_every_kind_of_link() {
    for to in ["10.0.0.2:80", "[fd00::2]:80", "[fe80::ff:fe00:2%1]:80"] {
        for (mtu, offloads) in [(1_500, false), (9_000, false), (1_500, true), (1_280, true)] {
            let mut net = if offloads {
                Net::offloading(mtu)
            } else {
                Net::plain(mtu)
            };
            let (client, server) = pair(&mut net, to);
            let bytes = content(3_000_000);
            carry(&mut net, (0, client), (1, server), &bytes, LIMIT);
            carry(&mut net, (1, server), (0, client), &bytes, LIMIT);
            let longest = net.log.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
            if offloads {
                assert!(longest > 20_000, "super-frames cross whole, not {longest}");
            } else {
                assert!(longest <= 14 + mtu as usize);
            }
            for end in [0, 1] {
                let stats = net.stacks[end].stats();
                assert_eq!(net.faults(end), 0, "{:?}", stats.drops);
                assert_eq!(stats.tcp.retrans_segs, 0);
            }
            let now = net.now;
            net.stacks[0].tcp_close(now, client).unwrap();
            net.run();
            assert_eq!(net.stacks[1].tcp_recv(now, server, &mut [0; 8]), Ok(0));
            net.stacks[1].tcp_close(now, server).unwrap();
            net.run_for(Duration::from_secs(120));
            assert_eq!(net.stacks[0].tcp_connections().count(), 0);
            assert_eq!(net.stacks[1].tcp_connections().count(), 0);
        }
    }
}

#[test]
fn segments_that_come_together_are_acknowledged_together() {
    let mut net = Net::plain(1_500);
    let (client, server) = pair(&mut net, "10.0.0.2:80");
    let bytes = content(1_000_000);
    carry(&mut net, (0, client), (1, server), &bytes, LIMIT);
    let data = net
        .log
        .iter()
        .filter(|(end, bytes)| *end == 0 && bytes.len() > 1_000);
    let acks = net.log.iter().filter(|(end, _)| *end == 1).count();
    let data = data.count();
    assert!(
        acks * 4 < data,
        "{acks} acknowledgements of {data} segments"
    );
}

#[test]
fn origin_a_closed_port_refuses() {
    // ustack: "RST never sent: closed port times out".
    for to in ["10.0.0.2:81", "[fd00::2]:81", "127.0.0.1:81"] {
        let mut net = Net::plain(1_500);
        let client = connect(&mut net, to);
        net.run();
        let readiness = net.ready(0, SocketId::Tcp(client));
        assert!(readiness.contains(Readiness::CLOSED), "{to} {readiness:?}");
        assert_eq!(
            net.stacks[0].tcp_take_error(client),
            Some(TcpError::Refused)
        );
    }
}

#[test]
fn origin_receive_checksum_is_verified() {
    // ustack: "no receive checksum".
    let mut net = Net::plain(1_500);
    let (client, server) = pair(&mut net, "10.0.0.2:80");
    let mut count = 0;
    net.filter = Some(Box::new(move |end, frame| {
        let mut bytes = frame.to_vec();
        count += 1;
        if end == 0 && bytes.len() > 500 && count % 5 == 0 {
            let at = bytes.len() - 100;
            bytes[at] ^= 1;
        }
        Some(wire(&bytes))
    }));
    let bytes = content(200_000);
    carry(
        &mut net,
        (0, client),
        (1, server),
        &bytes,
        Duration::from_secs(120),
    );
    let stats = net.stacks[1].stats();
    assert!(stats.tcp.in_csum_errors > 0);
    assert_eq!(net.drops(1, "tcp-checksum"), stats.tcp.in_csum_errors);
}

#[test]
fn origin_bulk_over_ipv6() {
    // ustack: "TCP/v6 reads the v4 union member", "no checksum check".
    let mut net = Net::plain(1_500);
    let (client, server) = pair(&mut net, "[fd00::2]:80");
    let bytes = content(100_000);
    carry(&mut net, (0, client), (1, server), &bytes, LIMIT);
    assert_eq!(net.stacks[1].stats().ipv4.in_delivers, 0);
}

#[test]
fn origin_the_peers_mss_is_obeyed() {
    // ustack: "own MTU overrides peer MSS".
    let mut net = Net::new([
        stack(0, config(), plain(0, 9_000)),
        stack(1, config(), plain(1, 1_500)),
    ]);
    let (client, server) = pair(&mut net, "10.0.0.2:80");
    carry(&mut net, (0, client), (1, server), &content(100_000), LIMIT);
    assert!(net.log.iter().all(|(_, bytes)| bytes.len() <= 14 + 1_500));
}

#[test]
fn origin_keepalive_probes_have_a_checksum() {
    // ustack: "keepalive probe lacks checksum". The peer answers only what has a right one.
    let mut net = Net::plain(1_500);
    let (client, _server) = pair(&mut net, "10.0.0.2:80");
    let now = net.now;
    let second = Duration::from_secs(1);
    for option in [
        SocketOption::KeepAliveIdle(second),
        SocketOption::KeepAliveInterval(second),
        SocketOption::KeepAliveCount(2),
        SocketOption::KeepAlive(true),
    ] {
        let set = net.stacks[0].tcp_set_option(now, client, option);
        assert_eq!(set, Ok(()));
    }
    let before = net.stacks[1].stats().tcp.in_segs;
    net.run_for(Duration::from_secs(10));
    let stats = net.stacks[1].stats().tcp;
    assert!(
        stats.in_segs >= before + 9,
        "{} probes",
        stats.in_segs - before
    );
    assert_eq!(stats.in_csum_errors, 0);
    assert_eq!(
        net.stacks[0].tcp_state(client),
        Some(State::Established),
        "two without an answer would have ended it"
    );
}

#[test]
fn origin_the_congestion_control_is_the_one_chosen() {
    // ustack: "CC getter always NewReno".
    let mut net = Net::plain(1_500);
    let (client, server) = pair(&mut net, "10.0.0.2:80");
    let now = net.now;
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let option = SocketOption::Congestion(algorithm);
        assert_eq!(net.stacks[0].tcp_set_option(now, client, option), Ok(()));
        let told = net.stacks[0].tcp_options(client).expect("a connection");
        assert_eq!(told.congestion, algorithm);
        let other = net.stacks[1].tcp_options(server).expect("a connection");
        assert_eq!(other.congestion, Algorithm::default());
    }
}

#[test]
fn origin_an_address_is_reused_only_where_both_say_so() {
    // ustack: "reuse no-op".
    let mut net = Net::plain(1_500);
    let mut listen = |address: &str, reuse: bool| {
        let mut options = SocketOptions::default();
        options.reuse_address = reuse;
        net.stacks[1].tcp_listen(at(address), 1, options)
    };
    assert!(listen("0.0.0.0:80", true).is_ok());
    let refused = listen("10.0.0.2:80", false);
    assert!(
        matches!(refused, Err(ListenError::AddressInUse)),
        "{refused:?}"
    );
    assert!(listen("10.0.0.2:80", true).is_ok());
    let refused = listen("10.0.0.2:80", true);
    assert!(
        matches!(refused, Err(ListenError::AddressInUse)),
        "{refused:?}"
    );
}

#[test]
fn origin_resets_and_retransmissions_are_counted() {
    // ustack: "retransmits, resets, invalid checksum always 0".
    let mut net = Net::plain(1_500);
    let (client, server) = pair(&mut net, "10.0.0.2:80");
    let mut lost = false;
    net.filter = Some(Box::new(move |end, frame| {
        let loses = end == 0 && !lost && frame.to_vec().len() > 500;
        lost |= loses;
        (!loses).then_some(frame)
    }));
    carry(&mut net, (0, client), (1, server), &content(50_000), LIMIT);
    let now = net.now;
    assert_eq!(net.stacks[1].tcp_abort(now, server), Ok(()));
    net.run();
    let stats = net.stacks[0].stats().tcp;
    assert!(stats.retrans_segs > 0);
    assert_eq!((stats.estab_resets, stats.curr_estab), (1, 0));
    assert_eq!(net.stacks[1].stats().tcp.out_rsts, 1);
    assert_eq!(
        net.stacks[0].tcp_take_error(client),
        Some(TcpError::Reset),
        "ustack: \"no refused/reset/timeout\""
    );
}

#[test]
fn to_ourselves_without_any_interface() {
    let mut stack = Stack::new(config(), pool(), &[9; 32], zcn_stack::Instant::ZERO);
    let now = zcn_stack::Instant::from_secs(1);
    let listener = stack
        .tcp_listen(at("127.0.0.1:80"), 8, SocketOptions::default())
        .unwrap();
    let client = stack
        .tcp_connect(now, at("127.0.0.1:80"), None, SocketOptions::default())
        .unwrap();
    let turn = |stack: &mut Stack| {
        for _ in 0..20 {
            stack.poll_frames(now, zcn_stack::LOOPBACK, &mut Vec::new(), 64);
        }
    };
    turn(&mut stack);
    let (server, _) = stack.tcp_accept(now, listener).unwrap();
    let bytes = content(50_000);
    let mut received = Vec::new();
    let mut sent = 0;
    for _ in 0..100 {
        if sent < bytes.len() {
            sent += stack
                .tcp_send(now, client, &bytes[sent..], false)
                .unwrap_or(0);
        }
        turn(&mut stack);
        let mut chunk = [0; 8_192];
        while let Ok(count) = stack.tcp_recv(now, server, &mut chunk) {
            received.extend_from_slice(&chunk[..count]);
        }
    }
    assert!(received == bytes, "{} of {}", received.len(), bytes.len());
    assert_eq!(stack.tcp_state(client), Some(State::Established));
}

#[test]
fn a_router_that_says_too_big_is_obeyed() {
    for to in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut net = Net::plain(1_500);
        let (client, server) = pair(&mut net, to);
        // A path of 1,400 bytes: larger packets are told of.
        let told = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let tell = told.clone();
        net.filter = Some(Box::new(move |end, frame| {
            let bytes = frame.to_vec();
            if end == 0 && bytes.len() > 14 + 1_400 {
                tell.borrow_mut().push(bytes[14..].to_vec());
                return None;
            }
            Some(frame)
        }));
        let bytes = content(300_000);
        let now = net.now;
        let mut sent = 0;
        let mut received = Vec::new();
        for _ in 0..3_000 {
            if sent < bytes.len() {
                sent += net.stacks[0]
                    .tcp_send(now, client, &bytes[sent..], false)
                    .unwrap_or(0);
            }
            net.run();
            for packet in told.take() {
                net.inject(0, &[&too_big(&packet, 1_400)]);
            }
            let mut chunk = [0; 8_192];
            let now = net.now;
            while let Ok(count) = net.stacks[1].tcp_recv(now, server, &mut chunk) {
                received.extend_from_slice(&chunk[..count]);
            }
            if received.len() == bytes.len() {
                break;
            }
            net.run_for(Duration::from_millis(10));
        }
        assert!(
            received == bytes,
            "{to}: {} of {}",
            received.len(),
            bytes.len()
        );
        let info = net.stacks[0].tcp_info(net.now, client).unwrap();
        assert_eq!(info.tcpi_pmtu, 1_400);
        assert_eq!(net.stacks[0].path_mtus(), 1);
    }
}

/// A frame to the first stack that says that `packet` was too big.
fn too_big(packet: &[u8], mtu: u16) -> Vec<u8> {
    let v6 = packet[0] >> 4 == 6;
    let mut frame = vec![0; 14];
    frame[..6].copy_from_slice(&MAC[0]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    if v6 {
        let quoted = &packet[..packet.len().min(1_232)];
        let message = zcn_wire::Icmpv6Repr::PacketTooBig {
            mtu: mtu.into(),
            quoted,
        };
        let (src, dst) = ("fd00::9".parse().unwrap(), "fd00::1".parse().unwrap());
        let protocol = zcn_wire::Protocol::ICMPV6;
        let header = zcn_wire::Ipv6Repr::new(src, dst, protocol, message.buffer_len());
        frame.resize(14 + header.buffer_len(), 0);
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        let at = 14 + header.emit(&mut frame[14..]).unwrap();
        let pseudo = header.pseudo_header(protocol);
        message.emit(pseudo, &mut frame[at..]).unwrap();
    } else {
        let message = zcn_wire::Icmpv4Repr::DestinationUnreachable {
            reason: zcn_wire::icmpv4::UnreachableV4::FragmentationNeeded { mtu },
            quoted: &packet[..28],
        };
        let (src, dst) = ([10, 0, 0, 9].into(), [10, 0, 0, 1].into());
        let protocol = zcn_wire::Protocol::ICMP;
        let header = zcn_wire::Ipv4Repr::new(src, dst, protocol, message.buffer_len());
        frame.resize(14 + header.buffer_len(), 0);
        frame[12] = 8;
        let at = 14 + header.emit(&mut frame[14..]).unwrap();
        message.emit(&mut frame[at..]).unwrap();
    }
    frame
}

#[test]
fn forged_too_big_messages_change_nothing() {
    let mut net = Net::plain(1_500);
    let (client, server) = pair(&mut net, "10.0.0.2:80");
    carry(&mut net, (0, client), (1, server), &content(10_000), LIMIT);
    let data = net
        .log
        .iter()
        .rfind(|(end, bytes)| *end == 0 && bytes.len() > 1_000);
    let mut packet = data.unwrap().1[14..].to_vec();
    // All of it is acknowledged, so whoever quotes it has not just dropped it.
    for offset in [0, 1, 0x4000_0000_u32, 0x8000_0000, 0xffff_ffff] {
        let seq = u32::from_be_bytes(packet[24..28].try_into().unwrap());
        packet[24..28].copy_from_slice(&seq.wrapping_add(offset).to_be_bytes());
        net.inject(0, &[&too_big(&packet, 600)]);
    }
    assert_eq!(net.stacks[0].path_mtus(), 0);
    let info = net.stacks[0].tcp_info(net.now, client).unwrap();
    assert_eq!(info.tcpi_pmtu, 1_500);
    assert_eq!(net.drops(0, "icmp-unmatched"), 5);
}

#[test]
fn progress_confirms_the_neighbour() {
    let mut net = Net::plain(1_500);
    let (client, server) = pair(&mut net, "10.0.0.2:80");
    // A request and an answer every second, for much longer than anybody stays reachable.
    for _ in 0..120 {
        carry(&mut net, (0, client), (1, server), b"question", LIMIT);
        carry(&mut net, (1, server), (0, client), b"answer", LIMIT);
        net.run_for(Duration::from_secs(1));
        let (_, state, _) = net.stacks[0]
            .neighbours(IF)
            .find(|(address, _, _)| *address == ip("10.0.0.2"))
            .unwrap();
        assert_ne!(state, NeighbourState::Probe);
    }
    let arp = net
        .log
        .iter()
        .filter(|(end, bytes)| *end == 0 && bytes[12..14] == [8, 6]);
    // The two announcements of its own address, and one question.
    assert_eq!(arp.count(), 3);
}

/// The short way of header prediction leads over links with and without addresses.
#[test]
fn both_ways_write_the_same_frames_on_every_kind_of_link() {
    for ethernet in [true, false] {
        for offloads in [true, false] {
            let frames = |predict| {
                let mut net = Net::new([0, 1].map(|end| {
                    let mut config = config();
                    config.header_prediction = predict;
                    let mut capabilities = plain(end, 1_500);
                    if offloads {
                        capabilities = offloading(end, 1_500);
                    }
                    if !ethernet {
                        capabilities.medium = Medium::Ip;
                    }
                    stack(end, config, capabilities)
                }));
                let (client, server) = pair(&mut net, "10.0.0.2:80");
                for turn in 0..20 {
                    let bytes = content(1 << turn.min(15));
                    carry(&mut net, (0, client), (1, server), &bytes, LIMIT);
                    carry(&mut net, (1, server), (0, client), &bytes, LIMIT);
                }
                net.log
            };
            let (short, long) = (frames(true), frames(false));
            assert!(short.len() > 40, "{}", short.len());
            assert!(short == long, "Ethernet: {ethernet}, offloads: {offloads}");
        }
    }
}

/// A full link takes no frame, and the next one then waits in the stack, before those that have a
/// short way.
#[test]
fn a_link_that_is_often_full_gets_the_same_frames_by_both_ways() {
    let frames = |predict| {
        let mut config = config();
        config.header_prediction = predict;
        let mut net = Net::with(config, 1_500);
        let (client, server) = pair(&mut net, "10.0.0.2:80");
        carry(&mut net, (0, client), (1, server), &content(300_000), LIMIT);
        let (now, bytes) = (net.now, content(60_000));
        let sent = net.stacks[0].tcp_send(now, client, &bytes, false);
        assert_eq!(sent, Ok(bytes.len()));
        let mut frames = Vec::new();
        for max in [0, 1, 2, 0, 0, 7, 1, 0, 64, 64] {
            let before = frames.len();
            let count = net.stacks[0].poll_frames(now, IF, &mut frames, max);
            assert_eq!(count, frames.len() - before);
            assert!(count <= max, "{count} of {max}");
        }
        frames.iter().map(Frame::to_vec).collect::<Vec<_>>()
    };
    let (short, long) = (frames(true), frames(false));
    let payload: usize = short.iter().map(|frame| frame.len() - 66).sum();
    assert_eq!(
        payload, 60_000,
        "headers of 66 bytes, and all that was sent"
    );
    assert!(short == long);
}

/// The arrival of new data tells who only receives that its acknowledgements arrive (RFC 4861
/// section 7.3.1), whichever segment of a millisecond is the first.
#[test]
fn a_neighbour_that_only_sends_or_only_receives_is_confirmed() {
    for (predict, to) in [
        (true, "10.0.0.2:80"),
        (false, "10.0.0.2:80"),
        (true, "[fd00::2]:80"),
    ] {
        for (from, other) in [(0, 1), (1, 0)] {
            let mut config = config();
            config.header_prediction = predict;
            let mut net = Net::with(config, 1_500);
            let (client, server) = pair(&mut net, to);
            let ends = [client, server];
            // Their addresses are announced.
            net.run_for(Duration::from_secs(3));
            net.log.clear();
            for second in 0..120 {
                let (from, to) = ((from, ends[from]), (other, ends[other]));
                carry(&mut net, from, to, &[second; 4_000], LIMIT);
                net.run_for(Duration::from_secs(1));
            }
            let asks = |bytes: &[u8]| match bytes[12..14] {
                [0x08, 0x06] => bytes[21] == 1,
                [0x86, 0xdd] => bytes[20] == 58 && bytes[54] == 135,
                _ => false,
            };
            let log = net.log.iter();
            let askers: Vec<_> = log
                .filter(|(_, bytes)| asks(bytes))
                .map(|(end, _)| end)
                .collect();
            assert!(
                askers.is_empty(),
                "{to} from {from}, {predict}: {askers:?} asked"
            );
        }
    }
}

#[test]
fn a_host_that_nobody_finds_is_unreachable() {
    let mut net = Net::plain(1_500);
    let client = connect(&mut net, "10.0.0.77:80");
    net.run_for(Duration::from_secs(4));
    assert_eq!(
        net.stacks[0].tcp_take_error(client),
        Some(TcpError::HostUnreachable)
    );
}
