//! nc, ncat, socat and plain sockets against the small services.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use zcn_measure::pattern::Pattern;

use crate::rig::{
    Link, OURS, Scratch, Setting, done, in_bulk_on_every_link, on_every_link, program, run, text,
    there, with,
};

/// What is sent to the echo service comes back through each of the programs.
pub(crate) fn echo(setting: Setting, len: usize) {
    let mut bytes = vec![0; len];
    Pattern::new(1).fill(0, &mut bytes);
    let input = Scratch::with("echo", &bytes);
    for (host, address) in setting.hosts() {
        let socat = if address == OURS { "TCP4" } else { "TCP6" };
        for (program, arguments) in [
            ("nc", format!("-N -w 20 {address} 7")),
            ("ncat", format!("-w 20 {address} 7")),
            ("socat", format!("-t 20 - {socat}:{host}:7")),
        ] {
            if there(program) {
                let output = done(program, &arguments, Some(&input.0));
                assert!(output == bytes, "{program} {arguments} on {setting:?}");
            }
        }
    }
}

#[test]
fn echo_gives_back_what_programs_send() {
    in_bulk_on_every_link(|setting| echo(setting, 4 << 20));
}

#[test]
fn datagrams_come_back() {
    on_every_link(|setting| {
        if there("nc") {
            let line = Scratch::with("datagram", b"one datagram\n");
            let output = run("nc", &format!("-u -w 1 {OURS} 7"), Some(&line.0));
            assert_eq!(text(&output.stdout), "one datagram\n");
        }
        for (host, address) in setting.hosts() {
            let any = if address == OURS {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            socket.connect(format!("{host}:7")).unwrap();
            let mut buffer = vec![0; 65_536];
            // The last ones in fragments.
            for len in [0, 1, 1400, 1472, 1473, 9000, 60_000, 65_507] {
                let mut bytes = vec![0; len];
                Pattern::new(len).fill(0, &mut bytes);
                socket.send(&bytes).unwrap();
                let got = socket.recv(&mut buffer).unwrap();
                assert!(buffer[..got] == bytes[..], "{len} bytes to {address}");
            }
        }
    });
}

#[test]
fn discard_chargen_and_daytime() {
    in_bulk_on_every_link(|setting| {
        if !there("nc") {
            return;
        }
        let bytes = vec![7; 20 << 20];
        let input = Scratch::with("discard", &bytes);
        let output = done("nc", &format!("-N -w 20 {OURS} 9"), Some(&input.0));
        assert!(output.is_empty(), "{setting:?}");
        let command = format!("nc -w 20 {OURS} 19 </dev/null | head -c 20000000");
        let shell = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert_eq!(shell.stdout.len(), 20_000_000, "{setting:?}");
        let line = &shell.stdout[..74];
        for (index, chunk) in shell.stdout.chunks(95 * 74).enumerate() {
            assert!(
                chunk.starts_with(&line[..chunk.len().min(74)]),
                "block {index}"
            );
        }
        let daytime = text(&done("nc", &format!("-N -w 20 {OURS} 13"), None));
        assert!(daytime.ends_with(" UTC\r\n"), "{daytime:?}");
    });
}

/// As iperf3 does it in both directions at once, by plain sockets.
#[test]
fn bulk_goes_both_ways_at_once() {
    const LEN: usize = 50_000_000;
    in_bulk_on_every_link(|setting| {
        for (host, _) in setting.hosts() {
            let (to, from) = (format!("{host}:9"), format!("{host}:19"));
            let sender = thread::spawn(move || {
                let mut stream = TcpStream::connect(to).unwrap();
                let piece = vec![5; 1 << 20];
                let mut left = LEN;
                while left > 0 {
                    let part = left.min(piece.len());
                    stream.write_all(&piece[..part]).unwrap();
                    left -= part;
                }
                stream.shutdown(Shutdown::Write).unwrap();
                // It closes when it has everything.
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            });
            let mut stream = TcpStream::connect(from).unwrap();
            let mut buffer = vec![0; 1 << 20];
            let mut got = 0;
            while got < LEN {
                let part = stream.read(&mut buffer).unwrap();
                assert!(part > 0, "{setting:?}: ended after {got} bytes");
                got += part;
            }
            sender.join().unwrap();
        }
    });
}

/// While the peer has ended its direction, ours still carries everything.
#[test]
fn a_half_closed_connection_carries_the_rest() {
    on_every_link(|setting| {
        for (host, _) in setting.hosts() {
            let mut stream = TcpStream::connect(format!("{host}:7")).unwrap();
            let mut bytes = vec![0; 200_000];
            Pattern::new(2).fill(0, &mut bytes);
            let mut writer = stream.try_clone().unwrap();
            let sent = bytes.clone();
            let sender = thread::spawn(move || {
                writer.write_all(&sent).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            sender.join().unwrap();
            assert!(back == bytes, "{setting:?}: {} bytes", back.len());
        }
    });
}

/// The program's own client on a stack of its own, to a server of the kernel.
#[test]
fn connect_talks_to_the_kernel() {
    with(Setting::on(Link::Tap), |_| {
        let listener = std::net::TcpListener::bind("10.9.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut peer, from) = listener.accept().unwrap();
            let mut request = Vec::new();
            peer.read_to_end(&mut request).unwrap();
            request.reverse();
            peer.write_all(&request).unwrap();
            from.ip().to_string()
        });
        let mut bytes = vec![0; 1_000_000];
        Pattern::new(4).fill(0, &mut bytes);
        let input = Scratch::with("connect", &bytes);
        // A second stack, on a device of its own, by way of the kernel.
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let arguments = format!(
            "connect --tap zc --address 10.8.0.2/24 --kernel-address 10.8.0.1/24 --gateway \
             10.8.0.1 10.9.0.1 {port}"
        );
        let output = done(&program(), &arguments, Some(&input.0));
        assert_eq!(server.join().unwrap(), "10.8.0.2");
        assert!(output.iter().rev().eq(bytes.iter()));
    });
}
