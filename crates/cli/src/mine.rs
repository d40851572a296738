//! `zcn mine`: mines for a pool.

mod args;
mod benchmark;
mod config;
mod latency;
mod pages;
mod status;
mod temperature;
mod view;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use zcn::TcpListener;
use zcn_measure::core;
use zcn_miner::crew::{CrewError, CrewOptions, Idle};
use zcn_miner::ledger::{Durability, LedgerError};
use zcn_miner::rig::{self, RigError, RigMeter};
use zcn_miner::session::{
    FoundShare, LedgerSettings, Notice, Pool, PoolUrl, SessionError, SessionHandle, SessionSettings,
};
use zcn_sha256d::Engine;

use crate::failure::Failure;
use crate::signal;

pub use args::MineArgs;

use status::{Status, Summary};
use view::View;

/// The password where none is given: most pools take any.
const PASSWORD: &str = "x";
/// How often the rates are printed.
const REPORT: Duration = Duration::from_secs(10);
/// How often the view of a terminal is brought up to date.
const SHOW: Duration = Duration::from_secs(1);
/// How often it is looked whether the end has been asked for.
const LOOK: Duration = Duration::from_millis(50);

/// Mines until a signal comes or the time is over.
///
/// # Errors
/// When the settings are not understood, the engine is not there, the workers or the ledger
/// cannot be had, or the reactor fails.
pub fn run(args: &MineArgs) -> Result<ExitCode, Failure> {
    let mut args = args.clone();
    let mut pools = pools(&args);
    if let Some(path) = &args.config {
        let file = config::read(path)?;
        if pools.is_empty() {
            pools = file.pools;
        }
        if pools.is_empty() && !args.benchmark && !args.latency {
            return Err(Failure::new(format!("{} names no pool", path.display()))
                .remedy("a table [[pool]] with url and user, or -o and -u"));
        }
        args = args.over(file.args);
    }
    let workers = crew(&args)?;
    if args.benchmark {
        return benchmark::run(&args, &workers);
    }
    if args.latency {
        return latency::run(&args, &workers);
    }
    mine(&args, workers, pools)
}

fn mine(args: &MineArgs, workers: CrewOptions, pools: Vec<Pool>) -> Result<ExitCode, Failure> {
    let urls = pools.iter().map(|pool| pool.url.clone()).collect();
    let settings = settings(args, pools);
    let mut runtime = args.event_loop.builder().build()?;
    let asked = Arc::new(AtomicBool::new(false));
    let ask = asked.clone();
    signal::on_first(move || ask.store(true, Ordering::SeqCst))
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    let (engine, threads) = (workers.engine.kind(), workers.cores.len());
    let (view, meter) = (View::new(args.json, args.plain), RigMeter::new());
    let status = Status::new(engine, threads, urls, meter.clone());
    view.say(
        || json!({"event": "started", "engine": engine.name(), "threads": threads}),
        || format!("{threads} threads of {engine}; Ctrl-C stops"),
    );
    let (limit, api) = (args.time_limit, args.api);
    let (shown, counted) = (view.clone(), status.clone());
    let mined = runtime.block_on(async move {
        if let Some(address) = api {
            let listener = TcpListener::bind(address)?;
            let address = listener.local_addr().to_string();
            shown.say(
                || json!({"event": "api", "address": address}),
                || format!("pages at http://{address}/summary and /metrics"),
            );
            let pages = counted.clone();
            zcn::spawn(zcn_miner::pages::serve(listener, move |path| {
                pages::page(&pages, path)
            }));
        }
        let handle = SessionHandle::new();
        let stop = handle.clone();
        zcn::spawn(watch(limit, asked, stop, shown.clone(), counted.clone()));
        let mut sink = |notice: Notice<'_>| {
            counted.hear(&notice);
            report(&shown, &counted, &notice);
        };
        let mined = rig::run(&workers, settings, &handle, &meter, &mut sink).await;
        mined.map_err(failure)
    });
    view.end();
    mined??;
    farewell(&view, &status);
    Ok(crate::pool::exit_code())
}

/// What kept the rig from starting, and what helps where the error itself does not say it.
fn failure(error: RigError) -> Failure {
    let remedy = match &error {
        RigError::Session(SessionError::Ledger(LedgerError::File { .. })) => {
            Some("--ledger FILE in a folder that exists and that you may write to")
        }
        RigError::Crew(CrewError::Pin { .. }) => {
            Some("--cpu-affinity MASK of cores that this program may use")
        }
        _ => None,
    };
    let failure = Failure::new("cannot mine").because(error);
    match remedy {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}

/// The pools of the command line.
fn pools(args: &MineArgs) -> Vec<Pool> {
    /// What belongs to the pool in a place, or the last there is.
    fn of<T: Clone>(list: &[T], place: usize) -> Option<T> {
        list.get(place).or(list.last()).cloned()
    }
    let pool = |(place, url): (usize, &PoolUrl)| Pool {
        url: url.clone(),
        user: of(&args.users, place).unwrap_or_default(),
        password: of(&args.passwords, place).unwrap_or_else(|| PASSWORD.to_owned()),
        pins: of(&args.pins, place).into_iter().collect(),
    };
    args.urls.iter().enumerate().map(pool).collect()
}

fn crew(args: &MineArgs) -> Result<CrewOptions, Failure> {
    let engine = match args.engine {
        None => Engine::best(),
        Some(kind) => Engine::new(kind)
            .map_err(|error| Failure::new(format!("cannot run --engine {kind}")).because(error))?,
    };
    let allowed = core::allowed()
        .map_err(|error| Failure::new("cannot tell the cores of this process").because(error))?;
    let threads = args.threads.map_or(allowed.len(), NonZeroUsize::get);
    let cores: Vec<usize> = match args.cpu_affinity {
        None => allowed,
        Some(mask) => (0..64).filter(|core| mask >> core & 1 == 1).collect(),
    };
    // More workers than cores without a mask go where the kernel wants them.
    let pinned = args.cpu_affinity.is_some() || threads <= cores.len();
    let cores = cores.into_iter().cycle().take(threads);
    Ok(CrewOptions {
        engine,
        roll: args.roll,
        cores: cores.map(|core| pinned.then_some(core)).collect(),
        idle: if args.spin_workers {
            Idle::Spin
        } else {
            Idle::Sleep
        },
    })
}

fn settings(args: &MineArgs, pools: Vec<Pool>) -> SessionSettings {
    let mut settings = SessionSettings::new(pools);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    if let Some(kind) = args.channel {
        settings.channel = kind.into();
    }
    settings.seed = since.map_or(0, |since| since.as_nanos() as u64);
    settings.rehearse_for = args.rehearse_for();
    settings.ledger = args.ledger.clone().map(|path| LedgerSettings {
        path,
        durability: if args.ledger_sync {
            Durability::Disk
        } else {
            Durability::Kernel
        },
    });
    settings
}

async fn watch(
    limit: Option<Duration>,
    asked: Arc<AtomicBool>,
    handle: SessionHandle,
    view: View,
    status: Status,
) {
    let begun = Instant::now();
    let mut reported = begun;
    let every = if view.is_live() { SHOW } else { REPORT };
    loop {
        zcn::sleep(LOOK).await;
        let over = limit.is_some_and(|limit| begun.elapsed() >= limit);
        if over || asked.load(Ordering::SeqCst) {
            return handle.stop();
        }
        if reported.elapsed() >= every {
            reported = Instant::now();
            let summary = status.summary();
            if view.is_live() {
                view.show(&summary);
            } else {
                view.say(|| with_event("rates", &summary), || summary.line());
            }
        }
    }
}

/// A summary as an event.
fn with_event(name: &str, summary: &Summary) -> Value {
    // Text and numbers: that cannot fail.
    let mut object = serde_json::to_value(summary).unwrap_or_default();
    object["event"] = name.into();
    object
}

fn report(view: &View, status: &Status, notice: &Notice<'_>) {
    let url = |pool: usize| status.url(pool);
    let share = |event: &str, share: &FoundShare, why: Option<String>| {
        let nonce = share.share.nonce;
        view.say(
            || json!({"event": event, "pool": url(share.pool), "nonce": nonce, "why": why}),
            || match &why {
                Some(why) => format!("share {nonce:08x} {event}: {why}"),
                None => format!("share {nonce:08x} {event}"),
            },
        );
    };
    match notice {
        Notice::Left { shares, foreign } => view.say(
            || json!({"event": "left", "shares": shares, "foreign": foreign}),
            || match foreign {
                0 => format!("{shares} shares are in the ledger"),
                _ => format!("{shares} shares are in the ledger, and {foreign} for other pools"),
            },
        ),
        Notice::Unwritten { error } => view.say(
            || json!({"event": "unwritten", "why": error.to_string()}),
            || format!("the ledger cannot be written: {error}"),
        ),
        Notice::Connecting { pool } => view.say(
            || json!({"event": "connecting", "pool": url(*pool)}),
            || format!("connecting to {}", url(*pool)),
        ),
        Notice::Ready { pool, resumed } => view.say(
            || json!({"event": "ready", "pool": url(*pool), "resumed": resumed}),
            || format!("mining for {}", url(*pool)),
        ),
        Notice::Work { pool, work, .. } => view.say(
            || {
                json!({
                    "event": "job",
                    "pool": url(*pool),
                    "difficulty": work.difficulty,
                    "clean": work.job.clean,
                })
            },
            || format!("job of difficulty {}", work.difficulty),
        ),
        Notice::Disconnected {
            pool,
            cause,
            retry_after,
        } => view.say(
            || {
                json!({
                    "event": "disconnected",
                    "pool": url(*pool),
                    "cause": cause.to_string(),
                    "retry_s": retry_after.as_secs_f64(),
                })
            },
            || {
                let wait = retry_after.as_secs_f64();
                format!(
                    "left {}: {cause}; not tried again for {wait:.1} s",
                    url(*pool)
                )
            },
        ),
        Notice::Accepted { share: found, .. } => share("accepted", found, None),
        Notice::Rejected {
            share: found,
            rejection,
            ..
        } => share("rejected", found, Some(rejection.to_string())),
        Notice::Lost { share: found, why } => share("lost", found, Some(why.to_string())),
        Notice::Message(text) => view.say(
            || json!({"event": "message", "text": text}),
            || format!("the pool says: {text}"),
        ),
        Notice::RedirectRefused { host } => view.say(
            || json!({"event": "redirect_refused", "host": host}),
            || format!("refused to go to {host}, which is outside of the pool's domain"),
        ),
        _ => {}
    }
}

fn farewell(view: &View, status: &Status) {
    let summary = status.summary();
    view.say(
        || with_event("stopped", &summary),
        || {
            format!(
                "stopped: {} hashes, {} shares accepted, {} rejected, {} stale, {} lost",
                summary.hashes, summary.accepted, summary.rejected, summary.stale, summary.lost
            )
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use zcn_miner::session::Protocol;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        mine: MineArgs,
    }

    fn parse(arguments: &[&str]) -> Result<MineArgs, clap::Error> {
        let line = [&["mine"], arguments].concat();
        Line::try_parse_from(line).map(|line| line.mine)
    }

    #[test]
    fn each_pool_has_its_own_user_or_the_last() {
        let args = parse(&[
            "-o",
            "a:1",
            "-u",
            "me",
            "-o",
            "stratum+ssl://b:2",
            "-u",
            "you",
            "-o",
            "c:3",
            "-t",
            "3",
            "--cpu-affinity",
            "0x5",
            "--engine",
            "scalar",
        ]);
        let args = args.expect("parses");
        let pools = pools(&args);
        let users: Vec<&str> = pools.iter().map(|pool| &*pool.user).collect();
        assert_eq!(users, ["me", "you", "you"]);
        assert_eq!(pools[1].url.protocol, Protocol::V1Tls);
        assert_eq!(pools[2].password, "x");
        let crew = crew(&args).expect("scalar is everywhere");
        assert_eq!(crew.cores, [Some(0), Some(2), Some(0)]);
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        for (flag, value) in [
            ("--url", "http://pool:1"),
            ("--url", "stratum2+tcp://pool:1"),
            ("--url", "stratum2+tcp://pool:1/key"),
            ("--channel", "group"),
            ("--threads", "0"),
            ("--cpu-affinity", "0"),
            ("--cpu-affinity", "both"),
            ("--engine", "gpu"),
            ("--pin", "00"),
            ("--time-limit", "soon"),
            ("--api", "nowhere"),
        ] {
            let error = parse(&["-o", "a:1", "-u", "me", flag, value]).expect_err(value);
            assert!(error.to_string().contains(flag), "{error}");
        }
        let error = parse(&[]).expect_err("no pool");
        assert!(error.to_string().contains("--url"), "{error}");
        let error = parse(&["-o", "a:1"]).expect_err("no user");
        assert!(error.to_string().contains("--user"), "{error}");
    }
}
