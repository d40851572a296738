//! What `zcn mine` is told on its command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use zcn::tls::Fingerprint;
use zcn_miner::session::{Channel, PoolUrl};
use zcn_sha256d::EngineKind;

use crate::endpoint;
use crate::quantity;
use crate::reactor::LoopArgs;

/// Arguments of `zcn mine`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
stratum+tcp:// and stratum+ssl:// speak Stratum V1, stratum2+tcp:// speaks V2, which is encrypted; KEY \
is the authority key that the pool's operator publishes. Both may stand in one list.

Several -o make a list: the next pool takes over while those before it do not work. Each -u, -p and \
--pin belongs to the -o in the same place; where there are fewer, the last counts for the rest. \
Nothing is mined for anybody else, and nothing is connected to but these pools.

A file of settings has the long names of these flags as keys, and a table [[pool]] with url, user, \
pass and pin for each pool; what the command line says goes before it.

SIGINT (Ctrl-C) or SIGTERM waits for the answers to the last shares; the second ends at once.")]
pub struct MineArgs {
    /// A pool: stratum+tcp://HOST:PORT, stratum+ssl://HOST:PORT for TLS, or
    /// stratum2+tcp://HOST:PORT/KEY for Stratum V2.
    #[arg(
        short = 'o',
        long = "url",
        value_name = "URL",
        requires = "users",
        required_unless_present_any = ["config", "benchmark", "latency"]
    )]
    pub urls: Vec<PoolUrl>,

    /// The name of the worker.
    #[arg(short = 'u', long = "user", value_name = "USER", requires = "urls")]
    pub users: Vec<String>,

    /// Its password [default: x].
    #[arg(short = 'p', long = "pass", value_name = "PASS", requires = "urls")]
    pub passwords: Vec<String>,

    /// With TLS: the SHA-256 fingerprint of the pool's certificate, taken in
    /// place of the trust of the system.
    #[arg(long = "pin", value_name = "FINGERPRINT", requires = "urls")]
    pub pins: Vec<Fingerprint>,

    /// With Stratum V2: standard takes jobs as they are, extended makes the
    /// merkle root here [default: standard].
    #[arg(long, value_name = "KIND")]
    pub channel: Option<ChannelKind>,

    /// Read settings from this TOML file.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Worker threads [default: one for each core].
    #[arg(short = 't', long, value_name = "N", value_parser = quantity::whole(NonZeroUsize::MIN..))]
    pub threads: Option<NonZeroUsize>,

    /// Cores of the workers as a bit mask, as in 0x5; they take turns.
    #[arg(long, value_name = "MASK", value_parser = mask)]
    pub cpu_affinity: Option<u64>,

    /// How the hashes are computed: scalar, avx2, sha-ni, avx512, armv8
    /// [default: the fastest that this CPU has].
    #[arg(long, value_name = "NAME")]
    pub engine: Option<EngineKind>,

    /// Share message schedules between rolled versions of the header; read
    /// what docs/mining.md says about its patents first.
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

    /// Serve /summary (JSON) and /metrics (Prometheus) by HTTP; port 0 takes
    /// a free one and prints it. Whoever can connect can read.
    #[arg(long, value_name = "ADDR", value_parser = endpoint::socket)]
    pub api: Option<SocketAddr>,

    /// End after this long.
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub time_limit: Option<Duration>,

    /// Measure the rate of every engine, or of --engine, on one thread and on
    /// all, in place of mining.
    #[arg(long, conflicts_with_all = ["urls", "latency"])]
    pub benchmark: bool,

    /// Measure the time from a job's packet to its first hash, with a pool of
    /// our own on loopback, in place of mining.
    #[arg(long, conflicts_with = "urls")]
    pub latency: bool,

    /// The event loop.
    #[command(flatten)]
    pub event_loop: LoopArgs,

    /// Print lines only, without the view that a terminal gets.
    #[arg(long)]
    pub plain: bool,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Kinds of channels with pools of Stratum V2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChannelKind {
    /// Jobs with a merkle root.
    Standard,
    /// Jobs with a coinbase transaction.
    Extended,
}

impl From<ChannelKind> for Channel {
    fn from(kind: ChannelKind) -> Self {
        match kind {
            ChannelKind::Standard => Self::Standard,
            // Enough for a job to last as long as anybody has it.
            ChannelKind::Extended => Self::Extended {
                min_extranonce_len: 4,
            },
        }
    }
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

impl MineArgs {
    /// How long the session rehearses jobs: as long as its loop spins.
    pub(super) fn rehearse_for(&self) -> Duration {
        Duration::from_micros(self.event_loop.spin_us())
    }

    /// These, and where they say nothing, those of `file`.
    #[must_use]
    pub(super) fn over(self, file: Self) -> Self {
        // Whole, so that a new flag is not forgotten here.
        let Self {
            urls,
            users,
            passwords,
            pins,
            channel,
            config,
            threads,
            cpu_affinity,
            engine,
            roll,
            spin_workers,
            ledger,
            ledger_sync,
            api,
            time_limit,
            benchmark,
            latency,
            event_loop,
            plain,
            json,
        } = self;
        let LoopArgs { spin, reactor } = event_loop;
        Self {
            urls,
            users,
            passwords,
            pins,
            channel: channel.or(file.channel),
            config,
            threads: threads.or(file.threads),
            cpu_affinity: cpu_affinity.or(file.cpu_affinity),
            engine: engine.or(file.engine),
            roll: roll || file.roll,
            spin_workers: spin_workers || file.spin_workers,
            ledger: ledger.or(file.ledger),
            ledger_sync: ledger_sync || file.ledger_sync,
            api: api.or(file.api),
            time_limit: time_limit.or(file.time_limit),
            benchmark,
            latency,
            event_loop: LoopArgs {
                spin: spin.or(file.event_loop.spin),
                reactor: reactor.or(file.event_loop.reactor),
            },
            plain: plain || file.plain,
            json: json || file.json,
        }
    }
}
