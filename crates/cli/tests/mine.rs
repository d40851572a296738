//! `zcn mine` against `zcn pool`, both as programs, killed and started again.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

/// A program of ours that prints events; killed when it is dropped.
struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = common::zcn()
            .args(arguments)
            .arg("--json")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, out }
    }

    /// The next event; `None` at the end.
    fn event(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line or an end");
        let parsed = serde_json::from_str(&line);
        (!line.is_empty()).then(|| parsed.unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Waits for that many events of a name.
    fn until(&mut self, name: &str, mut count: usize) -> Value {
        loop {
            let event = self
                .event()
                .unwrap_or_else(|| panic!("ended before {name}"));
            count -= usize::from(event["event"] == name);
            if count == 0 {
                return event;
            }
        }
    }

    fn interrupt(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed());
        let signal = rustix::process::Signal::INT;
        rustix::process::kill_process(pid.expect("a process"), signal).expect("it runs");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pool with shares that take some ten thousand hashes, so that the slowest engine in a debug
/// build finds several a second.
fn pool(listen: &str) -> (Program, String) {
    let mut pool = Program::start(&[
        "pool",
        "--listen",
        listen,
        "--difficulty",
        "0.000003",
        "--share-interval",
        "0",
    ]);
    let listening = pool.until("listening", 1);
    let address = listening["address"]
        .as_str()
        .expect("an address")
        .to_owned();
    (pool, address)
}

fn miner(arguments: &[&str]) -> Program {
    Program::start(&[&["mine", "-u", "me", "-t", "1"], arguments].concat())
}

#[test]
fn what_the_miner_counts_is_what_the_pool_counts() {
    let (mut pool, address) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &address]);
    miner.until("accepted", 5);
    miner.interrupt();
    let told = miner.until("stopped", 1);
    assert!(miner.child.wait().expect("it ends").success());
    pool.interrupt();
    let counted = pool.until("stopped", 1);
    assert_eq!(told["accepted"], counted["accepted"]);
    assert_eq!((&told["rejected"], &told["wrong"]), (&0.into(), &0.into()));
    assert_eq!(counted["refused"], 0);
}

#[test]
fn a_pool_that_is_killed_and_started_again_is_mined_for_again() {
    let (mut first, address) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &address]);
    miner.until("accepted", 2);
    first.child.kill().expect("it runs");
    miner.until("disconnected", 1);
    drop(first);
    let (_second, _) = pool(&address);
    miner.until("accepted", 2);
}

#[test]
fn a_second_pool_takes_over() {
    let (mut first, one) = pool("127.0.0.1:0");
    let (_second, two) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &one, "-o", &two]);
    miner.until("accepted", 1);
    first.child.kill().expect("it runs");
    let ready = miner.until("ready", 1);
    assert!(
        ready["pool"].as_str().expect("a pool").ends_with(&two),
        "{ready}"
    );
    miner.until("accepted", 1);
}
