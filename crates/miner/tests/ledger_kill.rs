//! A ledger whose program is killed in the middle of writing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use zcn_miner::ledger::{Durability, Ledger};

/// Set in the program that is to be killed.
const CHILD: &str = "ZCN_LEDGER_CHILD";

#[test]
fn nothing_that_was_written_is_lost_by_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        write_for_ever(path);
    }
    let path = std::env::temp_dir().join(format!("zcn-ledger-kill-{}", std::process::id()));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "nothing_that_was_written_is_lost_by_a_kill",
            "--nocapture",
        ])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    while told.len() < 200 {
        let line = lines.next().expect("the child ended").unwrap();
        told.extend(
            line.strip_prefix("share ")
                .map(|n| n.parse::<u64>().unwrap()),
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it told between our last look and the kill.
    for line in lines.map_while(Result::ok) {
        told.extend(
            line.strip_prefix("share ")
                .and_then(|n| n.parse::<u64>().ok()),
        );
    }
    let (_ledger, open) = Ledger::open(&path, Durability::Kernel).unwrap();
    let expected: Vec<u64> = told.into_iter().filter(|number| number % 3 != 0).collect();
    // The last one may have been told and not yet settled, or written and not yet told.
    assert!(
        open.len() >= expected.len(),
        "{} of {}",
        open.len(),
        expected.len()
    );
    assert!(open.len() <= expected.len() + 2);
    for (share, number) in open.iter().zip(expected) {
        assert_eq!(share.number, number);
        assert_eq!(share.bytes, format!("share number {number}").as_bytes());
    }
    std::fs::remove_file(&path).unwrap();
}

/// Writes shares, tells each, and settles every third before it is told.
#[allow(clippy::print_stdout)]
fn write_for_ever(path: std::ffi::OsString) -> ! {
    let (mut ledger, _) = Ledger::open(path, Durability::Kernel).unwrap();
    for number in 0.. {
        let share = format!("share number {number}");
        assert_eq!(ledger.found(share.as_bytes()).unwrap(), number);
        if number % 3 == 0 {
            ledger.settle(number).unwrap();
        }
        println!("share {number}");
    }
    unreachable!()
}
