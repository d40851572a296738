//! `zcn pool`: a small solo pool.

mod authority;
mod chain;
mod node;
mod report;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use zcn::TcpListener;
use zcn::tls::TlsAcceptor;
use zcn_miner::machine::random;
use zcn_miner::pool::PoolSettings;
use zcn_stratum::Target;
use zcn_stratum::hex;
use zcn_stratum::server::VardiffConfig;

use crate::endpoint;
use crate::failure::Failure;
use crate::quantity;
use crate::reactor::LoopArgs;
use crate::signal;
pub use node::NodeArgs;

/// Arguments of `zcn pool`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Without --node the blocks of this pool follow no chain: it is for tests and demonstrations, and a \
block that is found is followed by the next one at once. With --node they are the node's, and pay \
to --payout. SIGINT (Ctrl-C) or SIGTERM ends it.")]
pub struct PoolArgs {
    /// Address to listen on; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333", value_parser = endpoint::socket)]
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

    /// Time between jobs on one block, which bring in new transactions;
    /// 0 hands out one job a block.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = quantity::duration)]
    pub job_interval: Duration,

    /// The chain.
    #[command(flatten)]
    pub node: NodeArgs,

    /// Speak TLS with the certificates in this PEM file, the pool's own first.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key to the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Serve miners of Stratum V2 as well, at this address; port 0 takes a
    /// free one. The URL for miners is printed.
    #[arg(long, value_name = "ADDR", value_parser = endpoint::socket)]
    pub v2: Option<SocketAddr>,

    /// The file with the secret that certifies this pool, 64 hexadecimal
    /// digits; made where there is none. Without it a pool has another key
    /// each time.
    #[arg(long, value_name = "FILE", requires = "v2")]
    pub v2_key: Option<PathBuf>,

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
/// When it cannot listen, its files cannot be read or the node refuses it, or when the reactor
/// fails.
pub fn run(args: &PoolArgs) -> Result<ExitCode, Failure> {
    let settings = settings(args)?;
    let source = args.node.source()?;
    let mut runtime = args.event_loop.builder().build()?;
    let (handle, stopper) = (runtime.handle(), runtime.handle());
    signal::on_first(move || handle.stop())
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    let v2 = match args.v2 {
        Some(address) => Some((address, authority::secret(args.v2_key.as_deref())?)),
        None => None,
    };
    let listen = args.listen;
    let (json, nbits, interval) = (args.json, args.nbits, args.job_interval);
    let started = runtime.block_on(async move {
        let listener = TcpListener::bind(listen)?;
        let v2 = match v2 {
            Some((address, secret)) => Some((TcpListener::bind(address)?, secret)),
            None => None,
        };
        let (server, given_up) = match source {
            None => {
                let server = chain::start(listener, settings, nbits, json, interval);
                (server, node::GivenUp::default())
            }
            Some(source) => {
                node::start(listener, settings, source, json, interval, stopper).await?
            }
        };
        let url = v2.map(|(listener, secret)| {
            let address = listener.local_addr();
            server.serve_v2(listener, secret);
            format!("stratum2+tcp://{address}/{}", secret.public())
        });
        Ok::<_, Failure>((server, given_up, url))
    })?;
    let (server, given_up, v2) = started?;
    say(
        args.json,
        || {
            let address = server.local_addr().to_string();
            json!({"event": "listening", "address": address, "v2": v2})
        },
        || match &v2 {
            Some(v2) => format!(
                "listening on {}, and at {v2} for Stratum V2; Ctrl-C stops",
                server.local_addr()
            ),
            None => format!("listening on {}; Ctrl-C stops", server.local_addr()),
        },
    );
    runtime.run()?;
    if let Some(failure) = given_up.borrow_mut().take() {
        return Err(failure);
    }
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
    Ok(exit_code())
}

fn settings(args: &PoolArgs) -> Result<PoolSettings, Failure> {
    const PEM: &str = "--tls-cert FILE with the certificates and --tls-key FILE with the key of the \
                       first, both PEM (-----BEGIN ...) and readable";
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            Failure::new(format!("cannot read {}", path.display()))
                .because(error)
                .remedy(PEM)
        })
    };
    let mut settings = PoolSettings::default();
    settings.difficulty = args.difficulty;
    settings.vardiff = (!args.share_interval.is_zero()).then(|| VardiffConfig {
        interval: args.share_interval,
        ..VardiffConfig::default()
    });
    // Sets this pool's extranonces apart from those of the one before.
    let random =
        random().map_err(|error| Failure::new("cannot draw random bytes").because(error))?;
    settings.first_extranonce = u32::from_be_bytes(random);
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let acceptor = TlsAcceptor::from_pem(&read(certificate)?, &read(key)?);
        settings.tls = Some(acceptor.map_err(|error| Failure::from(error).remedy(PEM))?);
    }
    Ok(settings)
}

/// Whether a line could not be printed, and not because its reader went away.
static INCOMPLETE: AtomicBool = AtomicBool::new(false);

/// Prints a line. Neither a reader who went away nor a full disk stops a pool, or a miner; of the
/// disk standard error is told once, and [`exit_code`] tells in the end.
pub(crate) fn say(
    json: bool,
    object: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce() -> String,
) {
    let line = if json { object().to_string() } else { text() };
    let mut out = io::stdout().lock();
    let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) else {
        return;
    };
    let failure = Failure::from(error).remedy("room on the disk; work goes on without output");
    // Relaxed: it orders nothing.
    if !failure.is_closed_pipe() && !INCOMPLETE.swap(true, Ordering::Relaxed) {
        let _ = write!(io::stderr(), "{failure}");
    }
}

/// How a program ends that printed its lines by [`say`]: as a failure if some are missing.
pub(crate) fn exit_code() -> ExitCode {
    ExitCode::from(u8::from(INCOMPLETE.load(Ordering::Relaxed)))
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
    fn a_node_needs_a_login_and_a_url() {
        let source = |arguments: &[&str]| parse(arguments).expect("parses").node.source();
        let node = ["--node", "http://127.0.0.1:1", "--payout", "a"];
        let error = source(&node).err().expect("no login").to_string();
        assert!(error.contains("--node-cookie FILE"), "{error}");
        let login = ["--node-user", "me", "--node-password", "x"];
        assert!(source(&[node, login].concat()).expect("a node").is_some());
        let wrong = ["--node", "127.0.0.1", "--payout", "a", "--node-cookie", "f"];
        let error = source(&wrong).err().expect("no URL").to_string();
        assert!(error.contains("\"127.0.0.1\" is no address"), "{error}");
        assert!(source(&[]).expect("no flags").is_none());
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
            ("--v2", "nowhere"),
            ("--v2-key", "alone"),
            ("--tls-cert", "alone.pem"),
            ("--node", "http://127.0.0.1:1"),
            ("--node-cookie", "alone"),
            ("--node-user", "alone"),
            ("--payout", "alone"),
        ] {
            let error = parse(&[flag, value]).expect_err(value);
            assert!(error.to_string().contains(flag), "{error}");
        }
        let files = ["--tls-cert", "/no/such/file", "--tls-key", "/no/such/file"];
        let error = settings(&parse(&files).expect("parses")).expect_err("no file");
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
