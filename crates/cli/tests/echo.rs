//! `zcn echo`, `zcn ping-pong` and `zcn send` as programs.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use common::{Echo, objects, run, text, without_uring, zcn};

const REACTORS: [(&str, &str); 2] = [("uring", "io_uring"), ("epoll", "epoll")];

#[allow(clippy::print_stderr)]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Sends, half-closes, and takes everything that comes back.
fn echoed(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let mut writer = stream.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).expect("sent");
            writer.shutdown(Shutdown::Write).expect("half-closed");
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("received");
        back
    })
}

#[test]
fn every_byte_comes_back_and_every_buffer_goes_home() {
    for (reactor, name) in REACTORS {
        let echo = Echo::start(&["--listen", "127.0.0.1:0", "--reactor", reactor]);
        assert_eq!(echo.listening["event"], "listening");
        assert_eq!(echo.listening["reactor"], name);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let stream = TcpStream::connect(echo.address()).expect("it listens");
        assert!(echoed(stream, &bytes) == bytes, "{reactor}: bytes differ");
        let (last, code) = echo.end("INT");
        assert_eq!(code, Some(0), "{last}");
        assert_eq!(last["event"], "stopped");
        assert_eq!(last["bytes"], bytes.len());
        assert_eq!(last["connections"], 1);
        assert_eq!(last["buffers_home"], last["buffers"]);
    }
}

#[test]
fn a_signal_with_open_connections_ends_it_all_the_same() {
    for (reactor, _) in REACTORS {
        let echo = Echo::start(&["--listen", "127.0.0.1:0", "--reactor", reactor]);
        let mut stream = TcpStream::connect(echo.address()).expect("it listens");
        stream.write_all(b"left open").expect("sent");
        let mut back = [0; 9];
        stream.read_exact(&mut back).expect("received");
        let (last, code) = echo.end("TERM");
        assert_eq!(code, Some(0), "{last}");
        assert_eq!(last["buffers_home"], last["buffers"]);
        assert_eq!(stream.read(&mut back).expect("an orderly end"), 0);
    }
}

#[test]
fn several_threads_share_the_port() {
    let echo = Echo::start(&["--listen", "127.0.0.1:0", "--threads", "3"]);
    assert_eq!(echo.listening["threads"], 3);
    for _ in 0..30 {
        let stream = TcpStream::connect(echo.address()).expect("it listens");
        assert_eq!(echoed(stream, b"shared"), b"shared");
    }
    let (last, code) = echo.end("INT");
    assert_eq!(code, Some(0), "{last}");
    assert_eq!(last["connections"], 30);
    assert!(last["buffers"].as_u64().expect("a count") >= 3 * 1024);
    assert_eq!(last["buffers_home"], last["buffers"]);
}

#[test]
fn datagrams_come_back() {
    for (reactor, _) in REACTORS {
        let echo = Echo::start(&["--listen", "127.0.0.1:0", "--udp", "--reactor", reactor]);
        assert_eq!(echo.listening["transport"], "udp");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        let longest = vec![7; 65_507];
        for message in [&b"one"[..], b"", b"another", &longest] {
            socket.send_to(message, echo.address()).expect("sent");
            let mut back = vec![0; 65_536];
            let (count, _) = socket.recv_from(&mut back).expect("received");
            assert!(back[..count] == *message, "{} bytes", message.len());
        }
        let address = echo.address();
        let client = |program: &[&str]| {
            let rest = [
                "--udp",
                "--connect",
                &address,
                "--reactor",
                reactor,
                "--count",
                "300",
                "--size",
                "1200",
                "--json",
            ];
            let output = run(&[program, &rest].concat());
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            objects(&output.stdout).remove(0)
        };
        // The network may lose datagrams, even here.
        let ping = client(&["ping-pong"]);
        let count = |line: &serde_json::Value, key: &str| line[key].as_u64().expect("a count");
        assert_eq!(count(&ping, "requests") + count(&ping, "lost"), 300);
        let send = client(&["send", "--check"]);
        assert_eq!(
            count(&send, "bytes_returned") + count(&send, "lost") * 1200,
            300 * 1200
        );
        let (last, code) = echo.end("INT");
        assert_eq!(code, Some(0), "{last}");
        assert_eq!(last["buffers_home"], last["buffers"]);
    }
}

#[test]
fn unix_sockets_are_served_and_their_file_removed() {
    let path = std::env::temp_dir().join(format!("zcn-echo-{}", std::process::id()));
    let address = format!("unix:{}", path.display());
    let echo = Echo::start(&["--listen", &address]);
    assert_eq!(echo.address(), address);
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"over a file").expect("sent");
    let mut back = [0; 11];
    stream.read_exact(&mut back).expect("received");
    assert_eq!(&back, b"over a file");
    drop(stream);
    let client = run(&["ping-pong", "--connect", &address, "--count", "5", "--json"]);
    assert_eq!(client.status.code(), Some(0), "{client:?}");
    let (last, code) = echo.end("INT");
    assert_eq!(code, Some(0), "{last}");
    assert!(!path.exists());
}

#[test]
fn netcat_is_served() {
    let echo = Echo::start(&["--listen", "127.0.0.1:0"]);
    let address = echo.address();
    let (host, port) = address.rsplit_once(':').expect("a port");
    let client = std::process::Command::new("nc")
        .args(["-N", "-w", "10", host, port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut client) = client else {
        skipped("there is no nc");
        return;
    };
    client
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"hello\n")
        .expect("written");
    let output = client.wait_with_output().expect("it ends");
    assert_eq!(text(&output.stdout), "hello\n");
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for threads in ["1", "2"] {
        let output = run(&["echo", "--listen", &address, "--threads", threads]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(
            error.starts_with(&format!(
                "zcn: cannot bind {address}: Address already in use"
            )),
            "{error}"
        );
        assert!(
            error.contains("try: ") && error.contains("ss -ltnp"),
            "{error}"
        );
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn unusable_addresses_are_named() {
    let cases: [(&[&str], i32, &str); 7] = [
        (&["echo", "--listen", "nowhere"], 2, "nowhere"),
        (&["echo", "--listen", "192.0.2.1:7"], 1, "192.0.2.1:7"),
        (
            &["echo", "--listen", "unix:/nowhere/at/all"],
            1,
            "/nowhere/at/all",
        ),
        (
            &["echo", "--listen", "unix:/tmp/x", "--threads", "2"],
            1,
            "--threads",
        ),
        (&["ping-pong", "--connect", "nowhere"], 2, "nowhere"),
        (&["send", "--connect", "127.0.0.1:1"], 1, "127.0.0.1:1"),
        (
            &["ping-pong", "--connect", "unix:/nowhere/at/all"],
            1,
            "/nowhere/at/all",
        ),
    ];
    for (arguments, code, part) in cases {
        let output = run(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn a_refused_ring_is_an_error_only_for_who_insists() {
    without_uring(|| {
        let output = run(&["echo", "--listen", "127.0.0.1:0", "--reactor", "uring"]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains("io_uring"), "{error}");

        let echo = Echo::start(&["--listen", "127.0.0.1:0"]);
        assert_eq!(echo.listening["reactor"], "epoll");
        let stream = TcpStream::connect(echo.address()).expect("it listens");
        assert_eq!(echoed(stream, b"all the same"), b"all the same");
        assert_eq!(echo.end("INT").1, Some(0));
    });
}

#[test]
fn clients_measure_and_check() {
    for (reactor, name) in REACTORS {
        let echo = Echo::start(&["--listen", "127.0.0.1:0", "--reactor", reactor]);
        let address = echo.address();
        let ping = run(&[
            "ping-pong",
            "--connect",
            &address,
            "--reactor",
            reactor,
            "--count",
            "50",
            "--connections",
            "4",
            "--size",
            "100k",
            "--json",
        ]);
        assert_eq!(ping.status.code(), Some(0), "{}", text(&ping.stderr));
        let line = &objects(&ping.stdout)[0];
        assert_eq!(line["reactor"], name);
        assert_eq!(line["requests"], 200);
        assert_eq!(line["bytes_checked"], 200 * 100 * 1024);
        assert_eq!(line["errors"], 0);
        let ns = |key: &str| line[key].as_u64().expect(key);
        assert!(ns("p50_ns") > 0 && ns("p50_ns") <= ns("p99_ns") && ns("p99.9_ns") <= ns("max_ns"));

        // Tiny messages at full speed once took every buffer and stood still.
        for (size, count) in [("64", "100000"), ("1M", "10"), ("3", "1000")] {
            let send = run(&[
                "send",
                "--connect",
                &address,
                "--reactor",
                reactor,
                "--count",
                count,
                "--size",
                size,
                "--connections",
                "3",
                "--duration",
                "30s",
                "--check",
                "--json",
            ]);
            assert_eq!(send.status.code(), Some(0), "{}", text(&send.stderr));
            let line = &objects(&send.stdout)[0];
            assert_eq!(
                line["messages"],
                count.parse::<u64>().expect("a number") * 3
            );
            assert_eq!(line["bytes_returned"], line["bytes_sent"]);
        }
        let (last, _) = echo.end("INT");
        assert_eq!(last["buffers_home"], last["buffers"]);
    }
}

/// Found by trying: the time was looked at between messages only.
#[test]
fn a_message_that_is_longer_than_the_time_is_cut() {
    for (reactor, _) in REACTORS {
        let echo = Echo::start(&["--listen", "127.0.0.1:0", "--reactor", reactor]);
        let address = echo.address();
        for check in [&[][..], &["--check"]] {
            let send = [
                "send",
                "--connect",
                &address,
                "--reactor",
                reactor,
                "--json",
            ];
            // Minutes, if it were sent to its end.
            let size = ["--size", "100g", "--duration", "200ms"];
            let output = run(&[&send[..], &size, check].concat());
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let line = &objects(&output.stdout)[0];
            assert_eq!(line["messages"], 0);
            let sent = line["bytes_sent"].as_u64().expect("a count");
            assert!((1..100 << 30).contains(&sent), "{line}");
            if !check.is_empty() {
                assert_eq!(line["bytes_returned"], sent);
            }
        }
        let (last, _) = echo.end("INT");
        assert_eq!(last["buffers_home"], last["buffers"]);
    }
}

#[test]
fn a_server_that_is_no_echo_is_found_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        let (mut lies, _) = listener.accept().expect("a client");
        lies.write_all(&[b'?'; 64]).expect("sent");
        let (mut hangs_up, _) = listener.accept().expect("a client");
        let mut taken = [0; 64];
        hangs_up.read_exact(&mut taken).expect("received");
    });
    let lied_to = run(&["ping-pong", "--connect", &address, "--count", "1"]);
    assert_eq!(lied_to.status.code(), Some(1));
    assert!(
        text(&lied_to.stderr).contains("came back wrong"),
        "{lied_to:?}"
    );
    let left = run(&["ping-pong", "--connect", &address, "--count", "1"]);
    assert_eq!(left.status.code(), Some(1));
    assert!(
        text(&left.stderr).contains("closed the connection"),
        "{left:?}"
    );
    server.join().expect("the server ends well");
}

/// Sends until both ends are full and nothing moves any more.
fn choked(echo: &Echo) -> TcpStream {
    let stream = TcpStream::connect(echo.address()).expect("it listens");
    stream.set_nonblocking(true).expect("non-blocking");
    let mut writer = &stream;
    let piece = [1_u8; 65_536];
    let mut refusals = 0;
    while refusals < 20 {
        match writer.write(&piece) {
            Ok(1..) => refusals = 0,
            Ok(0) | Err(_) => {
                refusals += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    stream
}

#[test]
fn a_client_that_never_reads_leaves_no_buffer_behind() {
    for (reactor, _) in REACTORS {
        let echo = Echo::start(&["--listen", "127.0.0.1:0", "--reactor", reactor]);
        drop(choked(&echo));
        let (last, code) = echo.end("INT");
        assert_eq!(code, Some(0), "{last}");
        assert_eq!(last["buffers_home"], last["buffers"]);
    }
}

#[test]
fn a_second_signal_does_not_wait_for_a_client_that_never_reads() {
    let echo = Echo::start(&["--listen", "127.0.0.1:0"]);
    let _client = choked(&echo);
    assert_eq!(echo.insist("TERM"), Some(128 + 15));
}

#[test]
fn help_shows_every_flag() {
    for subcommand in ["echo", "ping-pong", "send", "demo"] {
        let output = zcn()
            .args([subcommand, "--help"])
            .output()
            .expect("it runs");
        assert!(text(&output.stdout).contains("--json"), "{subcommand}");
    }
}

#[test]
fn transmit_timestamps_say_where_a_round_trip_goes() {
    let echo = Echo::start(&["--listen", "127.0.0.1:0"]);
    let address = echo.address();
    let ping = ["ping-pong", "--connect", &address, "--tx-timestamps"];
    let with = |more: &[&str]| run(&[&ping[..], more].concat());
    let output = with(&["--count", "50", "--size", "300", "--json"]);
    if text(&output.stderr).contains("Linux 6.17") {
        return skipped("no transmit timestamps through a ring before Linux 6.17");
    }
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let line = objects(&output.stdout).remove(0);
    assert_eq!(line["requests"], 50);
    let most = |span: &str| line[span]["max_ns"].as_u64().expect("a time");
    for span in ["send_to_queue", "queue_to_device", "device_to_echo"] {
        // The histogram keeps three digits.
        let whole = most("round_trip") + most("round_trip") / 500;
        assert!(most(span) <= whole, "{span}: {line}");
    }
    assert!(most("device_to_echo") > 0, "{line}");
    let output = with(&["--count", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for word in ["send to queue", "queue to device", "device to echo", "p99"] {
        assert!(shown.contains(word), "{shown}");
    }
    for (more, code, says) in [
        (&["--udp"][..], 2, "--udp"),
        (&["--connections", "2"], 1, "one connection"),
    ] {
        let output = with(more);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(text(&output.stderr).contains(says), "{output:?}");
    }
    let output = run(&["ping-pong", "--connect", "unix:/nowhere", "--tx-timestamps"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("TCP"), "{output:?}");
}
