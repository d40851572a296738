//! zcn's echo server as it takes part in the contest, and what became of its
//! buffers.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zcn::{Address, Buf, Conn, Handler, ReactorKind, Runtime, ServerOptions, Sleep, TcpServer};
use zcn_measure::error::{Error, Result};
use zcn_measure::server::{Seat, Server};

/// Time between two readings of the runtime's counters.
const READ_EVERY: Duration = Duration::from_millis(5);

/// Longest sleep of a turn while connections close.
const NAP: Duration = Duration::from_millis(100);

/// How long connections may take to close at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Buffers of all runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Servers that have run and ended.
    pub(super) runs: u64,
    /// Buffers in the pools of each.
    pub(super) each: usize,
    /// Buffers in all pools together.
    pub(super) total: u64,
    /// Of those, the buffers that were home at the end.
    pub(super) home: u64,
    /// Buffers that were handed out, over all runs.
    pub(super) loans: u64,
}

impl Account {
    pub(super) fn missing(&self) -> u64 {
        self.total - self.home
    }
}

/// The account, shared by all servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<Account>>);

impl Ledger {
    pub(super) fn read(&self) -> Account {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters both pools of a server that has ended.
    fn enter(&self, pools: [zcn::PoolStats; 2]) {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        account.runs += 1;
        account.each = pools.iter().map(|pool| pool.total).sum();
        for pool in pools {
            account.total += pool.total as u64;
            account.home += (pool.total - pool.in_use) as u64;
            account.loans += pool.acquired;
        }
    }
}

/// A server on `reactor` that accounts for its buffers in `ledger`.
pub(super) fn zcn(name: &str, reactor: ReactorKind, ledger: &Ledger) -> Server {
    let ledger = ledger.clone();
    Server::new(name, move |seat| serve(seat, reactor, &ledger))
}

struct Echo {
    bytes: Rc<Cell<usize>>,
}

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        self.bytes.set(self.bytes.get() + data.len());
        // Receiving pauses while the queue is full, so that only a connection
        // that is closing refuses.
        if conn.send(data).is_err() {
            conn.abort();
        }
    }
}

fn serve(seat: &Seat, reactor: ReactorKind, ledger: &Ledger) -> Result<()> {
    let mut runtime = Runtime::builder()
        .reactor(reactor)
        .sleep(seat.options().spin.map_or(Sleep::Block, Sleep::Spin))
        .build()
        .map_err(failed)?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bytes = Rc::new(Cell::new(0));
    let handler = Echo {
        bytes: bytes.clone(),
    };
    let server =
        TcpServer::bind(&runtime, any_port, ServerOptions::default(), handler).map_err(failed)?;
    let handle = runtime.handle();
    seat.on_stop(move || handle.stop());
    match server.local_addr() {
        Address::Ip(address) => seat.ready(*address),
        other => return Err(Error::Options(format!("bound to {other}"))),
    }
    let count = |stats: zcn::RuntimeStats| {
        seat.meter().set_syscalls(stats.reactor.system_calls);
        seat.meter().bytes(bytes.take());
    };
    let reading = async {
        while !seat.stopped() {
            zcn::sleep(READ_EVERY).await;
            zcn::stats().map(count);
        }
    };
    let outcome = runtime.block_on(reading);
    // `Handle::stop` ends it early, which is no failure here.
    if !seat.stopped() {
        outcome.map_err(failed)?;
    }
    server.shutdown(DRAIN);
    // Not `block_on`: the stop may still be on its way to the runtime.
    while !server.is_stopped() {
        runtime.run_for(NAP).map_err(failed)?;
    }
    count(runtime.stats());
    let pools = [runtime.pool(), runtime.bulk_pool()];
    drop(server);
    drop(runtime);
    ledger.enter(pools.map(|pool| pool.stats()));
    Ok(())
}

fn failed(error: zcn::Error) -> Error {
    Error::Options(error.to_string())
}
