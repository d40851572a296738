//! A network namespace for one test, which goes when the test ends.

use std::io::{self, Write};
use std::process::Command;
use std::thread;

use zcn_link::Interface;
use zcn_sys::namespace::enter_new_network;

/// Says that a test did not run, and why.
pub(crate) fn skip(reason: &str) {
    let _ = writeln!(io::stdout(), "SKIPPED: {reason}");
}

/// Runs `test` on a thread in a network namespace of its own, with loopback up; or skips it
/// where there is no privilege for that.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        if let Err(error) = enter_new_network() {
            skip(&format!("no network namespace of our own: {error}"));
            return;
        }
        Interface::open("lo")
            .and_then(|lo| lo.set_up(true))
            .expect("loopback of our own namespace");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these arguments, in the namespace of the calling thread.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("iproute2 is installed");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
