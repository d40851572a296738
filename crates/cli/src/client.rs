//! What `zcn ping-pong` (round trips) and `zcn send` (load) have in common:
//! arguments, connections, and watching over tasks.

mod datagrams;
mod link;
mod run;
mod tally;
mod watch;

use std::time::Duration;

use clap::Args;

use crate::endpoint::{self, Peer};
use crate::quantity;
use crate::reactor::LoopArgs;

pub(crate) use datagrams::Datagrams;
pub(crate) use link::{Arrival, BUFFER_BYTES, Link, closed, silent};
pub(crate) use run::{Line, Plan, Ran, run};
pub(crate) use tally::Tally;
pub(crate) use watch::{PATIENCE, watch};

/// Arguments of `zcn send` and `zcn ping-pong`.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Server to drive: 127.0.0.1:7777, localhost:7777, unix:/tmp/echo.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7777", value_parser = endpoint::peer)]
    pub connect: Peer,

    /// Bytes of one message: 64, 16k, 8M.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = quantity::nonzero_bytes)]
    pub size: usize,

    /// Messages to send on each connection; ends earlier than --duration.
    #[arg(long, value_name = "N", value_parser = quantity::whole(1_u64..))]
    pub count: Option<u64>,

    /// Connections driven at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = quantity::whole(1_u32..=65_536))]
    pub connections: u32,

    /// How long to drive the server: 5s, 250ms, 2m.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = quantity::duration)]
    pub duration: Duration,

    /// Use UDP instead of TCP.
    #[arg(long)]
    pub udp: bool,

    /// The event loop.
    #[command(flatten)]
    pub event_loop: LoopArgs,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        client: ClientArgs,
    }

    #[test]
    fn sizes_and_times_carry_units() {
        let line = Line::try_parse_from([
            "send",
            "--connect",
            "localhost:7",
            "--size",
            "16k",
            "--count",
            "9",
            "--duration",
            "250ms",
            "--connections",
            "64",
            "--spin",
            "20",
            "--udp",
            "--json",
        ])
        .expect("parses");
        assert_eq!(line.client.size, 16_384);
        assert_eq!(line.client.count, Some(9));
        assert_eq!(line.client.duration, Duration::from_millis(250));
        assert_eq!(line.client.connections, 64);
    }

    #[test]
    fn zero_is_refused_where_it_means_nothing() {
        for (flag, value) in [("--size", "0"), ("--count", "0"), ("--connections", "0")] {
            let error = Line::try_parse_from(["send", flag, value]).expect_err(flag);
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
