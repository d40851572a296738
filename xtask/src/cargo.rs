//! Commands: cargo in the root of the workspace, of this toolchain or of
//! nightly.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::{Outcome, say};

/// The target that the sanitizers and the fuzzer are built for. It is named
/// on the command line so that their flags do not reach build scripts.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo of the toolchain that runs this program, in the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    command
}

/// Cargo of the nightly toolchain, in the root; `Err` says why there is none.
pub(crate) fn nightly(arguments: &[&str]) -> Result<Command, String> {
    let probe = Command::new("rustup")
        .args(["run", "nightly", "cargo", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match probe {
        Ok(status) if status.success() => {}
        _ => return Err("no nightly toolchain; rustup toolchain install nightly".to_owned()),
    }
    let mut command = Command::new("rustup");
    command
        .current_dir(root())
        .args(["run", "nightly", "cargo"])
        .args(arguments)
        // Set by the cargo that runs us, and of the other toolchain.
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTDOC");
    Ok(command)
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    root().join(target)
}

/// A folder for what is built with unusual flags, so that it does not evict
/// what is built with the usual ones.
pub(crate) fn target_dir(name: &str) -> PathBuf {
    target().join("xtask").join(name)
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    say(&format!("$ {}", shown(command)));
    match command.status() {
        Ok(status) if status.success() => Outcome::Done(String::new()),
        Ok(status) => Outcome::Failed(format!("{} ended with {status}", shown(command))),
        Err(error) => Outcome::Failed(format!("{}: {error}", shown(command))),
    }
}

/// Runs a command to its end, hands each line of its standard output to
/// `look` as it appears, and prints it.
pub(crate) fn run_and_read(command: &mut Command, mut look: impl FnMut(&str)) -> Outcome {
    say(&format!("$ {}", shown(command)));
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("{}: {error}", shown(command))),
    };
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        // A line that is not text is shown as well as it can be.
        while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line);
            say(text.trim_end());
            look(text.trim_end());
            line.clear();
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Outcome::Done(String::new()),
        Ok(status) => Outcome::Failed(format!("{} ended with {status}", shown(command))),
        Err(error) => Outcome::Failed(format!("{}: {error}", shown(command))),
    }
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let flags = command
        .get_envs()
        .filter(|(name, _)| *name == "RUSTFLAGS" || *name == "RUSTDOCFLAGS")
        .filter_map(|(name, value)| Some((name, value?)))
        .map(|(name, value)| format!("{}='{}' ", name.display(), value.display()));
    let arguments = command
        .get_args()
        .map(|argument| format!(" {}", argument.display()));
    flags
        .chain([program.display().to_string()])
        .chain(arguments)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").exists());
    }

    #[test]
    fn output_is_read_line_by_line_and_failure_is_seen() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; printf two; exit 3"]);
        let outcome = run_and_read(&mut command, |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["one", "two"]);
        assert!(matches!(outcome, Outcome::Failed(reason) if reason.contains('3')));
    }

    #[test]
    fn a_command_that_is_not_there_fails() {
        let outcome = run(&mut Command::new("zcn-no-such-program"));
        assert!(matches!(outcome, Outcome::Failed(_)));
    }

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = cargo(&["test", "-p", "zcn-pool"]);
        command.env("RUSTFLAGS", "--cfg loom");
        assert_eq!(
            shown(&command),
            "RUSTFLAGS='--cfg loom' cargo test -p zcn-pool"
        );
    }
}
