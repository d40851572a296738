//! 64-byte echo: round trip time, and requests per second at many connections.

use zcn_measure::baseline;
use zcn_measure::core::Cores;
use zcn_measure::load::{ClosedLoop, RoundTrip};
use zcn_measure::server::ServerOptions;

use crate::contest::{Entry, contest, sleeping};
use crate::harness::{Contest, Ctx, Result, Row, Target};
use crate::peer;
use crate::zcn;

const BENCH: &str = "echo";
const MESSAGE_BYTES: usize = 64;

/// What zcn must reach against epoll: connections, when sleeping, when spinning.
const AGAINST_EPOLL: [(usize, f64, f64); 3] = [(16, 1.0, 1.1), (64, 1.05, 1.2), (400, 1.15, 1.25)];
/// What zcn must reach against every other library, at this many connections.
const AGAINST_PEERS: (usize, f64) = (64, 1.2);

/// Measures the echo servers.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = Cores::pick()?.server;
    round_trips_spinning(ctx, core)?;
    round_trips_sleeping(ctx, core)?;
    for (connections, sleeping, spinning) in AGAINST_EPOLL {
        requests_sleeping(ctx, core, connections, sleeping)?;
        requests_spinning(ctx, core, connections, spinning)?;
    }
    Ok(())
}

/// Both sides spin; the floor is a bare loop of `recv`.
fn round_trips_spinning(ctx: &mut Ctx, core: usize) -> Result {
    let situation = "rtt, both spin:";
    if !ctx.wants(situation) {
        return Ok(());
    }
    let spinning = || ServerOptions::spinning(core);
    let mut entries = vec![
        Entry::new(baseline::spin_receive(), spinning()),
        Entry::new(baseline::epoll(), spinning()),
    ];
    entries.extend(zcn::tcp_servers().map(|server| Entry::new(server, spinning())));
    let load = RoundTrip {
        message_bytes: MESSAGE_BYTES,
        duration: ctx.sample,
        spin: true,
    };
    let outcome = contest(ctx, situation, &load, &entries)?;
    let target = ("rtt_p50", Target::RatioAtMost(1.05));
    report(ctx, &outcome, situation, "spin-recv", Some(target))
}

/// Both sides sleep: what a wake-up costs.
fn round_trips_sleeping(ctx: &mut Ctx, core: usize) -> Result {
    let situation = "rtt, both sleep:";
    if !ctx.wants(situation) {
        return Ok(());
    }
    let entries = sleeping(peer::all(), core);
    let load = RoundTrip {
        message_bytes: MESSAGE_BYTES,
        duration: ctx.sample,
        spin: false,
    };
    let outcome = contest(ctx, situation, &load, &entries)?;
    report(ctx, &outcome, situation, "epoll", None)
}

fn requests_sleeping(ctx: &mut Ctx, core: usize, connections: usize, least: f64) -> Result {
    let situation = format!("{connections} conns, server sleeps:");
    if !ctx.wants(&situation) {
        return Ok(());
    }
    let with_peers = connections == AGAINST_PEERS.0;
    let peers = if with_peers { peer::all() } else { Vec::new() };
    let entries = sleeping(peers, core);
    let outcome = contest(ctx, &situation, &load(ctx, connections), &entries)?;
    let target = ("requests", Target::RatioAtLeast(least));
    report(ctx, &outcome, &situation, "epoll", Some(target))?;
    if with_peers {
        for peer in peer::all() {
            let row = outcome.row(BENCH, &situation, zcn::URING, "requests", Some(peer.name()));
            ctx.report_all(row.map(|row| row.target(Target::RatioAtLeast(AGAINST_PEERS.1))))?;
        }
    }
    Ok(())
}

fn requests_spinning(ctx: &mut Ctx, core: usize, connections: usize, least: f64) -> Result {
    let situation = format!("{connections} conns, server spins:");
    if !ctx.wants(&situation) {
        return Ok(());
    }
    let mut entries = vec![Entry::new(baseline::epoll(), ServerOptions::spinning(core))];
    entries
        .extend(zcn::tcp_servers().map(|server| Entry::new(server, ServerOptions::spinning(core))));
    let outcome = contest(ctx, &situation, &load(ctx, connections), &entries)?;
    let target = ("requests", Target::RatioAtLeast(least));
    report(ctx, &outcome, &situation, "epoll", Some(target))
}

fn load(ctx: &Ctx, connections: usize) -> ClosedLoop {
    ClosedLoop {
        connections,
        message_bytes: MESSAGE_BYTES,
        duration: ctx.sample,
        spin: true,
    }
}

/// Reports everything, with the target at zcn's row of its metric.
fn report(
    ctx: &mut Ctx,
    outcome: &Contest,
    situation: &str,
    versus: &str,
    target: Option<(&str, Target)>,
) -> Result {
    let goal = format!("{situation} {}", zcn::URING);
    let rows = outcome.rows(BENCH, situation, Some(versus));
    ctx.report_all(rows.into_iter().map(|row: Row| match target {
        Some((metric, target)) if row.metric == metric && row.case == goal => row.target(target),
        _ => row,
    }))
}
