//! Every example runs and does what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running example; ended when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(path: &str, arguments: &[&str]) -> Program {
    let mut child = Command::new(path)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first
        .strip_prefix("listening on ")
        .unwrap()
        .parse()
        .unwrap();
    // What else it says must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Program { child, address }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).unwrap();
    stream.set_write_timeout(limit).unwrap();
    stream
}

/// Sends `len` bytes, ends, and expects them back.
fn echo(address: SocketAddr, len: usize) {
    let mut stream = connect(address);
    let sent: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == sent, "{} of {len} bytes", back.len());
}

#[test]
fn both_echoes_give_every_byte_back() {
    for path in [
        env!("CARGO_BIN_EXE_echo_callbacks"),
        env!("CARGO_BIN_EXE_echo_async"),
    ] {
        let program = start(path, &["127.0.0.1:0"]);
        for len in [1, 5000, 1 << 20] {
            echo(program.address, len);
        }
    }
}

#[test]
fn either_half_runs_the_same_sockets() {
    for (arguments, half) in [(&[][..], "the kernel's"), (&["memory"][..], "our own")] {
        let output = Command::new(env!("CARGO_BIN_EXE_either_half"))
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains(half), "{text}");
        assert!(text.contains("100000 bytes came back"), "{text}");
    }
}

#[test]
fn the_proxy_moves_every_byte_and_both_ends() {
    let target = start(env!("CARGO_BIN_EXE_echo_async"), &["127.0.0.1:0"]);
    let name = format!("localhost:{}", target.address.port());
    let proxy = start(env!("CARGO_BIN_EXE_proxy"), &[&name, "127.0.0.1:0"]);
    // The echo answers after our half-close has gone through, so both directions end in turn.
    for len in [0, 1, 4 << 20] {
        echo(proxy.address, len);
    }
    drop(target);
    // Nobody there: the client is told by an end, and the proxy goes on.
    for _ in 0..2 {
        let mut rest = Vec::new();
        let _ = connect(proxy.address).read_to_end(&mut rest);
        assert_eq!(rest, []);
    }
}

#[test]
fn a_chat_passes_lines_on_and_is_not_held_up_by_who_does_not_read() {
    let chat = start(env!("CARGO_BIN_EXE_chat"), &["127.0.0.1:0"]);
    let join = |name: &str| {
        let mut stream = connect(chat.address);
        writeln!(stream, "{name}").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "your name?");
        assert_eq!(lines.next().unwrap().unwrap(), format!("{name}: is here"));
        (stream, lines)
    };
    let (mut ann, mut to_ann) = join("ann");
    let (_deaf, mut to_deaf) = join("deaf");
    assert_eq!(to_ann.next().unwrap().unwrap(), "deaf: is here");
    let (mut bob, mut to_bob) = join("bob");
    assert_eq!(to_ann.next().unwrap().unwrap(), "bob: is here");
    // Far more than the queue and the kernel's buffers of the member that does not read.
    let text = "x".repeat(900);
    const COUNT: usize = 20_000;
    let talking = std::thread::spawn(move || {
        for number in 0..COUNT {
            writeln!(ann, "{number} {text}").unwrap();
        }
        ann
    });
    // Those who read get every line up to where they fall behind for a moment; the last words
    // reach them in any case.
    let mut heard = 0;
    let mut missed = 0;
    while heard + missed < COUNT {
        let line = to_bob.next().unwrap().unwrap();
        match line.strip_prefix("* you missed ") {
            Some(rest) => {
                missed += rest.split(' ').next().unwrap().parse::<usize>().unwrap();
            }
            None => heard += usize::from(line.starts_with("ann: ")),
        }
    }
    assert!(heard > 0);
    writeln!(bob, "over").unwrap();
    assert_eq!(to_ann.next().unwrap().unwrap(), "bob: over");
    let _ann = talking.join().unwrap();
    // The one who did not read missed lines, and is told so when it does.
    let told = to_deaf.any(|line| line.unwrap().starts_with("* you missed "));
    assert!(told);
}

#[test]
fn the_pools_end_with_every_buffer_home() {
    let output = Command::new(env!("CARGO_BIN_EXE_pool_integration"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for expected in [
        "framed 16 bytes, 1 buffer in use",
        "parts \"first\" and \"second\"",
        "a second one is refused: true",
        "all dropped, 0 buffers in use",
        "received: over a socket",
        "at the end 0 buffers in use",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
