//! The file system that the guest's kernel unpacks into memory: busybox, the modules, the
//! programs with their libraries, the script, and an `init` that runs it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Fault;
use super::packages::{Kernel, Store, read};
use super::script::Script;
use crate::cargo::{cargo, root, run, target};
use crate::step::Outcome;

/// What `init` prints before the status of the script.
pub(super) const ENDED: &str = "### the script ended with";

/// Puts everything into an archive; returns its path.
pub(super) fn build(
    store: &Store,
    kernel: &Kernel,
    script: &Script,
    folder: &Path,
) -> Result<PathBuf, Fault> {
    let tree = Tree {
        store,
        root: folder.join("tree"),
    };
    let fault = |error: io::Error| Fault::failed("the file system of the guest", error);
    let _ = fs::remove_dir_all(&tree.root);
    for folder in [
        "bin", "dev", "etc", "lib", "lib64", "mnt", "modules", "proc", "sys", "tests", "tmp",
    ] {
        fs::create_dir_all(tree.root.join(folder)).map_err(fault)?;
    }
    let (loader, _) = store.loader();
    tree.add(&loader, "lib64", false).map_err(fault)?;
    tree.add(&store.program("busybox")?, "bin", false)
        .map_err(fault)?;
    symlink("busybox", tree.root.join("bin/sh")).map_err(fault)?;
    for program in &script.programs {
        tree.add_program(&store.program(program)?, "bin")?;
    }
    if script.zcn {
        built(&["build", "-p", "zcn-cli", "--bin", "zcn"])?;
        tree.add_program(&target().join("debug").join("zcn"), "bin")?;
    }
    for package in &script.packages_with_tests {
        for program in test_programs(package)? {
            tree.add_program(&program, "tests")?;
        }
    }
    let modules = with_dependencies(kernel, &script.modules)?;
    let mut init = String::from(INIT);
    for module in &modules {
        let name = tree.add_module(kernel, module)?;
        let _ = writeln!(init, "insmod /modules/{name} || echo \"no module {name}\"");
    }
    let _ = write!(init, "sh /script\necho \"{ENDED} $?\"\nsync\npoweroff -f\n");
    tree.write("init", &init).map_err(fault)?;
    tree.write("script", &script.text).map_err(fault)?;
    tree.archive(&folder.join("initramfs"))
}

/// The beginning of `init`. The console is the serial port.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin LD_LIBRARY_PATH=/lib HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
ip link set lo up
echo \"### Linux $(uname -r) is up after $(cut -d' ' -f1 /proc/uptime) s\"
cd /tmp
";

struct Tree<'a> {
    store: &'a Store,
    root: PathBuf,
}

impl Tree<'_> {
    /// Copies a file, without what only a debugger reads if it is a program of ours.
    fn add(&self, file: &Path, folder: &str, strip: bool) -> io::Result<()> {
        let name = file.file_name().unwrap_or(file.as_os_str());
        let to = self.root.join(folder).join(name);
        fs::copy(file, &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        if strip {
            // Without it the guest only takes longer to start.
            let _ = Command::new("strip").arg(&to).status();
        }
        Ok(())
    }

    /// Copies a program with the libraries that it asks for.
    fn add_program(&self, program: &Path, folder: &str) -> Result<(), Fault> {
        let fault = |error| Fault::failed(&program.display().to_string(), error);
        self.add(program, folder, true).map_err(fault)?;
        for library in self.store.libraries(program)? {
            self.add(&library, "lib", false).map_err(fault)?;
        }
        Ok(())
    }

    /// Unpacks a module; returns its file name.
    fn add_module(&self, kernel: &Kernel, module: &str) -> Result<String, Fault> {
        let packed = kernel.modules.join(module);
        let name = packed
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let plain = name.trim_end_matches(".xz").to_owned();
        let fault = |error| Fault::failed(&name, error);
        let to = self.root.join("modules").join(&plain);
        if plain == name {
            fs::copy(&packed, to).map_err(fault)?;
            return Ok(plain);
        }
        let output = File::create(to).map_err(fault)?;
        let status = Command::new(self.store.program("busybox")?)
            .args(["xz", "-d", "-c"])
            .stdin(File::open(&packed).map_err(fault)?)
            .stdout(output)
            .status()
            .map_err(fault)?;
        if status.success() {
            Ok(plain)
        } else {
            Err(Fault::failed(&name, status))
        }
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.root.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    }

    /// Packs the tree; not compressed, since the guest would have to undo it in software.
    fn archive(&self, to: &Path) -> Result<PathBuf, Fault> {
        let busybox = self.store.program("busybox")?;
        let output = File::create(to).map_err(|error| Fault::failed("initramfs", error))?;
        let status = Command::new("sh")
            .args(["-c", "\"$0\" find . | \"$0\" cpio -o -H newc 2>/dev/null"])
            .arg(busybox)
            .current_dir(&self.root)
            .stdout(output)
            .status()
            .map_err(|error| Fault::failed("initramfs", error))?;
        if status.success() {
            Ok(to.to_owned())
        } else {
            Err(Fault::failed("initramfs", status))
        }
    }
}

/// Modules of those names and what they depend on, each after its dependencies, as paths in
/// the folder of modules. One that is not there is built into the kernel or not to be had; the
/// script will see.
fn with_dependencies(kernel: &Kernel, names: &[String]) -> Result<Vec<String>, Fault> {
    let text = fs::read_to_string(kernel.modules.join("modules.dep"))
        .map_err(|error| Fault::failed("modules.dep", error))?;
    Ok(in_order(&text, names))
}

fn in_order(dependencies: &str, names: &[String]) -> Vec<String> {
    let rows: HashMap<String, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (name_of(path), (path, needs.split_whitespace().collect())))
        .collect();
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    for name in names {
        let Some((path, needs)) = rows.get(name) else {
            continue;
        };
        // The file lists what is needed first last.
        for module in needs.iter().rev().chain([path]) {
            if seen.insert(*module) {
                order.push((*module).to_owned());
            }
        }
    }
    order
}

/// `kernel/drivers/block/ublk_drv.ko.xz` is `ublk_drv`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn built(arguments: &[&str]) -> Result<(), Fault> {
    match run(&mut cargo(arguments)) {
        Outcome::Done(_) => Ok(()),
        Outcome::Skipped(why) | Outcome::Failed(why) => Err(Fault::Failed(why)),
    }
}

/// Builds the tests of a package, or one of them (`package/test`); the programs that cargo says it
/// made.
fn test_programs(tests: &str) -> Result<Vec<PathBuf>, Fault> {
    let mut programs = Vec::new();
    let (package, test) = tests
        .split_once('/')
        .map_or((tests, None), |(package, test)| (package, Some(test)));
    let mut command = cargo(&["test", "-p", package, "--no-run", "--message-format=json"]);
    command.args(test.map(|test| format!("--test={test}")));
    let output = read(&mut command)?;
    for line in output.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if message["profile"]["test"] == true
            && let Some(path) = message["executable"].as_str()
        {
            programs.push(root().join(path));
        }
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_depend_on() {
        let text = "kernel/a-b.ko.xz: kernel/c.ko.xz kernel/d.ko\nkernel/c.ko.xz: kernel/d.ko\n\
                    kernel/d.ko:\n";
        let names = ["a_b".to_owned(), "c".to_owned(), "built_in".to_owned()];
        assert_eq!(
            in_order(text, &names),
            ["kernel/d.ko", "kernel/c.ko.xz", "kernel/a-b.ko.xz"]
        );
    }
}
