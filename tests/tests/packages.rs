//! `.ci/packages` on machines that lack things: all programs that it meets are stand-ins.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/packages")
}

/// What the script would see to, as commands (or files) and packages.
fn listed() -> Vec<(String, String)> {
    let output = Command::new("bash")
        .arg(script())
        .arg("--list")
        .output()
        .unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    list.lines()
        .map(|line| line.split_once(':').unwrap())
        .map(|(command, package)| (command.to_owned(), package.to_owned()))
        .collect()
}

/// A folder of programs that is the whole of a machine's `PATH`.
struct Machine {
    bin: PathBuf,
}

impl Machine {
    /// Bash and `env`, and an `id` that answers `uid`.
    fn new(name: &str, uid: u32) -> Self {
        let bin = std::env::temp_dir().join(format!("zcn-packages-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&bin);
        fs::create_dir_all(&bin).unwrap();
        for program in ["bash", "env"] {
            let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
                .map(|folder| folder.join(program))
                .find(|path| path.is_file());
            std::os::unix::fs::symlink(real.unwrap(), bin.join(program)).unwrap();
        }
        let machine = Self { bin };
        machine.program("id", &format!("echo {uid}"));
        machine
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.bin.join(name);
        fs::write(&path, format!("#!/usr/bin/env bash\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An apt-get that writes down how it was called, and brings nothing but `cc`, `c++`, `ld`,
    /// `make`, `pkg-config` and `git`. It fails for more than one package where it is told so.
    fn apt_get(&self, one_at_a_time: bool) {
        let log = self.bin.join("log");
        let refuse = match one_at_a_time {
            true => "[ \"$4\" != install ] || [ $# -le 7 ] || exit 100",
            false => "",
        };
        self.program(
            "apt-get",
            &format!(
                "echo \"$DEBIAN_FRONTEND $*\" >>{log}\n{refuse}\n\
                 for program in cc c++ ld make pkg-config git; do\n  \
                 echo '#!/bin/true' >{bin}/$program\n  \
                 /bin/chmod +x {bin}/$program\ndone",
                log = log.display(),
                bin = self.bin.display()
            ),
        );
    }

    fn run(&self) -> Output {
        Command::new(self.bin.join("bash"))
            .arg(script())
            .env_clear()
            .env("PATH", &self.bin)
            // Instead of the folders for administrators.
            .env("ZCN_SBIN", "/nonexistent")
            .output()
            .unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.bin.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.bin);
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn where_nothing_is_missing_apt_is_not_called() {
    let machine = Machine::new("complete", 0);
    machine.apt_get(false);
    for (command, _) in listed() {
        if !command.starts_with('/') {
            machine.program(&command, "exit 0");
        }
    }
    let output = machine.run();
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(machine.calls(), Vec::<String>::new());
}

#[test]
fn a_bare_machine_gets_every_package_in_one_call_that_asks_nothing() {
    let machine = Machine::new("bare", 0);
    machine.apt_get(false);
    let output = machine.run();
    assert!(output.status.success(), "{}", errors(&output));
    let calls = machine.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls.iter().all(|call| call.starts_with("noninteractive ")));
    assert!(calls[0].ends_with(" update"), "{calls:?}");
    assert!(calls[1].contains(" install -y --no-install-recommends "));
    for (command, package) in listed() {
        let times = calls[1].split(' ').filter(|word| **word == package).count();
        assert!(times == 1 || command.starts_with('/'), "{package}");
    }
    // Some programs have not come, which costs tests and not the run.
    assert!(errors(&output).contains("will be skipped: apache2-utils"));
}

#[test]
fn a_package_that_is_not_to_be_had_does_not_cost_the_others() {
    let machine = Machine::new("refusing", 0);
    machine.apt_get(true);
    let output = machine.run();
    assert!(output.status.success(), "{}", errors(&output));
    assert!(machine.calls().len() > listed().len());
}

#[test]
fn without_privilege_what_the_build_needs_is_named() {
    let machine = Machine::new("unprivileged", 1000);
    machine.apt_get(false);
    let output = machine.run();
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(said.contains("neither root nor sudo"), "{said}");
    assert!(said.contains("please install first: gcc g++"), "{said}");
    assert_eq!(machine.calls(), Vec::<String>::new());
}

#[test]
fn sudo_is_used_by_who_is_not_root() {
    let machine = Machine::new("sudo", 1000);
    machine.apt_get(false);
    machine.program("sudo", "shift; [ \"$1\" = true ] || \"$@\"");
    let output = machine.run();
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(machine.calls().len(), 2);
}

#[test]
fn a_machine_without_apt_is_told_what_it_lacks() {
    let machine = Machine::new("other", 0);
    let output = machine.run();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("no apt-get"), "{output:?}");
}
