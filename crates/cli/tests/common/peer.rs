//! Programs that we did not write, fetched by a script of `tests/peers`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Where the scripts put what they fetch; it stays there for the next run.
pub(crate) fn shelf() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

/// The program that a script puts on the [`shelf`]; `None`, and said so, where it cannot be had.
pub(crate) fn fetch(script: &str) -> Option<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers");
    let output = Command::new("sh")
        .arg(Path::new(folder).join(script))
        .arg(shelf())
        .output()
        .expect("sh runs");
    if !output.status.success() {
        let words = super::text(&output.stderr);
        let last = words.lines().last().unwrap_or("no reason given");
        super::skipped(&format_args!("{script}: {last}"));
        return None;
    }
    Some(PathBuf::from(super::text(&output.stdout).trim()))
}

/// A process that is killed when it is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let unique = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody had a moment ago, below those that the kernel gives out by itself.
pub(crate) fn unused_port(salt: u32) -> u16 {
    let begin = 10_000 + (std::process::id().wrapping_mul(31) + salt * 977) % 20_000;
    (begin..32_000)
        .map(|port| port as u16)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a free port")
}
