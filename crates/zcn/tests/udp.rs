//! UDP sockets and servers, on both reactors and both halves.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::rc::Rc;
use std::time::Duration;

use zcn::stack::{LinkConfig, StackConfig};
use zcn::{
    Datagram, DatagramHandler, Fault, ReactorKind, Runtime, SharedBuf, UdpConn, UdpOptions,
    UdpServer, UdpSocket,
};

/// Longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The loopback interface is the first one of every network namespace.
const LOOPBACK: u32 = 1;

fn any_v6() -> SocketAddr {
    (Ipv6Addr::LOCALHOST, 0).into()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

fn shared(bytes: &[u8]) -> SharedBuf {
    bytes::Bytes::copy_from_slice(bytes).into()
}

fn options(set: impl FnOnce(&mut UdpOptions)) -> UdpOptions {
    let mut options = UdpOptions::default();
    set(&mut options);
    options
}

/// What a test runs on.
#[derive(Clone, Copy, Debug)]
enum Ground {
    Kernel(ReactorKind),
    Stack(ReactorKind),
}

impl Ground {
    const KERNEL: [Self; 2] = [
        Self::Kernel(ReactorKind::Uring),
        Self::Kernel(ReactorKind::Epoll),
    ];
    const ALL: [Self; 4] = [
        Self::Kernel(ReactorKind::Uring),
        Self::Kernel(ReactorKind::Epoll),
        Self::Stack(ReactorKind::Uring),
        Self::Stack(ReactorKind::Epoll),
    ];

    fn runtime(self) -> Runtime {
        let builder = match self {
            Self::Kernel(kind) => Runtime::builder().reactor(kind),
            Self::Stack(kind) => Runtime::builder()
                .reactor(kind)
                .stack(StackConfig::new(LinkConfig::memory())),
        };
        builder.build().unwrap()
    }
}

/// Runs `test` on a runtime of each kind and checks that nothing is left open at the end.
fn on<F: Future<Output = ()>>(grounds: &[Ground], test: impl Fn(Ground) -> F) {
    for &ground in grounds {
        let mut runtime = ground.runtime();
        runtime
            .block_on(async {
                zcn::timeout(PATIENCE, test(ground)).await.unwrap();
                closed().await;
            })
            .unwrap();
        assert_eq!(runtime.stats().udp_sockets, 0, "{ground:?}");
    }
}

/// On both reactors and both halves.
fn on_both<F: Future<Output = ()>>(test: impl Fn(Ground) -> F) {
    on(&Ground::ALL, test);
}

/// On both reactors, with what only the kernel has.
fn on_kernel<F: Future<Output = ()>>(test: impl Fn(Ground) -> F) {
    on(&Ground::KERNEL, test);
}

/// Lets closes in flight end.
async fn closed() {
    zcn::sleep(Duration::from_millis(30)).await;
}

/// Says that something was not tested here, for the test step to count.
fn skipped(reason: std::fmt::Arguments<'_>) {
    // Past the capture of the test harness.
    let _ = writeln!(std::io::stdout(), "SKIPPED: {reason}");
}

fn ipv6_works() -> bool {
    let works = StdSocket::bind(any_v6()).is_ok();
    if !works {
        skipped(format_args!("no IPv6 loopback here"));
    }
    works
}

#[test]
fn unconnected_sockets_echo_over_v4_and_v6() {
    on_both(|kind| async move {
        let mut addresses = vec![any()];
        addresses.extend(ipv6_works().then(any_v6));
        for address in addresses {
            let server = Rc::new(UdpSocket::bind(address).unwrap());
            let client = UdpSocket::bind(address).unwrap();
            let to = server.local_addr();
            let echo = zcn::spawn({
                let server = server.clone();
                async move {
                    for _ in 0..100 {
                        let datagram = server.recv().await.unwrap();
                        server.send_to(datagram.data, datagram.peer).await.unwrap();
                    }
                }
            });
            for len in 0..100 {
                let sent = pattern(len * 13);
                client.send_to(shared(&sent), to).await.unwrap();
                let back = client.recv().await.unwrap();
                assert_eq!(back.peer, to, "{kind:?}");
                assert_eq!(back.data[..], sent[..], "{kind:?}");
                assert!(!back.truncated);
                assert_eq!(back.segment_size, None);
            }
            echo.await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(server.stats().received, 100);
            assert_eq!(server.stats().sent, 100);
        }
    });
}

#[test]
fn connected_sockets_echo_and_hear_only_their_peer() {
    on_both(|kind| async move {
        let one = UdpSocket::bind(any()).unwrap();
        let other = UdpSocket::bind(any()).unwrap();
        let stranger = UdpSocket::bind(any()).unwrap();
        one.connect(other.local_addr()).unwrap();
        other.connect(one.local_addr()).unwrap();
        assert_eq!(one.peer_addr(), Some(other.local_addr()));
        stranger
            .send_copy(b"not for you", one.local_addr())
            .await
            .unwrap();
        stranger.flush().await.unwrap();
        one.send_copy(b"question", None).await.unwrap();
        assert_eq!(other.recv().await.unwrap().data[..], b"question"[..]);
        other.send(SharedBuf::from_static(b"answer")).await.unwrap();
        let answer = one.recv().await.unwrap();
        assert_eq!(answer.data[..], b"answer"[..], "{kind:?}");
        assert_eq!(answer.peer, other.local_addr());
        assert!(one.try_recv().unwrap().is_none());
    });
}

#[test]
fn a_64_kib_datagram_and_an_empty_one_arrive_whole() {
    on_both(|kind| async move {
        let server = UdpSocket::bind(any()).unwrap();
        let client = UdpSocket::bind(any()).unwrap();
        let long = pattern(65_507);
        let to = server.local_addr();
        client.send_to(shared(&long), to).await.unwrap();
        client.send_to(SharedBuf::new(), to).await.unwrap();
        client.send_copy(&long, to).await.unwrap();
        for expected in [&long[..], &[], &long[..]] {
            let datagram = server.recv().await.unwrap();
            assert!(datagram.data[..] == *expected, "{kind:?}");
            assert!(!datagram.truncated, "{kind:?}");
            assert_eq!(datagram.segment_count(), 1);
            assert_eq!(datagram.segments().count(), 1);
            assert_eq!(datagram.peer, client.local_addr());
        }
    });
}

#[test]
fn a_datagram_longer_than_the_buffers_is_cut_and_marked() {
    on_both(|kind| async move {
        let small = options(|options| options.max_datagram = 1500);
        let server = UdpSocket::bind_with(any(), &small).unwrap();
        let client = UdpSocket::bind(any()).unwrap();
        let to = server.local_addr();
        client.send_copy(&pattern(20_000), to).await.unwrap();
        client.send_copy(&pattern(1500), to).await.unwrap();
        let cut = server.recv().await.unwrap();
        assert!(cut.truncated, "{kind:?}");
        assert!(cut.data.len() >= 1500 && cut.data.len() < 20_000);
        assert_eq!(cut.data[..], pattern(20_000)[..cut.data.len()]);
        let whole = server.recv().await.unwrap();
        assert!(!whole.truncated, "{kind:?}");
        assert_eq!(whole.data[..], pattern(1500)[..]);
        assert_eq!(server.stats().truncated, 1);
    });
}

#[test]
fn segments_are_sent_as_datagrams_of_their_own() {
    on_both(|kind| async move {
        let server = UdpSocket::bind(any()).unwrap();
        let client = UdpSocket::bind(any()).unwrap();
        let to = server.local_addr();
        // Ten messages' worth: more than 64 segments go in several messages.
        let sent = pattern(100 * 500 + 7);
        client.send_segments(shared(&sent), 500, to).await.unwrap();
        client.connect(to).unwrap();
        client
            .send_segments(shared(&sent[..1000]), 1000, None)
            .await
            .unwrap();
        let mut received = Vec::new();
        for index in 0..=100 {
            let datagram = server.recv().await.unwrap();
            assert_eq!(datagram.segment_size, None);
            assert_eq!(datagram.data.len(), if index < 100 { 500 } else { 7 });
            received.extend_from_slice(&datagram.data);
        }
        assert!(received == sent, "{kind:?}");
        assert_eq!(server.recv().await.unwrap().data.len(), 1000);
        client.flush().await.unwrap();
        assert_eq!(client.stats().sent, 102);
        assert_eq!(client.stats().messages_sent, 3);
    });
}

#[test]
fn coalesced_datagrams_are_split_at_their_boundaries() {
    on_both(|kind| async move {
        let gro = options(|options| options.gro = true);
        let server = UdpSocket::bind_with(any(), &gro).unwrap();
        let client = UdpSocket::bind(any()).unwrap();
        let to = server.local_addr();
        let sent = pattern(10 * 1200 + 100);
        client.send_segments(shared(&sent), 1200, to).await.unwrap();
        let datagram = server.recv().await.unwrap();
        assert_eq!(datagram.segment_size, Some(1200), "{kind:?}");
        assert_eq!(datagram.segment_count(), 11);
        let segments: Vec<&[u8]> = datagram.segments().collect();
        assert_eq!(segments, sent.chunks(1200).collect::<Vec<_>>());
        assert_eq!(server.stats().received, 11);
        assert_eq!(server.stats().buffers_received, 1);
        // Owned slices share the buffer and go back out one by one.
        for segment in datagram.into_segments() {
            server.send_to(segment, client.local_addr()).await.unwrap();
        }
        for expected in sent.chunks(1200) {
            assert_eq!(client.recv().await.unwrap().data[..], *expected);
        }
        // The copying receive gives them one by one, too.
        client
            .send_segments(shared(&sent[..3000]), 1200, to)
            .await
            .unwrap();
        let mut into = [0; 2000];
        for expected in sent[..3000].chunks(1200) {
            let (len, peer) = server.recv_from(&mut into).await.unwrap();
            assert_eq!(into[..len], *expected);
            assert_eq!(peer, client.local_addr());
        }
    });
}

#[test]
fn equal_datagrams_to_one_peer_travel_together_when_asked() {
    on_both(|kind| async move {
        let server = UdpSocket::bind(any()).unwrap();
        let coalescing = options(|options| options.coalesce = true);
        let client = UdpSocket::bind_with(any(), &coalescing).unwrap();
        let other = UdpSocket::bind(any()).unwrap();
        let lengths = [300, 300, 300, 200, 300, 400, 400, 0, 400];
        for len in lengths {
            client
                .send_copy(&pattern(len), server.local_addr())
                .await
                .unwrap();
        }
        client
            .send_copy(b"elsewhere", other.local_addr())
            .await
            .unwrap();
        for len in lengths {
            let datagram = server.recv().await.unwrap();
            assert_eq!(datagram.data[..], pattern(len)[..], "{kind:?}");
        }
        assert_eq!(other.recv().await.unwrap().data[..], b"elsewhere"[..]);
        client.flush().await.unwrap();
        assert_eq!(client.stats().sent, 10);
        // 300+300+300+200, 300, 400+400, empty, 400, and the one to another peer.
        assert_eq!(client.stats().messages_sent, 6, "{kind:?}");
    });
}

#[test]
fn an_unreachable_port_is_reported_and_the_socket_goes_on() {
    on_both(|kind| async move {
        let nobody = StdSocket::bind(any()).unwrap();
        let to = nobody.local_addr().unwrap();
        drop(nobody);
        let client = UdpSocket::bind(any()).unwrap();
        client.connect(to).unwrap();
        client.send_copy(b"anybody?", None).await.unwrap();
        let error = client.recv().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{kind:?}");
        assert_eq!(error.fault(), Fault::Peer);
        assert!(error.to_string().contains(&to.to_string()), "{error}");
        assert!(client.stats().network_errors >= 1);

        let server = UdpSocket::bind(to).unwrap();
        client.send_copy(b"now?", None).await.unwrap();
        assert_eq!(server.recv().await.unwrap().data[..], b"now?"[..]);
        server.send_copy(b"yes", client.local_addr()).await.unwrap();
        assert_eq!(client.recv().await.unwrap().data[..], b"yes"[..]);
    });
}

#[test]
fn an_error_told_in_place_of_a_send_costs_no_datagram() {
    // A stack tells of errors apart from its answers to sends.
    on_kernel(|kind| async move {
        let nobody = StdSocket::bind(any()).unwrap();
        let to = nobody.local_addr().unwrap();
        drop(nobody);
        // Nothing is received, so that only the sends can hear of it.
        let client = UdpSocket::bind(any()).unwrap();
        client.connect(to).unwrap();
        client.send_copy(b"lost", None).await.unwrap();
        // The port unreachable is there when the kernel has taken the datagram.
        client.flush().await.unwrap();
        let server = UdpSocket::bind(to).unwrap();
        client.send_copy(b"one", None).await.unwrap();
        let error = client.flush().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{kind:?}");
        assert_eq!(server.recv().await.unwrap().data[..], b"one"[..]);
    });
}

#[test]
fn multicast_over_v4_reaches_members_only() {
    on_kernel(|kind| async move {
        let group = Ipv4Addr::new(239, 255, 71, 3);
        let member = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let joined = member
            .join_multicast_v4(group, Ipv4Addr::LOCALHOST)
            .and_then(|()| sender.set_multicast_interface_v4(Ipv4Addr::LOCALHOST));
        if let Err(error) = joined {
            skipped(format_args!("multicast on loopback: {error}"));
            return;
        }
        sender.set_multicast_loop(true).unwrap();
        sender.set_multicast_ttl(0).unwrap();
        let to: SocketAddr = (group, member.local_addr().port()).into();
        if let Err(error) = sender.send_copy(b"all", to).await {
            skipped(format_args!("multicast on loopback: {error}"));
            return;
        }
        if let Err(error) = sender.flush().await {
            skipped(format_args!("multicast on loopback: {error}"));
            return;
        }
        assert_eq!(
            member.recv().await.unwrap().data[..],
            b"all"[..],
            "{kind:?}"
        );
        member
            .leave_multicast_v4(group, Ipv4Addr::LOCALHOST)
            .unwrap();
        sender.send_copy(b"gone", to).await.unwrap();
        sender.flush().await.unwrap();
        let direct: SocketAddr = (Ipv4Addr::LOCALHOST, member.local_addr().port()).into();
        sender.send_copy(b"you", direct).await.unwrap();
        assert_eq!(member.recv().await.unwrap().data[..], b"you"[..]);
        let error = member
            .leave_multicast_v4(group, Ipv4Addr::LOCALHOST)
            .unwrap_err();
        assert!(error.to_string().contains("239.255.71.3"), "{error}");
    });
}

#[test]
fn multicast_over_v6_reaches_members() {
    on_kernel(|kind| async move {
        let group: Ipv6Addr = "ff11::7a63:6e01".parse().unwrap();
        if !ipv6_works() {
            return;
        }
        let member = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let sender = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        member.join_multicast_v6(group, LOOPBACK).unwrap();
        sender.set_multicast_interface_v6(LOOPBACK).unwrap();
        sender.set_multicast_loop(true).unwrap();
        let to: SocketAddr = (group, member.local_addr().port()).into();
        sender.send_copy(b"all", to).await.unwrap();
        if let Err(error) = sender.flush().await {
            skipped(format_args!("IPv6 multicast on loopback: {error}"));
            return;
        }
        assert_eq!(
            member.recv().await.unwrap().data[..],
            b"all"[..],
            "{kind:?}"
        );
        member.leave_multicast_v6(group, LOOPBACK).unwrap();
    });
}

#[test]
fn a_flood_with_a_slow_reader_is_bounded_and_counted() {
    on_kernel(|kind| async move {
        for (buffers, queue) in [(64, 16), (16, 1000)] {
            let slow = options(|options| {
                options.max_datagram = 2000;
                options.buffers = buffers;
                options.receive_queue = queue;
            });
            let server = UdpSocket::bind_with(any(), &slow).unwrap();
            let pool = server.pool().unwrap();
            let flooder = StdSocket::bind(any()).unwrap();
            let to = server.local_addr();
            assert!(server.try_recv().unwrap().is_none());
            let flood = || {
                for number in 0..2000_u32 {
                    flooder.send_to(&number.to_le_bytes(), to).unwrap();
                }
            };
            flood();
            zcn::sleep(Duration::from_millis(20)).await;
            let stats = server.stats();
            assert!(stats.arrived <= buffers, "{kind:?}: {stats:?}");
            assert!(stats.arrived >= queue.min(buffers), "{kind:?}: {stats:?}");
            assert!(stats.pauses + stats.starvations >= 1, "{kind:?}: {stats:?}");
            // Every datagram that the kernel kept is read in order; then receiving goes on.
            let mut last = None;
            let mut read = 0;
            while read + u64::from(server.kernel_drops().unwrap()) < 2000 {
                let datagram = server.recv().await.unwrap();
                let number = u32::from_le_bytes(datagram.data[..].try_into().unwrap());
                assert!(last < Some(number), "{kind:?}: {last:?}, then {number}");
                last = Some(number);
                read += 1;
            }
            flooder.send_to(b"after", to).unwrap();
            assert_eq!(server.recv().await.unwrap().data[..], b"after"[..]);
            // Held buffers starve the socket; giving them back feeds it again.
            let mut held = Vec::new();
            flood();
            while held.len() < buffers {
                held.push(server.recv().await.unwrap());
            }
            drop(held);
            while server.stats().received < read + 1 + buffers as u64 + 1 {
                server.recv().await.unwrap();
            }
            drop(server);
            closed().await;
            assert_eq!(pool.stats().in_use, 0, "{kind:?}: buffers are home");
        }
    });
}

#[test]
fn a_burst_longer_than_what_the_kernel_was_lent_is_no_starvation() {
    const BURST: u32 = 200;
    on_kernel(|kind| async move {
        let roomy = options(|options| {
            options.buffers = 256;
            options.receive_queue = 1000;
            options.receive_buffer = Some(1024 * 1024);
        });
        let server = UdpSocket::bind_with(any(), &roomy).unwrap();
        let sender = StdSocket::bind(any()).unwrap();
        for number in 0..BURST {
            let bytes = number.to_le_bytes();
            sender.send_to(&bytes, server.local_addr()).unwrap();
        }
        // All are kept, so that no buffer comes home in between.
        let mut kept = Vec::new();
        while kept.len() < BURST as usize {
            kept.push(server.recv().await.unwrap());
        }
        for (number, datagram) in (0..BURST).zip(&kept) {
            assert_eq!(datagram.data[..], number.to_le_bytes()[..], "{kind:?}");
        }
        let stats = server.stats();
        assert_eq!(stats.starvations, 0, "{kind:?}: {stats:?}");
    });
}

#[test]
fn a_full_send_queue_makes_senders_wait() {
    on_both(|kind| async move {
        let narrow = options(|options| options.send_queue = 4);
        let sender = UdpSocket::bind_with(any(), &narrow).unwrap();
        let receiver = UdpSocket::bind(any()).unwrap();
        let to = receiver.local_addr();
        for round in 0..8 {
            for number in 0..16_u8 {
                sender.send_copy(&[round, number], to).await.unwrap();
                assert!(sender.stats().unsent <= 4, "{kind:?}");
            }
            for number in 0..16_u8 {
                assert_eq!(receiver.recv().await.unwrap().data[..], [round, number]);
            }
        }
    });
}

#[test]
fn a_batch_takes_all_that_has_arrived() {
    on_both(|kind| async move {
        let server = UdpSocket::bind(any()).unwrap();
        let client = UdpSocket::bind(any()).unwrap();
        for number in 0..20_u8 {
            client
                .send_copy(&[number], server.local_addr())
                .await
                .unwrap();
        }
        client.flush().await.unwrap();
        let mut batch = Vec::new();
        while batch.len() < 20 {
            let before = batch.len();
            let count = server.recv_batch(&mut batch).await.unwrap();
            assert_eq!(batch.len(), before + count);
            assert!(count >= 1);
        }
        let numbers: Vec<u8> = batch.iter().map(|datagram| datagram.data[0]).collect();
        assert_eq!(numbers, (0..20).collect::<Vec<u8>>(), "{kind:?}");
        assert!(server.try_recv().unwrap().is_none());
    });
}

#[test]
fn a_dropped_receive_loses_nothing() {
    on_both(|kind| async move {
        let server = UdpSocket::bind(any()).unwrap();
        let client = UdpSocket::bind(any()).unwrap();
        for number in 0..50_u8 {
            // Dropped while pending, and dropped at once.
            let given_up = zcn::timeout(Duration::from_micros(50), server.recv()).await;
            assert!(given_up.is_err());
            drop(server.recv());
            let to = server.local_addr();
            drop(client.send_copy(b"never polled", to));
            client.send_copy(&[number], to).await.unwrap();
            assert_eq!(server.recv().await.unwrap().data[..], [number], "{kind:?}");
        }
    });
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn sockets_dropped_with_operations_in_flight_leak_nothing() {
    // Other tests of this process open and close descriptors: count in a process of its own.
    const CHILD: &str = "ZCN_UDP_LEAK_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let name = "sockets_dropped_with_operations_in_flight_leak_nothing";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    on_both(|kind| async move {
        let mut pools = Vec::new();
        let before = descriptors();
        // More in a row than a ring has buffer groups.
        for round in 0..600 {
            let small = options(|options| {
                options.max_datagram = 1000;
                options.buffers = 8;
            });
            let server = UdpSocket::bind_with(any(), &small).unwrap();
            let client = UdpSocket::bind_with(any(), &small).unwrap();
            assert!(server.try_recv().unwrap().is_none());
            for _ in 0..20 {
                client
                    .send_copy(&pattern(900), server.local_addr())
                    .await
                    .unwrap();
            }
            if round % 3 == 0 {
                client.flush().await.unwrap();
                server.recv().await.unwrap();
            }
            if pools.len() < 50 {
                pools.push(server.pool().unwrap());
                pools.push(client.pool().unwrap());
            }
            drop((server, client));
            if round % 16 == 15 {
                closed().await;
            }
        }
        closed().await;
        assert_eq!(descriptors(), before, "{kind:?}");
        for pool in pools {
            assert_eq!(pool.stats().in_use, 0, "{kind:?}");
        }
    });
}

#[test]
fn a_runtime_that_ends_takes_its_sockets_along() {
    for kind in Ground::ALL {
        let mut runtime = kind.runtime();
        let pool = runtime
            .block_on(async {
                let socket = UdpSocket::bind(any()).unwrap();
                let pool = socket.pool().unwrap();
                zcn::spawn(async move {
                    let _ = socket.recv().await;
                });
                zcn::sleep(Duration::from_millis(5)).await;
                pool
            })
            .unwrap();
        drop(runtime);
        assert_eq!(pool.stats().in_use, 0, "{kind:?}");
    }
}

#[test]
fn bad_arguments_are_named() {
    on_both(|_| async {
        let socket = UdpSocket::bind(any()).unwrap();
        let peer = UdpSocket::bind(any()).unwrap().local_addr();
        let data = || shared(&pattern(100));

        let error = socket.send(data()).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ));
        assert!(error.to_string().contains("connect first"), "{error}");
        for size in [0, 101, 70_000] {
            let error = socket.send_segments(data(), size, peer).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains(&format!("segment_size = {size}")), "{text}");
        }
        let unusable = [
            "0.0.0.0:9".parse::<SocketAddr>().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
            "[::]:9".parse().unwrap(),
        ];
        for peer in unusable {
            let error = socket.send_to(data(), peer).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&peer.to_string()), "{error}");
        }
        let v6 = "[::1]:9".parse().unwrap();
        let error = socket.send_to(data(), v6).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
        let long = shared(&pattern(65_508));
        let error = socket.send_to(long, peer).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        assert!(error.to_string().contains("65507"), "{error}");

        let refused = [
            ("max_datagram", options(|options| options.max_datagram = 0)),
            (
                "max_datagram",
                options(|options| options.max_datagram = 65_536),
            ),
            ("buffers", options(|options| options.buffers = 0)),
            ("buffers", options(|options| options.buffers = 32_769)),
            (
                "receive_queue",
                options(|options| options.receive_queue = 0),
            ),
            ("send_queue", options(|options| options.send_queue = 0)),
            ("ttl", options(|options| options.ttl = Some(256))),
        ];
        for (name, options) in refused {
            let error = UdpSocket::bind_with(any(), &options).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(error.fault(), Fault::Caller);
        }
        let taken = socket.local_addr();
        let error = UdpSocket::bind(taken).unwrap_err();
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        assert!(error.hint().is_some());
        let error = socket
            .join_multicast_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED)
            .unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    });
    let error = UdpSocket::bind(any()).unwrap_err();
    assert!(error.to_string().contains("no zcn runtime"), "{error}");
}

#[test]
fn what_was_sent_before_the_runtime_ends_still_leaves() {
    for kind in [ReactorKind::Uring, ReactorKind::Epoll] {
        let receiver = StdSocket::bind(any()).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let to = receiver.local_addr().unwrap();
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        runtime
            .block_on(async {
                let socket = UdpSocket::bind(any()).unwrap();
                for number in 0..10_u8 {
                    socket.send_copy(&[number], to).await.unwrap();
                }
            })
            .unwrap();
        drop(runtime);
        let mut into = [0; 10];
        for number in 0..10_u8 {
            assert_eq!(receiver.recv(&mut into).unwrap(), 1);
            assert_eq!(into[0], number, "{kind:?}");
        }
    }
}

/// Echoes; panics on what says so.
struct Echo;

impl DatagramHandler for Echo {
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
        assert!(datagram.data[..] != b"panic"[..], "as asked");
        let peer = datagram.peer;
        socket.forward(datagram, peer).expect("room for an echo");
    }
}

#[test]
fn a_callback_server_echoes_and_survives_a_panic() {
    for kind in Ground::ALL {
        for gro in [false, true] {
            let mut runtime = kind.runtime();
            let set = options(|options| {
                options.gro = gro;
                options.coalesce = gro;
            });
            let server = UdpServer::bind(&runtime, any(), &set, Echo).unwrap();
            let to = server.local_addr();
            runtime
                .block_on(async {
                    let client = UdpSocket::bind_with(any(), &set).unwrap();
                    client.connect(to).unwrap();
                    for len in [0, 1, 1200, 65_507] {
                        client.send_copy(&pattern(len), None).await.unwrap();
                        let back = client.recv().await.unwrap();
                        assert!(back.data[..] == pattern(len)[..], "{kind:?}");
                    }
                    client.send_copy(b"panic", None).await.unwrap();
                    let sent = pattern(20 * 1000);
                    client
                        .send_segments(shared(&sent), 1000, None)
                        .await
                        .unwrap();
                    let mut received = Vec::new();
                    while received.len() < sent.len() {
                        let datagram = client.recv().await.unwrap();
                        assert!(datagram.segments().all(|segment| segment.len() == 1000));
                        received.extend_from_slice(&datagram.data);
                    }
                    assert!(received == sent, "{kind:?}");
                })
                .unwrap();
            assert_eq!(server.panics(), 1);
            assert_eq!(server.stats().received, 25);
            assert_eq!(server.stats().sent, 24);
            server.shutdown();
            runtime.run_for(Duration::from_millis(30)).unwrap();
            assert_eq!(server.stats().received, 25);
            assert_eq!(server.pool().stats().in_use, 0, "{kind:?}");
            assert_eq!(runtime.stats().udp_sockets, 0);
        }
    }
}
