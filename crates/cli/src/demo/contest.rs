//! Alternating rounds of all loads against all servers.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use zcn_measure::core::on_core;
use zcn_measure::error::Result as Measured;
use zcn_measure::load::{ClosedLoop, Load, Outcome, RoundTrip, Stream, Window};
use zcn_measure::statistics::{Summary, median_ratio};

use super::contender::{Contender, Field};
use crate::failure::Failure;

/// Bytes of a request.
pub(super) const MESSAGE_BYTES: usize = 64;
/// Connections of the load that counts requests.
pub(super) const CONNECTIONS: usize = 64;
/// Percentiles of the round trip time that are kept.
pub(super) const LADDER: [(&str, f64); 7] = [
    ("p10", 0.1),
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];
/// Starting and stopping a server with its connections, beside the load.
const OVERHEAD: Duration = Duration::from_millis(40);
const SHORTEST: Duration = Duration::from_millis(20);

/// The loads, in the order of each round.
const LOADS: [&str; 3] = ["round trips", "requests", "throughput"];

/// How often and how long everything is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) rounds: usize,
    pub(super) sample: Duration,
}

impl Plan {
    /// What fits into `seconds`.
    pub(super) fn for_seconds(seconds: f64, contenders: usize) -> Self {
        let rounds = match seconds {
            ..6.0 => 1,
            ..32.0 => 3,
            _ => 5,
        };
        let runs = (rounds * contenders * LOADS.len()) as f64;
        let each = Duration::from_secs_f64(seconds / runs);
        // Each load warms up for a tenth of its time.
        let sample = each.saturating_sub(OVERHEAD).mul_f64(1.0 / 1.1);
        Self {
            rounds,
            sample: sample.max(SHORTEST),
        }
    }
}

impl Plan {
    /// How long each figure of the user-space half is measured, of two parties with three
    /// figures each, to be done in `seconds`.
    pub(super) fn user_space_sample(&self, seconds: f64) -> Duration {
        let runs = (self.rounds * 2 * 3) as f64;
        Duration::from_secs_f64(seconds / runs)
            .saturating_sub(OVERHEAD)
            .max(SHORTEST)
    }
}

/// Everything measured of one contender, one value a round.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    pub(super) name: &'static str,
    pub(super) versus: Option<&'static str>,
    /// Round trip times in ns, by the steps of [`LADDER`].
    pub(super) rtt_ns: [Vec<f64>; LADDER.len()],
    pub(super) requests: Vec<f64>,
    /// Server CPU time of a request, ns.
    pub(super) cpu_ns: Vec<f64>,
    pub(super) syscalls: Vec<f64>,
    pub(super) gigabits: Vec<f64>,
}

/// One figure of a contender, round by round.
pub(super) type Values = fn(&Track) -> &[f64];

impl Track {
    /// Median round trip time at a step of [`LADDER`], ns.
    pub(super) fn rtt(&self, step: &str) -> f64 {
        LADDER
            .iter()
            .position(|(name, _)| *name == step)
            .map_or(0.0, |place| middle(&self.rtt_ns[place]))
    }
}

/// The median; 0 when nothing was measured.
pub(super) fn middle(values: &[f64]) -> f64 {
    Summary::of(values).map_or(0.0, |summary| summary.median)
}

/// How one contender stands beside another.
pub(super) struct Comparison {
    pub(super) ratio: f64,
    /// The rounds do not agree on who is ahead.
    pub(super) unclear: bool,
}

/// What all contenders came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Contest {
    pub(super) tracks: Vec<Track>,
    /// Bytes that were echoed, all of them compared.
    pub(super) bytes: u64,
    /// Connections that the servers accepted.
    pub(super) connections: u64,
}

impl Contest {
    /// The contender that `track` is compared with.
    pub(super) fn peer(&self, track: &Track) -> Option<&Track> {
        self.tracks
            .iter()
            .find(|other| track.versus == Some(other.name))
    }

    /// `track` beside its peer, round by round.
    pub(super) fn compare(&self, track: &Track, values: Values) -> Option<Comparison> {
        let peer = self.peer(track)?;
        let (mine, theirs) = (values(track), values(peer));
        let ahead = mine.iter().zip(theirs).filter(|(a, b)| a > b).count();
        Some(Comparison {
            ratio: median_ratio(mine, theirs)?,
            unclear: ahead != 0 && ahead != mine.len(),
        })
    }
}

/// Measures everything.
pub(super) fn run(field: &Field, plan: &Plan) -> Result<Contest, Failure> {
    let mut contest = Contest {
        tracks: field
            .contenders
            .iter()
            .map(|contender| Track {
                name: contender.name,
                versus: contender.versus,
                ..Track::default()
            })
            .collect(),
        ..Contest::default()
    };
    let bar = progress(plan.rounds * LOADS.len() * field.contenders.len());
    for round in 0..plan.rounds {
        for (load, load_name) in LOADS.iter().enumerate() {
            for place in 0..field.contenders.len() {
                // Forward and backward, so that nobody always follows the same.
                let index = match round % 2 {
                    0 => place,
                    _ => field.contenders.len() - 1 - place,
                };
                let contender = &field.contenders[index];
                bar.set_message(format!("{load_name}: {}", contender.name));
                measure(field, plan, contender, load, index, &mut contest).map_err(|error| {
                    bar.finish_and_clear();
                    Failure::new(format!("{load_name}, {}", contender.name)).because(error)
                })?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(contest)
}

fn measure(
    field: &Field,
    plan: &Plan,
    contender: &Contender,
    load: usize,
    index: usize,
    contest: &mut Contest,
) -> Measured<()> {
    let duration = plan.sample;
    match load {
        0 => {
            let load = RoundTrip {
                message_bytes: MESSAGE_BYTES,
                duration,
                spin: contender.spins,
            };
            let outcome = drive(field, contender, &load, contest)?;
            let latency = outcome.report.latency;
            let track = &mut contest.tracks[index];
            for ((_, share), values) in LADDER.iter().zip(&mut track.rtt_ns) {
                values.push(latency.quantile_ns(*share) as f64);
            }
        }
        1 => {
            let load = ClosedLoop {
                connections: CONNECTIONS,
                message_bytes: MESSAGE_BYTES,
                duration,
                spin: field.cores.is_some(),
            };
            let outcome = drive(field, contender, &load, contest)?;
            let (span, count) = (outcome.span, outcome.report.requests);
            let track = &mut contest.tracks[index];
            track.requests.push(span.rate(count));
            track.cpu_ns.push(span.server_cpu_ns(count));
            track.syscalls.push(span.syscalls(count).unwrap_or(0.0));
        }
        _ => {
            let load = Stream::bulk(duration);
            let outcome = drive(field, contender, &load, contest)?;
            let bits = outcome.span.rate(outcome.report.bytes) * 8.0;
            contest.tracks[index].gigabits.push(bits / 1e9);
        }
    }
    Ok(())
}

/// Starts the server, drives it, stops it, and counts what it did in all.
fn drive<L: Load>(
    field: &Field,
    contender: &Contender,
    load: &L,
    contest: &mut Contest,
) -> Measured<Outcome<L::Report>> {
    let running = contender.server.start(&contender.options)?;
    let work = || {
        let mut window = Window::over(&running);
        let report = load.run(running.address(), &mut window)?;
        Ok(Outcome {
            report,
            span: window.span(),
        })
    };
    let outcome = match field.cores {
        Some(cores) => on_core(cores.client, work),
        None => work(),
    };
    // When the server has failed as well, its error is the cause.
    let usage = running.stop()?;
    contest.bytes += usage.bytes;
    contest.connections += usage.connections;
    outcome
}

fn progress(steps: usize) -> ProgressBar {
    // On stderr, and hidden by itself when that is no terminal.
    let bar = ProgressBar::new(steps as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_fits_its_seconds() {
        for seconds in [5, 20, 60, 600] {
            let plan = Plan::for_seconds(seconds as f64, 5);
            let runs = (plan.rounds * 5 * LOADS.len()) as f64;
            let took = runs * (plan.sample.as_secs_f64() * 1.1 + OVERHEAD.as_secs_f64());
            assert!(took <= seconds as f64 + 0.1, "{seconds}: {took}");
        }
        assert_eq!(Plan::for_seconds(2.0, 5).rounds, 1);
    }

    #[test]
    fn rounds_that_disagree_are_said_to() {
        let track = |name, versus, requests: &[f64]| Track {
            name,
            versus,
            requests: requests.to_vec(),
            ..Track::default()
        };
        let contest = Contest {
            tracks: vec![
                track("epoll", None, &[100.0, 100.0, 100.0]),
                track("clear", Some("epoll"), &[110.0, 120.0, 130.0]),
                track("unclear", Some("epoll"), &[90.0, 120.0, 130.0]),
            ],
            ..Contest::default()
        };
        let compare = |index: usize| contest.compare(&contest.tracks[index], |t| &t.requests);
        assert!(compare(0).is_none());
        assert!(compare(1).is_some_and(|c| !c.unclear && c.ratio == 1.2));
        assert!(compare(2).is_some_and(|c| c.unclear));
    }
}
