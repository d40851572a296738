//! `zcn ping` as a program, over memory: no privilege needed.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::{objects, run, text, zcn};

fn ping(arguments: &str) -> std::process::Output {
    let arguments: Vec<&str> = ["ping", "--mem"]
        .into_iter()
        .chain(arguments.split_whitespace())
        .collect();
    run(&arguments)
}

#[test]
fn every_request_is_answered() {
    for (addresses, host) in [
        ("--address 10.9.0.1/24", "10.9.0.2"),
        // Itself.
        ("--address 10.9.0.1/24", "10.9.0.1"),
        ("--address 10.9.0.1/24 --address fd09::1/64", "fd09::2"),
    ] {
        for size in [0, 56, 1472, 1473, 65_507] {
            // Requests wait until the neighbour's address is known, but no more than 128 packets do;
            // the largest are 45 fragments each.
            let count = if size > 1_473 { 2 } else { 3 };
            let output = ping(&format!(
                "{addresses} -c {count} -i 1ms -W 20s -s {size} --json {host}"
            ));
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let lines = objects(&output.stdout);
            let (statistics, answers) = lines.split_last().expect("lines");
            assert_eq!(answers.len(), count, "{lines:?}");
            for (index, answer) in answers.iter().enumerate() {
                assert_eq!(answer["kind"], "answer");
                assert_eq!(answer["from"], host);
                assert_eq!(answer["sequence"], index + 1);
                assert_eq!(answer["bytes"], size + 8);
                assert_eq!(answer["ttl"], 64);
                assert_eq!(answer["wrong"], false);
            }
            assert_eq!(statistics["kind"], "statistics");
            assert_eq!(
                (&statistics["sent"], &statistics["received"]),
                (&count.into(), &count.into())
            );
        }
    }
}

#[test]
fn text_is_as_ping_has_it() {
    let output = ping("--address 10.9.0.1/24 -c 1 10.9.0.2");
    let text = text(&output.stdout);
    for part in [
        "64 bytes from 10.9.0.2: icmp_seq=1 ttl=64 time=",
        "1 packets transmitted, 1 received, 0% packet loss",
        "rtt min/avg/max/mdev = ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_signal_ends_it_with_statistics() {
    let mut child = zcn()
        .args("ping --mem --address 10.9.0.1/24 -i 1ms 10.9.0.2".split_whitespace())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("icmp_seq=3") {
        line.clear();
        assert!(out.read_line(&mut line).expect("text") > 0);
    }
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill runs").success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    assert!(child.wait().expect("it ends").success());
    assert!(rest.contains("ping statistics"), "{rest}");
}

#[test]
fn what_cannot_be_is_told_with_a_remedy() {
    for (arguments, code, part) in [
        ("--address 10.9.0.1/24 -c 1 10.8.0.1", 1, "no route covers"),
        (
            "--address 10.9.0.1/24 -c 1 fd09::2",
            1,
            "--address fd09::2/64",
        ),
        ("-c 1 10.9.0.2", 1, "--address"),
        (
            "--address 10.9.0.1/24 -c 1 --dont-fragment -s 1473 10.9.0.2",
            1,
            "a smaller --size",
        ),
        (
            "--address 10.9.0.1/24 -s 65508 10.9.0.2",
            2,
            "at most 65507",
        ),
        ("--address 10.9.0.1/24 -c 0 10.9.0.2", 2, "--count"),
        ("--address 10.9.0.1/24 -i often 10.9.0.2", 2, "--interval"),
    ] {
        let output = ping(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {told}");
        assert!(told.contains(part), "{arguments}: {told}");
    }
}
