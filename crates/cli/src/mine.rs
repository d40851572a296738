//! `zcn mine`: mines for a pool.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use zcn::tls::Fingerprint;
use zcn_measure::core;
use zcn_miner::crew::{CrewOptions, Idle};
use zcn_miner::latency::Stage;
use zcn_miner::ledger::Durability;
use zcn_miner::rig::{self, RigMeter};
use zcn_miner::session::{
    FoundShare, LedgerSettings, Notice, Pool, PoolUrl, SessionHandle, SessionSettings,
};
use zcn_sha256d::{Engine, EngineKind};

use crate::failure::Failure;
use crate::pool::say;
use crate::quantity;
use crate::reactor::LoopArgs;
use crate::signal;

/// Arguments of `zcn mine`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Several -o make a list: the next pool takes over while those before it do not work. Each -u, -p and \
--pin belongs to the -o in the same place; where there are fewer, the last counts for the rest. \
Nothing is mined for anybody else, and nothing is connected to but these pools.

SIGINT (Ctrl-C) or SIGTERM waits for the answers to the last shares; the second ends at once.")]
pub struct MineArgs {
    /// A pool: stratum+tcp://HOST:PORT, or stratum+ssl://HOST:PORT for TLS.
    #[arg(short = 'o', long = "url", value_name = "URL", required = true)]
    pub urls: Vec<PoolUrl>,

    /// The name of the worker.
    #[arg(short = 'u', long = "user", value_name = "USER", required = true)]
    pub users: Vec<String>,

    /// Its password.
    #[arg(short = 'p', long = "pass", value_name = "PASS", default_value = "x")]
    pub passwords: Vec<String>,

    /// With TLS: the SHA-256 fingerprint of the pool's certificate, taken in
    /// place of the trust of the system.
    #[arg(long = "pin", value_name = "FINGERPRINT")]
    pub pins: Vec<Fingerprint>,

    /// Worker threads [default: one for each core].
    #[arg(short = 't', long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// Cores of the workers as a bit mask, as in 0x5; they take turns.
    #[arg(long, value_name = "MASK", value_parser = mask)]
    pub cpu_affinity: Option<u64>,

    /// How the hashes are computed: scalar, avx2, sha-ni, avx512, armv8
    /// [default: the fastest that this CPU has].
    #[arg(long, value_name = "NAME")]
    pub engine: Option<EngineKind>,

    /// Share message schedules between rolled versions of the header; read
    /// the documentation of zcn-sha256d about its patents first.
    #[arg(long)]
    pub roll: bool,

    /// Workers without work keep looking in place of sleeping.
    #[arg(long)]
    pub spin_workers: bool,

    /// Write found shares to this file before they are sent. What is not
    /// answered when the program ends, or is killed, the next one sends.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// Wait until the disk has each share, so that loss of power loses none.
    #[arg(long, requires = "ledger")]
    pub ledger_sync: bool,

    /// End after this long.
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub time_limit: Option<Duration>,

    /// The event loop.
    #[command(flatten)]
    pub event_loop: LoopArgs,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

fn mask(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u64::from_str_radix(digits, 16) {
        Ok(mask) if mask != 0 => Ok(mask),
        _ => Err(format!(
            "{text:?} is no mask of cores; write 0x3 for the first two"
        )),
    }
}

/// How often the rates are printed.
const REPORT: Duration = Duration::from_secs(10);
/// How often it is looked whether the end has been asked for.
const LOOK: Duration = Duration::from_millis(50);

/// Mines until a signal comes or the time is over.
///
/// # Errors
/// When the engine is not there, the workers cannot be had, or the reactor fails.
pub fn run(args: &MineArgs) -> Result<ExitCode, Failure> {
    let workers = crew(args)?;
    let settings = settings(args);
    let urls: Vec<String> = args.urls.iter().map(PoolUrl::to_string).collect();
    let mut runtime = args.event_loop.builder().build()?;
    let asked = Arc::new(AtomicBool::new(false));
    let ask = asked.clone();
    signal::on_first(move || ask.store(true, Ordering::SeqCst))
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    let (json, limit) = (args.json, args.time_limit);
    let threads = workers.cores.len();
    say(
        json,
        || json!({"event": "started", "engine": workers.engine.kind().name(), "threads": threads}),
        || {
            format!(
                "{threads} threads of {}; Ctrl-C stops",
                workers.engine.kind()
            )
        },
    );
    let meter = RigMeter::new();
    let counts = meter.clone();
    let mined = runtime.block_on(async move {
        let handle = SessionHandle::new();
        zcn::spawn(watch(json, limit, asked, handle.clone(), counts.clone()));
        let mut sink = |notice: Notice<'_>| report(json, &urls, &notice);
        rig::run(&workers, settings, &handle, &counts, &mut sink).await
    })?;
    mined.map_err(|error| Failure::new("cannot mine").because(error))?;
    farewell(json, &meter);
    Ok(ExitCode::SUCCESS)
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

fn settings(args: &MineArgs) -> SessionSettings {
    /// What belongs to the pool in a place, or the last there is.
    fn of<T: Clone>(list: &[T], place: usize) -> Option<T> {
        list.get(place).or(list.last()).cloned()
    }
    let pools = args.urls.iter().enumerate().map(|(place, url)| Pool {
        url: url.clone(),
        user: of(&args.users, place).unwrap_or_default(),
        password: of(&args.passwords, place).unwrap_or_default(),
        pins: of(&args.pins, place).into_iter().collect(),
    });
    let mut settings = SessionSettings::new(pools.collect());
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    settings.seed = since.map_or(0, |since| since.as_nanos() as u64);
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
    json: bool,
    limit: Option<Duration>,
    asked: Arc<AtomicBool>,
    handle: SessionHandle,
    meter: RigMeter,
) {
    let begun = Instant::now();
    let mut reported = begun;
    loop {
        zcn::sleep(LOOK).await;
        let over = limit.is_some_and(|limit| begun.elapsed() >= limit);
        if over || asked.load(Ordering::SeqCst) {
            return handle.stop();
        }
        if reported.elapsed() >= REPORT {
            reported = Instant::now();
            rates(json, &meter);
        }
    }
}

fn rates(json: bool, meter: &RigMeter) {
    let totals = meter.totals();
    let hash = meter.latencies().percentiles(Stage::PacketToHash);
    let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
    say(
        json,
        || {
            json!({
                "event": "rates",
                "hashes_per_second": {
                    "10s": totals.rates.ten_seconds,
                    "60s": totals.rates.minute,
                    "15m": totals.rates.quarter,
                },
                "jobs": totals.jobs,
                "accepted": totals.accepted,
                "rejected": totals.rejected,
                "stale": totals.stale,
                "lost": totals.lost,
                "packet_to_hash_us": {"p50": micros(hash.p50), "p99": micros(hash.p99)},
            })
        },
        || {
            format!(
                "{:.2} MH/s over 10 s, {:.2} over 60 s, {:.2} over 15 min; {} accepted, {} rejected, \
                 {} stale, {} lost; packet to hash p50 {:.1} us, p99 {:.1} us",
                totals.rates.ten_seconds / 1e6,
                totals.rates.minute / 1e6,
                totals.rates.quarter / 1e6,
                totals.accepted,
                totals.rejected,
                totals.stale,
                totals.lost,
                micros(hash.p50),
                micros(hash.p99),
            )
        },
    );
}

fn report(json: bool, urls: &[String], notice: &Notice<'_>) {
    let share = |event: &str, share: &FoundShare, why: Option<String>| {
        let nonce = share.share.nonce;
        say(
            json,
            || json!({"event": event, "pool": urls[share.pool], "nonce": nonce, "why": why}),
            || match &why {
                Some(why) => format!("share {nonce:08x} {event}: {why}"),
                None => format!("share {nonce:08x} {event}"),
            },
        );
    };
    match notice {
        Notice::Left { shares, foreign } => say(
            json,
            || json!({"event": "left", "shares": shares, "foreign": foreign}),
            || match foreign {
                0 => format!("{shares} shares are in the ledger"),
                _ => format!("{shares} shares are in the ledger, and {foreign} for other pools"),
            },
        ),
        Notice::Unwritten { error } => say(
            json,
            || json!({"event": "unwritten", "why": error.to_string()}),
            || format!("the ledger cannot be written: {error}"),
        ),
        Notice::Connecting { pool } => say(
            json,
            || json!({"event": "connecting", "pool": urls[*pool]}),
            || format!("connecting to {}", urls[*pool]),
        ),
        Notice::Ready { pool, resumed } => say(
            json,
            || json!({"event": "ready", "pool": urls[*pool], "resumed": resumed}),
            || format!("mining for {}", urls[*pool]),
        ),
        Notice::Work { pool, work, .. } => say(
            json,
            || {
                json!({
                    "event": "job",
                    "pool": urls[*pool],
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
        } => say(
            json,
            || {
                json!({
                    "event": "disconnected",
                    "pool": urls[*pool],
                    "cause": cause.to_string(),
                    "retry_s": retry_after.as_secs_f64(),
                })
            },
            || {
                let wait = retry_after.as_secs_f64();
                format!(
                    "left {}: {cause}; not tried again for {wait:.1} s",
                    urls[*pool]
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
        Notice::Message(text) => say(
            json,
            || json!({"event": "message", "text": text}),
            || format!("the pool says: {text}"),
        ),
        Notice::RedirectRefused { host } => say(
            json,
            || json!({"event": "redirect_refused", "host": host}),
            || format!("refused to go to {host}, which is outside of the pool's domain"),
        ),
        _ => {}
    }
}

fn farewell(json: bool, meter: &RigMeter) {
    let totals = meter.totals();
    say(
        json,
        || {
            json!({
                "event": "stopped",
                "hashes": totals.hashes,
                "accepted": totals.accepted,
                "rejected": totals.rejected,
                "stale": totals.stale,
                "lost": totals.lost,
                "wrong": totals.wrong,
            })
        },
        || {
            format!(
                "stopped: {} hashes, {} shares accepted, {} rejected, {} stale, {} lost",
                totals.hashes, totals.accepted, totals.rejected, totals.stale, totals.lost
            )
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

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
        let settings = settings(&args);
        let users: Vec<&str> = settings.pools.iter().map(|pool| &*pool.user).collect();
        assert_eq!(users, ["me", "you", "you"]);
        assert!(settings.pools[1].url.tls);
        assert_eq!(settings.pools[2].password, "x");
        let crew = crew(&args).expect("scalar is everywhere");
        assert_eq!(crew.cores, [Some(0), Some(2), Some(0)]);
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        for (flag, value) in [
            ("--url", "http://pool:1"),
            ("--threads", "0"),
            ("--cpu-affinity", "0"),
            ("--cpu-affinity", "both"),
            ("--engine", "gpu"),
            ("--pin", "00"),
            ("--time-limit", "soon"),
        ] {
            let error = parse(&["-o", "a:1", "-u", "me", flag, value]).expect_err(value);
            assert!(error.to_string().contains(flag), "{error}");
        }
        let error = parse(&[]).expect_err("no pool");
        assert!(error.to_string().contains("--url"), "{error}");
    }
}
