//! `zcn-bench`: zcn beside its peers, in the same run, in alternating rounds.
//!
//! `cargo run --release -p zcn-bench -- <name> [--json] [--quick]`. Figures are medians
//! over the rounds; a ratio is the median of the ratios of each round. On a busy machine
//! run it under `chrt -f 50`: the threads it starts inherit the policy.

// In a program nothing is reachable from outside: `pub` says "for the other modules".
#![allow(unreachable_pub)]

mod bare_ring;
mod connections;
mod contest;
mod echo;
mod ffi;
mod fuse;
mod harness;
mod job_latency;
mod link;
mod mine;
mod paced;
mod peer;
mod pipeline;
mod pool;
mod ring;
mod ring128;
mod stack;
mod stratum;
mod udp;
mod wire;
mod zcn;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use harness::{Ctx, Environment, Result};

/// Measures zcn beside its peers, on loopback and without privileges.
#[derive(Parser)]
#[command(name = "zcn-bench")]
struct Arguments {
    /// Which benchmark to run.
    #[arg(value_enum)]
    name: Name,
    /// Print one JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Only show that everything works: a few seconds in all.
    #[arg(long)]
    quick: bool,
    /// Seconds that one measurement of one contender lasts [default: 0.5, quick 0.05].
    #[arg(long)]
    seconds: Option<f64>,
    /// How often each contender is measured [default: 7, quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Only the situations of `echo`, `fuse`, `stack` and `stack-tap` whose heading contains this
    /// text, e.g. "64 conns".
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Buffer pool, object pool and arena.
    Pool,
    /// NOPs through the ring.
    Ring,
    /// NOPs on the larger rings, and socket commands beside system calls.
    Ring128,
    /// A file system through io_uring commands beside reads of /dev/fuse.
    Fuse,
    /// 64-byte echo: round trip time and requests per second.
    Echo,
    /// A connection that is always full: small messages and large ones.
    Pipeline,
    /// CPU for an echo of 1 Gbit/s.
    Paced,
    /// 10,000 idle connections beside 1,000 active ones.
    Connections,
    /// Datagrams per second.
    Udp,
    /// Packet formats and checksums.
    Wire,
    /// The C interface beside the Rust one.
    Ffi,
    /// Drivers: memory, TAP, packet sockets.
    Link,
    /// The user-space TCP/IP, both ends in memory, beside smoltcp.
    Stack,
    /// The user-space TCP/IP on a TAP device, beside the kernel's on a veth.
    StackTap,
    /// Lines of a mining pool.
    Stratum,
    /// Double SHA-256 over nonces.
    Mine,
    /// From the packet of a job to its first hash.
    JobLatency,
    /// All of them, one after the other.
    All,
}

type Bench = fn(&mut Ctx) -> Result;

/// Every benchmark with its name, in the order of `all`.
const BENCHES: [(Name, &str, Bench); 17] = [
    (Name::Pool, "pool", pool::run),
    (Name::Ring, "ring", ring::run),
    (Name::Ring128, "ring128", ring128::run),
    (Name::Fuse, "fuse", fuse::run),
    (Name::Echo, "echo", echo::run),
    (Name::Pipeline, "pipeline", pipeline::run),
    (Name::Paced, "paced", paced::run),
    (Name::Connections, "connections", connections::run),
    (Name::Udp, "udp", udp::run),
    (Name::Wire, "wire", wire::run),
    (Name::Ffi, "ffi", ffi::run),
    (Name::Link, "link", link::run),
    (Name::Stack, "stack", stack::run),
    (Name::StackTap, "stack-tap", stack::run_tap),
    (Name::Stratum, "stratum", stratum::run),
    (Name::Mine, "mine", mine::run),
    (Name::JobLatency, "job-latency", job_latency::run),
];

fn main() -> ExitCode {
    match connections::child().unwrap_or_else(|| run(&Arguments::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "zcn-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result {
    let (seconds, rounds) = if arguments.quick { (0.05, 1) } else { (0.5, 7) };
    let seconds = arguments.seconds.unwrap_or(seconds);
    if !(seconds > 0.0 && seconds <= 3600.0) {
        return Err(format!("--seconds {seconds} is not between 0 and 3600").into());
    }
    let rounds = arguments.rounds.unwrap_or(rounds);
    if rounds == 0 {
        return Err("--rounds must be at least 1".into());
    }
    let sample = Duration::from_secs_f64(seconds);
    let mut ctx = Ctx::new(arguments.json, arguments.quick, sample, rounds);
    ctx.only.clone_from(&arguments.only);
    if !arguments.json {
        writeln!(std::io::stdout(), "{}\n", Environment::detect())?;
    }
    for (name, title, bench) in BENCHES {
        if arguments.name == name || arguments.name == Name::All {
            bench(&mut ctx)?;
            ctx.finish(title)?;
        }
    }
    Ok(())
}
