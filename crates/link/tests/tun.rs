//! TAP and TUN devices against the kernel's stack, in network namespaces of the tests.

mod common;

use std::collections::HashMap;
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use common::namespace::{in_namespace, skip};
use common::pattern;
use common::peer::{KERNEL, OURS, datagram_super_frames, datagrams, introduce, ip_packet};
use common::peer::{our_datagram, ping, receive, send};
use zcn_link::{
    Driver, DropReason, Gso, GsoKind, Interface, OpenError, ReceiveBuffers, Tun, TunBuilder,
};
use zcn_wire::{Ipv4View, Protocol, TcpView};

/// Opens one queue, or says why it cannot be.
fn open(builder: TunBuilder) -> Option<Tun> {
    match builder.open() {
        Ok(mut queues) => queues.pop(),
        Err(error @ OpenError::NoTun { .. }) => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits until the device that was dropped is gone: a process that another test has just forked has
/// its descriptor, too, until it executes its program.
fn await_end(name: &str) {
    let begin = Instant::now();
    while Interface::open(name).is_ok() {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{name} stays behind"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn ping_and_datagrams_at_every_mtu_with_and_without_offload() {
    in_namespace(|| {
        let mut number = 0;
        for (ethernet, mtus) in [
            (true, [576, 1280, 1500, 9000, 65521]),
            (false, [576, 1280, 1500, 9000, 65535]),
        ] {
            for (mtu, offload) in mtus.into_iter().flat_map(|mtu| [(mtu, true), (mtu, false)]) {
                number += 1;
                let name = format!("zcn{number}");
                let builder = if ethernet {
                    Tun::tap(&name)
                } else {
                    Tun::tun(&name)
                };
                let Some(mut tun) = open(builder.mtu(mtu).offload(offload)) else {
                    return;
                };
                assert_eq!(tun.capabilities().mtu, mtu);
                let path = introduce(&tun, &name);
                for size in [0, 56, mtu as usize - 28] {
                    ping(&mut tun, &path, size);
                }
                datagrams(&mut tun, &path);
                assert_eq!(tun.statistics().drops_total(), 0, "{:?}", tun.statistics());
            }
        }
    });
}

#[test]
fn super_frames_of_datagrams_go_both_ways() {
    in_namespace(|| {
        for ethernet in [true, false] {
            await_end("zcn0");
            let builder = if ethernet {
                Tun::tap("zcn0")
            } else {
                Tun::tun("zcn0")
            };
            let Some(mut tun) = open(builder) else { return };
            if !tun.capabilities().gso.udp_l4 {
                skip("this kernel's TUN has no UDP segmentation offload (Linux 6.2)");
                return;
            }
            let path = introduce(&tun, "zcn0");
            datagram_super_frames(&mut tun, &path, true);
        }
    });
}

struct Segment {
    seq: u32,
    ack: u32,
    flags: u8,
    src_port: u16,
    payload: Vec<u8>,
    gso: Option<Gso>,
}

fn tcp_segment(tun: &mut Tun) -> Segment {
    receive(tun, |frame| {
        let bytes = frame.to_vec();
        let ip = Ipv4View::new(&bytes).ok()?;
        if ip.protocol() != Protocol::TCP || ip.dst() != OURS {
            return None;
        }
        let tcp = ip.payload();
        Some(Segment {
            src_port: u16::from_be_bytes([tcp[0], tcp[1]]),
            seq: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            ack: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: tcp[13],
            payload: TcpView::new(tcp).ok()?.payload().to_vec(),
            gso: frame.meta.gso,
        })
    })
}

#[test]
fn super_frames_of_tcp_go_both_ways() {
    use std::io::{Read, Write};

    in_namespace(|| {
        let Some(mut tun) = open(Tun::tun("zcn0")) else {
            return;
        };
        let mut path = introduce(&tun, "zcn0");
        path.src.set_port(80);
        let sent = pattern(1, 10_000);
        let expected = pattern(2, 30_000);
        let client = {
            let (sent, expected) = (sent.clone(), expected.clone());
            thread::spawn(move || {
                let mut stream = TcpStream::connect(("10.77.0.2", 80)).expect("accepted");
                stream.write_all(&sent).expect("sent");
                let mut received = vec![0; expected.len()];
                stream.read_exact(&mut received).expect("received");
                assert!(received == expected);
            })
        };
        let syn = tcp_segment(&mut tun);
        assert_eq!(syn.flags & 0x3f, 0x02);
        path.dst.set_port(syn.src_port);
        // SYN and ACK, with an MSS of 1460 and no other option.
        let mut rcv_nxt = syn.seq.wrapping_add(1);
        send(
            &mut tun,
            [path.tcp((1000, rcv_nxt, 0x12), &[2, 4, 5, 0xb4], &[])],
        );
        let mut received = Vec::new();
        let mut largest = 0;
        while received.len() < sent.len() {
            let data = tcp_segment(&mut tun);
            assert_eq!(data.ack, 1001);
            if data.payload.is_empty() {
                continue;
            }
            assert_eq!(data.seq, rcv_nxt, "TUN does not reorder");
            largest = largest.max(data.payload.len());
            if data.payload.len() > 1460 {
                let gso = data.gso.expect("longer than a segment");
                assert_eq!((gso.kind, gso.size), (GsoKind::Tcp4, 1460));
            }
            rcv_nxt = rcv_nxt.wrapping_add(data.payload.len() as u32);
            received.extend(data.payload);
            send(&mut tun, [path.tcp((1001, rcv_nxt, 0x10), &[], &[])]);
        }
        assert!(received == sent);
        assert!(largest > 1460, "no super-frame among what the kernel sent");
        // All of ours in one.
        let mut data = path.tcp((1001, rcv_nxt, 0x18), &[], &expected);
        data.meta.gso = Some(Gso {
            kind: GsoKind::Tcp4,
            size: 1460,
            hdr_len: 40,
            ecn: false,
        });
        send(&mut tun, [data]);
        client.join().expect("it got everything");
        assert_eq!(tun.statistics().drops_total(), 0);
    });
}

#[test]
fn every_queue_gets_flows_and_a_flow_stays_in_its_queue() {
    in_namespace(|| {
        let mut queues = match Tun::tap("zcn0").queues(2).open() {
            Ok(queues) => queues,
            Err(error @ OpenError::NoTun { .. }) => return skip(&error.to_string()),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(queues.len(), 2);
        assert_eq!(queues[0].capabilities().queues, 2);
        let path = introduce(&queues[0], "zcn0");
        for queue in &mut queues {
            let socket = common::peer::kernel_socket(&path);
            send(queue, [path.udp(b"from every queue", None, true)]);
            let mut buffer = [0; 100];
            assert_eq!(socket.recv(&mut buffer).expect("the datagram"), 16);
        }
        for flow in 0..32u8 {
            let socket = UdpSocket::bind((KERNEL, 6000 + u16::from(flow))).expect("a port");
            for _ in 0..4 {
                socket.send_to(&[flow], path.src).expect("sent");
            }
        }
        let mut queue_of: HashMap<u8, usize> = HashMap::new();
        let mut received = 0;
        for (index, queue) in queues.iter_mut().enumerate() {
            let mut frames = Vec::new();
            queue.receive(&mut frames, 1000).expect("alive");
            for (payload, _) in frames.iter().filter_map(|frame| our_datagram(14, frame)) {
                received += 1;
                let queue = queue_of.entry(payload[0]).or_insert(index);
                assert_eq!(*queue, index, "flow {} in two queues", payload[0]);
            }
        }
        assert_eq!(received, 128);
        let of_first = queue_of.values().filter(|queue| **queue == 0).count();
        assert!(
            (1..=31).contains(&of_first),
            "{of_first} of 32 flows in the first queue"
        );
    });
}

#[test]
fn want_of_buffers_costs_frames_and_is_counted_and_ends() {
    in_namespace(|| {
        let builder = Tun::tun("zcn0")
            .mtu(9000)
            .buffers(ReceiveBuffers { small: 4, large: 1 });
        let Some(mut tun) = open(builder) else { return };
        let path = introduce(&tun, "zcn0");
        let socket = UdpSocket::bind((KERNEL, 0)).expect("a port");
        let mut kept = Vec::new();
        for index in 0..10u8 {
            // Two of these need the large buffer, of which there is one.
            let size = if index < 2 { 8000 } else { 100 };
            socket.send_to(&vec![index; size], path.src).expect("sent");
        }
        while tun
            .wait(Duration::ZERO, Some(Duration::ZERO))
            .expect("poll")
        {
            let mut frames = Vec::new();
            tun.receive(&mut frames, 3).expect("alive");
            kept.extend(
                frames
                    .into_iter()
                    .filter(|frame| our_datagram(0, frame).is_some()),
            );
        }
        assert_eq!(kept.len(), 4);
        assert_eq!(
            our_datagram(0, &kept[0]).expect("a datagram").0,
            vec![0; 8000]
        );
        assert!(tun.statistics().drops(DropReason::NoBuffer) >= 6);
        kept.clear();
        socket.send_to(&[99; 8000], path.src).expect("sent");
        let (payload, _) = receive(&mut tun, |frame| our_datagram(0, frame));
        assert_eq!(payload, vec![99; 8000]);
    });
}

#[test]
fn a_kernel_end_that_is_down_drops_and_counts() {
    in_namespace(|| {
        let Some(mut tun) = open(Tun::tap("zcn0")) else {
            return;
        };
        let path = introduce(&tun, "zcn0");
        let interface = Interface::open(tun.name()).expect("it exists");
        interface.set_up(false).expect("root");
        send(&mut tun, [path.udp(b"into the void", None, true)]);
        assert_eq!(tun.statistics().drops(DropReason::Disconnected), 1);
        interface.set_up(true).expect("root");
        assert_eq!(ip_packet(&tun, &path.udp(b"1234", None, true)).len(), 32);
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    in_namespace(|| {
        let Some(tun) = open(Tun::tap("zcn0")) else {
            return;
        };
        let error = Tun::tap("zcn0").open().expect_err("it has one user");
        assert!(matches!(error, OpenError::Busy { .. }), "{error}");
        let error = Tun::tun("zcn0").open().expect_err("it is a TAP device");
        assert!(matches!(error, OpenError::Busy { .. }), "{error}");
        drop(tun);
        for mtu in [10, 100_000] {
            await_end("zcn0");
            let error = Tun::tap("zcn0").mtu(mtu).open().expect_err("out of range");
            assert_eq!(error.errno(), Some(libc::EINVAL), "{error}");
            assert!(matches!(error, OpenError::Mtu { .. }), "{error}");
            assert!(error.to_string().contains("maxmtu"), "{error}");
        }
        let error = Tun::tap("zcn0").queues(0).open().expect_err("none");
        assert!(matches!(error, OpenError::Setting { .. }), "{error}");
        let error = Tun::tap("much-too-long-a-name")
            .open()
            .expect_err("too long");
        assert!(matches!(error, OpenError::Name { .. }), "{error}");
        // All of them left nothing behind.
        await_end("zcn0");
    });
}
