//! Steps: run one after the other, timed, summed up at the end.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it should; what there is to say about it.
    Done(String),
    /// It could not be done here, and why.
    Skipped(String),
    /// It found a fault.
    Failed(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Outcome::Done(_) => "ok",
            Outcome::Skipped(_) => "SKIPPED",
            Outcome::Failed(_) => "FAILED",
        }
    }

    fn remark(&self) -> &str {
        match self {
            Outcome::Done(remark) | Outcome::Skipped(remark) | Outcome::Failed(remark) => remark,
        }
    }
}

/// One thing to do.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) run: fn() -> Outcome,
}

/// Runs all steps, also those after a failed one, and prints a summary.
/// Fails when a step did.
pub(crate) fn run_all(steps: &[Step]) -> ExitCode {
    let start = Instant::now();
    let mut done: Vec<(&str, Outcome, Duration)> = Vec::new();
    for step in steps {
        println!("\n=== {}", step.name);
        let begin = Instant::now();
        let outcome = (step.run)();
        let took = begin.elapsed();
        println!("=== {}", line(&step.name, &outcome, took));
        done.push((&step.name, outcome, took));
    }
    let failed = done
        .iter()
        .any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)));
    if done.len() > 1 {
        println!(
            "\n=== summary, {:.1} s in all",
            start.elapsed().as_secs_f64()
        );
        for (name, outcome, took) in &done {
            println!("{}", line(name, outcome, *took));
        }
    }
    println!("xtask: {}", if failed { "FAILED" } else { "ok" });
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Says something while a step runs.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

fn line(name: &str, outcome: &Outcome, took: Duration) -> String {
    let line = format!(
        "{name:12} {:7} {:7.1} s  {}",
        outcome.word(),
        took.as_secs_f64(),
        outcome.remark()
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(run: fn() -> Outcome) -> Step {
        Step {
            name: "sample".into(),
            run,
        }
    }

    #[test]
    fn one_failed_step_fails_the_run_and_a_skipped_one_does_not() {
        let good = || Outcome::Done(String::new());
        let skipped = || Outcome::Skipped("no tool".into());
        let bad = || Outcome::Failed("fault".into());
        assert_eq!(run_all(&[step(good), step(skipped)]), ExitCode::SUCCESS);
        assert_eq!(run_all(&[step(bad), step(good)]), ExitCode::FAILURE);
    }

    #[test]
    fn a_line_tells_name_outcome_time_and_remark() {
        let outcome = Outcome::Skipped("no nightly".into());
        let line = line("tsan", &outcome, Duration::from_millis(1500));
        for part in ["tsan", "SKIPPED", "1.5 s", "no nightly"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
