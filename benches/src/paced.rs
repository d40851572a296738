//! The CPU that an echo of 1 Gbit/s takes.

use zcn_measure::core::Cores;
use zcn_measure::load::Paced;

use crate::contest::{contest, sleeping};
use crate::harness::{Ctx, Result};
use crate::peer;

/// Measures the echo servers at a fixed rate.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = Cores::pick()?.server;
    let entries = sleeping(peer::all(), core);
    let situation = "1 Gbit/s in 64 KiB:";
    let outcome = contest(ctx, situation, &Paced::gigabit(ctx.sample), &entries)?;
    ctx.report_all(outcome.rows("paced", situation, Some("epoll")))
}
