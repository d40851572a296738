//! The script of a test, and what the comments at its top ask for.
//!
//! | comment | asks for |
//! |---|---|
//! | `# kernel: 7.2 6.1` | one run under the newest kernel of each of these series |
//! | `# modules: ublk_drv nvme` | these kernel modules, loaded before the script |
//! | `# programs: fio mkfs.ext4` | these programs of Debian, on the path |
//! | `# zcn: yes` | the program `zcn`, on the path |
//! | `# tests: zcn-uring zcn-cli/ping` | the test programs of these packages, or one of them, in `/tests` |
//! | `# nvme: 64` | an emulated NVMe disk of so many MiB |
//! | `# timeout: 300` | seconds after which the machine is stopped (default 120) |
//!
//! A script passes by ending with 0, and is skipped by ending with 77.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::cargo::root;

/// A test of the guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) kernels: Vec<String>,
    pub(super) modules: Vec<String>,
    pub(super) programs: Vec<String>,
    pub(super) packages_with_tests: Vec<String>,
    pub(super) zcn: bool,
    pub(super) nvme_mib: Option<u64>,
    pub(super) timeout: Duration,
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// What a script may ask for, for the error message.
const KEYS: &str = "kernel, modules, programs, zcn, tests, nvme, timeout";

/// Where the scripts are.
fn folder() -> PathBuf {
    root().join("tests").join("guest")
}

/// The scripts of those names, in their order; without a name, all in alphabetical order.
pub(super) fn find(names: &[String]) -> Result<Vec<Script>, String> {
    let mut all = Vec::new();
    let listing = fs::read_dir(folder()).map_err(|error| format!("tests/guest: {error}"))?;
    for entry in listing {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "sh")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            all.push(name.to_owned());
        }
    }
    all.sort();
    let names = if names.is_empty() { &all } else { names };
    names
        .iter()
        .map(|name| {
            let path = folder().join(format!("{name}.sh"));
            let text = fs::read_to_string(path).map_err(|_| {
                format!(
                    "there is no guest test {name:?}; there are: {}",
                    all.join(", ")
                )
            })?;
            parse(name, text)
        })
        .collect()
}

/// Reads the comments at the top.
fn parse(name: &str, text: String) -> Result<Script, String> {
    let mut script = Script {
        name: name.to_owned(),
        timeout: DEFAULT_TIMEOUT,
        ..Script::default()
    };
    for line in text.lines().skip(1) {
        let Some(comment) = line.strip_prefix('#') else {
            break;
        };
        let Some((key, value)) = comment.split_once(':') else {
            continue;
        };
        let words = || value.split_whitespace().map(str::to_owned);
        let wrong = || format!("tests/guest/{name}.sh: {} is not for {key:?}", value.trim());
        match key.trim() {
            "kernel" => script.kernels = words().collect(),
            "modules" => script.modules = words().collect(),
            "programs" => script.programs = words().collect(),
            "tests" => script.packages_with_tests = words().collect(),
            "zcn" => script.zcn = value.trim() == "yes",
            "nvme" => script.nvme_mib = Some(value.trim().parse().map_err(|_| wrong())?),
            "timeout" => {
                script.timeout = Duration::from_secs(value.trim().parse().map_err(|_| wrong())?);
            }
            // Prose may hold a colon; one word before it is a key.
            key if key.contains(' ') => {}
            key => {
                return Err(format!(
                    "tests/guest/{name}.sh asks for {key:?}; a script may ask for {KEYS}"
                ));
            }
        }
    }
    if script.kernels.is_empty() {
        return Err(format!("tests/guest/{name}.sh names no kernel"));
    }
    script.text = text;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_at_the_top_are_read_and_no_others() {
        let text = "#!/bin/sh\n# What it shows: prose.\n# kernel: 7.2 6.1\n# modules: ublk_drv\n\
                    # nvme: 64\n# timeout: 30\n\n# programs: none\ntrue\n";
        let script = parse("sample", text.to_owned()).unwrap();
        assert_eq!(script.kernels, ["7.2", "6.1"]);
        assert_eq!(script.modules, ["ublk_drv"]);
        assert_eq!(script.nvme_mib, Some(64));
        assert_eq!(script.timeout, Duration::from_secs(30));
        assert!(script.programs.is_empty());
        assert_eq!(script.text, text);
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        for (text, says) in [
            ("#!/bin/sh\n# kernel: 7.2\n# moduls: x\n", "moduls"),
            ("#!/bin/sh\n# kernel: 7.2\n# nvme: much\n", "much"),
            ("#!/bin/sh\ntrue\n", "no kernel"),
        ] {
            let error = parse("sample", text.to_owned()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn an_unknown_test_is_told_with_those_there_are() {
        let error = find(&["no-such-test".to_owned()]).unwrap_err();
        assert!(error.contains("no-such-test"), "{error}");
    }

    #[test]
    fn every_script_can_be_read() {
        assert!(!find(&[]).unwrap().is_empty());
    }
}
