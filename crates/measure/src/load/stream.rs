//! One connection kept full: many messages on the way, in large writes and reads.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::stage::Counted;
use super::{Load, Outcome, PATIENCE, TRIES, Window, connect, cost, receive_some, send_some};
use crate::error::{Error, Result};
use crate::pattern::Pattern;
use crate::rounds::Figure;

/// Bytes of a large write. Two of them on the way keep both sides busy; with four or eight
/// the data leaves the caches now and then, and the figure has two faces, one half of the
/// other.
const WRITE_BYTES: usize = 64 * 1024;

/// A window of bytes kept on the way, written and read in large pieces.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Bytes of a message; only how the result is counted depends on it.
    pub message_bytes: usize,
    /// Bytes of one write and of one read, at most.
    pub write_bytes: usize,
    /// Bytes that may be on the way.
    pub window_bytes: usize,
    /// How long to measure.
    pub duration: Duration,
}

impl Stream {
    /// Small messages, pipelined: many in each write.
    pub fn pipeline(duration: Duration) -> Self {
        Self {
            message_bytes: 64,
            write_bytes: WRITE_BYTES,
            window_bytes: 2 * WRITE_BYTES,
            duration,
        }
    }

    /// Messages of 64 KiB.
    pub fn bulk(duration: Duration) -> Self {
        Self {
            message_bytes: 64 * 1024,
            write_bytes: WRITE_BYTES,
            window_bytes: 2 * WRITE_BYTES,
            duration,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct StreamReport {
    /// Bytes that came back right in the measured part.
    pub bytes: u64,
}

impl Load for Stream {
    type Report = StreamReport;

    fn run(&self, address: SocketAddr, window: &mut Window<'_>) -> Result<StreamReport> {
        if self.message_bytes == 0 || self.write_bytes == 0 || self.window_bytes == 0 {
            return Err(Error::Options("a stream needs bytes to send".to_owned()));
        }
        let mut pipe = Pipe::open(address, self.write_bytes)?;
        let mut counted = Counted::starting(Instant::now(), self.duration);
        let bytes = loop {
            let room = self.window_bytes as u64 - (pipe.sent - pipe.received);
            pipe.step(room)?;
            match counted.over(Instant::now(), pipe.received, window) {
                None | Some(0) => {}
                Some(bytes) => break bytes,
            }
        };
        window.end();
        while pipe.received < pipe.sent {
            pipe.step(0)?;
        }
        Ok(StreamReport { bytes })
    }

    fn figures(&self, outcome: &Outcome<StreamReport>) -> Vec<Figure> {
        let (span, bytes) = (&outcome.span, outcome.report.bytes);
        let messages = bytes / self.message_bytes as u64;
        let mut figures = vec![
            Figure::new("messages", span.rate(messages), "1/s"),
            Figure::new("throughput", span.rate(bytes) * 8.0 / 1e9, "Gbit/s"),
            Figure::new("server_busy", span.server_share() * 100.0, "%"),
        ];
        figures.extend(cost(span, messages, "message"));
        figures
    }
}

/// One connection with a counted stream in each direction.
pub(super) struct Pipe {
    stream: TcpStream,
    pattern: Pattern,
    outgoing: Vec<u8>,
    /// Part of `outgoing` that is written but not sent.
    unsent: std::ops::Range<usize>,
    incoming: Vec<u8>,
    /// Bytes sent so far.
    pub(super) sent: u64,
    /// Bytes that came back right so far.
    pub(super) received: u64,
    idle_tries: u32,
    idle_since: Option<Instant>,
}

impl Pipe {
    pub(super) fn open(address: SocketAddr, write_bytes: usize) -> Result<Self> {
        Ok(Self {
            stream: connect(address)?,
            pattern: Pattern::new(0),
            outgoing: vec![0; write_bytes],
            unsent: 0..0,
            incoming: vec![0; write_bytes.max(64 * 1024)],
            sent: 0,
            received: 0,
            idle_tries: 0,
            idle_since: None,
        })
    }

    /// Sends up to one write when `room` has place for all of it, and receives and checks
    /// what is there. Does not sleep.
    pub(super) fn step(&mut self, room: u64) -> Result<()> {
        if self.unsent.is_empty() && room >= self.outgoing.len() as u64 {
            self.pattern.fill(self.sent, &mut self.outgoing);
            self.unsent = 0..self.outgoing.len();
        }
        let mut moved = 0;
        if !self.unsent.is_empty() {
            let count = send_some(&self.stream, &self.outgoing[self.unsent.clone()], 0)?;
            self.unsent.start += count;
            self.sent += count as u64;
            moved += count;
        }
        if self.received < self.sent {
            let count = receive_some(&self.stream, &mut self.incoming, 0, self.received)?;
            if let Some(count) = count {
                self.pattern
                    .check(self.received, &self.incoming[..count])
                    .map_err(|offset| Error::Corrupt {
                        connection: 0,
                        offset,
                    })?;
                self.received += count as u64;
                moved += count;
            }
        }
        self.keep_patience(moved)
    }

    fn keep_patience(&mut self, moved: usize) -> Result<()> {
        if moved > 0 || self.received == self.sent {
            self.idle_tries = 0;
            self.idle_since = None;
            return Ok(());
        }
        std::hint::spin_loop();
        self.idle_tries += 1;
        if self.idle_tries.is_multiple_of(TRIES) {
            let since = *self.idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() > PATIENCE {
                return Err(Error::Silent {
                    connection: 0,
                    patience: PATIENCE,
                });
            }
        }
        Ok(())
    }
}
