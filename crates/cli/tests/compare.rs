//! `zcn stack compare`: what goes over a bad path arrives whole, both ways.

mod common;

use std::io::Write;

use common::{objects, run, text};

/// Everything at once, few bytes: none may be lost, doubled or wrong, and nothing hangs.
/// Each byte is compared by the program, which fails where one is wrong.
fn transfers(arguments: &str) {
    let arguments: Vec<&str> = "stack compare --rounds 1 --json"
        .split_whitespace()
        .chain(arguments.split_whitespace())
        .collect();
    let output = run(&arguments);
    let told = text(&output.stderr);
    if told.contains("namespace") || told.contains("/dev/net/tun") {
        let _ = writeln!(std::io::stdout(), "SKIPPED: {told}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{told}");
    let rows = objects(&output.stdout);
    assert_eq!(rows.len() % 3, 0);
    for row in &rows {
        assert_eq!(row["metric"], "goodput");
        assert!(row["value"].as_f64() > Some(0.0), "{row}");
    }
}

#[test]
fn content_survives_every_fault_alone() {
    // All six paths.
    transfers("--flows 2 --bytes 300k");
}

#[test]
fn content_survives_all_faults_together() {
    for family in ["", "-6"] {
        transfers(&format!(
            "--flows 2 --bytes 200k --rtt 2ms --loss 2 --reorder 5 --duplicate 3 --corrupt 2 \
             --congestion cubic --congestion reno {family}"
        ));
    }
}

#[test]
fn content_survives_a_narrow_way() {
    transfers("--flows 2 --bytes 300k --rate 50M --mtu 576 --loss 0");
}

#[test]
fn misuse_names_the_flag() {
    for (arguments, part) in [
        ("--loss 101", "--loss"),
        ("--corrupt some", "--corrupt"),
        ("--congestion vegas", "--congestion"),
        ("--flows 0", "--flows"),
        ("--bytes 1M --time 2s", "--time"),
        ("--mtu 100", "--mtu"),
    ] {
        let arguments: Vec<&str> = "stack compare"
            .split_whitespace()
            .chain(arguments.split_whitespace())
            .collect();
        let output = run(&arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(part), "{part}: {told}");
    }
    let output = run(&["stack", "compare", "-6", "--mtu", "600"]);
    assert!(text(&output.stderr).contains("--mtu 1280"));
}
