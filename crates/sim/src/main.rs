//! `zcn-sim`: runs of the user-space stack on bad networks, from seeds.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program says what it found")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zcn_sim::{RunOptions, Scenario};

/// Runs the user-space stack in virtual time on bad networks, and checks the invariants of
/// TCP at every step.
#[derive(Debug, Parser)]
#[command(name = "zcn-sim")]
struct Arguments {
    /// Run one seed, and tell of it.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run each of them twice, and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Give up after so many seeds that failed.
    #[arg(long, default_value_t = 20)]
    failures: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sound = match arguments.seed {
        Some(seed) => one(seed, arguments.trace),
        None => many(&arguments),
    };
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(seed: u64, trace: bool) -> bool {
    let scenario = Scenario::of(seed);
    print!("{scenario}");
    let outcome = scenario.run(RunOptions {
        lines: trace.then(|| Box::new(|line: &str| println!("{line}")) as zcn_sim::Lines),
    });
    println!("{outcome}");
    outcome.is_sound()
}

fn many(arguments: &Arguments) -> bool {
    let begin = Instant::now();
    let (mut failed, mut run, mut frames, mut bytes) = (0, 0, 0, 0);
    for seed in arguments.first..arguments.first.saturating_add(arguments.seeds) {
        let scenario = Scenario::of(seed);
        let outcome = scenario.run(RunOptions::default());
        run += 1;
        frames += outcome.frames;
        bytes += outcome.delivered;
        let mut good = outcome.is_sound();
        if !good {
            println!("{outcome}");
        }
        if arguments.twice {
            let again = scenario.run(RunOptions::default());
            if again.hash != outcome.hash {
                good = false;
                println!(
                    "seed {seed}: {:016x}, then {:016x}",
                    outcome.hash, again.hash
                );
            }
        }
        failed += u64::from(!good);
        if failed >= arguments.failures {
            println!("enough");
            break;
        }
    }
    println!(
        "{run} seeds, {failed} failed; {frames} frames, {bytes} bytes delivered; {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    failed == 0
}
