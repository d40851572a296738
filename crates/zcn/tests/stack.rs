//! Sockets on stacks of our own: two halves in one runtime, two runtimes on one link, the link's
//! end.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use common::{HangGuard, builder, echo, pattern, reactors};
use zcn::stack::{EthernetAddress, IpCidr, LinkConfig, StackConfig};
use zcn::{
    ConnectOptions, ListenOptions, ReactorKind, Runtime, ServerOptions, SharedBuf, TcpListener,
    TcpServer, TcpStream, UdpSocket, UnixStream,
};
use zcn_link::{Medium, MemoryLink, memory_capabilities};

fn on_stack(kind: ReactorKind) -> Runtime {
    builder(kind)
        .stack(StackConfig::new(LinkConfig::memory()))
        .build()
        .unwrap()
}

#[test]
fn a_stack_talks_to_itself() {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        let mut runtime = on_stack(kind);
        assert!(runtime.net().is_stack());
        let (server, address) = echo(&runtime);
        runtime
            .block_on(async {
                let stream = TcpStream::connect(address).await.unwrap();
                let sent = pattern(3 << 20, 1);
                let mut received = Vec::new();
                let stream = Rc::new(stream);
                let writer = {
                    let (stream, sent) = (stream.clone(), sent.clone());
                    zcn::spawn(async move {
                        stream.send_copy(&sent).await.unwrap();
                        stream.shutdown();
                    })
                };
                while let Some(buf) = stream.recv().await.unwrap() {
                    received.extend_from_slice(&buf);
                }
                writer.await.unwrap();
                assert_eq!(received.len(), sent.len());
                assert!(received == sent);
            })
            .unwrap();
        assert_eq!(server.stats().accepted, 1);
    }
}

#[test]
fn datagrams_on_a_stack() {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        let mut runtime = on_stack(kind);
        runtime
            .block_on(async {
                let server = UdpSocket::bind(common::any()).unwrap();
                let client = UdpSocket::bind(common::any()).unwrap();
                client.connect(server.local_addr()).unwrap();
                client.send(SharedBuf::from_static(b"ping")).await.unwrap();
                let ping = server.recv().await.unwrap();
                assert_eq!(&ping.data[..], b"ping");
                server.send_to(ping.data, ping.peer).await.unwrap();
                assert_eq!(&client.recv().await.unwrap().data[..], b"ping");
            })
            .unwrap();
    }
}

/// Stacks at 10.0.0.1 and 10.0.0.2 on the two ends of one link through memory.
fn pair_of_links() -> [(StackConfig, MemoryLink); 2] {
    let end = |last: u8| {
        memory_capabilities(
            Medium::Ethernet {
                address: [2, 0, 0, 0, 0, last],
            },
            1500,
        )
    };
    let (one, other) = MemoryLink::pair(end(1), end(2), 256).unwrap();
    let config = |last: u8| {
        let mut config = StackConfig::new(LinkConfig::memory());
        config.link.address = Some(EthernetAddress([2, 0, 0, 0, 0, last]));
        let address = Ipv4Addr::new(10, 0, 0, last);
        config
            .addresses
            .push(IpCidr::new(address.into(), 24).unwrap());
        config
    };
    [(config(1), one), (config(2), other)]
}

fn at(last: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, last], port).into()
}

#[test]
fn two_runtimes_sleep_and_wake_each_other_across_a_link() {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        let [(near, near_link), (far, far_link)] = pair_of_links();
        let server = thread::spawn(move || {
            let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
            let net = runtime.open_stack_on(&far, Box::new(far_link)).unwrap();
            let listening = net.tcp_listen(at(2, 7), &ListenOptions::default());
            let listener = listening.unwrap();
            runtime
                .block_on(async {
                    let (stream, peer) = listener.accept().await.unwrap();
                    assert_eq!(peer.ip(), at(1, 0).ip());
                    while let Some(slice) = stream.recv_shared().await.unwrap() {
                        stream.send(slice).await.unwrap();
                    }
                })
                .unwrap();
        });
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let net = runtime.open_stack_on(&near, Box::new(near_link)).unwrap();
        // The kernel's half is still the default, and both work side by side.
        assert!(!runtime.net().is_stack() && net.is_stack());
        let (_server, address) = echo(&runtime);
        runtime
            .block_on(async {
                let stream = net
                    .tcp_connect(at(2, 7), &ConnectOptions::default())
                    .await
                    .unwrap();
                let kernels = TcpStream::connect(address).await.unwrap();
                let mut back = [0; 1000];
                for round in 0..200 {
                    let message = pattern(1000, round);
                    stream.send_copy(&message).await.unwrap();
                    kernels.send_copy(&message).await.unwrap();
                    stream.read_exact(&mut back).await.unwrap();
                    assert!(back[..] == message, "{kind:?}: round {round}");
                    kernels.read_exact(&mut back).await.unwrap();
                    assert!(back[..] == message, "{kind:?}: round {round}");
                }
                let info = stream.tcp_info().unwrap();
                assert_eq!(info.tcpi_bytes_received, 200_000);
                assert!(kernels.tcp_info().is_none());
                stream.shutdown();
                assert!(stream.recv().await.unwrap().is_none());
            })
            .unwrap();
        server.join().unwrap();
    }
}

#[test]
fn what_only_the_kernel_has_is_a_clear_error_on_a_stack() {
    let mut runtime = on_stack(ReactorKind::Auto);
    let net = runtime.net();
    runtime
        .block_on(async {
            let listener = TcpListener::bind(common::any()).unwrap();
            let stream = TcpStream::connect(listener.local_addr()).await.unwrap();
            let error = stream.with_socket(|socket| socket.tcp_nodelay());
            let error = error.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
            assert!(error.to_string().contains("kernel"), "{error}");
            // What has a method of its own works on either half.
            stream.set_nodelay(false).unwrap();
            stream.set_keepalive(Duration::from_secs(9)).unwrap();
            let error = stream.set_keepalive(Duration::ZERO).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");

            let mut options = ListenOptions::default();
            options.reuse_port = true;
            let error = net.tcp_listen(common::any(), &options).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT));
            assert!(error.hint().unwrap().contains("a stack"), "{error}");
            let mut options = ListenOptions::default();
            options.congestion = Some("vegas".to_owned());
            let error = net.tcp_listen(common::any(), &options).unwrap_err();
            assert!(error.hint().unwrap().contains("cubic"), "{error}");

            let strange: SocketAddr = ([192, 0, 2, 1], 7).into();
            let error = TcpListener::bind(strange).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
            let error = TcpListener::bind(listener.local_addr()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
            assert!(error.to_string().contains("another port"), "{error}");
            let error = TcpStream::connect(strange).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
            assert!(error.hint().unwrap().contains("no route"), "{error}");

            let socket = UdpSocket::bind(common::any()).unwrap();
            let error = socket
                .join_multicast_v4([239, 0, 0, 1].into(), Ipv4Addr::UNSPECIFIED)
                .unwrap_err();
            assert!(error.to_string().contains("239.0.0.1"), "{error}");

            // Unix sockets are the kernel's, whatever the default.
            let (one, other) = UnixStream::pair().unwrap();
            one.send_copy(b"unix").await.unwrap();
            assert_eq!(&other.recv().await.unwrap().unwrap()[..], b"unix");
        })
        .unwrap();
    let path = std::path::PathBuf::from("zcn-never-made.socket");
    let error = TcpServer::bind_on(&net, path, ServerOptions::default(), common::Echo);
    let error = error.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
    let other = Runtime::new().unwrap();
    let error = other.set_net(&net).unwrap_err();
    assert!(error.to_string().contains("another runtime"), "{error}");
}

#[test]
fn the_end_of_a_link_is_told_to_all_who_wait() {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        let [(near, near_link), (far, far_link)] = pair_of_links();
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let net = runtime.open_stack_on(&near, Box::new(near_link)).unwrap();
        let far_net = runtime.open_stack_on(&far, Box::new(far_link)).unwrap();
        runtime
            .block_on(async {
                let listener = far_net
                    .tcp_listen(at(2, 7), &ListenOptions::default())
                    .unwrap();
                let stream = net
                    .tcp_connect(at(2, 7), &ConnectOptions::default())
                    .await
                    .unwrap();
                let (accepted, _) = listener.accept().await.unwrap();
                accepted.send_copy(b"hello").await.unwrap();
                assert_eq!(&stream.recv().await.unwrap().unwrap()[..], b"hello");
                assert!(net.link_error().is_none());
                stream.send_copy(b"bye").await.unwrap();
                assert_eq!(&accepted.recv().await.unwrap().unwrap()[..], b"bye");
            })
            .unwrap();
        drop((runtime, net, far_net));

        // The other end belongs to nobody.
        let [(near, near_link), (_, far_link)] = pair_of_links();
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let net = runtime.open_stack_on(&near, Box::new(near_link)).unwrap();
        let connecting = net.clone();
        let told = runtime.spawn(async move {
            connecting
                .tcp_connect(at(2, 7), &ConnectOptions::default())
                .await
                .unwrap_err()
        });
        let watched = net.clone();
        let gone = runtime.spawn(async move { watched.link_gone().await });
        common::run_for(&mut runtime, Duration::from_millis(20));
        drop(far_link);
        let error = runtime.block_on(told).unwrap().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN), "{error}");
        let error = runtime.block_on(gone).unwrap().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert!(net.link_error().is_some());
        let error = net
            .tcp_listen(at(1, 7), &ListenOptions::default())
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN), "{error}");
        // The kernel's half has nothing to do with it.
        let (_server, address) = echo(&runtime);
        runtime
            .block_on(async {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.send_copy(b"still").await.unwrap();
                let mut back = [0; 5];
                stream.read_exact(&mut back).await.unwrap();
                assert_eq!(&back, b"still");
            })
            .unwrap();
    }
}

#[test]
fn what_was_sent_before_a_runtime_ends_still_arrives() {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        let [(near, near_link), (far, far_link)] = pair_of_links();
        let reader = thread::spawn(move || {
            let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
            let net = runtime.open_stack_on(&far, Box::new(far_link)).unwrap();
            let listener = net.tcp_listen(at(2, 7), &ListenOptions::default()).unwrap();
            runtime
                .block_on(async {
                    let (stream, _) = listener.accept().await.unwrap();
                    let mut received = Vec::new();
                    while let Some(buf) = stream.recv().await.unwrap() {
                        received.extend_from_slice(&buf);
                    }
                    received
                })
                .unwrap()
        });
        let sent = pattern(400_000, 3);
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let net = runtime.open_stack_on(&near, Box::new(near_link)).unwrap();
        runtime
            .block_on(async {
                let options = ConnectOptions::default();
                let stream = net.tcp_connect(at(2, 7), &options).await.unwrap();
                stream.send_copy(&sent).await.unwrap();
            })
            .unwrap();
        drop((net, runtime));
        assert!(reader.join().unwrap() == sent, "{kind:?}");
    }
}
