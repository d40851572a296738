//! What every change must pass: formatting, lints, tests, documentation.

use crate::cargo::{cargo, run};
use crate::step::Outcome;
use crate::tally;

/// `cargo fmt --check` over the workspace.
pub(crate) fn fmt() -> Outcome {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

/// Clippy over every target, warnings denied.
pub(crate) fn lint() -> Outcome {
    run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The documentation of our own crates, warnings denied.
pub(crate) fn doc() -> Outcome {
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// All tests, and how many of them there were.
pub(crate) fn test() -> Outcome {
    tally::run(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))
}
