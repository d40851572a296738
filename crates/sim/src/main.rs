//! `zcn-sim`: runs of the user-space stack on bad networks, from seeds.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program says what it found")]

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zcn_link::{CaptureOptions, Direction, PcapngWriter};
use zcn_sim::{Frames, RunOptions, Scenario};

/// Runs the user-space stack in virtual time on bad networks, and checks the invariants of
/// TCP at every step.
#[derive(Debug, Parser)]
#[command(name = "zcn-sim")]
struct Arguments {
    /// Run one seed, and tell of it.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Without ECN with marks, accurate ECN, urgent data and fast open, as seeds once were.
    #[arg(long, requires = "seed")]
    without_later_additions: bool,
    /// Print everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Write every frame that leaves a node to a pcapng file; the comment of each says which.
    #[arg(long, requires = "seed", value_name = "FILE")]
    pcapng: Option<PathBuf>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run each of them twice, and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Run each of them again without header prediction, and compare the traces.
    #[arg(long)]
    unpredicted: bool,
    /// Give up after so many seeds that failed.
    #[arg(long, default_value_t = 20)]
    failures: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sound = match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    };
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(seed: u64, arguments: &Arguments) -> bool {
    let scenario = if arguments.without_later_additions {
        Scenario::without_later_additions(seed)
    } else {
        Scenario::of(seed)
    };
    print!("{scenario}");
    let frames = match arguments.pcapng.as_deref().map(capture).transpose() {
        Ok(frames) => frames,
        Err(error) => {
            let file = arguments.pcapng.as_deref().unwrap_or(Path::new(""));
            println!("cannot write {}: {error}", file.display());
            return false;
        }
    };
    let print = |line: &str| println!("{line}");
    let outcome = scenario.run(RunOptions {
        lines: arguments.trace.then(|| Box::new(print) as zcn_sim::Lines),
        frames,
    });
    println!("{outcome}");
    outcome.is_sound()
}

/// Writes frames to a file, which begins with the first one.
fn capture(path: &Path) -> io::Result<Frames> {
    let mut file = Some(BufWriter::new(File::create(path)?));
    let mut writer: Option<PcapngWriter<BufWriter<File>>> = None;
    Ok(Box::new(move |time, node, medium, frame| {
        if let Some(file) = file.take() {
            let options = CaptureOptions {
                cut_super_frames: true,
                ..CaptureOptions::default()
            };
            let name = "zcn-sim";
            writer = PcapngWriter::new(file, medium, name, "what left the nodes", options).ok();
        }
        let node = format!("n{}", node.0);
        let written = writer
            .as_mut()
            .map(|writer| writer.write(time, Direction::Outbound, frame, Some(&node)));
        if let Some(Err(error)) = written {
            println!("the capture ends here: {error}");
            writer = None;
        }
    }))
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
        if arguments.unpredicted {
            let hash = Scenario::of(seed)
                .unpredicted()
                .run(RunOptions::default())
                .hash;
            if hash != outcome.hash {
                good = false;
                println!(
                    "seed {seed}: {:016x}, without header prediction {hash:016x}",
                    outcome.hash
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
