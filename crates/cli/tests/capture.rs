//! `zcn capture` as a program, in a network namespace of its own.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread;

use common::{run, text, zcn};
use zcn_sys::namespace::enter_new_network;

fn skipped(reason: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "SKIPPED: {reason}");
}

/// Runs `test` in a namespace with loopback up.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        if let Err(error) = enter_new_network() {
            return skipped(format_args!("no network namespace of our own: {error}"));
        }
        let up = Command::new("ip")
            .args("link set lo up".split(' '))
            .status();
        match up {
            Ok(status) if status.success() => test(),
            _ => skipped("ip is not installed"),
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Starts a capture; it is at work when this returns.
fn start(arguments: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = zcn()
        .arg("capture")
        .args(arguments.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut told = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    told.read_line(&mut line).expect("text");
    assert!(line.starts_with("capturing on"), "{line}");
    (child, told)
}

/// Sends datagrams of these sizes to this port of ours.
fn datagrams(port: u16, sizes: &[usize]) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let _listening = UdpSocket::bind(("127.0.0.1", port)).expect("the port");
    for size in sizes {
        let sent = socket.send_to(&vec![9; *size], ("127.0.0.1", port));
        assert_eq!(sent.expect("there is a way"), *size);
    }
}

#[test]
fn what_the_filter_leaves_is_written_and_can_be_read() {
    in_namespace(|| {
        let path = std::env::temp_dir().join(format!("zcn-capture-{}.pcapng", std::process::id()));
        let file = path.display();
        let (mut capture, mut told) = start(&format!(
            "lo --write {file} --port 4000 --kind udp --count 3"
        ));
        datagrams(4001, &[10]);
        datagrams(4000, &[100, 200, 300]);
        assert!(capture.wait().expect("it ends").success());
        let mut rest = String::new();
        told.read_to_string(&mut rest).expect("text");
        // One was seen besides, if not more.
        assert!(rest.starts_with("3 frames captured of "), "{rest}");
        assert!(rest.ends_with(", 0 dropped\n"), "{rest}");
        let fields = "-T fields -e frame.time_epoch -e udp.dstport -e udp.length";
        let tshark = Command::new("tshark")
            .args(format!("-r {file} {fields}").split_whitespace())
            .output();
        let bytes = fs::read(&path).expect("a file");
        fs::remove_file(&path).expect("removed");
        // The magic number of pcapng.
        assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
        let Ok(tshark) = tshark else {
            return skipped("tshark is not installed");
        };
        let lines = text(&tshark.stdout);
        let mut last = String::new();
        for (line, size) in lines.lines().zip([100, 200, 300]) {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields[1..], ["4000", &(size + 8).to_string()], "{lines}");
            let (_, fraction) = fields[0].split_once('.').expect("a fraction");
            assert_eq!(fraction.len(), 9, "nanoseconds: {lines}");
            assert!(fields[0] > last.as_str(), "in order: {lines}");
            fields[0].clone_into(&mut last);
        }
        assert_eq!(lines.lines().count(), 3, "{lines}");
    });
}

#[test]
fn lines_are_shown_without_a_file_and_a_signal_ends_it() {
    in_namespace(|| {
        let (mut capture, mut told) = start("lo --host 127.0.0.1 --json");
        datagrams(4000, &[100]);
        let mut out = BufReader::new(capture.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("text");
        assert!(line.contains("> 127.0.0.1:4000 udp, 142 bytes"), "{line}");
        let kill = Command::new("kill")
            .args(["-INT", &capture.id().to_string()])
            .status();
        assert!(kill.expect("kill runs").success());
        assert!(capture.wait().expect("it ends").success());
        let mut rest = String::new();
        told.read_to_string(&mut rest).expect("text");
        let counted: serde_json::Value = serde_json::from_str(rest.trim()).expect("an object");
        assert_eq!(counted["interface"], "lo");
        assert_eq!(counted["dropped"], 0);
        assert!(counted["captured"].as_u64() >= Some(1), "{counted}");
    });
}

#[test]
fn what_cannot_be_is_told_with_a_remedy() {
    let failed = |arguments: &str, code, part: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let output = run(&arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{part}: {told}");
    };
    failed("capture", 2, "INTERFACE");
    failed("capture lo --port many", 2, "--port");
    failed("capture lo --count 0", 2, "--count");
    failed("capture lo --kind smoke", 2, "--kind");
    in_namespace(move || {
        let failed = |arguments: &str, part: &str| {
            let arguments: Vec<&str> = arguments.split_whitespace().collect();
            let output = run(&arguments);
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains(part), "{part}: {told}");
        };
        failed("capture zcn-no-such0", "ip link");
        failed("capture lo -w /nowhere/file.pcapng", "--write FILE");
    });
}
