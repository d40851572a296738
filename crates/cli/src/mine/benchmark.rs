//! `zcn mine --benchmark`: the rate of each engine, on one thread and on all.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use zcn_miner::crew::{Crew, CrewOptions, VersionBits, Work};
use zcn_sha256d::{Engine, Nonces, Target};

use super::args::MineArgs;
use super::view::View;
use crate::failure::Failure;

/// How long each rate is measured, unless `--time-limit` says otherwise.
const SAMPLE: Duration = Duration::from_secs(2);
/// How much longer the first hashes are waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it runs before that.
const WARM_UP: Duration = Duration::from_millis(100);

pub(super) fn run(args: &MineArgs, workers: &CrewOptions) -> Result<ExitCode, Failure> {
    let view = View::new(args.json, true);
    let sample = args.time_limit.unwrap_or(SAMPLE);
    let engines: Vec<Engine> = match args.engine {
        Some(_) => vec![workers.engine],
        None => Engine::supported().collect(),
    };
    let counts = match workers.cores.len() {
        1 => vec![1],
        all => vec![1, all],
    };
    for engine in engines {
        // Rolled versions are opted into.
        for roll in [false, true] {
            if roll && !(args.roll && engine.rolls()) {
                continue;
            }
            for &threads in &counts {
                let mut options = workers.clone();
                (options.engine, options.roll) = (engine, roll);
                options.cores.truncate(threads);
                show(&view, &options, &measure(&options, sample)?);
            }
        }
    }
    Ok(crate::pool::exit_code())
}

/// Hashes a second of each worker. Nothing meets the target.
fn measure(options: &CrewOptions, sample: Duration) -> Result<Vec<f64>, Failure> {
    let failed = |error| Failure::new("cannot start the workers").because(error);
    let mut crew = Crew::start(options, || ()).map_err(failed)?;
    for worker in 0..crew.workers() {
        let mut header = [0; 80];
        header[36] = worker as u8;
        let work = Work {
            id: 1,
            header,
            target: Target::from_be_bytes([0; 32]),
            nonces: Nonces::ALL,
            versions: VersionBits::new(0x1fff_e000),
        };
        crew.assign(worker, &work);
    }
    let hashes = |crew: &Crew| -> Vec<u64> {
        (0..crew.workers())
            .map(|worker| crew.hashes_of(worker))
            .collect()
    };
    thread::sleep(WARM_UP);
    let (before, begun) = (hashes(&crew), Instant::now());
    thread::sleep(sample);
    loop {
        let elapsed = begun.elapsed();
        let done: Vec<u64> = hashes(&crew)
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before)
            .collect();
        // Hashes are told in pieces; a slow worker may not have told any.
        if !done.contains(&0) || elapsed > sample + PATIENCE {
            let seconds = elapsed.as_secs_f64();
            return Ok(done.iter().map(|&hashes| hashes as f64 / seconds).collect());
        }
        thread::sleep(WARM_UP);
    }
}

fn show(view: &View, options: &CrewOptions, rates: &[f64]) {
    let (engine, roll) = (options.engine.kind(), options.roll);
    let sum: f64 = rates.iter().sum();
    view.say(
        || {
            json!({
                "event": "rate",
                "engine": engine.name(),
                "roll": roll,
                "threads": rates.len(),
                "hashes_per_second": sum,
                "each": rates,
            })
        },
        || {
            let name = match roll {
                true => format!("{engine}, rolled"),
                false => engine.to_string(),
            };
            let threads = match rates.len() {
                1 => "1 thread".to_owned(),
                count => format!("{count} threads"),
            };
            let each: Vec<String> = rates
                .iter()
                .map(|rate| format!("{:.2}", rate / 1e6))
                .collect();
            let sum = sum / 1e6;
            format!(
                "{name:16} {threads:10} {sum:8.2} MH/s  ({})",
                each.join(", ")
            )
        },
    );
}
