//! The round trip time of one small message on one connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::stage::{Stage, Stages};
use super::{
    Load, Outcome, PATIENCE, TRIES, Window, connect, cost, receive_sleeping, receive_some,
    send_some,
};
use crate::error::{Error, Result};
use crate::latency::Latency;
use crate::pattern::Pattern;
use crate::rounds::Figure;

/// One connection, one message at a time.
#[derive(Clone, Debug)]
pub struct RoundTrip {
    /// Bytes of a message.
    pub message_bytes: usize,
    /// How long to measure.
    pub duration: Duration,
    /// Whether the client spins for the answer instead of sleeping.
    pub spin: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct RoundTripReport {
    /// Every round trip.
    pub latency: Latency,
}

impl Load for RoundTrip {
    type Report = RoundTripReport;

    fn run(&self, address: SocketAddr, window: &mut Window<'_>) -> Result<RoundTripReport> {
        if self.message_bytes == 0 {
            return Err(Error::Options("a message needs at least 1 byte".to_owned()));
        }
        let stream = connect(address)?;
        let pattern = Pattern::new(0);
        let mut message = vec![0; self.message_bytes];
        let mut answer = vec![0; self.message_bytes];
        let mut offset = 0;
        let mut latency = Latency::default();
        let mut stages = Stages::starting(Instant::now(), self.duration);
        loop {
            pattern.fill(offset, &mut message);
            let sent_at = Instant::now();
            let mut sent = 0;
            let mut received = 0;
            let mut tries = 0;
            while received < message.len() {
                if sent < message.len() {
                    sent += send_some(&stream, &message[sent..], 0)?;
                }
                let rest = &mut answer[received..];
                let all = offset + received as u64;
                let count = match self.spin || sent < message.len() {
                    true => receive_some(&stream, rest, 0, all)?,
                    false => receive_sleeping(&stream, rest, 0, all)?,
                };
                match count {
                    Some(count) => received += count,
                    None => {
                        tries += 1;
                        // A sleep may also end for a signal: only the clock tells.
                        let asleep = !self.spin && sent == message.len();
                        if (asleep || tries % TRIES == 0) && sent_at.elapsed() > PATIENCE {
                            return Err(silent());
                        }
                        std::hint::spin_loop();
                    }
                }
            }
            let now = Instant::now();
            pattern
                .check(offset, &answer)
                .map_err(|offset| Error::Corrupt {
                    connection: 0,
                    offset,
                })?;
            offset += message.len() as u64;
            match stages.at(now) {
                Stage::WarmUp => {}
                Stage::Begins => window.begin(),
                Stage::Measured => latency.record(now - sent_at),
                Stage::Over => {
                    latency.record(now - sent_at);
                    break;
                }
            }
        }
        window.end();
        Ok(RoundTripReport { latency })
    }

    fn figures(&self, outcome: &Outcome<RoundTripReport>) -> Vec<Figure> {
        let latency = &outcome.report.latency;
        let mut figures = vec![
            Figure::new("rtt_p50", latency.quantile_ns(0.5) as f64, "ns"),
            Figure::new("rtt_p99", latency.quantile_ns(0.99) as f64, "ns"),
            Figure::new("rtt_p99.9", latency.quantile_ns(0.999) as f64, "ns"),
        ];
        figures.extend(cost(&outcome.span, latency.count(), "request"));
        figures
    }
}

fn silent() -> Error {
    Error::Silent {
        connection: 0,
        patience: PATIENCE,
    }
}
