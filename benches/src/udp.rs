//! Datagrams per second, one by one and in super-packets.

use zcn_measure::baseline;
use zcn_measure::core::Cores;
use zcn_measure::load::Datagrams;
use zcn_measure::server::ServerOptions;

use crate::contest::{Entry, contest};
use crate::harness::{Ctx, Result, Target};
use crate::zcn;

const BENCH: &str = "udp";
const PAYLOAD_BYTES: u16 = 1200;
const PEER: &str = "recvmmsg";

/// Measures the UDP echo servers.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = Cores::pick()?.server;
    for (situation, super_packets) in [("1200 B:", false), ("1200 B, GSO/GRO:", true)] {
        let load = Datagrams {
            payload_bytes: PAYLOAD_BYTES.into(),
            window: 512,
            super_packets,
            duration: ctx.sample,
        };
        let options = ServerOptions {
            udp_segment: super_packets.then_some(PAYLOAD_BYTES),
            ..ServerOptions::blocking(core)
        };
        let entries: Vec<Entry> = std::iter::once(baseline::udp())
            .chain(zcn::udp_servers())
            .map(|server| Entry::new(server, options.clone()))
            .collect();
        let outcome = contest(ctx, situation, &load, &entries)?;
        let rows = outcome.rows(BENCH, situation, Some(PEER));
        ctx.report_all(rows.into_iter().map(|row| {
            match row.metric == "datagrams" && row.ratio.is_some() {
                true => row.target(Target::RatioAtLeast(1.0)),
                false => row,
            }
        }))?;
    }
    Ok(())
}
