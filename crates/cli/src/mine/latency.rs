//! `zcn mine --latency`: how long a job takes from its packet to its first hash, against a pool
//! of our own on loopback.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use zcn_miner::crew::{CrewOptions, Idle};
use zcn_miner::drill::{Drill, DrillOptions};
use zcn_miner::latency::{Percentiles, Stage};
use zcn_miner::rig::{self, RigMeter};
use zcn_miner::session::{Notice, SessionHandle};

use super::args::MineArgs;
use super::view::View;
use crate::failure::Failure;

/// How long each number of branches is measured, unless `--time-limit` says otherwise.
const SAMPLE: Duration = Duration::from_secs(5);
/// How much longer the first job is waited for, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether that is over.
const LOOK: Duration = Duration::from_millis(50);
/// Time between jobs.
const INTERVAL: Duration = Duration::from_millis(2);
/// Merkle branches of the jobs: an empty block, and one of thousands of transactions.
const BRANCHES: [usize; 2] = [0, 12];

pub(super) fn run(args: &MineArgs, workers: &CrewOptions) -> Result<ExitCode, Failure> {
    let view = View::new(args.json, true);
    let sample = args.time_limit.unwrap_or(SAMPLE);
    let (threads, engine) = (workers.cores.len(), workers.engine.kind());
    let spin = workers.idle == Idle::Spin;
    view.say(
        || {
            json!({
                "event": "started",
                "engine": engine.name(),
                "threads": threads,
                "spin_us": args.event_loop.spin_us(),
                "spin_workers": spin,
            })
        },
        || format!("{threads} threads of {engine}, a job every {INTERVAL:?} for {sample:?}"),
    );
    for branches in BRANCHES {
        let meter = measure(args, workers, branches, sample)?;
        let latencies = meter.latencies();
        for stage in Stage::ALL {
            let times = latencies.percentiles(stage);
            // Shares are out of reach here.
            if stage != Stage::Acknowledge {
                show(&view, branches, stage, &times);
            }
        }
    }
    Ok(crate::pool::exit_code())
}

fn measure(
    args: &MineArgs,
    workers: &CrewOptions,
    branches: usize,
    sample: Duration,
) -> Result<RigMeter, Failure> {
    let drill = Drill::start(DrillOptions {
        branches,
        interval: INTERVAL,
        core: None,
    });
    let drill = drill.map_err(|error| Failure::new("cannot start a pool").because(error))?;
    let mut settings = drill.session();
    settings.rehearse_for = args.rehearse_for();
    let meter = RigMeter::new();
    let counts = meter.clone();
    let mut runtime = args.event_loop.builder().build()?;
    let mined = runtime.block_on(async move {
        let handle = SessionHandle::new();
        let (stop, seen) = (handle.clone(), counts.clone());
        zcn::spawn(async move {
            let begun = Instant::now();
            let jobs = || seen.latencies().percentiles(Stage::PacketToHash).count;
            while begun.elapsed() < sample || (jobs() == 0 && begun.elapsed() < sample + PATIENCE) {
                zcn::sleep(LOOK.min(sample)).await;
            }
            stop.stop();
        });
        let mut sink = |_: Notice<'_>| {};
        rig::run(workers, settings, &handle, &counts, &mut sink).await
    })?;
    mined.map_err(|error| Failure::new("cannot mine").because(error))?;
    if meter.latencies().percentiles(Stage::PacketToHash).count == 0 {
        return Err(Failure::new("no job came in time").remedy("a longer --time-limit"));
    }
    Ok(meter)
}

fn show(view: &View, branches: usize, stage: Stage, times: &Percentiles) {
    let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
    let Percentiles {
        count,
        p50,
        p99,
        p999,
        max,
    } = *times;
    let [p50, p99, p999, max] = [p50, p99, p999, max].map(micros);
    view.say(
        || {
            json!({
                "event": "latency",
                "branches": branches,
                "stage": stage.name(),
                "count": count,
                "us": {"p50": p50, "p99": p99, "p999": p999, "max": max},
            })
        },
        || {
            let stage = stage.name();
            format!(
                "{branches:2} branches  {stage:14} p50 {p50:8.2} us  p99 {p99:8.2}  p99.9 {p999:8.2}  \
                 max {max:8.2}  of {count}"
            )
        },
    );
}
