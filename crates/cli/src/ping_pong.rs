//! `zcn ping-pong`: how long a message takes to come back.

mod stages;

use std::cell::RefCell;
use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use zcn_measure::latency::Latency;
use zcn_measure::table::number;

use crate::client::{self, ClientArgs, Line, Plan, Ran};
use crate::echo::plural;
use crate::failure::Failure;

/// Percentiles that are printed, with their names in JSON.
const LADDER: [(&str, f64, &str); 5] = [
    ("p50", 0.5, "p50_ns"),
    ("p90", 0.9, "p90_ns"),
    ("p99", 0.99, "p99_ns"),
    ("p99.9", 0.999, "p99.9_ns"),
    ("max", 1.0, "max_ns"),
];

/// Arguments of `zcn ping-pong`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every connection has one message on its way; its echo is compared byte by byte, and the next \
message leaves when it is complete. Times are full round trips.
\n\
With --tx-timestamps the kernel stamps each message as it enters the queue of its device and as it is \
handed to the device, on one TCP connection, by blocking calls: what is left is the way to the \
server, its answer, and waking up for it. Needs Linux 6.17.")]
pub struct PingPongArgs {
    /// What all clients take.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Show where the time goes: to the queue, to the device, and back.
    #[arg(long, conflicts_with_all = ["udp", "spin", "reactor"])]
    pub tx_timestamps: bool,
}

/// Drives the server and prints what it took.
///
/// # Errors
/// When the server cannot be reached, answers wrongly, or not at all.
pub fn run(args: &PingPongArgs) -> Result<ExitCode, Failure> {
    if args.tx_timestamps {
        return stages::run(&args.client);
    }
    let args = &args.client;
    let latency = Rc::new(RefCell::new(Latency::default()));
    let ran = client::run(args, |line, plan| {
        exchanges(line, plan, args.size, latency.clone())
    })?;
    print(args, &ran, &latency.borrow())?;
    ran.outcome()
}

impl Line {
    /// Sends a message and takes its echo; false when it was lost.
    async fn exchange(&mut self, bytes: usize) -> Result<bool, Failure> {
        match self {
            Self::Stream(link) => link.exchange(bytes).await.map(|()| true),
            Self::Datagrams(datagrams) => datagrams.exchange().await,
        }
    }
}

/// One message after the other, and the time of each.
async fn exchanges(mut line: Line, plan: Plan, size: usize, latency: Rc<RefCell<Latency>>) {
    let mut now = Instant::now();
    for _ in 0..plan.count {
        let exchanged = line.exchange(size).await;
        let mut tally = plan.tally.borrow_mut();
        let then = std::mem::replace(&mut now, Instant::now());
        tally.sent += size as u64;
        match exchanged {
            Ok(true) => {
                latency.borrow_mut().record(now - then);
                tally.messages += 1;
                tally.returned += size as u64;
            }
            Ok(false) => tally.lost += 1,
            Err(failure) => return tally.fail(failure),
        }
        if now >= plan.end {
            return;
        }
    }
}

fn print(args: &ClientArgs, ran: &Ran, latency: &Latency) -> io::Result<()> {
    let (tally, reactor) = (&ran.tally, ran.reactor);
    let mut out = io::stdout().lock();
    let seconds = ran.elapsed.as_secs_f64();
    let rate = tally.messages as f64 / seconds.max(1e-9);
    if args.json {
        let mut line = json!({
            "peer": args.connect.to_string(),
            "reactor": reactor,
            "connections": args.connections,
            "message_bytes": args.size,
            "spin_us": args.event_loop.spin_us(),
            "seconds": seconds,
            "requests": tally.messages,
            "requests_per_second": rate,
            "bytes_checked": tally.returned,
            "lost": tally.lost,
            "errors": tally.errors,
        });
        for (_, share, key) in LADDER {
            line[key] = latency.quantile_ns(share).into();
        }
        writeln!(out, "{line}")?;
        return out.flush();
    }
    writeln!(
        out,
        "{} on {reactor}: {}, {} each",
        args.connect,
        plural(u64::from(args.connections), "connection"),
        plural(args.size as u64, "byte"),
    )?;
    writeln!(
        out,
        "{} round trips in {seconds:.2} s, {}/s, every byte checked, {} lost, {}",
        number(tally.messages as f64),
        number(rate.round()),
        tally.lost,
        plural(tally.errors, "error"),
    )?;
    let slowest = latency.quantile_ns(1.0).max(1);
    for (name, share, _) in LADDER {
        let ns = latency.quantile_ns(share);
        // Logarithmic: the tail is often a thousand times the median.
        let length = (ns.max(1) as f64).ln() / (slowest as f64).ln().max(1e-9) * 30.0;
        writeln!(
            out,
            "  {name:>6} {:>10} µs  {}",
            number(ns as f64 / 1000.0),
            "▪".repeat(length as usize)
        )?;
    }
    out.flush()
}
