//! Short runs of the fuzz targets, without cargo-fuzz: plain cargo of nightly
//! with the coverage flags that libFuzzer wants.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cargo::{TARGET, nightly, root, run, target_dir};
use crate::step::Outcome;

/// Seconds for each target; `ZCN_FUZZ_SECONDS` overrides it.
const SECONDS: u64 = 10;

const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer \
    -Cdebug-assertions -Ccodegen-units=1 --cfg fuzzing";

/// Builds every target of `fuzz/` and runs each for a while.
fn run_targets() -> Result<Outcome, String> {
    let folder = root().join("fuzz");
    let targets = targets(&folder.join("fuzz_targets"));
    if !folder.join("Cargo.toml").exists() || targets.is_empty() {
        return Err("there is no fuzz target yet".to_owned());
    }
    let manifest = folder.join("Cargo.toml");
    let built = target_dir("fuzz");
    let mut build = nightly(&["build", "--release", "--bins", "--target", TARGET])?;
    build
        .arg("--manifest-path")
        .arg(&manifest)
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &built);
    let mut outcome = run(&mut build);
    for target in &targets {
        if !matches!(outcome, Outcome::Done(_)) {
            return Ok(outcome);
        }
        outcome = run_one(
            &folder,
            &built.join(TARGET).join("release").join(target),
            target,
        );
    }
    Ok(match outcome {
        Outcome::Done(_) => Outcome::Done(format!("{} targets", targets.len())),
        other => other,
    })
}

/// As [`run_targets`], skipped where it cannot be done.
pub(crate) fn fuzz() -> Outcome {
    run_targets().unwrap_or_else(Outcome::Skipped)
}

fn run_one(folder: &Path, program: &Path, target: &str) -> Outcome {
    // New inputs go to a folder of the build; the kept corpus is only read.
    let found = target_dir("fuzz-corpus").join(target);
    let crashes = folder.join("artifacts").join(target);
    for directory in [&found, &crashes] {
        if let Err(error) = fs::create_dir_all(directory) {
            return Outcome::Failed(format!("{}: {error}", directory.display()));
        }
    }
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .arg(format!("-max_total_time={}", seconds()))
        .arg("-timeout=10")
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .arg(&found);
    let kept = folder.join("corpus").join(target);
    if kept.exists() {
        command.arg(kept);
    }
    match run(&mut command) {
        Outcome::Failed(reason) => Outcome::Failed(format!("{target}: {reason}")),
        outcome => outcome,
    }
}

fn seconds() -> u64 {
    std::env::var("ZCN_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS)
}

/// The names of the targets: one file each.
fn targets(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_has_no_targets() {
        assert!(targets(Path::new("no/such/folder")).is_empty());
    }

    #[test]
    fn targets_are_the_source_files() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert!(targets(&here).contains(&"fuzz".to_owned()));
    }
}
