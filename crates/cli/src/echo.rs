//! `zcn echo`: a server that sends back what it receives.

mod door;
mod ledger;
mod tcp;
mod udp;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use zcn::{Address, Cluster, ClusterBuilder, ReactorKind};
use zcn_measure::core;

use crate::endpoint;
use crate::failure::Failure;
use crate::quantity;
use crate::reactor::{self, LoopArgs};
use crate::signal;
use door::Service;
use ledger::{Counter, Ledger, Loop, Report, Server};

/// Arguments of `zcn echo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The first SIGINT (Ctrl-C) or SIGTERM stops listening and lets the connections finish what is on \
its way; the second ends the program at once. At the end every buffer is accounted for.")]
pub struct EchoArgs {
    /// Address to listen on: 127.0.0.1:7777, `[::1]:0`, unix:/tmp/echo; port 0
    /// takes a free one and prints it.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7777", value_parser = endpoint::listen)]
    pub listen: Address,

    /// Serve UDP instead of TCP.
    #[arg(long)]
    pub udp: bool,

    /// Event loops, each on a core of its own; the kernel spreads the
    /// connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = quantity::whole(1_u16..=1024))]
    pub threads: u16,

    /// Each event loop.
    #[command(flatten)]
    pub event_loop: LoopArgs,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

/// How long connections may take to finish after the signal.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until a signal comes.
///
/// # Errors
/// When it cannot listen, when the reactor fails, or when a buffer is missing
/// at the end.
pub fn run(args: &EchoArgs) -> Result<ExitCode, Failure> {
    let service = Service::new(args)?;
    let ledger = Arc::new(Ledger::default());
    let books = ledger.clone();
    let begun = Instant::now();
    let cluster = cluster(args)?.start(move |_, runtime| {
        let counter = Counter::default();
        let server = match &service {
            Service::Streams(door) => Server::Tcp(tcp::serve(runtime, door, counter.clone())?),
            Service::Datagrams(door) => Server::Udp(udp::serve(runtime, door, counter.clone())?),
        };
        Ok(Loop::open(runtime, server, counter, &books))
    })?;
    let stopper = cluster.stopper();
    signal::on_first(move || stopper.stop())
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    if let Some((address, reactor)) = ledger.listening() {
        announce(args, &address, reactor)?;
    }
    // Either somebody wants an end, or a loop has come to one by itself.
    let system_calls = cluster.join()?.reactors().system_calls;
    let total = ledger.close();
    farewell(args, &total, system_calls, begun.elapsed().as_secs_f64())?;
    if total.buffers_home < total.buffers {
        let missing = total.buffers - total.buffers_home;
        return Err(
            Failure::new(format!("{missing} buffers did not come home")).because("a bug in zcn")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Several loops have a core each; one alone, and more than there are cores, go where the kernel
/// wants them.
fn cluster(args: &EchoArgs) -> Result<ClusterBuilder, Failure> {
    let allowed = core::allowed()
        .map_err(|error| Failure::new("cannot spread threads over cores").because(error))?;
    let threads = usize::from(args.threads);
    Ok(Cluster::builder()
        .name("echo")
        .runtime(args.event_loop.builder())
        .drain_limit(DRAIN)
        .pin((2..=allowed.len()).contains(&threads))
        .count(threads))
}

fn transport(args: &EchoArgs) -> &'static str {
    match (&args.listen, args.udp) {
        (Address::Unix(_), _) => "unix",
        (Address::Ip(_), true) => "udp",
        (Address::Ip(_), false) => "tcp",
    }
}

fn announce(args: &EchoArgs, address: &Address, reactor: ReactorKind) -> io::Result<()> {
    let reactor = reactor::name(reactor);
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "event": "listening",
            "address": address.to_string(),
            "transport": transport(args),
            "reactor": reactor,
            "threads": args.threads,
            "spin_us": args.event_loop.spin_us(),
        });
        writeln!(out, "{line}")?;
    } else {
        let threads = plural(u64::from(args.threads), "thread");
        writeln!(
            out,
            "listening on {address} ({}, {reactor}, {threads}); Ctrl-C stops",
            transport(args)
        )?;
    }
    out.flush()
}

fn farewell(args: &EchoArgs, total: &Report, system_calls: u64, seconds: f64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "event": "stopped",
            "seconds": seconds,
            "connections": total.connections,
            "panics": total.panics,
            "receives": total.receives,
            "bytes": total.bytes,
            "system_calls": system_calls,
            "buffers": total.buffers,
            "buffers_home": total.buffers_home,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "stopped after {seconds:.1} s: {}, {} echoed in {}, {}",
            plural(total.connections, "connection"),
            plural(total.bytes, "byte"),
            plural(total.receives, "receive"),
            plural(system_calls, "system call"),
        )?;
        writeln!(
            out,
            "{} of {} buffers home",
            total.buffers_home, total.buffers
        )?;
    }
    out.flush()
}

/// `1 byte`, `2 bytes`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::ReactorChoice;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        echo: EchoArgs,
    }

    fn parse(arguments: &[&str]) -> Result<EchoArgs, clap::Error> {
        let line = [&["echo"], arguments].concat();
        Line::try_parse_from(line).map(|line| line.echo)
    }

    #[test]
    fn every_flag_of_the_plan_is_there() {
        let args = parse(&[
            "--listen",
            "[::1]:0",
            "--udp",
            "--threads",
            "4",
            "--spin",
            "50",
            "--reactor",
            "epoll",
            "--json",
        ])
        .expect("parses");
        assert_eq!(args.listen.to_string(), "[::1]:0");
        assert!(args.udp && args.json);
        assert_eq!((args.threads, args.event_loop.spin), (4, Some(50)));
        assert_eq!(args.event_loop.reactor, Some(ReactorChoice::Epoll));
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        for (flag, value) in [
            ("--listen", "nowhere"),
            ("--listen", "127.0.0.1:65536"),
            ("--threads", "0"),
            ("--spin", "fast"),
            ("--reactor", "kqueue"),
        ] {
            let error = parse(&[flag, value]).expect_err(value);
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
