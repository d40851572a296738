//! Licences and sources of the dependencies: a cheap check that always runs,
//! against the list in `deny.toml`, and cargo-deny where it is installed.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cargo::{TARGET, cargo, root, run};
use crate::step::Outcome;
use crate::workspace;

/// Checks every dependency that a build for Linux draws in.
fn run_check() -> Result<String, String> {
    let policy = fs::read_to_string(root().join("deny.toml"))
        .map_err(|error| format!("deny.toml: {error}"))?;
    let allowed = allow_list(&policy).ok_or("deny.toml has no list of allowed licences")?;
    let exceptions = exceptions(&policy);
    let metadata = workspace::metadata(&["--filter-platform", TARGET])?;
    let packages = packages_in_use(&metadata);
    let faults: Vec<String> = packages
        .iter()
        .filter_map(|package| {
            let name = package["name"].as_str().unwrap_or_default();
            let own = exceptions.iter().find(|(of, _)| of == name);
            let more = own.into_iter().flat_map(|(_, licences)| licences.clone());
            let allowed: Vec<String> = allowed.iter().cloned().chain(more).collect();
            // Who gave it an exception has read its licence.
            let read = own.is_some() && !package["license_file"].is_null();
            fault(package, &allowed, read)
        })
        .collect();
    if faults.is_empty() {
        Ok(format!("{} packages", packages.len()))
    } else {
        Err(faults.join("; "))
    }
}

/// As [`run_check`], as a step.
pub(crate) fn licences() -> Outcome {
    run_check().map_or_else(Outcome::Failed, Outcome::Done)
}

/// Lock files that cargo-deny judges, by their manifests: the workspace, and
/// the fuzz targets, which are a workspace of their own.
const MANIFESTS: &[&str] = &["Cargo.toml", "fuzz/Cargo.toml"];

/// `cargo deny check`, or the reason why not. Advisories are checked where
/// their database can be fetched.
pub(crate) fn deny() -> Outcome {
    let quiet = |command: &mut Command| {
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !quiet(&mut cargo(&["deny", "--version"])) {
        return Outcome::Skipped(
            "cargo-deny is not installed; cargo install --locked cargo-deny".to_owned(),
        );
    }
    let advisories = quiet(&mut cargo(&["deny", "fetch", "db"]));
    for manifest in MANIFESTS {
        let mut command = cargo(&["deny", "--manifest-path", manifest]);
        command.args(["--config", "deny.toml", "check"]);
        // One policy for both: what it names may be in the other only.
        for lint in ["unmatched-skip-root", "license-exception-not-encountered"] {
            command.args(["--allow", lint]);
        }
        command.args(["bans", "licenses", "sources"]);
        if advisories {
            command.arg("advisories");
        }
        let outcome = run(&mut command);
        if matches!(outcome, Outcome::Failed(_)) {
            return outcome;
        }
    }
    Outcome::Done(match advisories {
        true => String::new(),
        false => "advisories SKIPPED: their database cannot be fetched here".to_owned(),
    })
}

/// The packages in the resolved graph (metadata also lists those that only
/// other platforms use).
fn packages_in_use(metadata: &Value) -> Vec<&Value> {
    let nodes = metadata["resolve"]["nodes"].as_array();
    let used = |package: &Value| {
        nodes.is_none_or(|nodes| nodes.iter().any(|node| node["id"] == package["id"]))
    };
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| used(package))
        .collect()
}

/// What is wrong with a package, if anything. `read` stands for a licence that is in a file only.
fn fault(package: &Value, allowed: &[String], read: bool) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("a nameless package");
    if let Some(source) = package["source"].as_str()
        && !(source.starts_with("registry+") && source.ends_with("crates.io-index"))
    {
        return Some(format!("{name} comes from {source}"));
    }
    match package["license"].as_str() {
        None if read => None,
        None => Some(format!("{name} states no licence")),
        Some(licence) if permitted(licence, allowed) => None,
        Some(licence) => Some(format!("{name} is under {licence}")),
    }
}

/// Which crates may be under further licences, from the `[[licenses.exceptions]]` tables.
fn exceptions(policy: &str) -> Vec<(String, Vec<String>)> {
    let tables = policy.split("[[licenses.exceptions]]").skip(1);
    let read = |table: &str| {
        let (_, name) = table.split_once("crate = \"")?;
        let (name, _) = name.split_once('"')?;
        Some((name.to_owned(), list(table)?))
    };
    tables.filter_map(read).collect()
}

/// The strings of the `allow = [ ... ]` list of the `[licenses]` table.
fn allow_list(policy: &str) -> Option<Vec<String>> {
    let (_, table) = policy.split_once("[licenses]")?;
    list(table)
}

/// The strings of the first `allow = [ ... ]` list.
fn list(table: &str) -> Option<Vec<String>> {
    let (_, list) = table.split_once("allow = [")?;
    let (list, _) = list.split_once(']')?;
    let words = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""))
        .flat_map(|line| line.split(','))
        .map(|word| word.trim().trim_matches('"').to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    Some(words)
}

/// Whether an SPDX expression can be met with allowed licences alone. An
/// expression that cannot be read is not met.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    // `MIT/Apache-2.0` is how `OR` was written once.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader {
        tokens: &tokens,
        allowed,
    };
    reader.any() == Some(true) && reader.tokens.is_empty()
}

/// Reads an expression from left to right.
struct Reader<'a> {
    tokens: &'a [&'a str],
    allowed: &'a [String],
}

impl Reader<'_> {
    /// `a OR b OR ...`
    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.accept("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    /// `a AND b AND ...`, which binds tighter than `OR`.
    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.accept("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    /// A licence, a licence with an exception, or an expression in brackets.
    fn one(&mut self) -> Option<bool> {
        if self.accept("(") {
            let met = self.any()?;
            return self.accept(")").then_some(met);
        }
        let mut licence = self.next()?.to_owned();
        if matches!(licence.as_str(), "OR" | "AND" | "WITH" | ")") {
            return None;
        }
        if self.accept("WITH") {
            licence = format!("{licence} WITH {}", self.next()?);
        }
        Some(self.allowed.contains(&licence))
    }

    fn accept(&mut self, token: &str) -> bool {
        if self.tokens.first() == Some(&token) {
            self.tokens = &self.tokens[1..];
            return true;
        }
        false
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn allowed() -> Vec<String> {
        [
            "MIT",
            "Apache-2.0",
            "Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn expressions_are_met_by_allowed_licences_only() {
        let allowed = allowed();
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "GPL-2.0-only OR Apache-2.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert!(permitted(good, &allowed), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT OR",
            "",
            "(MIT",
            "MIT)",
            "Apache-2.0 WITH Other-exception",
            "AND MIT",
            "MIT GPL-3.0-only",
        ] {
            assert!(!permitted(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn the_list_is_read_with_its_comments() {
        let policy = "[advisories]\n[licenses]\nallow = [\n  \"MIT\", # ours\n  \"ISC\",\n]\n";
        let list = allow_list(policy).expect("a list");
        assert_eq!(list, ["MIT", "ISC"]);
        assert_eq!(allow_list("[bans]\n"), None);
    }

    #[test]
    fn an_exception_is_for_one_crate() {
        let policy = "[licenses]\nallow = [\"MIT\"]\n\n[[licenses.exceptions]]\n\
                      crate = \"tool\"\nallow = [\"MPL-2.0\"]\n";
        let one = ("tool".to_owned(), vec!["MPL-2.0".to_owned()]);
        assert_eq!(exceptions(policy), [one]);
        assert_eq!(exceptions("[licenses]\nallow = [\"MIT\"]\n"), []);
    }

    #[test]
    fn strangers_are_named() {
        let allowed = allowed();
        let registry = "registry+https://example.org/crates.io-index";
        let good = json!({"name": "a", "license": "MIT", "source": registry});
        assert_eq!(fault(&good, &allowed, false), None);
        let ours = json!({"name": "b", "license": "MIT", "source": null});
        assert_eq!(fault(&ours, &allowed, false), None);
        let in_a_file = json!({"name": "f", "license": null, "source": registry});
        assert_eq!(fault(&in_a_file, &allowed, true), None);
        for (package, word) in [
            (
                json!({"name": "c", "license": "GPL-3.0-only", "source": registry}),
                "GPL",
            ),
            (
                json!({"name": "d", "license": null, "source": registry}),
                "no licence",
            ),
            (
                json!({"name": "e", "license": "MIT", "source": "git+https://x.org/e"}),
                "git+",
            ),
        ] {
            let fault = fault(&package, &allowed, false).expect("a fault");
            assert!(fault.contains(word), "{fault}");
        }
    }

    #[test]
    fn packages_of_other_platforms_do_not_count() {
        let metadata = json!({
            "packages": [{"id": "a", "name": "a"}, {"id": "w", "name": "windows"}],
            "resolve": {"nodes": [{"id": "a"}]},
        });
        assert_eq!(packages_in_use(&metadata).len(), 1);
    }

    #[test]
    fn our_own_policy_has_a_list() {
        let policy = fs::read_to_string(root().join("deny.toml")).expect("readable");
        assert!(allow_list(&policy).is_some_and(|list| list.contains(&"MIT".to_owned())));
    }
}
