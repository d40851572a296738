//! From the packet of a job to the first hash: a miner on zcn beside one on tokio and
//! `serde_json::Value`, each with one worker that spins.
//!
//! Our time begins with the completion that brings the job, the peer's when its task has read it,
//! which is to our disadvantage; both end when the worker has left the batch before and its first
//! hash is under way. What comes earlier, from the pool's system call on, is a figure of its own.
//! Our session spins and goes through its last job in
//! between, as `zcn mine --spin` does; the peer's sleeps in epoll, as tokio's do. Pool and
//! session share a core, the worker has the other.

mod peer;

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use zcn::{Runtime, Sleep};
use zcn_measure::core::{Cores, on_core};
use zcn_miner::crew::{CrewOptions, Idle};
use zcn_miner::drill::{Drill, DrillOptions};
use zcn_miner::latency::Stage;
use zcn_miner::rig::{self, RigMeter};
use zcn_miner::session::{Notice, SessionHandle};
use zcn_sha256d::Engine;

use crate::harness::{Contender, Ctx, Figure, Result, Target};

const BENCH: &str = "job-latency";
const ZCN: &str = "zcn";
const TOKIO: &str = "tokio, serde_json::Value";

/// Time between jobs.
const INTERVAL: Duration = Duration::from_micros(500);
/// The same where little is measured: enough for the first batch of a program that is not
/// optimized.
const QUICK_INTERVAL: Duration = Duration::from_millis(20);
/// Jobs below which a measurement goes on.
const ENOUGH: u64 = 5;
/// How much longer it goes on for them.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the time between jobs: the loop does not sleep.
const SPIN: Duration = Duration::from_millis(50);
/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_millis(50);

const UNIT: &str = "us";
/// To the first hash under way.
const P50: &str = "p50";
const P99: &str = "p99";
/// From the pool's system call to where the time begins: the kernel's way, and the wake-up.
const WAKE_UP: &str = "before it, p50";
/// Parts of it: the message read, the header made.
const PARTS: [&str; 2] = ["parse p50", "dispatch p50"];
/// The last part: from the hand-over until the worker has left its batch and begins.
const INTERRUPT: [&str; 3] = ["interrupt p50", "interrupt p99", "interrupt max"];

/// Measures jobs without merkle branches and with twelve.
pub fn run(ctx: &mut Ctx) -> Result {
    if is_real_time()? {
        // At one priority a thread that spins lets no other on its core run, and here two spin.
        return skipped("two of its threads spin on two cores: run it without chrt");
    }
    let cores = Cores::pick()?;
    if cores.server == cores.client {
        return skipped("on one core, session and worker would wait for each other");
    }
    let sample = ctx.sample;
    let interval = ctx.pick(INTERVAL, QUICK_INTERVAL);
    for (branches, most) in [(0, 1.5), (12, 4.0)] {
        let situation = format!("{branches} branches");
        let options = DrillOptions {
            branches,
            interval,
            core: Some(cores.server),
        };
        let mut contenders = vec![
            Contender::new(ZCN, || {
                on_core(cores.server, || Ok(ours(options, cores, sample)))?
            }),
            Contender::new(TOKIO, || {
                on_core(cores.server, || Ok(peer::client(options, cores, sample)))?
            }),
        ];
        let contest = ctx.alternate(&situation, &mut contenders)?;
        drop(contenders);
        for (name, peer) in [(ZCN, Some(TOKIO)), (TOKIO, None)] {
            let metrics = [P50, P99, WAKE_UP].into_iter();
            for metric in metrics.chain(PARTS).chain(INTERRUPT) {
                let Some(row) = contest.row(BENCH, &situation, name, metric, peer) else {
                    continue;
                };
                let is_ours = name == ZCN;
                let ratio = (is_ours && metric == P50)
                    .then(|| row.clone().target(Target::RatioAtMost(1.0 / 3.0)));
                ctx.report(match metric {
                    P50 if is_ours => row.target(Target::ValueAtMost(most)),
                    P99 if is_ours => row.target(Target::ValueAtMost(10.0)),
                    metric if metric == INTERRUPT[1] && is_ours => {
                        row.target(Target::ValueAtMost(10.0))
                    }
                    _ => row,
                })?;
                if let Some(ratio) = ratio {
                    ctx.report(ratio)?;
                }
            }
        }
    }
    Ok(())
}

fn skipped(reason: &str) -> Result {
    writeln!(std::io::stderr(), "{BENCH}: skipped: {reason}")?;
    Ok(())
}

/// Whether this thread goes before all others (`sched(7)`): field 41 of its `stat`.
fn is_real_time() -> Result<bool> {
    let stat = std::fs::read_to_string("/proc/thread-self/stat")?;
    // Behind the name, which may have anything in it, stands field 3.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(matches!(rest.split_whitespace().nth(38), Some("1" | "2")))
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// A share of times that are not longer.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let place = (times.len() as f64 * share) as usize;
    let time = times.get(place.min(times.len().saturating_sub(1)));
    micros(time.copied().unwrap_or_default())
}

fn ours(options: DrillOptions, cores: Cores, sample: Duration) -> Result<Vec<Figure>> {
    let drill = Drill::start(options)?;
    let mut settings = drill.session();
    settings.rehearse_for = SPIN;
    let workers = CrewOptions {
        engine: Engine::best(),
        roll: false,
        cores: vec![Some(cores.client)],
        idle: Idle::Spin,
    };
    let (meter, wake_ups) = (RigMeter::new(), Rc::new(RefCell::new(Vec::new())));
    let mut runtime = Runtime::builder().sleep(Sleep::Spin(SPIN)).build()?;
    let (counts, woken) = (meter.clone(), wake_ups.clone());
    runtime.block_on(async move {
        let handle = SessionHandle::new();
        let (stop, seen) = (handle.clone(), counts.clone());
        zcn::spawn(async move {
            let begun = Instant::now();
            loop {
                zcn::sleep(LOOK).await;
                let jobs = seen.latencies().percentiles(Stage::PacketToHash).count;
                if is_over(begun, sample, jobs) {
                    return stop.stop();
                }
            }
        });
        let mut sink = |notice: Notice<'_>| {
            if let Notice::Work {
                work, received_at, ..
            } = notice
                && let Some(sent) = drill.sent_at(&work.job.id)
            {
                let way = received_at.saturating_duration_since(sent);
                woken.borrow_mut().push(way);
            }
        };
        rig::run(&workers, settings, &handle, &counts, &mut sink).await
    })??;
    let latencies = meter.latencies();
    let whole = latencies.percentiles(Stage::PacketToHash);
    let interrupt = latencies.percentiles(Stage::HandOver);
    if whole.count == 0 {
        return Err("no job reached the workers".into());
    }
    let mut figures = vec![
        Figure::new(P50, micros(whole.p50), UNIT),
        Figure::new(P99, micros(whole.p99), UNIT),
        Figure::new(WAKE_UP, quantile(&mut wake_ups.borrow_mut(), 0.5), UNIT),
    ];
    let [parse, dispatch] =
        [Stage::Parse, Stage::Dispatch].map(|stage| latencies.percentiles(stage));
    let times = [
        parse.p50,
        dispatch.p50,
        interrupt.p50,
        interrupt.p99,
        interrupt.max,
    ];
    figures.extend(
        PARTS
            .iter()
            .chain(&INTERRUPT)
            .zip(times)
            .map(|(metric, time)| Figure::new(*metric, micros(time), UNIT)),
    );
    Ok(figures)
}

/// Whether a measurement has lasted long enough.
fn is_over(begun: Instant, sample: Duration, jobs: u64) -> bool {
    let elapsed = begun.elapsed();
    elapsed >= sample && jobs >= ENOUGH || elapsed >= sample + PATIENCE
}
