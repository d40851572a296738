//! Loads: clients that drive an echo server and check every byte that comes back.
//!
//! Every load is bounded in time and stops by itself, with at least one answer in its
//! measured part; a server that stands still makes it fail with [`Error::Silent`], not hang. None of them needs an event queue: they know
//! which answer is due next, so they ask for it directly, which leaves the client's core
//! less to do than any server's.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::core::on_core;
use crate::cpu_clock::CpuClock;
use crate::error::{Action, Error, Result};
use crate::meter::Usage;
use crate::rounds::Figure;
use crate::server::{Running, Server, ServerOptions};

mod closed_loop;
mod connections;
mod datagrams;
mod paced;
mod round_trip;
mod stage;
mod stream;

pub use closed_loop::{ClosedLoop, ClosedLoopReport};
pub use connections::{Connections, ConnectionsReport, Phase};
pub use datagrams::{Datagrams, DatagramsReport};
pub use paced::{Paced, PacedReport};
pub use round_trip::{RoundTrip, RoundTripReport};
pub use stream::{Stream, StreamReport};

/// How long a load waits for an answer before it calls the server silent.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Tries of a spinning client between two looks at the clock.
const TRIES: u32 = 64;

/// A client with its options.
pub trait Load: Sync {
    /// What it found out, beside what [`Span`] tells.
    type Report: Send;

    /// Drives the server at `address`. Calls [`Window::begin`] once the connections stand
    /// and the way is warm, and [`Window::end`] when the last answer is in.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Closed`] and [`Error::Silent`] for what the server did
    /// wrong, [`Error::Io`] for what the kernel refused.
    fn run(&self, address: SocketAddr, window: &mut Window<'_>) -> Result<Self::Report>;

    /// The figures of one run, for the tables.
    fn figures(&self, outcome: &Outcome<Self::Report>) -> Vec<Figure>;
}

/// The measured part of a run, as the load marks it.
#[derive(Default)]
pub struct Window<'a> {
    server: Option<&'a Running>,
    begun: Option<Moment>,
    span: Option<Span>,
}

struct Moment {
    at: Instant,
    server: Usage,
    client: Duration,
}

impl<'a> Window<'a> {
    /// A window over the use of a server in this process.
    pub fn over(server: &'a Running) -> Self {
        Self {
            server: Some(server),
            ..Self::default()
        }
    }

    /// The measured part begins now.
    pub fn begin(&mut self) {
        self.begun = Some(self.moment());
    }

    /// The measured part ends now. Without a beginning this does nothing.
    pub fn end(&mut self) {
        if let Some(begun) = self.begun.take() {
            let now = self.moment();
            self.span = Some(Span {
                elapsed: now.at - begun.at,
                server: now.server.since(&begun.server),
                client_cpu: now.client.saturating_sub(begun.client),
            });
        }
    }

    /// What lay between beginning and end; zero when there was none.
    pub fn span(&self) -> Span {
        self.span.unwrap_or_default()
    }

    fn moment(&self) -> Moment {
        Moment {
            server: self.server.map(Running::usage).unwrap_or_default(),
            client: CpuClock::of_this_thread().read().unwrap_or_default(),
            at: Instant::now(),
        }
    }
}

/// Time and resources between beginning and end of the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Wall time.
    pub elapsed: Duration,
    /// What the server used and did.
    pub server: Usage,
    /// CPU time of the client's thread.
    pub client_cpu: Duration,
}

impl Span {
    /// `count` per second of wall time.
    pub fn rate(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    /// Share of one core that the server used, 1 being all of it.
    pub fn server_share(&self) -> f64 {
        self.server.cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// The server's CPU time in nanoseconds for each of `count`.
    pub fn server_cpu_ns(&self, count: u64) -> f64 {
        self.server.cpu.as_nanos() as f64 / count as f64
    }

    /// The server's system calls for each of `count`; `None` when it does not count them.
    pub fn syscalls(&self, count: u64) -> Option<f64> {
        (self.server.syscalls > 0).then(|| self.server.syscalls as f64 / count as f64)
    }
}

/// A run's report and the resources it took.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<T> {
    /// What the load found out.
    pub report: T,
    /// Time and resources of the measured part.
    pub span: Span,
}

/// Starts `server`, drives it with `load` from `client_core`, and stops it.
///
/// # Errors
/// Those of the load, then those of the server.
pub fn drive<L: Load>(
    server: &Server,
    options: &ServerOptions,
    client_core: usize,
    load: &L,
) -> Result<Outcome<L::Report>> {
    let running = server.start(options)?;
    let outcome = on_core(client_core, || {
        let mut window = Window::over(&running);
        let report = load.run(running.address(), &mut window)?;
        Ok(Outcome {
            report,
            span: window.span(),
        })
    });
    match outcome {
        Ok(outcome) => running.stop().map(|_| outcome),
        // When the server has failed as well, its error is the cause.
        Err(error) => Err(running.stop().err().unwrap_or(error)),
    }
}

/// Connects to `address` with `TCP_NODELAY`.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).action(&format!("connect to {address}"))?;
    stream.set_nodelay(true).action("set TCP_NODELAY")?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .action("set a receive timeout")?;
    Ok(stream)
}

/// Bytes that came now: `None` when there are none yet.
fn receive_some(
    stream: &TcpStream,
    bytes: &mut [u8],
    connection: usize,
    received: u64,
) -> Result<Option<usize>> {
    receive(stream, bytes, RecvFlags::DONTWAIT, connection, received)
}

/// Bytes that came, after a sleep when there were none; `None` when patience ran out, or a signal
/// ended the sleep early.
fn receive_sleeping(
    stream: &TcpStream,
    bytes: &mut [u8],
    connection: usize,
    received: u64,
) -> Result<Option<usize>> {
    receive(stream, bytes, RecvFlags::empty(), connection, received)
}

#[inline]
fn receive(
    stream: &TcpStream,
    bytes: &mut [u8],
    flags: RecvFlags,
    connection: usize,
    received: u64,
) -> Result<Option<usize>> {
    match recv(stream, bytes, flags) {
        Ok((0, _)) => Err(Error::Closed {
            connection,
            received,
        }),
        Ok((count, _)) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error).action(&format!("receive on connection {connection}")),
    }
}

/// Sends what the socket takes now.
#[inline]
fn send_some(stream: &TcpStream, bytes: &[u8], connection: usize) -> Result<usize> {
    match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error).action(&format!("send on connection {connection}")),
    }
}

/// The figures that every run has beside its own: what the server spent on `count`.
fn cost(span: &Span, count: u64, each: &str) -> Vec<Figure> {
    let mut figures = vec![Figure::new(
        format!("server_cpu_per_{each}"),
        span.server_cpu_ns(count),
        "ns",
    )];
    if let Some(syscalls) = span.syscalls(count) {
        figures.push(Figure::new(
            format!("syscalls_per_{each}"),
            syscalls,
            "calls",
        ));
    }
    figures
}

#[cfg(test)]
mod tests;
