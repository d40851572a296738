//! The program and the benchmarks, briefly: do they run, and is what they
//! print what they promise?

use std::process::Command;

use serde_json::Value;

use crate::cargo::{cargo, root, run, run_and_read, target};
use crate::step::Outcome;

/// Keys of every line of `zcn-bench --json`.
const BENCH_KEYS: &[&str] = &["bench", "case", "metric", "value", "unit"];

/// Key of every line of `zcn demo --json`.
const DEMO_KEYS: &[&str] = &["kind"];

/// `zcn demo`, shortened.
pub(crate) fn demo() -> Outcome {
    let mut command = cargo(&["run", "--release", "-p", "zcn-cli", "--"]);
    command.args(["demo", "--seconds", "5", "--json"]);
    json_lines(&mut command, DEMO_KEYS)
}

/// Every benchmark with as little work as it can do. Figures mean nothing
/// here, so it is built as the tests are: its peers are not compiled a second
/// time, and debug assertions are on.
pub(crate) fn bench() -> Outcome {
    // With the features of the whole workspace, as `cargo test` builds it.
    let built = run(&mut cargo(&["build", "--workspace", "--bin", "zcn-bench"]));
    if !matches!(built, Outcome::Done(_)) {
        return built;
    }
    let mut command = Command::new(target().join("debug").join("zcn-bench"));
    command
        .current_dir(root())
        .args(["all", "--quick", "--json"]);
    json_lines(&mut command, BENCH_KEYS)
}

/// Two thousand seeds of the simulation; a failing one is printed with the command that
/// replays it.
pub(crate) fn sim() -> Outcome {
    let mut command = cargo(&[
        "run",
        "--release",
        "-p",
        "zcn-sim",
        "--bin",
        "zcn-sim",
        "--",
    ]);
    command.args(["--seeds", "2000"]);
    let mut summary = String::new();
    match run_and_read(&mut command, |line| line.clone_into(&mut summary)) {
        Outcome::Done(_) => Outcome::Done(summary),
        other => other,
    }
}

fn json_lines(command: &mut Command, keys: &[&str]) -> Outcome {
    let mut lines = 0;
    let mut fault = None;
    let outcome = run_and_read(command, |line| {
        lines += 1;
        if fault.is_none() {
            fault = wrong_with(line, keys);
        }
    });
    match (outcome, fault) {
        (Outcome::Done(_), None) if lines > 0 => Outcome::Done(format!("{lines} lines")),
        (Outcome::Done(_), None) => Outcome::Failed("nothing was printed".to_owned()),
        (Outcome::Done(_), Some(fault)) => Outcome::Failed(fault),
        (other, _) => other,
    }
}

/// What a line of `--json` lacks, if anything.
fn wrong_with(line: &str, keys: &[&str]) -> Option<String> {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(object)) => keys
            .iter()
            .find(|key| !object.contains_key(**key))
            .map(|key| format!("no {key:?} in {line}")),
        Ok(_) => Some(format!("no object: {line}")),
        Err(error) => Some(format!("not JSON ({error}): {line}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_objects_with_the_promised_keys() {
        let good = r#"{"bench":"pool","case":"a","metric":"ns","value":2.7,"unit":"ns"}"#;
        assert_eq!(wrong_with(good, BENCH_KEYS), None);
        for bad in [r#"{"bench":"pool"}"#, "[1]", "pool: 2.7 ns", ""] {
            assert!(wrong_with(bad, BENCH_KEYS).is_some(), "{bad:?}");
        }
    }
}
