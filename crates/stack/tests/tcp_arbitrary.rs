//! The TCP layer driven by arbitrary segments, calls, errors and times: it never panics, never
//! answers without end, and gives everything back. `ZCN_SEEDS` says how many seeds are tried,
//! `ZCN_SEED` with which one to begin.

#![expect(clippy::print_stdout, reason = "a test tells its seed")]

mod storm;

use storm::{Choices, run};
use zcn_stack::random::Random;

#[test]
fn arbitrary_segments_and_calls_neither_panic_nor_leak() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let start = number("ZCN_SEED", 0);
    for seed in start..start + number("ZCN_SEEDS", 200) {
        println!("seed {seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let choices = Choices::Drawn(Random::new(&bytes, "fuzz"));
        run(seed, choices, 600);
    }
}
