//! `zcn pool`: a small solo pool.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use zcn::TcpListener;
use zcn::tls::TlsAcceptor;
use zcn_miner::pool::{PoolNotice, PoolServer, PoolSettings, Template};
use zcn_stratum::Target;
use zcn_stratum::hash::Hash;
use zcn_stratum::hex;
use zcn_stratum::server::VardiffConfig;
use zcn_stratum::target::hash_difficulty;

use crate::failure::Failure;
use crate::quantity;
use crate::reactor::LoopArgs;
use crate::signal;

/// Arguments of `zcn pool`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The blocks of this pool follow no chain: it is for tests and demonstrations. A block that is found \
is followed by the next one at once. SIGINT (Ctrl-C) or SIGTERM ends it.")]
pub struct PoolArgs {
    /// Address to listen on; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333")]
    pub listen: SocketAddr,

    /// Difficulty of the first shares of a miner.
    #[arg(long, value_name = "D", default_value = "0.01", value_parser = difficulty)]
    pub difficulty: f64,

    /// Time between shares of a miner that the difficulty aims at; 0 leaves
    /// the difficulty as it is.
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = quantity::duration)]
    pub share_interval: Duration,

    /// Target of blocks in compact form.
    #[arg(long, value_name = "HEX", default_value = "1d00ffff", value_parser = nbits)]
    pub nbits: u32,

    /// Time between jobs on one block; 0 hands out one job a block.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = quantity::duration)]
    pub job_interval: Duration,

    /// Speak TLS with the certificates in this PEM file, the pool's own first.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key to the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The event loop.
    #[command(flatten)]
    pub event_loop: LoopArgs,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

fn difficulty(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no difficulty; write 1, 0.01 or 65536");
    let difficulty = text.parse().map_err(|_| wrong())?;
    Target::from_difficulty(difficulty).map_err(|_| wrong())?;
    Ok(difficulty)
}

fn nbits(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no compact target; write 1d00ffff or 207fffff");
    let nbits = hex::decode_u32(text.as_bytes()).map_err(|_| wrong())?;
    Target::from_compact(nbits).map_err(|_| wrong())?;
    Ok(nbits)
}

/// Serves until a signal comes.
///
/// # Errors
/// When it cannot listen or its files cannot be read, or when the reactor fails.
pub fn run(args: &PoolArgs) -> Result<ExitCode, Failure> {
    let settings = settings(args)?;
    let mut runtime = args.event_loop.builder().build()?;
    let handle = runtime.handle();
    signal::on_first(move || handle.stop())
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    let listen = args.listen;
    let (json, chain) = (args.json, Chain::new(args.nbits));
    let interval = args.job_interval;
    let server = runtime.block_on(async move { start(listen, settings, chain, json, interval) })?;
    let server = server?;
    say(
        args.json,
        || json!({"event": "listening", "address": server.local_addr().to_string()}),
        || format!("listening on {}; Ctrl-C stops", server.local_addr()),
    );
    runtime.run()?;
    let stats = server.stats();
    say(
        args.json,
        || {
            json!({
                "event": "stopped",
                "accepted": stats.accepted,
                "refused": stats.refused,
                "blocks": stats.blocks,
                "resumed": stats.resumed,
            })
        },
        || {
            format!(
                "stopped: {} shares accepted, {} refused, {} blocks",
                stats.accepted, stats.refused, stats.blocks
            )
        },
    );
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &PoolArgs) -> Result<PoolSettings, Failure> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| Failure::new(format!("cannot read {}", path.display())).because(error))
    };
    let mut settings = PoolSettings::default();
    settings.difficulty = args.difficulty;
    settings.vardiff = (!args.share_interval.is_zero()).then(|| VardiffConfig {
        interval: args.share_interval,
        ..VardiffConfig::default()
    });
    // Seconds since 1970 set this pool's extranonces apart from those of the one before.
    settings.first_extranonce = now();
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        settings.tls = Some(TlsAcceptor::from_pem(&read(certificate)?, &read(key)?)?);
    }
    Ok(settings)
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}

/// A chain of blocks that only this pool knows.
struct Chain {
    height: u32,
    prev_hash: Hash,
    nbits: u32,
}

impl Chain {
    fn new(nbits: u32) -> Self {
        Self {
            height: 1,
            prev_hash: [0; 32],
            nbits,
        }
    }

    fn template(&self) -> Template {
        Template::synthetic(self.height, self.prev_hash, self.nbits, now())
    }
}

fn start(
    listen: SocketAddr,
    settings: PoolSettings,
    chain: Chain,
    json: bool,
    interval: Duration,
) -> Result<PoolServer, Failure> {
    let listener = TcpListener::bind(listen)?;
    let chain = Rc::new(RefCell::new(chain));
    let pool: Rc<RefCell<Option<PoolServer>>> = Rc::default();
    let (links, us) = (chain.clone(), pool.clone());
    let server = PoolServer::start(listener, settings, move |notice| {
        report(json, &notice);
        if let (PoolNotice::Block { found, .. }, Some(server)) = (notice, &*us.borrow()) {
            let mut chain = links.borrow_mut();
            chain.height += 1;
            chain.prev_hash = found.hash;
            hand_out(server, &chain, true);
        }
    });
    *pool.borrow_mut() = Some(server.clone());
    hand_out(&server, &chain.borrow(), true);
    if !interval.is_zero() {
        let server = server.clone();
        zcn::spawn(async move {
            loop {
                zcn::sleep(interval).await;
                hand_out(&server, &chain.borrow(), false);
            }
        });
    }
    Ok(server)
}

fn hand_out(server: &PoolServer, chain: &Chain, clean: bool) {
    // The target was checked on the command line, and the rest is short.
    if let Err(error) = server.set_template(chain.template(), clean) {
        tracing::error!(%error, "no job");
    }
}

fn report(json: bool, notice: &PoolNotice<'_>) {
    match notice {
        PoolNotice::Subscribed { peer, agent } => say(
            json,
            || json!({"event": "subscribed", "peer": peer.to_string(), "agent": agent}),
            || format!("{peer} subscribed: {agent}"),
        ),
        PoolNotice::Share { peer, found } => {
            let reached = hash_difficulty(&found.hash);
            say(
                json,
                || {
                    json!({
                        "event": "share",
                        "peer": peer.to_string(),
                        "user": found.user,
                        "difficulty": found.difficulty,
                        "reached": reached,
                    })
                },
                || {
                    let (user, asked) = (&found.user, found.difficulty);
                    format!("{peer} {user}: share of {reached:.4} where {asked:.4} was asked")
                },
            );
        }
        PoolNotice::Refused { peer, reason } => say(
            json,
            || json!({"event": "refused", "peer": peer.to_string(), "reason": reason.to_string()}),
            || format!("{peer}: share refused: {reason}"),
        ),
        PoolNotice::Block { found, .. } => {
            let mut hash = found.hash;
            hash.reverse();
            let hash = hex::encode(&hash);
            say(
                json,
                || json!({"event": "block", "user": found.user, "hash": hash}),
                || format!("block {hash} by {}", found.user),
            );
        }
        PoolNotice::Left { peer, cause } => {
            let cause = cause.map(ToString::to_string);
            say(
                json,
                || json!({"event": "left", "peer": peer.to_string(), "cause": cause}),
                || match &cause {
                    Some(cause) => format!("{peer} is sent away: {cause}"),
                    None => format!("{peer} left"),
                },
            );
        }
        _ => {}
    }
}

/// Prints a line. A reader who went away does not stop a pool, or a miner.
pub(crate) fn say(
    json: bool,
    object: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce() -> String,
) {
    let line = if json { object().to_string() } else { text() };
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        pool: PoolArgs,
    }

    fn parse(arguments: &[&str]) -> Result<PoolArgs, clap::Error> {
        let line = [&["pool"], arguments].concat();
        Line::try_parse_from(line).map(|line| line.pool)
    }

    #[test]
    fn values_are_read() {
        let args = parse(&[
            "--difficulty",
            "0.5",
            "--nbits",
            "207fffff",
            "--share-interval",
            "0",
        ]);
        let args = args.expect("parses");
        assert_eq!((args.difficulty, args.nbits), (0.5, 0x207f_ffff));
        assert!(settings(&args).expect("no files").vardiff.is_none());
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        for (flag, value) in [
            ("--listen", "nowhere"),
            ("--difficulty", "0"),
            ("--difficulty", "NaN"),
            ("--nbits", "1d00"),
            ("--nbits", "1d800000"),
            ("--job-interval", "soon"),
            ("--tls-cert", "alone.pem"),
        ] {
            let error = parse(&[flag, value]).expect_err(value);
            assert!(error.to_string().contains(flag), "{error}");
        }
        let files = ["--tls-cert", "/no/such/file", "--tls-key", "/no/such/file"];
        let error = settings(&parse(&files).expect("parses")).expect_err("no file");
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
