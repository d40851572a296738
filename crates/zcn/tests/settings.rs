//! Bad input: each a clear error that names the setting and the remedy.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Echo, any, builder, for_each_reactor, run_until, runtime};
use zcn::{
    Action, Fault, ReactorKind, RuntimeBuilder, ServerOptions, TcpListener, TcpServer, TcpStream,
    UdpOptions, UdpSocket, WaterMarks,
};

fn says(error: &zcn::Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn settings_of_a_runtime_out_of_range_name_themselves() {
    for_each_reactor(|kind| {
        type Change = fn(RuntimeBuilder) -> RuntimeBuilder;
        let cases: [(Change, &[&str]); 11] = [
            (|b| b.ring_entries(0), &["ring_entries = 0", "1 to 32768"]),
            (
                |b| b.ring_entries(40_000),
                &["ring_entries = 40000", "1 to 32768"],
            ),
            (
                |b| b.buffers(0),
                &["buffers = 0", "receive_buffers = 512", "raise the first"],
            ),
            (
                |b| b.buffers(512),
                &["buffers = 512 leaves none to send", "receive_buffers"],
            ),
            (
                |b| b.buffers(usize::MAX),
                &["buffers = 18446744073709551615", "at most 16777216"],
            ),
            (
                |b| b.buffer_size(0),
                &["buffer_size 0", "set buffer_size(4096)"],
            ),
            (
                |b| b.buffer_size(5000),
                &["buffer_size 5000", "set buffer_size(8192)"],
            ),
            (
                |b| b.buffer_size(usize::MAX),
                &["buffer_size", "multiple of the page size"],
            ),
            (
                |b| b.receive_buffers(0),
                &["receive_buffers = 0", "a power of two from 1 to 32768"],
            ),
            (
                |b| b.receive_buffers(100),
                &["receive_buffers = 100", "a power of two"],
            ),
            (|b| b.cpu(100_000), &["on core 100000", "nproc"]),
        ];
        for (change, parts) in cases {
            let error = change(builder(kind)).build().unwrap_err();
            assert_eq!(error.action(), Action::Start);
            says(&error, &["cannot start the runtime"]);
            says(&error, parts);
        }
    });
}

#[test]
fn options_of_a_server_out_of_range_name_themselves() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        type Change = fn(&mut ServerOptions);
        let cases: [(Change, &str); 6] = [
            (|o| o.max_connections = 0, "max_connections = 0"),
            (|o| o.marks = WaterMarks { high: 0, low: 0 }, "high = 0"),
            (|o| o.marks = WaterMarks { high: 10, low: 20 }, "low = 20"),
            (
                |o| o.idle_timeout = Some(Duration::ZERO),
                "idle_timeout = 0",
            ),
            (
                |o| o.write_timeout = Some(Duration::ZERO),
                "write_timeout = 0",
            ),
            (
                |o| o.listen.congestion = Some("nonsense".into()),
                "tcp_available_congestion_control",
            ),
        ];
        for (change, part) in cases {
            let mut options = ServerOptions::default();
            change(&mut options);
            let error = TcpServer::bind(&runtime, any(), options, Echo).unwrap_err();
            says(&error, &[part]);
        }
    });
}

#[test]
fn addresses_that_cannot_be_used_are_named() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let _current = runtime.enter();
        let used = std::net::TcpListener::bind(any()).unwrap();
        let used = used.local_addr().map(|address| (used, address)).unwrap();
        let error = TcpListener::bind(used.1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        says(
            &error,
            &[&format!("cannot bind {}", used.1), "ss -ltnp", "port"],
        );
        let error = TcpServer::bind(&runtime, used.1, ServerOptions::default(), Echo).unwrap_err();
        says(&error, &[&used.1.to_string(), "ss -ltnp"]);
        // A documentation address: nobody's.
        let foreign: SocketAddr = "203.0.113.1:80".parse().unwrap();
        let error = TcpListener::bind(foreign).unwrap_err();
        assert_eq!(error.fault(), Fault::Resources);
        says(&error, &["203.0.113.1:80", "ip address"]);
        // Port 0 picks one.
        assert_ne!(TcpListener::bind(any()).unwrap().local_addr().port(), 0);
    });
}

#[test]
fn a_connect_that_cannot_be_says_why() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let nobody: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let error = runtime
            .block_on(TcpStream::connect(nobody))
            .unwrap()
            .unwrap_err();
        says(&error, &["cannot connect to 127.0.0.1:0"]);
        let mut options = zcn::ConnectOptions::default();
        options.local = Some("203.0.113.1:0".parse().unwrap());
        let error = runtime
            .block_on(TcpStream::connect_with(nobody, &options))
            .unwrap()
            .unwrap_err();
        says(&error, &["bind", "203.0.113.1", "ip address"]);
    });
}

#[test]
fn a_ring_has_room_for_254_sockets_and_says_so() {
    const MOST: usize = 254;
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let mut options = UdpOptions::default();
        (options.buffers, options.max_datagram) = (8, 1000);
        let entered = runtime.enter();
        let open = || UdpSocket::bind_with(any(), &options);
        let mut sockets: Vec<_> = (0..MOST).map(|_| open().unwrap()).collect();
        match (kind, open()) {
            (ReactorKind::Epoll, outcome) => drop(outcome.unwrap()),
            (_, outcome) => {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains("254 UDP sockets"), "{error}");
                // One that goes makes room for another.
                sockets.pop();
                drop(entered);
                run_until(&mut runtime, "closed", |runtime| {
                    let _entered = runtime.enter();
                    let again = open();
                    sockets.extend(again.ok());
                    sockets.len() == MOST
                });
            }
        }
    });
}
