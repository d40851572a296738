//! The program and the benchmarks, briefly: do they run, and is what they
//! print what they promise?

use serde_json::Value;

use crate::cargo::{cargo, run_and_read};
use crate::step::Outcome;

/// Keys of every line of `zcn-bench --json`.
const BENCH_KEYS: &[&str] = &["bench", "case", "metric", "value", "unit"];

/// Key of every line of `zcn demo --json`.
const DEMO_KEYS: &[&str] = &["kind"];

/// `zcn demo`, shortened.
pub(crate) fn demo() -> Outcome {
    json_lines(
        &[
            "run",
            "--release",
            "-p",
            "zcn-cli",
            "--",
            "demo",
            "--seconds",
            "5",
            "--json",
        ],
        DEMO_KEYS,
    )
}

/// Every benchmark with as little work as it can do.
pub(crate) fn bench() -> Outcome {
    json_lines(
        &[
            "run",
            "--release",
            "-p",
            "zcn-bench",
            "--",
            "all",
            "--quick",
            "--json",
        ],
        BENCH_KEYS,
    )
}

fn json_lines(arguments: &[&str], keys: &[&str]) -> Outcome {
    let mut lines = 0;
    let mut fault = None;
    let outcome = run_and_read(&mut cargo(arguments), |line| {
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
