//! Messages at a fixed rate: how much CPU a server needs for a given traffic.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::stage::Counted;
use super::stream::Pipe;
use super::{Load, Outcome, Window, cost};
use crate::error::{Error, Result};
use crate::rounds::Figure;

/// Messages sent on a clock, on one connection.
#[derive(Clone, Debug)]
pub struct Paced {
    /// Rate in each direction.
    pub bits_per_second: f64,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// How long to measure.
    pub duration: Duration,
}

impl Paced {
    /// 1 Gbit/s in messages of 64 KiB.
    pub fn gigabit(duration: Duration) -> Self {
        Self {
            bits_per_second: 1e9,
            message_bytes: 64 * 1024,
            duration,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct PacedReport {
    /// Bytes that came back right in the measured part.
    pub bytes: u64,
    /// The longest that a message was sent behind its time.
    pub late: Duration,
}

impl Load for Paced {
    type Report = PacedReport;

    fn run(&self, address: SocketAddr, window: &mut Window<'_>) -> Result<PacedReport> {
        let seconds = self.message_bytes as f64 * 8.0 / self.bits_per_second;
        let interval = Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|interval| !interval.is_zero() && self.message_bytes > 0)
            .ok_or_else(|| Error::Options("the pace must be a positive rate".to_owned()))?;
        let mut pipe = Pipe::open(address, self.message_bytes)?;
        let begun = Instant::now();
        let mut counted = Counted::starting(begun, self.duration);
        let mut due = begun;
        let mut late = Duration::ZERO;
        let bytes = loop {
            let now = Instant::now();
            match counted.over(now, pipe.received, window) {
                None | Some(0) => {}
                Some(bytes) => break bytes,
            }
            let all_sent = pipe.sent.is_multiple_of(self.message_bytes as u64);
            if all_sent && now >= due {
                late = late.max(now - due);
                due += interval;
                pipe.step(self.message_bytes as u64)?;
            } else {
                pipe.step(0)?;
            }
        };
        window.end();
        while pipe.received < pipe.sent || !pipe.sent.is_multiple_of(self.message_bytes as u64) {
            pipe.step(0)?;
        }
        Ok(PacedReport { bytes, late })
    }

    fn figures(&self, outcome: &Outcome<PacedReport>) -> Vec<Figure> {
        let (span, bytes) = (&outcome.span, outcome.report.bytes);
        let messages = bytes / self.message_bytes as u64;
        let mut figures = vec![
            Figure::new("server_cpu", span.server_share() * 100.0, "% of a core"),
            Figure::new("throughput", span.rate(bytes) * 8.0 / 1e9, "Gbit/s"),
        ];
        figures.extend(cost(span, messages, "message"));
        figures
    }
}
