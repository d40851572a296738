//! How many tests ran, counted from what they print.

use std::fmt;
use std::process::Command;

use crate::cargo::run_and_read;
use crate::step::Outcome;

/// Runs tests; fails when one does, or when there was none at all.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let mut tally = Tally::default();
    let outcome = run_and_read(command, |line| tally.read(line));
    match outcome {
        Outcome::Done(_) if tally.passed == 0 => Outcome::Failed("no test ran".to_owned()),
        Outcome::Done(_) => Outcome::Done(tally.to_string()),
        Outcome::Failed(reason) => Outcome::Failed(format!("{tally}; {reason}")),
        skipped => skipped,
    }
}

/// The sum of the `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    fn read(&mut self, line: &str) {
        // Tests that lack a kernel feature or a privilege say so themselves.
        if line.contains("SKIPPED") {
            self.skipped += 1;
        }
        let Some((_, counts)) = line.split_once("test result: ") else {
            return;
        };
        let count = |word| -> u64 {
            counts
                .split([';', '.'])
                .filter_map(|part| part.trim().strip_suffix(word))
                .find_map(|number| number.trim().parse().ok())
                .unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.skipped += count("ignored");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tests passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_tests_fails() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo running 0 tests"]);
        assert_eq!(run(&mut command), Outcome::Failed("no test ran".into()));
    }

    #[test]
    fn a_test_that_says_so_was_skipped() {
        let mut tally = Tally::default();
        tally.read("SKIPPED: io_uring is forbidden by a filter (EPERM)");
        assert_eq!(tally.skipped, 1);
    }

    #[test]
    fn results_add_up_over_the_programs() {
        let mut tally = Tally::default();
        for line in [
            "running 41 tests",
            "test affinity::tests::pinned ... ok",
            "test result: ok. 41 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out",
        ] {
            tally.read(line);
        }
        let expected = Tally {
            passed: 42,
            failed: 2,
            skipped: 3,
        };
        assert_eq!(tally, expected);
        assert_eq!(tally.to_string(), "42 tests passed, 2 failed, 3 skipped");
    }
}
