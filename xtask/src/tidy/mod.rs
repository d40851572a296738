//! House rules over every tracked file and over the crates, for what no
//! compiler or linter sees.

mod floors;
mod rules;

use std::fs;
use std::process::Command;

use crate::cargo::root;
use crate::step::{Outcome, say};
use crate::workspace;

/// Lines from which on a file is listed as long. A list, not a fault.
const LONG_FILE_LINES: usize = 900;

/// Applies the rules to what git tracks.
pub(crate) fn run() -> Outcome {
    let listed = Command::new("git")
        .current_dir(root())
        // The checkout may belong to somebody else than who runs the tests.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .output();
    let listed = match listed {
        Ok(listed) if listed.status.success() => listed.stdout,
        Ok(listed) => {
            return Outcome::Skipped(String::from_utf8_lossy(&listed.stderr).into_owned());
        }
        Err(error) => return Outcome::Skipped(format!("git: {error}")),
    };
    let mut files = 0;
    let mut faults = 0;
    for path in String::from_utf8_lossy(&listed).split_terminator('\0') {
        // Inputs that a fuzzer found are data, even where they happen to be text.
        if path.starts_with("fuzz/corpus/") {
            continue;
        }
        // Binary files, and files deleted but not yet committed, are skipped.
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            continue;
        };
        files += 1;
        for fault in rules::faults(path, &text) {
            say(&fault.to_string());
            faults += 1;
        }
        let lines = text.lines().count();
        if lines > LONG_FILE_LINES && path.ends_with(".rs") {
            say(&format!("{path}: {lines} lines: is it two files?"));
        }
    }
    let packages = match workspace::packages() {
        Ok(packages) => packages,
        Err(reason) => return Outcome::Failed(reason),
    };
    for fault in floors::faults(root(), &packages) {
        say(&fault);
        faults += 1;
    }
    match faults {
        0 => Outcome::Done(format!("{files} files, {} packages", packages.len())),
        faults => Outcome::Failed(format!("{faults} faults in {files} files")),
    }
}
