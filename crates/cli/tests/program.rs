//! The program from outside: exit codes, output, environment.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use common::{objects, run, text, without_uring, zcn};
use serde_json::Value;

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
    let mut pool = zcn()
        .args(["pool", "--listen", "127.0.0.1:0"])
        .stdout(full())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut said = String::new();
    let mut stderr = BufReader::new(pool.stderr.take().expect("piped"));
    while !said.contains("work goes on without output") {
        assert!(stderr.read_line(&mut said).expect("text") > 0, "{said}");
    }
    assert!(said.contains("cannot write the output"), "{said}");
    assert!(pool.try_wait().expect("a child").is_none());
    let pid = pool.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status();
    assert!(killed.expect("kill runs").success());
    assert_eq!(pool.wait().expect("it ends").code(), Some(1));
    // Said once.
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(said.matches("cannot write the output").count(), 1, "{said}");
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
