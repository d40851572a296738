//! `zcn ublk` as a program: its arguments, and its errors on a machine without the driver. What it
//! does with one is tested in the guest (`cargo xtask guest -- ublk`).

mod common;

use std::path::Path;

use common::{run, skipped, text};

/// Misuse: the exit code, and what the usage says.
#[track_caller]
fn misused(arguments: &[&str], says: &str) {
    let output = run(arguments);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    assert!(told.contains(says), "{arguments:?}: {told}");
}

/// A failure: the exit code, and what is said.
#[track_caller]
fn fails(arguments: &[&str], says: &[&str]) {
    let output = run(arguments);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
    for part in says {
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn a_device_stands_on_memory_or_on_a_file() {
    misused(&["ublk", "add"], "--memory <SIZE>|--file <PATH>");
    misused(
        &["ublk", "add", "--memory", "1M", "--file", "disk"],
        "cannot be used with",
    );
    misused(&["ublk", "add", "--memory", "much"], "is no size");
    misused(&["ublk", "add", "--memory", "0"], "at least one byte");
    misused(
        &["ublk", "add", "--memory", "1M", "--recoverable"],
        "cannot be used with",
    );
    misused(&["ublk", "recover", "0"], "--file <PATH>");
    misused(&["ublk", "del"], "<ID>");
    misused(&["ublk"], "recover");
}

/// Before the driver is asked, so on every machine.
#[test]
fn settings_out_of_range_say_what_is_possible() {
    let add = |more: &[&str], says| {
        let mut arguments = vec!["ublk", "add", "--memory", "1M"];
        arguments.extend(more);
        fails(&arguments, &["cannot add a ublk device", says]);
    };
    add(&["--queues", "0"], "queues = 0 is out of range: 1 to 4096");
    add(&["--depth", "5000"], "depth = 5000 is out of range");
    add(&["--block-size", "600"], "512, 1024, 2048 or 4096");
    add(&["--max-io", "1000"], "a multiple of 4096");
    add(&["--id", "1048576"], "id = 1048576");
    fails(
        &["ublk", "add", "--memory", "1000"],
        &["size = 1000", "a multiple of the block size"],
    );
    fails(
        &["ublk", "add", "--file", "/no/such/disk"],
        &["/no/such/disk", "No such file"],
    );
    fails(
        &["ublk", "add", "--file", "/dev/null"],
        &["neither a file nor a block device"],
    );
}

#[test]
fn without_the_driver_it_says_how_to_get_it() {
    if Path::new("/dev/ublk-control").exists() {
        return skipped(&"there is a ublk driver here");
    }
    let says = ["no ublk driver", "modprobe ublk_drv"];
    fails(&["ublk", "add", "--memory", "1M"], &says);
    fails(&["ublk", "list"], &says);
    fails(&["ublk", "list", "--json"], &says);
    fails(&["ublk", "del", "0"], &says);
    let own = std::env::current_exe().expect("a file");
    let own = own.to_str().expect("text");
    fails(
        &["ublk", "recover", "0", "--file", own],
        &["cannot recover ublk device 0", "no ublk driver"],
    );
}
