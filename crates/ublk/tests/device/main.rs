//! Real block devices, where the kernel has a ublk driver and the test may use it. Elsewhere each
//! test says that it was skipped, but for the error that is due there.
//!
//! `cargo xtask guest -- ublk` runs them under a kernel that has one.
#![allow(clippy::print_stderr, clippy::print_stdout)]

mod child;
mod errors;
mod killed;
mod pattern;
mod scratch;
mod served;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zcn_ublk::{Control, UblkError};

/// The driver, if it is there and may be used. One test at a time has it, so that an id that a test
/// gave up is free when it wants it again.
fn driver() -> Option<(MutexGuard<'static, ()>, Control)> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    match Control::open() {
        Ok(control) => Some((guard, control)),
        Err(error @ (UblkError::NoDriver { .. } | UblkError::NotPermitted { .. })) => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A seed for a test that draws, printed so that it can be set by `ZCN_SEED`.
fn seed() -> u64 {
    let given = std::env::var("ZCN_SEED").ok();
    let seed = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| RandomState::new().hash_one(0));
    eprintln!("ZCN_SEED={seed}");
    seed
}
