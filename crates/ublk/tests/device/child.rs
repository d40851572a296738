//! This test program as a server in a process of its own, which can be killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use zcn_ublk::{Control, Device, DeviceOptions, Target};

/// What the child is asked to do, in its environment.
const ASKED: &str = "ZCN_UBLK_CHILD";
/// Before the one line that the parent reads.
const ANSWER: &str = "child: ";

/// Not a test, unless a parent asks.
#[test]
fn the_child_of_another_test() {
    let Ok(asked) = std::env::var(ASKED) else {
        return;
    };
    let words: Vec<&str> = asked.splitn(3, ' ').collect();
    let recoverable = words[0] == "recoverable";
    let answer = |text: String| {
        println!("\n{ANSWER}{text}");
        std::io::stdout().flush().expect("a parent that reads");
    };
    let device = match words[..] {
        ["open", ..] => {
            answer(Control::open().map_or_else(|error| error.to_string(), |_| "open".to_owned()));
            end()
        }
        ["add", ..] => {
            let memory = Target::memory(1 << 20).expect("memory");
            let added = Device::add(memory, &DeviceOptions::default());
            answer(added.map_or_else(|error| error.to_string(), |_| "added".to_owned()));
            end()
        }
        ["recover", id, path] => {
            let target = Target::file(path, false).expect("a file");
            Device::recover(id.parse().expect("an id"), target).expect("recovered")
        }
        [_, _, path] => {
            let options = DeviceOptions {
                queues: 2,
                depth: 16,
                recoverable,
                ..DeviceOptions::default()
            };
            let target = Target::file(path, false).expect("a file");
            Device::add(target, &options).expect("added")
        }
        _ => panic!("what is {asked:?}?"),
    };
    answer(device.id().to_string());
    device.wait().expect("served to the end");
    end();
}

/// Ends the child: what the harness would print afterwards has no reader.
fn end() -> ! {
    std::process::exit(0)
}

/// A server in a child, killed at the latest when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) id: u32,
}

fn command(asked: String) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "child::the_child_of_another_test", "--nocapture"])
        .env(ASKED, asked)
        .stdout(Stdio::piped());
    command
}

fn answer_of(child: &mut Child) -> String {
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix(ANSWER).map(str::to_owned))
        .expect("an answer")
}

impl Server {
    /// Has a child add (`plain`, `recoverable`) or `recover` a device on a file.
    pub(crate) fn start(how: &str, id: u32, path: &Path) -> Self {
        let mut child = command(format!("{how} {id} {}", path.display()))
            .spawn()
            .expect("a child");
        let id = answer_of(&mut child).parse().expect("an id");
        Self { child, id }
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) -> bool {
        self.child.wait().expect("it ends").success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process without rights is told when it does as it is asked.
pub(crate) fn as_nobody(asked: &str) -> String {
    let mut child = command(asked.to_owned())
        .uid(65534)
        .gid(65534)
        .spawn()
        .expect("a child");
    let answer = answer_of(&mut child);
    child.wait().expect("it ends");
    answer
}
