//! `zcn mine` and `zcn pool` as programs.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

/// A program of ours that prints events; killed when it is dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = super::zcn()
            .args(arguments)
            .arg("--json")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, out }
    }

    /// The next event; `None` at the end.
    pub(crate) fn event(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line or an end");
        let parsed = serde_json::from_str(&line);
        (!line.is_empty()).then(|| parsed.unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Waits for that many events of a name.
    pub(crate) fn until(&mut self, name: &str, mut count: usize) -> Value {
        self.until_one(|event| {
            count -= usize::from(event["event"] == name);
            count == 0
        })
    }

    /// Waits for an event that `is` something.
    pub(crate) fn until_one(&mut self, mut is: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let event = self
                .event()
                .expect("what is waited for comes before the end");
            if is(&event) {
                return event;
            }
        }
    }

    pub(crate) fn interrupt(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed());
        let signal = rustix::process::Signal::INT;
        rustix::process::kill_process(pid.expect("a process"), signal).expect("it runs");
    }
}

impl Program {
    /// Ends it as nothing else would: SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Asks it to end, waits for that, and tells what it counted.
    pub(crate) fn stop(mut self) -> Value {
        self.interrupt();
        let counted = self.until("stopped", 1);
        assert!(self.child.wait().expect("it ends").success());
        counted
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
pub(crate) fn pool(listen: &str) -> (Program, String) {
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

/// A pool as [`pool`] with a door for Stratum V2 beside it, and the URL of that.
pub(crate) fn pool_v2(arguments: &[&str]) -> (Program, String) {
    let all = [
        "pool",
        "--listen",
        "127.0.0.1:0",
        "--difficulty",
        "0.000003",
        "--share-interval",
        "0",
    ];
    let mut pool = Program::start(&[&all[..], arguments].concat());
    let listening = pool.until("listening", 1);
    let url = listening["v2"].as_str().expect("a URL").to_owned();
    (pool, url)
}

pub(crate) fn miner(arguments: &[&str]) -> Program {
    Program::start(&[&["mine", "-u", "me", "-t", "1"], arguments].concat())
}
