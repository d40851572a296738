//! The CPU that an echo of 1 Gbit/s takes.

use zcn_measure::baseline;
use zcn_measure::core::Cores;
use zcn_measure::load::Paced;
use zcn_measure::server::ServerOptions;

use crate::contest::{Entry, contest};
use crate::harness::{Ctx, Result};
use crate::{peer, zcn};

/// Measures the echo servers at a fixed rate.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = Cores::pick()?.server;
    let mut servers = vec![baseline::epoll(), baseline::blocking()];
    servers.extend(peer::all());
    servers.extend(zcn::tcp_servers());
    let entries: Vec<Entry> = servers
        .into_iter()
        .map(|server| Entry::new(server, ServerOptions::blocking(core)))
        .collect();
    let situation = "1 Gbit/s in 64 KiB:";
    let outcome = contest(ctx, situation, &Paced::gigabit(ctx.sample), &entries)?;
    ctx.report_all(outcome.rows("paced", situation, Some("epoll")))
}
