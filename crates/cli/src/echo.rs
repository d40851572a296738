//! `zcn echo`: a server that sends back what it receives.

mod tcp;
mod udp;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use zcn::Address;

use crate::endpoint;
use crate::failure::Failure;
use crate::reactor::{self, ReactorChoice};
use crate::signal;
use worker::{News, Report, Worker};

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
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,

    /// Microseconds to spin before sleeping; 0 sleeps at once.
    #[arg(long, value_name = "US", default_value_t = 0)]
    pub spin: u64,

    /// What drives the event loop [default: io_uring, or epoll where it is
    /// refused].
    #[arg(long, value_enum)]
    pub reactor: Option<ReactorChoice>,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Serves until a signal comes.
///
/// # Errors
/// When it cannot listen, when the reactor fails, or when a buffer is missing
/// at the end.
pub fn run(args: &EchoArgs) -> Result<ExitCode, Failure> {
    if matches!(args.listen, Address::Unix(_)) && (args.threads > 1 || args.udp) {
        let what = format!(
            "cannot serve {} with --threads above 1 or --udp",
            args.listen
        );
        return Err(Failure::new(what).remedy("an IP address, or neither of the two"));
    }
    let (tell, news) = mpsc::channel();
    let asked = tell.clone();
    signal::on_first(move || {
        // The workers are gone when nobody listens, and then so is the program.
        let _ = asked.send(News::Signal);
    })
    .map_err(|error| Failure::new("cannot watch for signals").because(error))?;

    let begun = Instant::now();
    let mut workers: Vec<Worker> = Vec::new();
    let mut address = args.listen.clone();
    for number in 0..args.threads {
        let worker = Worker::start(args, &address, number, tell.clone(), &news)?;
        // The port that the kernel picked for the first is everybody's.
        address = worker.address.clone();
        workers.push(worker);
    }
    announce(args, &workers[0])?;
    // Either somebody wants an end, or a loop has come to one by itself.
    let _ = news.recv();
    workers.iter().for_each(Worker::stop);
    let mut total = Report::default();
    for worker in workers {
        total.add(&worker.join()?);
    }
    farewell(args, &total, begun.elapsed().as_secs_f64())?;
    if total.buffers_home < total.buffers {
        let missing = total.buffers - total.buffers_home;
        return Err(
            Failure::new(format!("{missing} buffers did not come home")).because("a bug in zcn")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn transport(args: &EchoArgs) -> &'static str {
    match (&args.listen, args.udp) {
        (Address::Unix(_), _) => "unix",
        (Address::Ip(_), true) => "udp",
        (Address::Ip(_), false) => "tcp",
    }
}

fn announce(args: &EchoArgs, worker: &Worker) -> io::Result<()> {
    let (address, reactor) = (&worker.address, reactor::name(worker.reactor));
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "event": "listening",
            "address": address.to_string(),
            "transport": transport(args),
            "reactor": reactor,
            "threads": args.threads,
            "spin_us": args.spin,
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

fn farewell(args: &EchoArgs, total: &Report, seconds: f64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "event": "stopped",
            "seconds": seconds,
            "connections": total.connections,
            "panics": total.panics,
            "receives": total.receives,
            "bytes": total.bytes,
            "system_calls": total.system_calls,
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
            plural(total.system_calls, "system call"),
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
        assert_eq!((args.threads, args.spin), (4, 50));
        assert_eq!(args.reactor, Some(ReactorChoice::Epoll));
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
