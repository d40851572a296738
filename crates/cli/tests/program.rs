//! The program from outside: exit codes, output, environment.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use common::peer::Process;
use common::{objects, run, text, without_uring, zcn};
use serde_json::Value;

/// How long a line may take that is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The object of one check in the output of `doctor --json`.
fn check(output: &Output, name: &str) -> Value {
    objects(&output.stdout)
        .into_iter()
        .find(|object| object["check"] == name)
        .unwrap_or_else(|| panic!("no check {name}"))
}

/// A shell that runs `zcn doctor --json` after `before`.
fn doctor_after(before: &str) -> Output {
    Command::new("sh")
        .args(["-c", &format!("{before}; exec \"$0\" doctor --json")])
        .arg(env!("CARGO_BIN_EXE_zcn"))
        .output()
        .expect("a shell")
}

#[test]
fn doctor_finds_a_place_to_run() {
    let output = run(&["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let table = text(&output.stdout);
    assert!(table.contains("zcn runs here, on "), "{table}");
    assert!(!table.contains('\x1b'), "no colour into a pipe");
}

#[test]
fn doctor_json_has_the_kernel() {
    let kernel = check(&run(&["doctor", "--json"]), "kernel");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let value = kernel["value"].as_str().expect("a string");
    assert!(value.starts_with(release.trim()), "{value}");
}

#[test]
fn doctor_fails_where_descriptors_run_out() {
    let output = doctor_after("ulimit -n 32");
    assert_eq!(output.status.code(), Some(1));
    let descriptors = check(&output, "network.descriptors");
    assert_eq!(descriptors["status"], "fail");
    assert!(
        descriptors["remedy"]
            .as_str()
            .expect("a remedy")
            .contains("nofile")
    );
}

#[test]
fn doctor_on_a_refused_ring_names_the_filter_and_goes_on() {
    let output = without_uring(|| run(&["doctor", "--json"]));
    assert_eq!(
        output.status.code(),
        Some(0),
        "epoll takes over: {output:?}"
    );
    let access = check(&output, "ring.access");
    assert_eq!(access["status"], "warn");
    assert!(
        access["remedy"]
            .as_str()
            .expect("a remedy")
            .contains("epoll")
    );
    assert_ne!(check(&output, "process.seccomp")["value"], "off");
}

#[test]
fn scripts_and_pages_are_printed() {
    for arguments in [["completions", "bash"].as_slice(), &["man"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        // The manual escapes hyphens.
        let script = text(&output.stdout).replace('\\', "");
        for subcommand in ["demo", "echo", "ping-pong", "send", "doctor"] {
            assert!(script.contains(subcommand), "{arguments:?}: {subcommand}");
        }
    }
}

#[test]
fn misuse_is_2_and_shows_the_usage() {
    for arguments in [&["dance"][..], &[], &["doctor", "--loud"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("Usage"), "{arguments:?}");
    }
}

/// Found by reading as a newcomer: some flags told no more than "invalid digit found in string".
#[test]
fn a_value_that_is_not_understood_is_told_what_can_be_written() {
    for (arguments, part) in [
        (
            "echo --spin x",
            "--spin <US>': \"x\" is no such number; write a whole one, 0 or more",
        ),
        ("echo --threads 0", "from 1 to 1024"),
        ("mine -o a:1 -u me -t 0", "1 or more"),
        ("mine -o a:1 -u me --api 9000", "127.0.0.1:3333"),
        ("pool --listen x", "127.0.0.1:3333"),
        ("pool --v2 x", "127.0.0.1:3333"),
        ("stack up --gateway x", "192.0.2.1"),
        ("stack up --mtu x", "0 or more"),
        ("connect a http", "from 1 to 65535"),
        ("capture lo --host x", "192.0.2.1"),
        ("capture lo --port x", "from 0 to 65535"),
        ("demo --seconds 1", "from 2 to 600"),
        ("send --connections x", "from 1 to 65536"),
        ("send --count 0", "1 or more"),
        ("ublk del x", "0 or more"),
    ] {
        let output = run(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let said = text(&output.stderr);
        assert!(said.contains(part), "{arguments}: {said}");
        assert!(!said.contains("invalid digit"), "{arguments}: {said}");
    }
}

/// A file that cannot be had is named with the flag that it was given to.
#[test]
fn a_file_that_cannot_be_had_is_told_with_the_flag_it_is_for() {
    let node = "--node http://127.0.0.1:1 --payout a --node-cookie /nowhere/x";
    for (arguments, flag) in [
        ("mine --config /nowhere/x".to_owned(), "--config FILE"),
        (
            "mine -o 127.0.0.1:9 -u me --ledger /nowhere/x".to_owned(),
            "--ledger FILE",
        ),
        (
            "pool --listen 127.0.0.1:0 --tls-cert /nowhere/x --tls-key /nowhere/x".to_owned(),
            "--tls-cert FILE",
        ),
        (
            "pool --listen 127.0.0.1:0 --tls-cert /dev/null --tls-key /dev/null".to_owned(),
            "--tls-key FILE",
        ),
        (
            "pool --listen 127.0.0.1:0 --v2 127.0.0.1:0 --v2-key /nowhere/x".to_owned(),
            "--v2-key FILE",
        ),
        (format!("pool --listen 127.0.0.1:0 {node}"), "cookie"),
        ("stack up --config /nowhere/x".to_owned(), "--config FILE"),
        ("demo --html /nowhere/x".to_owned(), "--html"),
        ("demo --pcapng /nowhere/x".to_owned(), "--pcapng"),
        ("echo --listen unix:/nowhere/x".to_owned(), "folder"),
        (
            "send --connect unix:/nowhere/x".to_owned(),
            "start the server",
        ),
    ] {
        let output = run(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        let said = text(&output.stderr);
        assert!(said.contains(flag), "{arguments}: {said}");
        assert!(said.contains("try: "), "{arguments}: {said}");
    }
}

#[test]
fn a_bad_filter_is_named_once_with_a_remedy() {
    let output = zcn()
        .env("ZCN_LOG", "zcn=loudly")
        .arg("doctor")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("zcn: cannot read ZCN_LOG=zcn=loudly: "),
        "{error}"
    );
    assert!(error.contains("try: ZCN_LOG=debug"), "{error}");
    assert_eq!(error.matches("level filter").count(), 1, "{error}");
}

/// A pool and a miner go on without their lines, and say in the end that some are missing.
#[test]
fn a_full_device_stops_no_work_and_is_told_of() {
    let full = || std::fs::File::create("/dev/full").expect("/dev/full opens");
    let pool = zcn()
        .args(["pool", "--listen", "127.0.0.1:0"])
        .stdout(full())
        .stderr(Stdio::piped())
        .spawn();
    let mut pool = Process(pool.expect("the program starts"));
    // On a thread: one that says nothing would be waited for without end.
    let stderr = BufReader::new(pool.0.stderr.take().expect("piped"));
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || stderr.lines().try_for_each(|said| line.send(said)));
    let said = || {
        let said = lines.recv_timeout(PATIENCE);
        said.map(|said| said.expect("text"))
    };
    let first = said().expect("it tells of the output");
    assert!(first.contains("cannot write the output"), "{first}");
    let second = said().expect("and what it does");
    assert!(second.contains("work goes on without output"), "{second}");
    assert!(pool.0.try_wait().expect("a child").is_none());
    let pid = pool.0.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status();
    assert!(killed.expect("kill runs").success());
    // Said once, and nothing else until the end.
    assert_eq!(said(), Err(RecvTimeoutError::Disconnected));
    assert_eq!(pool.0.wait().expect("it ends").code(), Some(1));
    // Where the lines are all there is.
    let output = zcn()
        .args([
            "mine",
            "-o",
            "127.0.0.1:9",
            "-u",
            "me",
            "--time-limit",
            "100ms",
        ])
        .stdout(full())
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("cannot write the output"), "{said}");
}

#[test]
fn a_full_device_is_a_failure_and_a_closed_pipe_is_none() {
    let full = std::fs::File::create("/dev/full").expect("/dev/full opens");
    let output = zcn()
        .arg("doctor")
        .stdout(full)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write the output"));

    let mut child = zcn()
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}
