//! Many connections, each with one request on the way.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
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

/// How far behind the oldest request an answer is looked for when the oldest is late.
/// Servers answer nearly in order, so the oldest is nearly always the next.
const LOOK_AHEAD: usize = 16;

/// N connections, each sending its next message when the last one has come back.
#[derive(Clone, Debug)]
pub struct ClosedLoop {
    /// Number of connections.
    pub connections: usize,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// How long to measure.
    pub duration: Duration,
    /// Whether the client spins for answers instead of sleeping. A sleeping client must be
    /// woken by the server, which then pays for that.
    pub spin: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct ClosedLoopReport {
    /// Requests answered in the measured part.
    pub requests: u64,
    /// From before the send of a request until its answer was there.
    pub latency: Latency,
}

impl Load for ClosedLoop {
    type Report = ClosedLoopReport;

    fn run(&self, address: SocketAddr, window: &mut Window<'_>) -> Result<ClosedLoopReport> {
        let mut session = Session::open(address, 0, self.connections, self.message_bytes)?;
        session.run(self.duration, self.spin, window)
    }

    fn figures(&self, outcome: &Outcome<ClosedLoopReport>) -> Vec<Figure> {
        let ClosedLoopReport { requests, latency } = &outcome.report;
        let span = &outcome.span;
        let mut figures = vec![
            Figure::new("requests", span.rate(*requests), "1/s"),
            Figure::new("latency_p50", latency.quantile_ns(0.5) as f64, "ns"),
            Figure::new("latency_p99", latency.quantile_ns(0.99) as f64, "ns"),
            Figure::new("server_busy", span.server_share() * 100.0, "%"),
        ];
        figures.extend(cost(span, *requests, "request"));
        figures
    }
}

/// Open connections, all idle.
pub(super) struct Session {
    lanes: Vec<Lane>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

struct Lane {
    stream: TcpStream,
    number: usize,
    pattern: Pattern,
    /// Bytes of the stream that came back right.
    offset: u64,
    /// Bytes of the message on its way that came back.
    received: usize,
    sent_at: Instant,
}

impl Session {
    /// Opens `count` connections, numbered from `first` on.
    pub(super) fn open(
        address: SocketAddr,
        first: usize,
        count: usize,
        message_bytes: usize,
    ) -> Result<Self> {
        if count == 0 || message_bytes == 0 {
            let text = "a closed loop needs at least 1 connection and 1 byte";
            return Err(Error::Options(text.to_owned()));
        }
        let lane = |number| {
            Ok(Lane {
                stream: connect(address)?,
                number,
                pattern: Pattern::new(number),
                offset: 0,
                received: 0,
                sent_at: Instant::now(),
            })
        };
        Ok(Self {
            lanes: (first..first + count).map(lane).collect::<Result<_>>()?,
            message: vec![0; message_bytes],
            answer: vec![0; message_bytes],
        })
    }

    /// Sends one message on every connection and awaits them all.
    pub(super) fn exchange(&mut self, spin: bool) -> Result<()> {
        let mut waiting = VecDeque::with_capacity(self.lanes.len());
        // Never more on the way than the loop itself would have.
        for part in 0..self.lanes.len().div_ceil(256) {
            for lane in (part * 256..self.lanes.len()).take(256) {
                self.send(lane, Instant::now())?;
                waiting.push_back(lane);
            }
            while !waiting.is_empty() {
                self.await_one(&mut waiting, spin)?;
            }
        }
        Ok(())
    }

    /// Keeps every connection busy for `duration`, after a tenth of it to warm up.
    pub(super) fn run(
        &mut self,
        duration: Duration,
        spin: bool,
        window: &mut Window<'_>,
    ) -> Result<ClosedLoopReport> {
        self.exchange(spin)?;
        let mut latency = Latency::default();
        let mut waiting = VecDeque::with_capacity(self.lanes.len());
        for lane in 0..self.lanes.len() {
            self.send(lane, Instant::now())?;
            waiting.push_back(lane);
        }
        let mut stages = Stages::starting(Instant::now(), duration);
        loop {
            let lane = self.await_one(&mut waiting, spin)?;
            // One look at the clock ends this request and begins the next.
            let now = Instant::now();
            let stage = stages.at(now);
            match stage {
                Stage::WarmUp => {}
                Stage::Begins => window.begin(),
                Stage::Measured | Stage::Over => latency.record(now - self.lanes[lane].sent_at),
            }
            if stage == Stage::Over {
                break;
            }
            self.send(lane, now)?;
            waiting.push_back(lane);
        }
        window.end();
        while !waiting.is_empty() {
            self.await_one(&mut waiting, spin)?;
        }
        Ok(ClosedLoopReport {
            requests: latency.count(),
            latency,
        })
    }

    #[inline]
    fn send(&mut self, lane: usize, now: Instant) -> Result<()> {
        let lane = &mut self.lanes[lane];
        lane.sent_at = now;
        lane.pattern.fill(lane.offset, &mut self.message);
        let mut sent = 0;
        while sent < self.message.len() {
            // The connection is empty in both directions, so that a message that fits
            // the socket's buffer goes out at once.
            sent += send_some(&lane.stream, &self.message[sent..], lane.number)?;
            if sent < self.message.len() && now.elapsed() > PATIENCE {
                return Err(lane.silent());
            }
        }
        Ok(())
    }

    /// Takes the next complete answer off `waiting`.
    #[inline]
    fn await_one(&mut self, waiting: &mut VecDeque<usize>, spin: bool) -> Result<usize> {
        let mut tries = 0_u32;
        loop {
            // Invariant: callers never wait for nothing.
            let oldest = *waiting.front().expect("a request on its way");
            if self.lanes[oldest].receive(&mut self.answer, false)? {
                waiting.pop_front();
                return Ok(oldest);
            }
            tries += 1;
            // The oldest is late: perhaps the server answers in another order.
            if tries.is_multiple_of(8) || !spin {
                for place in 1..waiting.len().min(LOOK_AHEAD) {
                    let lane = waiting[place];
                    if self.lanes[lane].receive(&mut self.answer, false)? {
                        waiting.remove(place);
                        return Ok(lane);
                    }
                }
            }
            if tries.is_multiple_of(TRIES) && self.lanes[oldest].sent_at.elapsed() > PATIENCE {
                return Err(self.lanes[oldest].silent());
            }
            if spin {
                std::hint::spin_loop();
            } else if self.lanes[oldest].receive(&mut self.answer, true)? {
                waiting.pop_front();
                return Ok(oldest);
            }
        }
    }
}

impl Lane {
    /// Receives and checks; true when the message is complete.
    #[inline]
    fn receive(&mut self, answer: &mut [u8], sleep: bool) -> Result<bool> {
        let rest = &mut answer[self.received..];
        let all = self.offset + self.received as u64;
        let count = match sleep {
            true => match receive_sleeping(&self.stream, rest, self.number, all)? {
                None if self.sent_at.elapsed() > PATIENCE => return Err(self.silent()),
                count => count,
            },
            false => receive_some(&self.stream, rest, self.number, all)?,
        };
        let Some(count) = count else {
            return Ok(false);
        };
        self.pattern
            .check(all, &rest[..count])
            .map_err(|offset| Error::Corrupt {
                connection: self.number,
                offset,
            })?;
        self.received += count;
        if self.received < answer.len() {
            return Ok(false);
        }
        self.offset += self.received as u64;
        self.received = 0;
        Ok(true)
    }

    fn silent(&self) -> Error {
        Error::Silent {
            connection: self.number,
            patience: PATIENCE,
        }
    }
}
