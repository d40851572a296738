//! Lock-free code under loom and under the sanitizers: the crates that depend
//! on loom, and those whose manifest asks for a sanitizer.
//!
//! The standard library that comes with nightly is not instrumented, and its
//! source is not asked for. AddressSanitizer does not mind; ThreadSanitizer
//! cannot see fences inside `std`, so what it reports there is suppressed by
//! the list in `xtask/tsan.supp`, which names frames of the test harness only.

use crate::cargo::{TARGET, cargo, nightly, root, target_dir};
use crate::step::Outcome;
use crate::tally;
use crate::workspace::{self, Package};

/// What ThreadSanitizer is told to leave out.
const SUPPRESSIONS: &str = "xtask/tsan.supp";
/// Allocations that are too large fail, as without a sanitizer; tests ask for
/// them on purpose.
const REFUSE: &str = "allocator_may_return_null=1";

/// The loom models, with a bound on preemptions that keeps them in minutes.
pub(crate) fn loom() -> Outcome {
    let modelled = match chosen(|package| package.dependencies.iter().any(|name| name == "loom")) {
        Ok(modelled) => modelled,
        Err(reason) => return Outcome::Failed(reason),
    };
    let mut arguments = vec!["test", "--release", "--lib"];
    for package in &modelled {
        arguments.extend(["-p", package]);
    }
    // One at a time: some models look whether memory was unmapped.
    arguments.extend(["--", "--test-threads=1"]);
    let mut command = cargo(&arguments);
    command
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target_dir("loom"));
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        command.env("LOOM_MAX_PREEMPTIONS", "2");
    }
    tally::run(&mut command)
}

/// The tests under ThreadSanitizer.
pub(crate) fn tsan() -> Outcome {
    let options = format!(
        "{REFUSE}:suppressions={}",
        root().join(SUPPRESSIONS).display()
    );
    sanitize("thread", ("TSAN_OPTIONS", &options))
}

/// The tests under AddressSanitizer, leaks included.
pub(crate) fn asan() -> Outcome {
    let options = format!("{REFUSE}:detect_leaks=1");
    sanitize("address", ("ASAN_OPTIONS", &options))
}

/// The names of those packages of ours that are to be looked at; there is one
/// at least.
fn chosen(wanted: impl Fn(&Package) -> bool) -> Result<Vec<String>, String> {
    let packages = workspace::packages()?;
    let names: Vec<String> = packages
        .into_iter()
        .filter(wanted)
        .map(|package| package.name)
        .collect();
    match names.is_empty() {
        true => Err("no package asks for it".to_owned()),
        false => Ok(names),
    }
}

fn sanitize(kind: &str, options: (&str, &str)) -> Outcome {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Outcome::Skipped(format!("the sanitizers are set up for {TARGET} only"));
    }
    // Locks that ThreadSanitizer sees, as std's are not instrumented; and no tests that link a
    // library with AddressSanitizer to programs of another compiler, whose own is another one.
    let extra = match kind {
        "thread" => " --cfg tsan",
        "address" => " --cfg asan",
        _ => "",
    };
    let sanitized = match chosen(|package| package.sanitizers.iter().any(|name| name == kind)) {
        Ok(sanitized) => sanitized,
        Err(reason) => return Outcome::Failed(reason),
    };
    let mut arguments = vec!["test", "--lib", "--tests", "--target", TARGET];
    for package in &sanitized {
        arguments.extend(["-p", package]);
    }
    // One test at a time: memory that one test unmaps, the next may get at the same address, and
    // ThreadSanitizer does not see the system calls in between.
    arguments.extend(["--", "--test-threads=1"]);
    let mut command = match nightly(&arguments) {
        Ok(command) => command,
        Err(reason) => return Outcome::Skipped(reason),
    };
    command
        .env(
            "RUSTFLAGS",
            format!("-Zsanitizer={kind} -Cunsafe-allow-abi-mismatch=sanitizer{extra}"),
        )
        .env("CARGO_TARGET_DIR", target_dir(kind))
        .env(options.0, options.1);
    tally::run(&mut command)
}
