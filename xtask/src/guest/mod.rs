//! `cargo xtask guest -- TEST…`: tests that this machine's kernel cannot run, under another
//! kernel in an emulated machine.
//!
//! A test is a shell script, `tests/guest/TEST.sh`, that the guest runs as root after its
//! kernel is up; the comments at its top say what it needs ([`script`]). Kernels, QEMU and the
//! programs inside the guest are Debian's packages, fetched by name from the mirror that apt
//! is configured for into the target folder ([`packages`]), never installed. Emulation is
//! in software: it shows what is correct, never what is fast.

mod initramfs;
mod machine;
mod packages;
mod script;

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::cargo::target;
use crate::step::{Outcome, say};

use packages::Store;
use script::Script;

/// The tests that the command line names; all, if none.
static CHOSEN: OnceLock<Vec<String>> = OnceLock::new();

/// Chooses tests; once, from the command line.
pub(crate) fn choose(tests: Vec<String>) {
    let _ = CHOSEN.set(tests);
}

/// What ends a test early.
#[derive(Debug)]
enum Fault {
    /// It cannot be run here, and why.
    Unavailable(String),
    /// It went wrong, and how.
    Failed(String),
}

impl Fault {
    fn failed(what: &str, why: impl std::fmt::Display) -> Fault {
        Fault::Failed(format!("{what}: {why}"))
    }
}

/// Everything that is kept between runs.
fn folder() -> PathBuf {
    target().join("guest")
}

/// Runs the chosen tests, each under each kernel that it names.
pub(crate) fn guest() -> Outcome {
    let chosen = CHOSEN.get().map_or(&[][..], Vec::as_slice);
    let scripts = match script::find(chosen) {
        Ok(scripts) => scripts,
        Err(fault) => return Outcome::Failed(fault),
    };
    let (mut passed, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for script in &scripts {
        for kernel in &script.kernels {
            let name = format!("{} on Linux {kernel}", script.name);
            say(&format!("--- {name}"));
            match run(script, kernel) {
                Ok(()) => passed += 1,
                Err(Fault::Unavailable(why)) => skipped.push(format!("{name}: {why}")),
                Err(Fault::Failed(why)) => failed.push(format!("{name}: {why}")),
            }
        }
    }
    if !failed.is_empty() {
        Outcome::Failed(failed.join("; "))
    } else if passed == 0 {
        Outcome::Skipped(skipped.join("; "))
    } else if skipped.is_empty() {
        Outcome::Done(format!("{passed} passed"))
    } else {
        Outcome::Done(format!("{passed} passed; skipped: {}", skipped.join("; ")))
    }
}

fn run(script: &Script, kernel: &str) -> Result<(), Fault> {
    let store = Store::open(&folder())?;
    let kernel = store.kernel(kernel)?;
    let image = initramfs::build(&store, &kernel, script, &folder())?;
    machine::run(&store, &kernel, script, &image)
}
