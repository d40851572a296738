//! The emulated machine: QEMU without acceleration, one serial port, no network.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use super::Fault;
use super::initramfs::ENDED;
use super::packages::{Kernel, Store};
use super::script::Script;
use crate::step::say;

/// A script that ends so could not do its work there.
const SKIPPED: i32 = 77;

/// Boots the kernel with the archive and waits for the script's end.
pub(super) fn run(
    store: &Store,
    kernel: &Kernel,
    script: &Script,
    initramfs: &Path,
) -> Result<(), Fault> {
    let mut machine = start(store, kernel, script, initramfs)?;
    let Some(console) = machine.stdout.take() else {
        return Err(Fault::failed("QEMU", "no console"));
    };
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + script.timeout;
    let mut status = None;
    let mut last = String::new();
    let late = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                say(&format!("  {line}"));
                if let Some(number) = line.strip_prefix(ENDED) {
                    status = number.trim().parse().ok();
                } else if !line.is_empty() && status.is_none() {
                    last = line;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    stop(&mut machine);
    drop(lines);
    // It ends with the console, which the machine closed.
    let _ = reader.join();
    match status {
        Some(0) => Ok(()),
        Some(SKIPPED) => Err(Fault::Unavailable(last)),
        Some(status) => Err(Fault::Failed(format!("status {status}: {last}"))),
        None if late => Err(Fault::Failed(format!(
            "not done after {} s: {last}",
            script.timeout.as_secs()
        ))),
        None => Err(Fault::Failed(format!("the machine stopped: {last}"))),
    }
}

fn start(
    store: &Store,
    kernel: &Kernel,
    script: &Script,
    initramfs: &Path,
) -> Result<Child, Fault> {
    let share = store.root().join("usr/share");
    let mut command = store.command("qemu-system-x86_64")?;
    command
        .arg("-L")
        .arg(share.join("qemu"))
        .arg("-L")
        .arg(share.join("seabios"))
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
        ])
        .args(["-smp", "2", "-m", "1024", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        // An emulated timer may tick too late for the kernel's check of it on a busy machine.
        .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
    if let Some(mib) = script.nvme_mib {
        let disk = initramfs.with_file_name("nvme.img");
        File::create(&disk)
            .and_then(|file| file.set_len(mib << 20))
            .map_err(|error| Fault::failed("nvme.img", error))?;
        command
            .arg("-drive")
            .arg(format!(
                "if=none,id=disk,format=raw,file={}",
                disk.display()
            ))
            .args(["-device", "nvme,serial=zcn,drive=disk"]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Fault::failed("QEMU", error))
}

/// Ends the machine if it has not ended by itself.
fn stop(machine: &mut Child) {
    let _ = machine.kill();
    let _ = machine.wait();
}
