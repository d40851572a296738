//! The C interface beside the Rust one: what a callback and a send cost more, and what is left of
//! that in an echo.
//!
//! The exported functions are called through pointers that the compiler cannot see through, as from
//! another language; the shared library adds the indirection of its own jump table.

mod c;
mod rust;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use zcn_measure::core::{Cores, on_core};
use zcn_measure::load::ClosedLoop;
use zcn_measure::server::{Server, ServerOptions};

use crate::contest::{Entry, contest};
use crate::harness::{Contender, Contest, Ctx, Error, Figure, Result, Row, Target};
use crate::zcn;

const BENCH: &str = "ffi";
const RUST: &str = "Rust";
const C: &str = "C";
/// What C may cost more for each call, nanoseconds.
const EXTRA: f64 = 5.0;
/// What the C server must reach of the Rust one's requests.
const REQUESTS: f64 = 0.97;

/// Connections whose events come in one turn.
const CONNECTIONS: usize = 256;
/// Callbacks in a row, of one turn, that are timed as one.
const RUN: usize = 16;
/// Sends in a row on one connection.
const BURST: usize = 16;
const MESSAGE: [u8; 64] = [7; 64];

/// One side of the comparison: a server in the measuring thread.
trait Side {
    /// Where it listens.
    fn port(&self) -> u16;
    /// Connections that were accepted.
    fn connections(&self) -> usize;
    /// One turn.
    fn turn(&mut self) -> Result;
    /// How many data callbacks the last turn had, and how long the first [`RUN`] of them took.
    fn seen(&mut self) -> (usize, Option<Duration>);
    /// Sends a copy of the message on the connection of this index.
    fn send(&mut self, index: usize) -> Result;
    /// Fills a buffer with the message and sends that.
    fn send_buffer(&mut self, index: usize) -> Result;
}

/// Measures the C interface.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = Cores::pick()?.server;
    calls(ctx, core)?;
    requests(ctx, core)
}

fn calls(ctx: &mut Ctx, core: usize) -> Result {
    let sample = ctx.sample;
    let mut contenders = vec![
        Contender::new(RUST, || on(core, sample, rust::Rust::new)),
        Contender::new(C, || on(core, sample, c::C::new)),
    ];
    let outcome = ctx.alternate("calls", &mut contenders)?;
    // A buffer takes three calls: acquire, commit, send.
    for (metric, calls) in [("callback", 1.0), ("send", 1.0), ("send_buffer", 3.0)] {
        for name in [RUST, C] {
            ctx.report_all(outcome.row(BENCH, "", name, metric, Some(RUST)))?;
        }
        let extra = extra(&outcome, metric).ok_or("nothing was measured")?;
        let row = Row::new(BENCH, "C over Rust", metric, extra, "ns");
        ctx.report(row.target(Target::ValueAtMost(calls * EXTRA)))?;
    }
    Ok(())
}

/// Median over the rounds of what C took longer.
fn extra(outcome: &Contest, metric: &str) -> Option<f64> {
    let pairs = outcome.values(C, metric).iter();
    let mut extra: Vec<f64> = pairs
        .zip(outcome.values(RUST, metric))
        .map(|(c, rust)| c - rust)
        .collect();
    extra.sort_by(f64::total_cmp);
    extra.get(extra.len() / 2).copied()
}

fn on<S: Side>(
    core: usize,
    sample: Duration,
    make: impl FnOnce() -> Result<S> + Send,
) -> Result<Vec<Figure>> {
    let mut outcome = Ok(Vec::new());
    // The side stays on the thread that it is made on.
    on_core(core, || {
        outcome = make().and_then(|mut side| measure(&mut side, sample));
        Ok(())
    })?;
    outcome
}

/// Medians over runs, so that an interruption does not count.
fn measure<S: Side>(side: &mut S, sample: Duration) -> Result<Vec<Figure>> {
    let mut clients = connect(side)?;
    let mut callbacks = Vec::new();
    let mut sends = Vec::new();
    let mut buffers = Vec::new();
    let start = Instant::now();
    while start.elapsed() < sample || callbacks.is_empty() {
        for client in &mut clients {
            client.write_all(b"x")?;
        }
        let mut left = CONNECTIONS;
        while left > 0 {
            side.turn()?;
            let (count, took) = side.seen();
            left -= count.min(left);
            if let Some(took) = took {
                callbacks.push(took.as_nanos() as f64 / (RUN - 1) as f64);
            }
        }
        for (into, send) in [
            (&mut sends, S::send as fn(&mut S, usize) -> Result),
            (&mut buffers, S::send_buffer),
        ] {
            for (index, client) in clients.iter_mut().enumerate().take(BURST) {
                // The first is not timed: the way to it is cold after the kernel's work.
                send(side, index)?;
                let begin = Instant::now();
                for _ in 0..BURST {
                    send(side, index)?;
                }
                into.push(begin.elapsed().as_nanos() as f64 / BURST as f64);
                drain(side, client, BURST + 1)?;
            }
        }
    }
    let figure = |metric: &str, mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        Figure::new(metric, values[values.len() / 2], "ns")
    };
    Ok(vec![
        figure("callback", callbacks),
        figure("send", sends),
        figure("send_buffer", buffers),
    ])
}

fn connect(side: &mut impl Side) -> Result<Vec<TcpStream>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, side.port()))?;
        client.set_nodelay(true)?;
        clients.push(client);
        while side.connections() < clients.len() {
            side.turn()?;
        }
    }
    Ok(clients)
}

/// Lets what was sent leave, and takes it.
fn drain(side: &mut impl Side, client: &mut TcpStream, messages: usize) -> Result {
    client.set_nonblocking(true)?;
    let mut left = messages * MESSAGE.len();
    let mut room = [0; 4096];
    while left > 0 {
        side.turn()?;
        match client.read(&mut room) {
            Ok(count) => left -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    client.set_nonblocking(false)?;
    Ok(())
}

/// The C echo server beside the Rust one.
fn requests(ctx: &mut Ctx, core: usize) -> Result {
    const COPYING: &str = "zcn-c";
    const LEASING: &str = "zcn-c-lease";
    let servers = [
        (zcn::URING, None),
        (COPYING, Some(false)),
        (LEASING, Some(true)),
    ];
    let rust = zcn::tcp_servers().find(|server| server.name() == zcn::URING);
    let rust = rust.ok_or_else(|| Error::from("there is no zcn server"))?;
    let entries: Vec<Entry> = servers
        .into_iter()
        .map(|(name, lease)| {
            let server = match lease {
                None => rust.clone(),
                Some(lease) => Server::new(name, move |seat| c::serve(seat, lease)),
            };
            Entry::new(server, ServerOptions::blocking(core))
        })
        .collect();
    let load = ClosedLoop {
        connections: 64,
        message_bytes: MESSAGE.len(),
        duration: ctx.sample,
        spin: true,
    };
    let situation = "echo, 64 conns, server sleeps:";
    let outcome = contest(ctx, situation, &load, &entries)?;
    for (name, lease) in servers {
        let row = outcome.row(BENCH, situation, name, "requests", Some(zcn::URING));
        ctx.report_all(row.map(|row| match lease {
            None => row,
            Some(_) => row.target(Target::RatioAtLeast(REQUESTS)),
        }))?;
    }
    Ok(())
}
