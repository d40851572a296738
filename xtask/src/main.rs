//! What a contributor runs: `cargo xtask <task>`.
//!
//! `cargo xtask ci` is the whole of it, and the test command of the project;
//! `.ci/run` only installs packages and then runs that.

#![forbid(unsafe_code)]

mod cargo;
mod dist;
mod fuzz;
mod guest;
mod licence;
mod quality;
mod sanitizer;
mod smoke;
mod step;
mod tally;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use step::{Outcome, Step};

/// Tasks of a contributor.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    /// What to do; several are done in the order given.
    #[arg(value_enum, required = true)]
    tasks: Vec<Task>,
    /// Where `dist` installs [default: target/dist].
    #[arg(long)]
    prefix: Option<PathBuf>,
    /// Which tests `guest` runs [default: all].
    #[arg(last = true, value_name = "TEST")]
    tests: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Everything below but `guest`, in an order that finds cheap faults first.
    Ci,
    /// Check the formatting.
    Fmt,
    /// Clippy over every target, warnings denied.
    Lint,
    /// House rules over every tracked file.
    Tidy,
    /// Licences and sources of every dependency.
    Licences,
    /// cargo-deny: licences, sources, duplicates, advisories.
    Deny,
    /// Unit, integration and documentation tests.
    Test,
    /// Documentation, warnings denied.
    Doc,
    /// Loom models of the lock-free code.
    Loom,
    /// ThreadSanitizer (nightly).
    Tsan,
    /// AddressSanitizer (nightly).
    Asan,
    /// Short runs of every fuzz target (nightly).
    Fuzz,
    /// The demonstration, briefly.
    DemoSmoke,
    /// Every benchmark, briefly.
    BenchSmoke,
    /// The user-space stack on bad networks, 2,000 seeds of them.
    Sim,
    /// The C library, built, installed under a prefix and checked.
    Dist,
    /// Tests under other kernels, in an emulated machine; not part of `ci`.
    Guest,
}

/// What `ci` leaves out: an emulated machine takes minutes, and must fetch itself first.
#[cfg(test)]
const ON_DEMAND: &[Task] = &[Task::Guest];

/// What `ci` runs: cheap first, and the long release builds last.
const CI: &[Task] = &[
    Task::Fmt,
    Task::Tidy,
    Task::Licences,
    Task::Deny,
    Task::Lint,
    Task::Doc,
    Task::Loom,
    Task::Tsan,
    Task::Asan,
    Task::Fuzz,
    Task::DemoSmoke,
    Task::BenchSmoke,
    Task::Sim,
    Task::Dist,
    Task::Test,
];

impl Task {
    /// The steps of the task, in order.
    fn steps(self) -> Vec<Step> {
        let run: fn() -> Outcome = match self {
            Task::Ci => return CI.iter().flat_map(|task| task.steps()).collect(),
            Task::Fmt => quality::fmt,
            Task::Lint => quality::lint,
            Task::Tidy => tidy::run,
            Task::Licences => licence::licences,
            Task::Deny => licence::deny,
            Task::Test => quality::test,
            Task::Doc => quality::doc,
            Task::Loom => sanitizer::loom,
            Task::Tsan => sanitizer::tsan,
            Task::Asan => sanitizer::asan,
            Task::Fuzz => fuzz::fuzz,
            Task::DemoSmoke => smoke::demo,
            Task::BenchSmoke => smoke::bench,
            Task::Sim => smoke::sim,
            Task::Dist => dist::dist,
            Task::Guest => guest::guest,
        };
        let name = self
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned());
        vec![Step { name, run }]
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(prefix) = arguments.prefix.take() {
        dist::install_to(prefix);
    }
    guest::choose(arguments.tests);
    let steps: Vec<Step> = arguments
        .tasks
        .iter()
        .flat_map(|task| task.steps())
        .collect();
    step::run_all(&steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_runs_every_task() {
        for task in Task::value_variants() {
            assert!(
                *task == Task::Ci || CI.contains(task) != ON_DEMAND.contains(task),
                "{task:?}"
            );
        }
        assert_eq!(Task::Ci.steps().len(), CI.len());
    }
}
