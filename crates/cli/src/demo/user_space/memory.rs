//! Two stacks of ours through memory, where nothing else is allowed.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Ground, Track, UserSpace};
use crate::failure::Failure;
use crate::stack::compare::through_memory;

/// Echo requests sent.
const PINGS: usize = 200;

/// Measures what can be measured without the kernel, and says why it had to be so.
pub(super) fn run(
    reason: String,
    rounds: usize,
    sample: Duration,
    capture: Option<&Path>,
) -> Result<UserSpace, Failure> {
    let mut track = Track {
        name: "zcn to zcn, memory",
        ..Track::default()
    };
    let ping = ping(capture)?;
    track.rtt_us.push(number(&ping, "rtt_avg_ms") * 1e3);
    let mut bytes = 0;
    for _ in 0..rounds {
        let (received, bits) = through_memory(sample)?;
        bytes += received;
        track.to_server.push(bits / 1e9);
    }
    Ok(UserSpace {
        ground: Ground::Memory(reason),
        tracks: vec![track],
        programs: vec![format!(
            "zcn ping: {:.0} of {:.0} answered, {:.3} ms on average",
            number(&ping, "received"),
            number(&ping, "sent"),
            number(&ping, "rtt_avg_ms")
        )],
        bytes,
        capture: capture.map(super::written).transpose()?,
    })
}

fn number(object: &Value, key: &str) -> f64 {
    object[key].as_f64().unwrap_or(0.0)
}

/// What `zcn ping --mem` counted.
fn ping(capture: Option<&Path>) -> Result<Value, Failure> {
    let failed = || Failure::new("cannot run `zcn ping --mem`");
    let program = env::current_exe().map_err(|error| failed().because(error))?;
    let mut command = Command::new(program);
    command
        .args(["ping", "--mem", "--address", "10.77.0.1/24", "--quiet"])
        .args(["--json", "--interval", "500us", "--count"])
        .arg(PINGS.to_string())
        .arg("10.77.0.2");
    if let Some(path) = capture {
        command.arg("--capture").arg(path);
    }
    let output = command.output().map_err(|error| failed().because(error))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| failed().because(String::from_utf8_lossy(&output.stderr).trim()))
}
