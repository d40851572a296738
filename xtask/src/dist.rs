//! The C library as others install it: header, static and shared library, pkg-config and CMake
//! files, under a prefix; checked before it is called done.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::cargo::{cargo, root, run, target_dir};
use crate::step::{Outcome, say};

/// Where to install, if not to `dist` in the target folder.
static PREFIX: OnceLock<PathBuf> = OnceLock::new();

/// Name of the library, of its package and of its files.
const NAME: &str = "zero_copy_net";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Chooses the prefix; relative to the folder that the command was given in.
pub(crate) fn install_to(prefix: PathBuf) {
    // Set once, from the command line.
    let _ = PREFIX.set(std::path::absolute(&prefix).unwrap_or(prefix));
}

/// `--prefix`, or `target/dist`.
fn prefix() -> PathBuf {
    PREFIX
        .get()
        .cloned()
        .unwrap_or_else(|| target().join("dist"))
}

/// Builds, installs and checks.
pub(crate) fn dist() -> Outcome {
    let built = run(&mut cargo(&["build", "--release", "-p", NAME, "--lib"]));
    let Outcome::Done(_) = built else {
        return built;
    };
    let prefix = prefix();
    if let Err(error) = install(&prefix) {
        return Outcome::Failed(format!("{}: {error}", prefix.display()));
    }
    match check(&prefix) {
        Ok(remark) => Outcome::Done(format!("{} in {}", remark, prefix.display())),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// Where cargo builds.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(target)
}

fn install(prefix: &Path) -> io::Result<()> {
    let lib = prefix.join("lib");
    let pkgconfig = lib.join("pkgconfig");
    let cmake = lib.join("cmake").join(NAME);
    let include = prefix.join("include");
    for folder in [&lib, &pkgconfig, &cmake, &include] {
        fs::create_dir_all(folder)?;
    }
    let (built, stem) = (target().join("release"), format!("lib{NAME}"));
    fs::copy(
        built.join(format!("{stem}.a")),
        lib.join(format!("{stem}.a")),
    )?;
    let shared = format!("{stem}.so.{VERSION}");
    fs::copy(built.join(format!("{stem}.so")), lib.join(&shared))?;
    for file in [lib.join(format!("{stem}.a")), lib.join(&shared)] {
        // Four fifths of them are line tables; where there is no strip they stay.
        let _ = output(Command::new("strip").arg("--strip-debug").arg(file));
    }
    let soname = soname();
    relink(&shared, &lib.join(&soname))?;
    relink(&soname, &lib.join(format!("{stem}.so")))?;
    for header in fs::read_dir(root().join("crates/ffi/include"))? {
        let header = header?;
        fs::copy(header.path(), include.join(header.file_name()))?;
    }
    fs::write(pkgconfig.join(format!("{NAME}.pc")), pkg_config())?;
    fs::write(cmake.join(format!("{NAME}-config.cmake")), cmake_config())?;
    let version = cmake.join(format!("{NAME}-config-version.cmake"));
    fs::write(version, cmake_version())
}

/// The name that programs ask the loader for.
fn soname() -> String {
    let major = VERSION.split('.').next().unwrap_or("0");
    format!("lib{NAME}.so.{major}")
}

/// A symbolic link, in place of what is there.
fn relink(to: &str, at: &Path) -> io::Result<()> {
    match fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(to, at),
    }
}

/// Relative to where the file lies, so that the prefix can be moved.
fn pkg_config() -> String {
    format!(
        "prefix=${{pcfiledir}}/../..\n\
         libdir=${{prefix}}/lib\n\
         includedir=${{prefix}}/include\n\
         \n\
         Name: {NAME}\n\
         Description: zcn (zero-copy net) for C: servers, clients and UDP on io_uring\n\
         Version: {VERSION}\n\
         Libs: -L${{libdir}} -l{NAME} -lpthread\n\
         Cflags: -I${{includedir}}\n"
    )
}

fn cmake_config() -> String {
    format!(
        "# find_package({NAME}), then link {NAME}::{NAME} (shared) or {NAME}::static.\n\
         get_filename_component(_zcn_prefix \"${{CMAKE_CURRENT_LIST_DIR}}/../../..\" ABSOLUTE)\n\
         find_package(Threads REQUIRED)\n\
         foreach(_zcn_kind IN ITEMS shared static)\n\
         \x20 if(_zcn_kind STREQUAL \"shared\")\n\
         \x20   set(_zcn_target {NAME}::{NAME})\n\
         \x20   set(_zcn_file lib{NAME}.so)\n\
         \x20   add_library(${{_zcn_target}} SHARED IMPORTED)\n\
         \x20 else()\n\
         \x20   set(_zcn_target {NAME}::static)\n\
         \x20   set(_zcn_file lib{NAME}.a)\n\
         \x20   add_library(${{_zcn_target}} STATIC IMPORTED)\n\
         \x20 endif()\n\
         \x20 set_target_properties(${{_zcn_target}} PROPERTIES\n\
         \x20   IMPORTED_LOCATION \"${{_zcn_prefix}}/lib/${{_zcn_file}}\"\n\
         \x20   INTERFACE_INCLUDE_DIRECTORIES \"${{_zcn_prefix}}/include\"\n\
         \x20   INTERFACE_LINK_LIBRARIES Threads::Threads)\n\
         endforeach()\n\
         set_target_properties({NAME}::{NAME} PROPERTIES IMPORTED_SONAME {})\n\
         unset(_zcn_prefix)\n\
         unset(_zcn_kind)\n\
         unset(_zcn_target)\n\
         unset(_zcn_file)\n",
        soname()
    )
}

/// Another major version does not fit; before 1.0, another minor one neither.
fn cmake_version() -> String {
    let mut numbers = VERSION.split('.');
    let series = format!(
        "{}.{}",
        numbers.next().unwrap_or("0"),
        numbers.next().unwrap_or("0")
    );
    format!(
        "set(PACKAGE_VERSION \"{VERSION}\")\n\
         if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)\n\
         \x20 set(PACKAGE_VERSION_COMPATIBLE FALSE)\n\
         elseif(NOT PACKAGE_FIND_VERSION OR PACKAGE_FIND_VERSION MATCHES \"^{series}\")\n\
         \x20 set(PACKAGE_VERSION_COMPATIBLE TRUE)\n\
         \x20 if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)\n\
         \x20   set(PACKAGE_VERSION_EXACT TRUE)\n\
         \x20 endif()\n\
         else()\n\
         \x20 set(PACKAGE_VERSION_COMPATIBLE FALSE)\n\
         endif()\n"
    )
}

/// Looks at what was installed: the name, what it exports, and whether a program links with it.
fn check(prefix: &Path) -> Result<String, String> {
    let lib = prefix.join("lib");
    let shared = lib.join(soname());
    let header = fs::read_to_string(prefix.join("include").join(format!("{NAME}.h")))
        .map_err(|error| format!("the header: {error}"))?;
    let declared = declared(&header);
    let symbols = output(
        Command::new("nm")
            .args(["-D", "--defined-only"])
            .arg(&shared),
    )?;
    let exported = exported(&symbols);
    if exported != declared {
        let differ: Vec<&String> = exported.symmetric_difference(&declared).collect();
        return Err(format!(
            "exported and declared are not the same: {differ:?}"
        ));
    }
    let dynamic = output(Command::new("readelf").arg("-d").arg(&shared))?;
    if !dynamic.contains(&format!("Library soname: [{}]", soname())) {
        return Err(format!("the shared library is not named {}", soname()));
    }
    let folder = target_dir("dist");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let source = folder.join("link.c");
    let text = "#include <zero_copy_net.h>\n#include <string.h>\n\
                int main(void)\n{\n    if (zcn_version() != ZCN_VERSION) return 1;\n    \
                return strcmp(zcn_error_string(ZCN_SUCCESS), \"success\") != 0;\n}\n";
    fs::write(&source, text).map_err(|error| error.to_string())?;
    let mut by_hand = vec![format!("-I{}", prefix.join("include").display())];
    by_hand.push(format!("-L{}", lib.display()));
    for library in [format!("-l{NAME}"), format!("-l:lib{NAME}.a")] {
        let flags = [&by_hand[..], &[library.clone(), "-lpthread".to_owned()]].concat();
        link(&source, &flags, &lib)?;
        say(&format!(
            "a program with {library} -lpthread links and runs"
        ));
    }
    if installed("pkg-config") {
        let mut command = Command::new("pkg-config");
        command
            .args(["--cflags", "--libs", NAME])
            .env("PKG_CONFIG_PATH", lib.join("pkgconfig"));
        let flags = output(&mut command)?;
        let flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        link(&source, &flags, &lib)?;
        say("a program with what pkg-config says links and runs");
    }
    if installed("cmake") {
        link_by_cmake(&folder, prefix)?;
        say("programs that CMake builds, shared and static, link and run");
    }
    Ok(format!("{} functions", declared.len()))
}

/// Whether a program is there; says what is skipped when it is not.
fn installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        say(&format!(
            "SKIPPED: {program} is not installed, so its file is not tried"
        ));
    }
    there
}

/// Compiles a program with these flags and runs it.
fn link(source: &Path, flags: &[String], lib: &Path) -> Result<(), String> {
    let program = source.with_extension("program");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    compiler.arg(source).arg("-o").arg(&program).args(flags);
    output(&mut compiler)?;
    output(Command::new(&program).env("LD_LIBRARY_PATH", lib)).map(drop)
}

/// A project that finds the package and links both of its targets. CMake tells its programs where the
/// library is.
fn link_by_cmake(folder: &Path, prefix: &Path) -> Result<(), String> {
    let project = format!(
        "cmake_minimum_required(VERSION 3.13)\n\
         project(link C)\n\
         find_package({NAME} {VERSION} EXACT REQUIRED)\n\
         foreach(kind IN ITEMS {NAME} static)\n\
         \x20 add_executable(link_${{kind}} link.c)\n\
         \x20 target_link_libraries(link_${{kind}} {NAME}::${{kind}})\n\
         endforeach()\n"
    );
    fs::write(folder.join("CMakeLists.txt"), project).map_err(|error| error.to_string())?;
    let build = folder.join("cmake");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(folder).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
    // Where the last run found it does not count.
    configure.arg(format!("-U{NAME}_DIR"));
    output(&mut configure)?;
    output(Command::new("cmake").arg("--build").arg(&build))?;
    for kind in [NAME, "static"] {
        output(&mut Command::new(build.join(format!("link_{kind}"))))?;
    }
    Ok(())
}

/// Standard output of a command that must succeed.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} ended with {}: {text}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Functions that a header declares.
fn declared(header: &str) -> BTreeSet<String> {
    let code = header.split("/*").map(|part| match part.split_once("*/") {
        Some((_, code)) => code,
        None => part,
    });
    let code: String = code.collect();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("zcn_") {
        let name: String = code[at..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let called = code[at + name.len()..].starts_with('(');
        let begins = code[..at].ends_with([' ', '*', '\n']);
        if called && begins {
            names.insert(name);
        }
    }
    names
}

/// Symbols that `nm` lists.
fn exported(symbols: &str) -> BTreeSet<String> {
    symbols
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_a_header_and_not_in_its_comments() {
        let header = "/** Calls zcn_never(1). */\nenum ZCN_Error zcn_one(int a,\n  int b);\n\
                      ZCN_EXPERIMENTAL const char *zcn_two(void);\n#define ZCN_X zcn_three\n";
        let found: Vec<String> = declared(header).into_iter().collect();
        assert_eq!(found, ["zcn_one", "zcn_two"]);
    }

    #[test]
    fn symbols_are_read_from_nm() {
        let symbols = "0000000000001000 T zcn_one\n0000000000001010 T rust_eh_personality\n";
        let found: Vec<String> = exported(symbols).into_iter().collect();
        assert_eq!(found, ["rust_eh_personality", "zcn_one"]);
    }

    #[test]
    fn the_default_prefix_lies_in_the_target_folder() {
        assert_eq!(prefix(), target().join("dist"));
    }

    #[test]
    fn the_package_files_can_be_moved_with_their_prefix() {
        assert!(pkg_config().starts_with("prefix=${pcfiledir}/../..\n"));
        assert!(cmake_config().contains("CMAKE_CURRENT_LIST_DIR"));
        assert!(cmake_version().contains(VERSION));
    }
}
