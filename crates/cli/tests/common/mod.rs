//! Running the real program.

#![allow(dead_code)]

pub(crate) mod mining;
pub(crate) mod peer;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// The program, without settings of whoever runs the tests.
pub(crate) fn zcn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zcn"));
    command.env_remove("ZCN_LOG").env_remove("NO_COLOR");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    zcn().args(arguments).output().expect("the program starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Every line as an object.
pub(crate) fn objects(bytes: &[u8]) -> Vec<Value> {
    text(bytes)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Says that a test did not run, and why.
pub(crate) fn skipped(reason: &dyn std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "SKIPPED: {reason}");
}

/// Runs `work` on a thread that, with all processes it starts, is refused
/// io_uring.
pub(crate) fn without_uring<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    refused(zcn_sys::refusal::refuse_io_uring, work)
}

/// As [`without_uring`], for namespaces.
pub(crate) fn without_namespaces<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    refused(zcn_sys::refusal::refuse_namespaces, work)
}

fn refused<T: Send>(refuse: fn(i32) -> std::io::Result<()>, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            refuse(1).expect("filters can be installed");
            work()
        });
        thread.join().expect("the thread ends well")
    })
}

/// `zcn echo --json` while it runs.
pub(crate) struct Echo {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said when it listened.
    pub(crate) listening: Value,
}

impl Echo {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = zcn()
            .args(["echo", "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line or an end");
        if line.is_empty() {
            let output = child.wait_with_output().expect("it ends");
            panic!("it did not listen: {}", text(&output.stderr));
        }
        Self {
            child,
            out,
            listening: serde_json::from_str(&line).expect("an object"),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.listening["address"]
            .as_str()
            .expect("an address")
            .to_owned()
    }

    /// Sends a signal again and again until it ends; returns the exit code.
    pub(crate) fn insist(mut self, signal: &str) -> Option<i32> {
        loop {
            self.signal(signal);
            std::thread::sleep(std::time::Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status.code();
            }
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Sends a signal by name and returns the last line and the exit code.
    pub(crate) fn end(mut self, signal: &str) -> (Value, Option<i32>) {
        self.signal(signal);
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it ends");
        let last = rest.lines().last().expect("a last line");
        (
            serde_json::from_str(last).expect("an object"),
            status.code(),
        )
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
