//! The state machine of TCP, driven by arbitrary segments, calls, errors and times: the first
//! byte chooses how SYN cookies are used, the rest are the choices of the driver that the
//! stack's own test draws from seeds.

#![no_main]

#[path = "../../crates/stack/tests/storm/mod.rs"]
mod storm;

use libfuzzer_sys::fuzz_target;
use storm::{Choices, run};

fuzz_target!(|input: &[u8]| {
    if let Some((&first, choices)) = input.split_first() {
        run(first.into(), Choices::Written(choices), 400);
    }
});
