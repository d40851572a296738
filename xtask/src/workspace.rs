//! What cargo knows of the packages of the workspace.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::cargo::cargo;

/// One of our packages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The folder of its manifest.
    pub(crate) folder: PathBuf,
    /// What it is built from, platform by platform; not what only its tests
    /// are.
    pub(crate) dependencies: Vec<String>,
    /// The sanitizers that its manifest asks for in
    /// `[package.metadata.xtask] sanitizers`.
    pub(crate) sanitizers: Vec<String>,
}

/// The output of `cargo metadata` with these arguments.
///
/// # Errors
/// A sentence that says what went wrong.
pub(crate) fn metadata(arguments: &[&str]) -> Result<Value, String> {
    let output = cargo(&["metadata", "--format-version", "1"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata ended with {}", output.status));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata is not JSON: {error}"))
}

/// All packages of the workspace.
///
/// # Errors
/// As [`metadata`].
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    let metadata = metadata(&["--no-deps"])?;
    Ok(array(&metadata["packages"]).map(package).collect())
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn package(value: &Value) -> Package {
    let mut folder = PathBuf::from(text(&value["manifest_path"]));
    folder.pop();
    Package {
        name: text(&value["name"]),
        folder,
        dependencies: array(&value["dependencies"])
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| text(&dependency["name"]))
            .collect(),
        sanitizers: array(&value["metadata"]["xtask"]["sanitizers"])
            .map(text)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_tests_need_is_left_out() {
        let value = json!({
            "name": "a",
            "manifest_path": "/somewhere/crates/a/Cargo.toml",
            "dependencies": [
                {"name": "b", "kind": null},
                {"name": "c", "kind": "dev"},
                {"name": "d", "kind": "build"},
            ],
            "metadata": {"xtask": {"sanitizers": ["address"]}},
        });
        let expected = Package {
            name: "a".to_owned(),
            folder: "/somewhere/crates/a".into(),
            dependencies: vec!["b".to_owned(), "d".to_owned()],
            sanitizers: vec!["address".to_owned()],
        };
        assert_eq!(package(&value), expected);
    }

    #[test]
    fn this_package_is_among_them() {
        let packages = packages().expect("cargo answers");
        assert!(packages.iter().any(|package| package.name == "xtask"
            && package.folder.ends_with("xtask")
            && package.dependencies.contains(&"clap".to_owned())));
    }
}
