//! `zcn stack compare`: bulk data to and from the kernel's stack over a bad path, beside
//! what two of the kernel's make of the same path.

mod kernel;
mod ours;
mod transfer;
mod trial;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use zcn::stack::IpCidr;
use zcn_link::{Impairments, Rate};
use zcn_measure::environment::Environment;
use zcn_measure::rounds::{Contender, Figure, alternate};
use zcn_measure::row::{Row, Target, write_json};
use zcn_measure::table::table;
use zcn_stack::tcp::congestion::Algorithm;

use crate::failure::Failure;
use crate::quantity;
use transfer::Plan;
use trial::Pair;

pub(crate) use trial::through_memory;

/// What of the kernel's goodput is meant to be reached.
const TARGET: f64 = 0.8;
/// Bytes that a bottleneck holds for each of its milliseconds: 10 ms of traffic.
const QUEUE: Duration = Duration::from_millis(10);

/// Arguments of `zcn stack compare`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Everything happens in network namespaces of its own, which takes root, or `unshare -Urn zcn stack \
compare`. The kernel's stacks are on TAP devices, ours is on a memory link; between the two ends a \
thread carries the frames and does to them what was asked for, both ways. Each byte received is \
compared with what was sent.

Without a fault named, six paths are tried: none, 1 % and 5 % of loss, reordering, duplication and \
corruption.")]
pub struct CompareArgs {
    /// Round trip time of the path.
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = quantity::duration)]
    pub rtt: Duration,

    /// Percent of the packets that are lost, each way.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub loss: Option<f64>,

    /// Percent of the packets that are held back by 2 ms, and overtaken.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub reorder: Option<f64>,

    /// Percent of the packets that come twice.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub duplicate: Option<f64>,

    /// Percent of the packets with one bit flipped.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub corrupt: Option<f64>,

    /// Bottleneck of the path in bits per second, with a queue of 10 ms.
    #[arg(long, value_name = "RATE", value_parser = quantity::bits_per_second)]
    pub rate: Option<f64>,

    /// Congestion control of the senders, both ours and the kernel's: cubic or reno; may be
    /// repeated.
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    pub congestion: Vec<Algorithm>,

    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = quantity::whole(1_u16..=100))]
    pub flows: u16,

    /// How long each transfer is measured.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = quantity::duration)]
    pub time: Duration,

    /// Transfer so many bytes on each connection to the end, instead of for a time.
    #[arg(long, value_name = "SIZE", value_parser = quantity::nonzero_bytes, conflicts_with = "time")]
    pub bytes: Option<usize>,

    /// How often everything is measured, in turn.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = quantity::whole(1_u16..=1000))]
    pub rounds: u16,

    /// Largest IP packet in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = quantity::whole(576_u32..=65_535))]
    pub mtu: u32,

    /// Over IPv6.
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// Seed of the faults; each round has its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = quantity::whole(0_u64..))]
    pub seed: u64,

    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Reads a percentage.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim_end();
    let parsed = number.parse().ok().filter(|p| (0.0..=100.0).contains(p));
    parsed
        .map(|percent: f64| percent / 100.0)
        .ok_or_else(|| format!("{text:?} is no percentage; write 1 or 0.5 (up to 100)"))
}

/// What all transfers have in common.
struct Settings {
    near: IpCidr,
    far: IpCidr,
    mtu: u32,
    sample: Duration,
}

impl CompareArgs {
    /// The paths to try, with their names.
    fn paths(&self) -> Vec<(String, Impairments)> {
        let base = Impairments {
            delay: self.rtt / 2,
            rate: self.rate.map(|bits_per_second| Rate {
                bits_per_second: bits_per_second as u64,
                queue_bytes: (bits_per_second / 8.0 * QUEUE.as_secs_f64()) as u64,
            }),
            reorder_by: Duration::from_millis(2),
            ..Impairments::default()
        };
        let path = |loss, reorder, duplicate, corrupt| Impairments {
            loss,
            reorder,
            duplicate,
            corrupt,
            ..base.clone()
        };
        let asked = [self.loss, self.reorder, self.duplicate, self.corrupt];
        if asked.iter().any(Option::is_some) {
            let [loss, reorder, duplicate, corrupt] = asked.map(|share| share.unwrap_or(0.0));
            let name = [
                (loss, "lost"),
                (reorder, "reordered"),
                (duplicate, "doubled"),
                (corrupt, "corrupted"),
            ]
            .iter()
            .filter(|(share, _)| *share > 0.0)
            .map(|(share, what)| format!("{} % {what}", share * 100.0))
            .collect::<Vec<_>>()
            .join(", ");
            let name = if name.is_empty() {
                "no faults".to_owned()
            } else {
                name
            };
            return vec![(name, path(loss, reorder, duplicate, corrupt))];
        }
        [
            ("no faults", path(0.0, 0.0, 0.0, 0.0)),
            ("1 % lost", path(0.01, 0.0, 0.0, 0.0)),
            ("5 % lost", path(0.05, 0.0, 0.0, 0.0)),
            ("2 % reordered", path(0.0, 0.02, 0.0, 0.0)),
            ("2 % doubled", path(0.0, 0.0, 0.02, 0.0)),
            ("1 % corrupted", path(0.0, 0.0, 0.0, 0.01)),
        ]
        .map(|(name, path)| (name.to_owned(), path))
        .to_vec()
    }
}

/// Transfers and prints what came of it.
///
/// # Errors
/// Namespaces are refused, a byte is wrong, or a transfer hangs.
pub(super) fn run(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let Some((near, far)) = trial::addresses(args.ipv6) else {
        return Err(Failure::new("no addresses"));
    };
    let settings = Settings {
        near,
        far,
        mtu: args.mtu,
        sample: args.time,
    };
    if args.ipv6 && args.mtu < 1280 {
        return Err(
            Failure::new(format!("IPv6 does not fit into --mtu {}", args.mtu))
                .remedy("--mtu 1280 or more"),
        );
    }
    if !args.json {
        writeln!(
            io::stdout(),
            "{}\n{} ms round trip, MTU {}, {} connections; every byte checked\n",
            Environment::detect(),
            args.rtt.as_secs_f64() * 1e3,
            args.mtu,
            args.flows,
        )?;
    }
    let mut rows = Vec::new();
    for congestion in &args.congestion {
        for (path, faults) in args.paths() {
            let plan = Plan {
                flows: args.flows,
                congestion: *congestion,
                bytes: args.bytes.map(|bytes| bytes as u64),
            };
            let case = format!("{}, {path}", congestion.name());
            let of_case = measure(args, &settings, plan, &case, &faults)?;
            if args.json {
                write_json(&of_case, &mut io::stdout().lock())?;
            }
            rows.extend(of_case);
        }
    }
    if !args.json {
        writeln!(io::stdout(), "{}", table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(
    args: &CompareArgs,
    settings: &Settings,
    plan: Plan,
    case: &str,
    faults: &Impairments,
) -> Result<Vec<Row>, Failure> {
    let mut contenders: Vec<Contender<'_, Failure>> = Pair::ALL
        .iter()
        .map(|&pair| {
            let mut round = args.seed;
            Contender::new(pair.name(), move || {
                round += 1;
                progress(&format!("{case}: {}", pair.name()));
                let bits = trial::run(pair, settings, plan, faults, round)?;
                Ok(vec![Figure::new("goodput", bits / 1e6, "Mbit/s")])
            })
        })
        .collect();
    let contest = alternate(args.rounds.into(), false, &mut contenders, |_, _| {})?;
    progress("");
    let peer = Pair::KernelToKernel.name();
    let mut rows = contest.rows("compare", case, Some(peer));
    for row in &mut rows {
        if row.versus.is_some() {
            *row = row.clone().target(Target::RatioAtLeast(TARGET));
        }
    }
    Ok(rows)
}

/// Shows what is going on, on one line of a terminal.
fn progress(text: &str) {
    let mut terminal = io::stderr();
    if terminal.is_terminal() {
        // Nothing can be done about a terminal that cannot be written to.
        let _ = write!(terminal, "\r\x1b[2K{text}");
    }
}
