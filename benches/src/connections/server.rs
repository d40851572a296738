//! The process of the server.

use serde::{Deserialize, Serialize};
use zcn_measure::server::{Running, Server, ServerOptions};

use super::{tell, told};
use crate::harness::Result;

/// Where the server listens, and what it uses at the moment of asking.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) address: std::net::SocketAddr,
    /// Memory of the process that is not a file's, in bytes.
    pub(super) memory_bytes: u64,
    pub(super) cpu_ns: u64,
    pub(super) errors: u64,
}

/// The servers that take part, by name.
pub(super) fn servers() -> Vec<Server> {
    let mut servers = vec![zcn_measure::baseline::epoll()];
    servers.extend(crate::peer::all());
    servers.extend(crate::zcn::tcp_servers());
    servers
}

/// `NAME CORE`: serves until standard input ends, and tells its state after each line.
pub(super) fn run(arguments: &[String]) -> Result {
    let [name, core] = arguments else {
        return Err("the server's process needs a name and a core".into());
    };
    let server = servers()
        .into_iter()
        .find(|server| server.name() == name)
        .ok_or_else(|| format!("no server is called {name}"))?;
    let running = server.start(&ServerOptions::blocking(core.parse()?))?;
    loop {
        tell(&state(&running)?)?;
        if !told()? {
            break;
        }
    }
    running.stop()?;
    Ok(())
}

fn state(running: &Running) -> Result<State> {
    let usage = running.usage();
    Ok(State {
        address: running.address(),
        memory_bytes: memory_bytes()?,
        cpu_ns: usage.cpu.as_nanos() as u64,
        errors: usage.errors,
    })
}

fn memory_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mut sum = 0;
    for line in status.lines() {
        // Heap and stacks, shared maps (a pool may be one), and huge pages.
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if matches!(name, "RssAnon" | "RssShmem" | "HugetlbPages") {
            sum += value.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
        }
    }
    Ok(sum)
}
