//! 64-byte messages pipelined on one connection, and messages of 64 KiB.

use zcn_measure::core::Cores;
use zcn_measure::load::Stream;

use crate::contest::{contest, sleeping};
use crate::harness::{Ctx, Result, Target};
use crate::{peer, zcn};

const BENCH: &str = "pipeline";

/// Measures the echo servers on a connection that is always full.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = Cores::pick()?.server;
    let entries = sleeping(peer::all(), core);
    for (situation, load) in [
        ("64 B:", Stream::pipeline(ctx.sample)),
        ("64 KiB:", Stream::bulk(ctx.sample)),
    ] {
        let outcome = contest(ctx, situation, &load, &entries)?;
        let goal = format!("64 B: {}", zcn::URING);
        let rows = outcome.rows(BENCH, situation, Some("epoll"));
        ctx.report_all(rows.into_iter().map(|row| {
            match (row.case == goal, row.metric.as_str()) {
                (true, "messages") => row.target(Target::ValueAtLeast(10e6)),
                (true, "syscalls_per_message") => row.target(Target::ValueAtMost(0.1)),
                _ => row,
            }
        }))?;
    }
    Ok(())
}
