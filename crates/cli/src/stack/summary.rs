//! What a stack counted, told at its end.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};
use zcn::Net;
use zcn::stack::{DropReason, LinkStatistics, Stats};

use super::services::Tally;

/// Everything that was counted.
pub(super) struct Summary {
    stats: Stats,
    link: LinkStatistics,
    tally: Tally,
    seconds: f64,
}

impl Summary {
    /// What a stack's net has counted; nothing on the kernel's.
    pub(super) fn new(net: &Net, tally: Tally, time: Duration) -> Self {
        Self {
            stats: net.stats().unwrap_or_default(),
            link: net.link_statistics().unwrap_or_default(),
            tally,
            seconds: time.as_secs_f64(),
        }
    }

    /// What the link dropped, by reason.
    fn link_drops(&self) -> impl Iterator<Item = (String, Value)> {
        DropReason::ALL.into_iter().filter_map(|reason| {
            let count = self.link.drops(reason);
            (count > 0).then(|| (reason.name().to_owned(), count.into()))
        })
    }

    /// Prints it: as JSON every counter, as text those that are not zero.
    pub(super) fn print(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            let counters: Map<_, _> = self
                .stats
                .iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            let line = json!({
                "event": "stopped",
                "seconds": self.seconds,
                "connections": self.tally.connections,
                "datagrams": self.tally.datagrams,
                "requests": self.tally.requests,
                "link": {
                    "frames_in": self.link.frames_in,
                    "bytes_in": self.link.bytes_in,
                    "frames_out": self.link.frames_out,
                    "bytes_out": self.link.bytes_out,
                    "drops": self.link_drops().collect::<Map<_, _>>(),
                },
                "counters": counters,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "stopped after {:.1} s: {} connections, {} datagrams and {} pages served",
                self.seconds, self.tally.connections, self.tally.datagrams, self.tally.requests
            )?;
            writeln!(
                out,
                "link: {} frames in ({} bytes), {} out ({} bytes), {} dropped",
                self.link.frames_in,
                self.link.bytes_in,
                self.link.frames_out,
                self.link.bytes_out,
                self.link.drops_total()
            )?;
            for (reason, count) in self.link_drops() {
                writeln!(out, "  link: {reason} {count}")?;
            }
            for (name, value) in self.stats.iter().filter(|&(_, value)| value > 0) {
                writeln!(out, "  {name} {value}")?;
            }
        }
        out.flush()
    }
}
