//! Runs drawn from seeds: every invariant holds, and every run replays to the bit.
//!
//! `cargo xtask sim` runs 2,000 seeds in a release build; the long run is
//! `cargo run --release -p zcn-sim --bin zcn-sim -- --seeds 100000`.

use zcn_sim::{RunOptions, Scenario};

/// How many seeds a debug build runs.
const SEEDS: u64 = 200;
/// Every so many is run twice.
const TWICE: u64 = 10;

#[test]
fn no_seed_violates_an_invariant_and_each_replays() {
    let mut broken = Vec::new();
    let mut delivered = 0;
    for seed in 0..SEEDS {
        let scenario = Scenario::of(seed);
        let outcome = scenario.run(RunOptions::default());
        delivered += outcome.delivered;
        if !outcome.is_sound() {
            broken.push(outcome.to_string());
        } else if seed % TWICE == 0 {
            let again = Scenario::of(seed).run(RunOptions::default());
            assert_eq!(again.hash, outcome.hash, "seed {seed} does not replay");
            assert_eq!(again, outcome);
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    // Seeds that do nothing would be sound, too.
    assert!(delivered > 1_000_000, "only {delivered} bytes in all");
}

#[test]
fn another_seed_is_another_run() {
    let hash = |seed| Scenario::of(seed).run(RunOptions::default()).hash;
    assert_ne!(hash(1), hash(2));
    let mut secret = Scenario::of(1);
    secret.seed = 99;
    assert_ne!(secret.run(RunOptions::default()).hash, hash(1));
}

#[test]
fn a_trace_tells_of_every_segment() {
    use std::cell::RefCell;
    use std::rc::Rc;

    let lines = Rc::new(RefCell::new(Vec::new()));
    let sink = lines.clone();
    let scenario = Scenario::of(3);
    let outcome = scenario.run(RunOptions {
        lines: Some(Box::new(move |line| {
            sink.borrow_mut().push(line.to_owned())
        })),
    });
    let sent = lines
        .borrow()
        .iter()
        .filter(|line| line.contains(" > ") && line.contains('['))
        .filter(|line| line.contains("] seq ") && line.split(' ').nth(2) == Some(">"))
        .count();
    assert_eq!(sent as u64, outcome.segments);
    assert_eq!(outcome.hash, scenario.run(RunOptions::default()).hash);
}
