//! The floors of the house: which crate may import which of ours, and which
//! of them do without unsafe code. ARCHITECTURE.md draws the same table.
//!
//! Cargo refuses circles, but not an import that points the wrong way.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::Package;

use super::rules::ALLOWANCE;

/// Where unsafe code may stand in a crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsafe {
    /// Nowhere: `lib.rs` and `main.rs` forbid it.
    Nowhere,
    /// In one file.
    OneFile,
    /// In files that say so at their head, as the other rules check.
    NamedFiles,
}

use Unsafe::{NamedFiles, Nowhere, OneFile};

/// A crate, what it may import of ours, and where it may be unsafe.
type Floor = (&'static str, &'static [&'static str], Unsafe);

/// From the ground up. Crates that are planned have their place already.
const FLOORS: &[Floor] = &[
    ("zcn-pool", &[], NamedFiles),
    ("zcn-wire", &[], OneFile),
    ("zcn-sys", &[], NamedFiles),
    ("zcn-sha256d", &[], NamedFiles),
    ("zcn-stratum", &["zcn-sha256d"], Nowhere),
    ("zcn-measure", &[], NamedFiles),
    ("zcn-frame", &["zcn-pool"], Nowhere),
    ("zcn-uring", &["zcn-pool", "zcn-sys"], NamedFiles),
    (
        "zcn-fuse",
        &["zcn-pool", "zcn-sys", "zcn-uring"],
        NamedFiles,
    ),
    (
        "zcn-ublk",
        &["zcn-pool", "zcn-sys", "zcn-uring"],
        NamedFiles,
    ),
    (
        "zcn-link",
        &["zcn-pool", "zcn-wire", "zcn-sys", "zcn-frame"],
        NamedFiles,
    ),
    ("zcn-stack", &["zcn-pool", "zcn-wire", "zcn-frame"], Nowhere),
    (
        "zcn-sim",
        &["zcn-pool", "zcn-wire", "zcn-frame", "zcn-link", "zcn-stack"],
        Nowhere,
    ),
    (
        "zcn-packetdrill",
        &["zcn-pool", "zcn-wire", "zcn-frame", "zcn-link", "zcn-stack"],
        NamedFiles,
    ),
    (
        "zcn",
        &[
            "zcn-pool",
            "zcn-wire",
            "zcn-sys",
            "zcn-frame",
            "zcn-uring",
            "zcn-link",
            "zcn-stack",
        ],
        NamedFiles,
    ),
    ("zero_copy_net", &["zcn"], NamedFiles),
    ("zcn-preload", &["zcn", "zcn-sys"], NamedFiles),
    ("zcn-miner", &["zcn", "zcn-stratum", "zcn-sha256d"], Nowhere),
    (
        "zcn-cli",
        &[
            "zcn",
            "zcn-measure",
            "zcn-sys",
            "zcn-pool",
            "zcn-wire",
            "zcn-frame",
            "zcn-uring",
            "zcn-ublk",
            "zcn-link",
            "zcn-stack",
            "zcn-sim",
            "zcn-miner",
            "zcn-stratum",
            "zcn-sha256d",
        ],
        Nowhere,
    ),
];

/// The folder of the crates; packages elsewhere (benchmarks, examples, tests)
/// are the roof: they may import everything, and no floor imports them.
const CRATES: &str = "crates";

/// What is wrong with the packages of the workspace at `root`.
pub(super) fn faults(root: &Path, packages: &[Package]) -> Vec<String> {
    let ours: Vec<&str> = packages.iter().map(|package| &*package.name).collect();
    let mut faults = Vec::new();
    for package in packages {
        let name = &package.name;
        if !package.folder.starts_with(root.join(CRATES)) {
            continue;
        }
        let Some((_, below, place)) = FLOORS.iter().find(|floor| floor.0 == *name) else {
            faults.push(format!(
                "{name} has no floor; give it one in xtask/src/tidy/floors.rs"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let dependency = dependency.as_str();
            if ours.contains(&dependency) && !below.contains(&dependency) {
                faults.push(format!(
                    "{name} imports {dependency}, which does not lie below it"
                ));
            }
        }
        faults.extend(unsafe_faults(package, *place));
    }
    faults
}

fn unsafe_faults(package: &Package, place: Unsafe) -> Option<String> {
    let name = &package.name;
    let source = package.folder.join("src");
    match place {
        NamedFiles => None,
        Nowhere => {
            let open = ["lib.rs", "main.rs"].into_iter().find(|file| {
                fs::read_to_string(source.join(file))
                    .is_ok_and(|text| !text.contains("#![forbid(unsafe_code)]"))
            })?;
            Some(format!("{name}: src/{open} does not forbid unsafe code"))
        }
        OneFile => {
            let files = sources(&source)
                .into_iter()
                .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(ALLOWANCE)))
                .count();
            (files > 1).then(|| format!("{name}: unsafe code in {files} files; one may have it"))
        }
    }
}

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            folder: Path::new("/house/crates").join(name),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
            sanitizers: Vec::new(),
        }
    }

    #[test]
    fn every_floor_lies_above_what_it_imports() {
        for (index, (name, below, _)) in FLOORS.iter().enumerate() {
            for import in *below {
                let lower = FLOORS[..index].iter().any(|floor| floor.0 == *import);
                assert!(lower, "{name} imports {import}");
            }
        }
    }

    #[test]
    fn an_import_that_points_up_is_found() {
        let packages = [
            package("zcn-pool", &["bytes", "zcn-sys"]),
            package("zcn-sys", &[]),
        ];
        let found = faults(Path::new("/house"), &packages);
        assert_eq!(
            found,
            ["zcn-pool imports zcn-sys, which does not lie below it"]
        );
    }

    #[test]
    fn an_import_that_points_down_passes() {
        let packages = [
            package("zcn-pool", &[]),
            package("zcn-uring", &["zcn-pool", "libc"]),
        ];
        assert_eq!(faults(Path::new("/house"), &packages), Vec::<String>::new());
    }

    #[test]
    fn a_crate_without_a_floor_is_found_and_the_roof_needs_none() {
        let mut roof = package("zcn-bench", &["zcn-attic"]);
        roof.folder = PathBuf::from("/house/benches");
        let found = faults(Path::new("/house"), &[package("zcn-attic", &[]), roof]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("zcn-attic has no floor"), "{found:?}");
    }

    #[test]
    fn unsafe_code_is_found_where_it_may_not_stand() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut package = package("zcn-sample", &[]);
        package.folder = here.to_owned();
        assert_eq!(unsafe_faults(&package, Nowhere), None);
        // The pool has unsafe code in many files.
        package.folder = here.join("../crates/pool");
        assert!(unsafe_faults(&package, Nowhere).is_some_and(|fault| fault.contains("lib.rs")));
        assert!(unsafe_faults(&package, OneFile).is_some_and(|fault| fault.contains("files")));
        assert_eq!(unsafe_faults(&package, NamedFiles), None);
    }
}
