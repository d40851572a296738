//! Debian's packages, fetched by name and unpacked beside the build, never installed.
//!
//! apt works on folders of its own with an empty list of installed packages, so that it
//! brings whole programs with all their libraries, whatever this machine has, without being
//! root. The mirror is the one that this machine's apt is configured for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Fault;
use crate::step::say;

/// Where the kernels come from.
const SUITES: &[&str] = &["trixie", "trixie-backports", "bookworm"];

/// What the guest and the emulator need.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "e2fsprogs",
    "fio",
    "iproute2",
    "kmod",
    "nftables",
    "qemu-system-x86",
];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The folder of what was fetched.
pub(super) struct Store {
    folder: PathBuf,
}

/// A kernel that was fetched.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// The folder of its modules, with its `modules.dep`.
    pub(super) modules: PathBuf,
}

impl Store {
    /// Opens the store in a folder; the first time, fetches everything but the kernels.
    pub(super) fn open(folder: &Path) -> Result<Store, Fault> {
        let store = Store {
            folder: folder.to_owned(),
        };
        let done = folder.join("programs.done");
        let wanted = PACKAGES.join(" ");
        if fs::read_to_string(&done).is_ok_and(|text| text == wanted) {
            return Ok(store);
        }
        store.prepare_apt()?;
        say("fetching QEMU and the programs of the guest");
        let mut install = store.apt("apt-get");
        install
            .args(["install", "--download-only", "-y", "-qq"])
            .args(PACKAGES);
        available(&mut install)?;
        let root = store.root();
        let _ = fs::remove_dir_all(&root);
        for package in debs(&folder.join("apt/cache/archives"))? {
            unpack(&package, &root)?;
        }
        fs::write(done, wanted).map_err(|error| Fault::failed("programs.done", error))?;
        Ok(store)
    }

    /// The folder that the programs were unpacked into.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// A file of the programs, by its name alone.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, Fault> {
        ["usr/bin", "usr/sbin", "bin", "sbin"]
            .iter()
            .map(|folder| self.root().join(folder).join(name))
            .find(|path| path.exists())
            .ok_or_else(|| Fault::failed(name, "not among the packages of the guest"))
    }

    /// The loader of the programs, and where their libraries are.
    pub(super) fn loader(&self) -> (PathBuf, PathBuf) {
        let libraries = self.root().join("usr/lib/x86_64-linux-gnu");
        (libraries.join("ld-linux-x86-64.so.2"), libraries)
    }

    /// A command that runs one of the programs here, with its own libraries.
    pub(super) fn command(&self, name: &str) -> Result<Command, Fault> {
        let (loader, libraries) = self.loader();
        let mut command = Command::new(loader);
        command
            .arg("--library-path")
            .arg(libraries)
            .arg("--argv0")
            .arg(name)
            .arg(self.program(name)?);
        Ok(command)
    }

    /// The libraries of a program, of Debian or built here, as files of the store.
    pub(super) fn libraries(&self, program: &Path) -> Result<Vec<PathBuf>, Fault> {
        let (loader, libraries) = self.loader();
        let mut list = Command::new(loader);
        list.arg("--library-path").arg(libraries).arg("--list");
        let text = read(list.arg(program))?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once("=> "))
            .filter_map(|(_, path)| path.split_whitespace().next())
            .map(PathBuf::from)
            .collect())
    }

    /// The newest kernel of a series such as `7.2`; fetched the first time.
    pub(super) fn kernel(&self, series: &str) -> Result<Kernel, Fault> {
        let folder = self.folder.join("kernels").join(series);
        let done = folder.join("done");
        if !done.exists() {
            self.prepare_apt()?;
            let release = self.newest(series)?;
            say(&format!("fetching Linux {release}"));
            let _ = fs::remove_dir_all(&folder);
            let debs_folder = folder.join("debs");
            fs::create_dir_all(&debs_folder).map_err(|error| Fault::failed("kernels", error))?;
            // Older kernels are one package, newer ones are three.
            let mut brought = 0;
            for part in ["image", "binary", "modules"] {
                let mut download = self.apt("apt-get");
                download
                    .current_dir(&debs_folder)
                    .args(["download", "-qq"])
                    .arg(format!("linux-{part}-{release}"))
                    .stderr(Stdio::null());
                brought += usize::from(available(&mut download).is_ok());
            }
            if brought == 0 {
                return Err(Fault::Unavailable(format!(
                    "Linux {release} cannot be fetched"
                )));
            }
            for package in debs(&debs_folder)? {
                unpack(&package, &folder.join("root"))?;
            }
            let _ = fs::remove_dir_all(debs_folder);
            let kernel = find_kernel(&folder, &release)?;
            // Debian makes it when the package is installed.
            let base = folder.join("root");
            let base = if kernel.modules.starts_with(base.join("usr")) {
                base.join("usr")
            } else {
                base
            };
            read(self.command("depmod")?.arg("-b").arg(base).arg(&release))?;
            fs::write(&done, release).map_err(|error| Fault::failed("kernels", error))?;
        }
        let release = fs::read_to_string(&done).map_err(|error| Fault::failed("kernels", error))?;
        find_kernel(&folder, &release)
    }

    /// The release of the newest kernel of a series that the mirror has.
    fn newest(&self, series: &str) -> Result<String, Fault> {
        let names = read(self.apt("apt-cache").args([
            "search",
            "--names-only",
            &format!(
                "^linux-image-{}\\..*cloud-amd64$",
                series.replace('.', "\\.")
            ),
        ]))?;
        names
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter_map(|name| name.strip_prefix("linux-image-"))
            .max_by_key(|release| numbers(release))
            .map(str::to_owned)
            .ok_or_else(|| Fault::Unavailable(format!("the mirror has no Linux {series}")))
    }

    /// Folders and sources of our apt; its lists are brought once a run of the program needs
    /// something that is not there.
    fn prepare_apt(&self) -> Result<(), Fault> {
        if !Path::new(KEYRING).exists() {
            return Err(Fault::Unavailable(
                "there are no keys of Debian's archive".into(),
            ));
        }
        let apt = self.folder.join("apt");
        if apt.join("updated").exists() {
            return Ok(());
        }
        let mirror = mirror()?;
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(folder)).map_err(|error| Fault::failed("apt", error))?;
        }
        let sources: String = SUITES
            .iter()
            .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
            .collect();
        for (name, text) in [("sources.list", sources.as_str()), ("status", "")] {
            fs::write(apt.join(name), text).map_err(|error| Fault::failed(name, error))?;
        }
        available(self.apt("apt-get").args(["update", "-qq"]))?;
        fs::write(apt.join("updated"), "").map_err(|error| Fault::failed("apt", error))
    }

    /// apt, on our folders only.
    fn apt(&self, program: &str) -> Command {
        let apt = self.folder.join("apt");
        let mut command = Command::new(program);
        for (name, path) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State", "state"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command
                .arg("-o")
                .arg(format!("{name}={}", apt.join(path).display()));
        }
        for option in [
            "Dir::Etc::sourceparts=/dev/null",
            "APT::Architecture=amd64",
            "APT::Install-Recommends=false",
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
            "Debug::NoLocking=1",
        ] {
            command.args(["-o", option]);
        }
        command
    }
}

/// Where this machine's apt gets Debian from.
fn mirror() -> Result<String, Fault> {
    let unavailable = || Fault::Unavailable("apt is not configured for a mirror of Debian".into());
    let mut list = Command::new("apt-get");
    list.args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(SITE)",
        "Created-By: Packages",
    ]);
    let text = read(&mut list).map_err(|_| unavailable())?;
    text.lines()
        .filter_map(|line| line.strip_prefix("Debian "))
        .find(|site| !site.ends_with("-security"))
        .map(str::to_owned)
        .ok_or_else(unavailable)
}

/// The numbers of a release, to compare by: 7.2.12 is newer than 7.2.9.
fn numbers(release: &str) -> Vec<u64> {
    release
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn find_kernel(folder: &Path, release: &str) -> Result<Kernel, Fault> {
    let root = folder.join("root");
    let modules = [root.join("usr/lib/modules"), root.join("lib/modules")]
        .into_iter()
        .map(|modules| modules.join(release))
        .find(|modules| modules.exists())
        .ok_or_else(|| Fault::failed(release, "its package holds no modules"))?;
    let image = [
        modules.join("vmlinuz"),
        root.join(format!("boot/vmlinuz-{release}")),
    ]
    .into_iter()
    .find(|image| image.exists())
    .ok_or_else(|| Fault::failed(release, "its package holds no kernel"))?;
    Ok(Kernel { image, modules })
}

/// The packages in a folder.
fn debs(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let listing = fs::read_dir(folder).map_err(|error| Fault::failed("packages", error))?;
    Ok(listing
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect())
}

fn unpack(package: &Path, into: &Path) -> Result<(), Fault> {
    read(Command::new("dpkg-deb").arg("-x").arg(package).arg(into)).map(drop)
}

/// Runs a command whose failure means that something cannot be had here.
fn available(command: &mut Command) -> Result<(), Fault> {
    let name = command.get_program().display().to_string();
    match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Fault::Unavailable(format!("{name} ended with {status}"))),
        Err(error) => Err(Fault::Unavailable(format!("{name}: {error}"))),
    }
}

/// Runs a command that should succeed, and reads what it prints.
pub(super) fn read(command: &mut Command) -> Result<String, Fault> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Fault::failed(&command.get_program().display().to_string(), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let name = command.get_program().display().to_string();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Fault::failed(&name, format!("{} {why}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert!(numbers("7.2.12+deb13-cloud-amd64") > numbers("7.2.9+deb13-cloud-amd64"));
        assert!(numbers("6.1.0-40-cloud-amd64") > numbers("6.1.0-9-cloud-amd64"));
    }
}
