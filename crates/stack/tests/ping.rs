//! Echo between two stacks: neighbours, fragments, errors.

mod net;

use std::net::SocketAddr;
use std::time::Duration;

use net::*;
use zcn_frame::Chain;
use zcn_pool::SharedBuf;
use zcn_stack::echo::{Echo, EchoError, EchoRequest};
use zcn_stack::error::NetworkError;
use zcn_stack::slab::Id;

fn request(remote: SocketAddr, sequence: u16, payload: &[u8]) -> EchoRequest {
    EchoRequest {
        remote,
        sequence,
        payload: Chain::from(SharedBuf::from(bytes::Bytes::copy_from_slice(payload))),
        hop_limit: None,
        dont_fragment: false,
    }
}

fn ping(net: &mut Net, socket: Id, remote: SocketAddr, sequence: u16, len: usize) -> Option<Echo> {
    let now = net.now;
    net.stacks[0]
        .echo_send(now, socket, request(remote, sequence, &content(len)))
        .expect("sent");
    net.run();
    net.stacks[0].echo_recv(socket).ok()
}

#[test]
fn ping_of_all_sizes_over_every_mtu() {
    for (mtu, remotes) in [
        (576, &["10.0.0.2:0"][..]),
        (1_280, &["10.0.0.2:0", "[fd00::2]:0"]),
        (
            1_500,
            &["10.0.0.2:0", "[fd00::2]:0", "[fe80::ff:fe00:2%1]:0"],
        ),
        (9_000, &["10.0.0.2:0", "[fd00::2]:0"]),
    ] {
        for remote in remotes {
            let mut net = Net::plain(mtu);
            let socket = net.stacks[0].echo_open().unwrap();
            let edge = mtu as usize;
            let sizes = [
                0,
                1,
                56,
                edge - 48,
                edge - 29,
                edge - 28,
                edge - 27,
                edge,
                3_000,
            ];
            let sizes = sizes.into_iter().chain([20_000, 65_499, 65_506, 65_507]);
            for (sequence, size) in sizes.enumerate() {
                let echo = ping(&mut net, socket, at(remote), sequence as u16, size);
                let echo = echo.unwrap_or_else(|| panic!("{remote} mtu {mtu} size {size}"));
                assert_eq!(echo.sequence, sequence as u16);
                assert_eq!(echo.remote, at(remote).ip());
                assert_eq!(
                    echo.payload.to_vec(),
                    content(size),
                    "{remote} {mtu} {size}"
                );
                assert_eq!(echo.hop_limit, 64);
            }
            // No frame was larger than the link takes.
            assert!(net.log.iter().all(|(_, bytes)| bytes.len() <= 14 + edge));
            for end in [0, 1] {
                assert_eq!(net.faults(end), 0, "{:?}", net.stacks[end].stats().drops);
            }
        }
    }
}

#[test]
fn origin_echo_reply_is_sent() {
    // ustack: "echo reply never sent: 8-byte buffer has no headroom; ping 100% lost".
    let mut net = Net::plain(1_500);
    let socket = net.stacks[0].echo_open().unwrap();
    for sequence in 0..100 {
        assert!(ping(&mut net, socket, at("10.0.0.2:0"), sequence, 56).is_some());
    }
    assert_eq!(net.stacks[1].stats().icmpv4.out_echo_reps, 100);
}

#[test]
fn a_large_request_may_be_the_first_one() {
    // Its fragments all wait for the neighbour; once only 16 packets could.
    for (mtu, remote) in [
        (576, "10.0.0.2:0"),
        (1_500, "10.0.0.2:0"),
        (1_500, "[fd00::2]:0"),
    ] {
        let mut net = Net::plain(mtu);
        let socket = net.stacks[0].echo_open().unwrap();
        assert!(
            ping(&mut net, socket, at(remote), 1, 65_507).is_some(),
            "{remote} {mtu}"
        );
    }
}

#[test]
fn origin_transmit_fragments() {
    // ustack: "no tx fragmentation, no ID/DF".
    let mut net = Net::plain(1_500);
    let socket = net.stacks[0].echo_open().unwrap();
    ping(&mut net, socket, at("10.0.0.2:0"), 1, 4_000).unwrap();
    let stats = net.stacks[0].stats().ipv4;
    assert_eq!((stats.out_frag_oks, stats.out_frag_creates), (1, 3));
    let stats = net.stacks[1].stats().ipv4;
    assert_eq!((stats.reasm_reqds, stats.reasm_oks), (3, 1));
}

#[test]
fn more_than_a_packet_can_carry_is_refused() {
    let mut net = Net::plain(1_500);
    let socket = net.stacks[0].echo_open().unwrap();
    let now = net.now;
    let result = net.stacks[0].echo_send(now, socket, request(at("10.0.0.2:0"), 1, &[0; 65_508]));
    assert_eq!(result, Err(EchoError::MessageTooLong { max: 65_507 }));
    let whole = EchoRequest {
        dont_fragment: true,
        ..request(at("10.0.0.2:0"), 1, &[0; 1_473])
    };
    let result = net.stacks[0].echo_send(now, socket, whole);
    assert_eq!(result, Err(EchoError::MessageTooLong { max: 1_472 }));
}

#[test]
fn a_silent_host_is_unreachable_after_three_requests() {
    for remote in ["10.0.0.77:0", "[fd00::77]:0"] {
        let mut net = Net::plain(1_500);
        let socket = net.stacks[0].echo_open().unwrap();
        net.run_for(Duration::from_secs(5));
        net.sent(0);
        assert!(ping(&mut net, socket, at(remote), 7, 56).is_none());
        net.run_for(Duration::from_secs(10));
        assert_eq!(net.sent(0).len(), 3, "{remote}");
        let error = net.stacks[0].echo_take_error(socket).expect("an error");
        assert_eq!(error.error, NetworkError::HostUnreachable);
        assert_eq!(
            (error.remote.ip(), error.remote.port()),
            (at(remote).ip(), 7)
        );
        assert_eq!(net.drops(0, "neighbour-unresolved"), 1);
    }
}

#[test]
fn packets_wait_for_a_slow_neighbour() {
    let mut net = Net::plain(1_500);
    net.run_for(Duration::from_secs(5));
    let mut lost = 0;
    // The first two requests are lost.
    net.filter = Some(Box::new(move |_, frame| {
        let arp = frame.to_vec()[12..14] == [8, 6];
        lost += u32::from(arp);
        (!arp || lost > 2).then_some(frame)
    }));
    let socket = net.stacks[0].echo_open().unwrap();
    for sequence in 0..10 {
        assert!(ping(&mut net, socket, at("10.0.0.2:0"), sequence, 56).is_none());
    }
    net.run_for(Duration::from_secs(4));
    for sequence in 0..10 {
        assert_eq!(net.stacks[0].echo_recv(socket).unwrap().sequence, sequence);
    }
}

#[test]
fn ourselves_and_loopback_answer() {
    for remote in [
        "10.0.0.1:0",
        "127.0.0.1:0",
        "127.3.4.5:0",
        "[::1]:0",
        "[fd00::1]:0",
    ] {
        let mut net = Net::plain(1_500);
        let socket = net.stacks[0].echo_open().unwrap();
        for size in [0, 1_000, 65_507] {
            let echo = ping(&mut net, socket, at(remote), 1, size);
            assert_eq!(echo.expect(remote).payload.to_vec(), content(size));
        }
        assert!(net.sent(0).iter().all(|frame| frame[12..14] != [8, 0]));
    }
}

#[test]
fn no_route_is_told_at_once() {
    let mut net = Net::plain(1_500);
    let socket = net.stacks[0].echo_open().unwrap();
    let now = net.now;
    for remote in ["192.0.2.1:0", "[2001:db8::1]:0"] {
        let result = net.stacks[0].echo_send(now, socket, request(at(remote), 1, &[]));
        assert!(matches!(result, Err(EchoError::Route(_))), "{result:?}");
    }
}
