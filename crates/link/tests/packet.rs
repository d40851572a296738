//! Packet sockets on a veth, with the kernel's stack on its other end.

mod common;

use std::collections::HashMap;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use common::namespace::{in_namespace, ip, skip};
use common::peer::{
    KERNEL, OURS, datagram_super_frames, datagrams, introduce, our_datagram, ping, receive, send,
};
use common::{Path, pattern};
use zcn_frame::Head;
use zcn_link::{
    Checksum, Driver, DropReason, Fanout, Frame, FrameMeta, Interface, OpenError, PacketBuilder,
    PacketSocket, ReceiveBuffers, Reception,
};

const RECEPTIONS: [Reception; 3] = [Reception::Plain, Reception::Ring, Reception::Blocks];

/// A pair of interfaces, `zcn0` for the kernel and `zcn1` for us.
fn veth(mtu: u32) {
    ip(&format!(
        "link add zcn0 mtu {mtu} type veth peer name zcn1 mtu {mtu}"
    ));
    set_up(&["zcn0", "zcn1"]);
}

/// Sets ends of a pair up and sees to it that both send at once what they are given.
fn set_up(names: &[&str]) {
    for name in names {
        Interface::open(name)
            .and_then(|end| end.set_up(true))
            .expect("root");
    }
    for name in ["zcn0", "zcn1"] {
        let carrier = Interface::open(name).and_then(|end| end.carrier());
        assert_eq!(carrier.ok(), Some(true), "{name}");
    }
}

fn builder() -> PacketBuilder {
    PacketSocket::builder("zcn1").ring_bytes(1 << 20)
}

fn open(builder: PacketBuilder) -> PacketSocket {
    builder
        .open()
        .unwrap_or_else(|error| panic!("{error}"))
        .remove(0)
}

#[test]
fn ping_and_datagrams_at_every_mtu_however_it_is_received() {
    in_namespace(|| {
        for mtu in [576, 1280, 1500, 9000, 65535] {
            veth(mtu);
            for (reception, offload) in RECEPTIONS
                .into_iter()
                .zip([true, true, true])
                .chain([(Reception::Plain, false), (Reception::Ring, false)])
            {
                let mut link = open(builder().reception(reception).offload(offload));
                assert_eq!(link.capabilities().mtu, mtu);
                let path = introduce(&link, "zcn0");
                for size in [0, 56, mtu as usize - 28] {
                    ping(&mut link, &path, size);
                }
                datagrams(&mut link, &path);
                let statistics = link.statistics();
                assert_eq!(statistics.drops_total(), 0, "{reception:?} {statistics:?}");
            }
            ip("link del zcn0");
        }
    });
}

#[test]
fn super_frames_go_both_ways_however_they_are_received() {
    in_namespace(|| {
        veth(1500);
        for reception in RECEPTIONS {
            let mut link = open(builder().reception(reception).bypass_qdisc(true));
            if !link.capabilities().gso.udp_l4 {
                skip("packet sockets have no UDP segmentation offload before Linux 6.2");
                return;
            }
            let path = introduce(&link, "zcn0");
            datagram_super_frames(&mut link, &path, true);
            assert_eq!(link.statistics().drops_total(), 0);
        }
    });
}

#[test]
fn without_offload_a_super_frame_of_the_kernel_comes_in_packets() {
    in_namespace(|| {
        veth(1500);
        let mut link = open(builder().offload(false));
        let path = introduce(&link, "zcn0");
        let socket = UdpSocket::bind((KERNEL, 0)).expect("a port");
        common::unsafe_options::segment_datagrams(&socket, 1000);
        let data = pattern(5, 9500);
        socket.send_to(&data, path.src).expect("sent as one");
        let mut joined = Vec::new();
        let mut frames = Vec::new();
        while joined.len() < data.len() {
            link.wait(Duration::ZERO, Some(Duration::from_secs(20)))
                .expect("poll");
            link.receive(&mut frames, 64).expect("alive");
            for frame in frames.drain(..) {
                // Checks the checksum, as nobody vouches for it.
                let Some((payload, gso)) = our_datagram(14, &frame) else {
                    continue;
                };
                assert_eq!((gso, frame.meta), (None, FrameMeta::default()));
                assert!(payload.len() <= 1000);
                joined.extend(payload);
            }
        }
        assert!(joined == data);
    });
}

#[test]
fn what_was_sent_does_not_come_back() {
    in_namespace(|| {
        veth(1500);
        for (queues, reception) in [
            (1, Reception::Ring),
            (1, Reception::Plain),
            (2, Reception::Ring),
        ] {
            let mut links = builder()
                .queues(queues)
                .reception(reception)
                .open()
                .expect("root");
            let path = introduce(&links[0], "zcn0");
            let socket = common::peer::kernel_socket(&path);
            send(&mut links[0], [path.udp(b"one way", None, true)]);
            let mut buffer = [0; 100];
            let (len, _) = socket.recv_from(&mut buffer).expect("arrived");
            assert_eq!(len, 7);
            for link in &mut links {
                let mut frames = Vec::new();
                link.wait(Duration::ZERO, Some(Duration::from_millis(5)))
                    .expect("poll");
                link.receive(&mut frames, 100).expect("alive");
                let ours = frames
                    .iter()
                    .any(|frame| frame.to_vec()[6..12] == path.ethernet.expect("Ethernet").0);
                assert!(!ours, "{queues} {reception:?}");
            }
        }
    });
}

/// A frame as it is on the wire, with a VLAN tag inside.
fn tagged(mut frame: Frame) -> Frame {
    let bytes = frame.head.to_vec();
    frame.head = Head::new();
    for part in [&bytes[..12], &[0x81, 0, 0x60, 5], &bytes[12..]] {
        frame.head.extend_from_slice(part).expect("room");
    }
    if let Checksum::Partial { start, .. } = &mut frame.meta.checksum {
        *start += 4;
    }
    if let Some(gso) = &mut frame.meta.gso {
        gso.hdr_len += 4;
    }
    frame
}

#[test]
fn a_vlan_tag_that_the_kernel_took_out_is_put_back() {
    in_namespace(|| {
        veth(1500);
        // One that sends on the other end: the kernel moves the tag on arrival.
        let mut other = open(PacketSocket::builder("zcn0").ring_bytes(1 << 20));
        let path = Path {
            src: SocketAddrV4::new(KERNEL, 4000),
            dst: SocketAddrV4::new(OURS, 5000),
            ..Path::invented()
        };
        for reception in RECEPTIONS {
            let mut link = open(builder().reception(reception));
            for (seed, size, gso) in [(1, 0, None), (2, 1472, None), (3, 14_000, Some(1400))] {
                let data = pattern(seed, size);
                let sent = tagged(path.udp(&data, gso, true));
                send(&mut other, [sent.clone()]);
                let received = receive(&mut link, |frame| {
                    // Behind 18 bytes of link header.
                    our_datagram(18, frame).map(|_| frame.clone())
                });
                assert_eq!(received.meta, sent.meta, "{reception:?}");
                assert!(received.to_vec() == sent.to_vec(), "{reception:?} {size}");
            }
            assert_eq!(link.statistics().drops_total(), 0, "{reception:?}");
        }
    });
}

#[test]
fn queues_share_flows_by_hash_and_in_turn() {
    in_namespace(|| {
        veth(1500);
        for fanout in [Fanout::Hash, Fanout::RoundRobin] {
            let mut links = builder()
                .ring_bytes(16 << 20)
                .queues(2)
                .fanout(fanout)
                .open()
                .expect("root");
            let path = introduce(&links[0], "zcn0");
            for flow in 0..32u8 {
                let socket = UdpSocket::bind((KERNEL, 0)).expect("a port");
                for _ in 0..4 {
                    socket.send_to(&[flow], path.src).expect("sent");
                }
            }
            let mut queues_of: HashMap<u8, Vec<usize>> = HashMap::new();
            let mut received = vec![0; links.len()];
            let mut frames = Vec::new();
            let start = Instant::now();
            while received.iter().sum::<usize>() < 128 {
                assert!(start.elapsed() < Duration::from_secs(20), "{received:?}");
                for (index, link) in links.iter_mut().enumerate() {
                    link.wait(Duration::ZERO, Some(Duration::from_millis(1)))
                        .expect("poll");
                    link.receive(&mut frames, 1000).expect("alive");
                    for (payload, _) in frames
                        .drain(..)
                        .filter_map(|frame| our_datagram(14, &frame))
                    {
                        received[index] += 1;
                        queues_of.entry(payload[0]).or_default().push(index);
                    }
                }
            }
            assert!(
                received.iter().all(|count| *count > 0),
                "{fanout:?} {received:?}"
            );
            let torn = queues_of
                .values()
                .filter(|queues| queues.iter().any(|queue| *queue != queues[0]))
                .count();
            assert_eq!(torn > 0, fanout == Fanout::RoundRobin, "{fanout:?} {torn}");
        }
    });
}

/// More than any of the rings holds.
const FLOOD: u32 = 6000;

/// Sends numbered datagrams to a link that nobody reads.
fn flood(path: &Path, count: u32, size: usize) {
    let socket = UdpSocket::bind((KERNEL, 0)).expect("a port");
    for index in 0..count {
        let mut data = index.to_be_bytes().to_vec();
        data.resize(size, index as u8);
        socket.send_to(&data, path.src).expect("sent");
    }
}

#[test]
fn a_full_ring_and_want_of_buffers_cost_frames_and_are_counted() {
    in_namespace(|| {
        veth(1500);
        for reception in RECEPTIONS {
            let buffers = ReceiveBuffers { small: 8, large: 1 };
            let mut link = open(
                builder()
                    .reception(reception)
                    .buffers(buffers)
                    .socket_bytes(65536),
            );
            let path = introduce(&link, "zcn0");
            flood(&path, FLOOD, 1400);
            let mut kept: Vec<Frame> = Vec::new();
            let mut total = 0;
            while link
                .wait(Duration::ZERO, Some(Duration::from_millis(20)))
                .expect("poll")
            {
                total += link.receive(&mut kept, 100).expect("alive");
            }
            assert_eq!((kept.len(), total), (8, 8), "{reception:?}");
            let statistics = link.statistics().clone();
            let (ring_full, no_buffer) = (
                statistics.drops(DropReason::RingFull),
                statistics.drops(DropReason::NoBuffer),
            );
            assert!(
                ring_full > 0 && no_buffer > 0,
                "{reception:?} {statistics:?}"
            );
            // All are accounted for, and the kernel's neighbour noise may come on top.
            assert!(
                8 + ring_full + no_buffer >= u64::from(FLOOD),
                "{reception:?} {statistics:?}"
            );
            kept.clear();
            flood(&path, 1, 1000);
            let (payload, _) = receive(&mut link, |frame| our_datagram(14, frame));
            assert_eq!(payload.len(), 1000);
        }
    });
}

#[test]
fn a_ring_goes_round_many_times_without_loss_or_mixing() {
    in_namespace(|| {
        veth(1500);
        for reception in RECEPTIONS {
            let mut link = open(builder().reception(reception));
            let path = introduce(&link, "zcn0");
            let socket = UdpSocket::bind((KERNEL, 0)).expect("a port");
            let mut next = 0u32;
            while next < 3000 {
                for index in next..next + 10 {
                    let size = 4 + (index as usize * 37) % 1400;
                    let mut data = pattern(index, size);
                    data[..4].copy_from_slice(&index.to_be_bytes());
                    socket.send_to(&data, path.src).expect("sent");
                }
                for index in next..next + 10 {
                    let (payload, _) = receive(&mut link, |frame| our_datagram(14, frame));
                    assert_eq!(payload[..4], index.to_be_bytes(), "{reception:?}");
                    let size = 4 + (index as usize * 37) % 1400;
                    assert!(
                        payload[4..] == pattern(index, size)[4..],
                        "{reception:?} {index}"
                    );
                }
                next += 10;
            }
            assert_eq!(link.statistics().drops_total(), 0, "{reception:?}");
        }
    });
}

#[test]
fn an_interface_that_goes_down_drops_and_one_that_is_removed_is_an_error() {
    in_namespace(|| {
        veth(1500);
        let mut link = open(builder().reception(Reception::Plain));
        let path = introduce(&link, "zcn0");
        ip("link set zcn1 down");
        send(&mut link, [path.udp(b"nowhere", None, true)]);
        assert_eq!(link.statistics().drops(DropReason::Disconnected), 1);
        link.receive(&mut Vec::new(), 10).expect("it may come up");
        set_up(&["zcn1"]);
        ping(&mut link, &path, 56);
        ip("link del zcn1");
        let mut frames = std::collections::VecDeque::from([path.udp(b"gone", None, true)]);
        link.transmit(&mut frames).expect_err("gone");
        assert_eq!(frames.len(), 1);
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    in_namespace(|| {
        let error = PacketSocket::builder("zcn1").open().expect_err("not there");
        assert!(matches!(error, OpenError::NoInterface { .. }), "{error}");
        veth(1500);
        let error = builder().queues(0).open().expect_err("none");
        assert!(matches!(error, OpenError::Setting { .. }), "{error}");
        let error = builder().ring_bytes(0).open().expect_err("none");
        assert!(matches!(error, OpenError::Setting { .. }), "{error}");
    });
}

#[test]
fn a_capture_sees_what_the_machine_sends_and_when() {
    in_namespace(|| {
        veth(1500);
        let ours = open(builder());
        introduce(&ours, "zcn0");
        let socket = UdpSocket::bind((KERNEL, 0)).expect("an address of the kernel");
        for reception in [Reception::Ring, Reception::Blocks] {
            let of = |outgoing| {
                open(
                    PacketSocket::builder("zcn0")
                        .ring_bytes(1 << 20)
                        .reception(reception)
                        .outgoing(outgoing),
                )
            };
            let (mut all, mut received_only) = (of(true), of(false));
            let now = || {
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .expect("after 1970")
            };
            let before = now();
            socket
                .send_to(b"on its way out", SocketAddrV4::new(OURS, 9))
                .expect("there is a way");
            let mut frames = Vec::new();
            // The kernel says more than this, such as that it looks for IPv6 routers.
            let ours = |(_, frame): &(Duration, Frame)| frame.to_vec().ends_with(b"on its way out");
            while !frames.iter().any(ours) {
                all.wait(Duration::ZERO, Some(Duration::from_secs(20)))
                    .expect("the interface is there");
                all.receive_stamped(&mut frames, 16);
            }
            let (time, _) = frames.iter().find(|frame| ours(frame)).expect("it came");
            assert!(
                *time >= before && *time <= now(),
                "{reception:?}: {before:?} {time:?}"
            );
            frames.clear();
            received_only.receive_stamped(&mut frames, 16);
            assert!(!frames.iter().any(ours), "{reception:?}");
        }
    });
}
