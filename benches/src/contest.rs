//! A load against several servers in turn.

use zcn_measure::baseline;
use zcn_measure::core::Cores;
use zcn_measure::load::{Load, drive};
use zcn_measure::server::{Server, ServerOptions};

use crate::harness::{Contender, Contest, Ctx, Result};
use crate::zcn;

/// A server with the options that it takes part with.
pub struct Entry {
    name: String,
    server: Server,
    options: ServerOptions,
}

impl Entry {
    /// A server under its own name.
    pub fn new(server: Server, options: ServerOptions) -> Self {
        Self {
            name: server.name().to_owned(),
            server,
            options,
        }
    }
}

/// The baselines, these peers and zcn, all with TCP echo servers that sleep on `core`.
pub fn sleeping(peers: Vec<Server>, core: usize) -> Vec<Entry> {
    let mut servers = vec![baseline::epoll(), baseline::blocking()];
    servers.extend(peers);
    servers.extend(zcn::tcp_servers());
    servers
        .into_iter()
        .map(|server| Entry::new(server, ServerOptions::blocking(core)))
        .collect()
}

/// Drives every server with `load`, in alternating rounds.
pub fn contest<L: Load>(
    ctx: &Ctx,
    situation: &str,
    load: &L,
    entries: &[Entry],
) -> Result<Contest> {
    let cores = Cores::pick()?;
    let mut contenders: Vec<Contender<'_>> = entries
        .iter()
        .map(|entry| {
            Contender::new(&entry.name, move || {
                let outcome = drive(&entry.server, &entry.options, cores.client, load)
                    .map_err(|error| format!("{situation}, {}: {error}", entry.name))?;
                Ok(load.figures(&outcome))
            })
        })
        .collect();
    ctx.alternate(situation, &mut contenders)
}
