//! `zcn connect` as a program, to servers on the kernel's loopback.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;

use common::{run, text, zcn};
use zcn_measure::pattern::Pattern;

/// A server that does `work` with its first peer.
fn server(work: impl FnOnce(TcpStream) + Send + 'static) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let thread = thread::spawn(move || work(listener.accept().expect("a peer").0));
    (port, thread)
}

fn connect(port: u16) -> Child {
    zcn()
        .args(["connect", "127.0.0.1", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Pattern::new(3).fill(0, &mut bytes);
    bytes
}

/// The end of the input ends one direction, and the answer comes by the other.
#[test]
fn a_half_closed_connection_brings_the_answer() {
    let (port, server) = server(|mut peer| {
        let mut request = Vec::new();
        peer.read_to_end(&mut request).expect("read");
        request.reverse();
        peer.write_all(&request).expect("written");
    });
    let mut client = connect(port);
    let bytes = content(3_000_000);
    let mut input = client.stdin.take().expect("a pipe");
    input.write_all(&bytes).expect("written");
    drop(input);
    let output = client.wait_with_output().expect("it ends");
    server.join().expect("served");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.iter().rev().eq(bytes.iter()));
}

/// The server ends first; what comes by standard input afterwards still goes there.
#[test]
fn a_server_that_has_ended_still_gets_the_rest() {
    let (done, is_done) = std::sync::mpsc::channel();
    let (port, server) = server(move |mut peer| {
        peer.write_all(b"that is all").expect("written");
        peer.shutdown(Shutdown::Write).expect("shut down");
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).expect("read");
        done.send(rest).expect("waited for");
    });
    let mut client = connect(port);
    let mut answer = [0; 11];
    let mut out = client.stdout.take().expect("a pipe");
    out.read_exact(&mut answer).expect("read");
    assert_eq!(&answer, b"that is all");
    let bytes = content(1_000_000);
    let mut input = client.stdin.take().expect("a pipe");
    input.write_all(&bytes).expect("written");
    drop(input);
    assert!(is_done.recv().expect("served") == bytes);
    server.join().expect("served");
    assert_eq!(client.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let (port, server) = server(|mut peer| {
        // Until the client is gone.
        while peer.write_all(&[7; 65_536]).is_ok() {}
    });
    let mut client = connect(port);
    let mut out = client.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 1000]).expect("read");
    drop(out);
    let output = client.wait_with_output().expect("it ends");
    server.join().expect("served");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn what_cannot_be_is_told_with_a_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    drop(listener);
    for (arguments, code, part) in [
        (vec!["127.0.0.1", &port], 1, "cannot connect to"),
        (vec!["no.such.name.invalid", "7"], 1, "no.such.name.invalid"),
        (vec!["127.0.0.1", "0"], 2, "PORT"),
        (vec!["127.0.0.1", "http"], 2, "PORT"),
        (vec!["127.0.0.1"], 2, "PORT"),
        (
            vec!["--address", "10.9.0.1/24", "10.9.0.2", "7"],
            1,
            "--tap",
        ),
        (
            vec![
                "--mem",
                "--address",
                "10.9.0.1/24",
                "-w",
                "100ms",
                "10.9.0.2",
                "7",
            ],
            1,
            "10.9.0.2",
        ),
    ] {
        let arguments: Vec<&str> = ["connect"].into_iter().chain(arguments).collect();
        let output = run(&arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
}
