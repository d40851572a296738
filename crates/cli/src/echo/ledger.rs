//! What the loops of the server did, and what became of their buffers.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zcn::{Address, BufferPool, ReactorKind, Runtime, TcpServer, UdpServer};

/// What a loop echoed so far; its handler counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) receives: u64,
    pub(super) bytes: u64,
}

/// The counts of a loop, shared by its handler and the loop itself.
pub(super) type Counter = Rc<Cell<Counts>>;

/// One more receive of `bytes`.
pub(super) fn count(counter: &Counter, bytes: usize) {
    let mut counts = counter.get();
    counts.receives += 1;
    counts.bytes += bytes as u64;
    counter.set(counts);
}

/// The server of a loop.
pub(super) enum Server {
    Tcp(TcpServer),
    Udp(UdpServer),
}

/// One loop, for as long as it runs: enters its figures when it ends.
pub(super) struct Loop {
    server: Server,
    counter: Counter,
    ledger: Arc<Ledger>,
}

impl Loop {
    /// Takes the pools of a loop that now listens into the books.
    pub(super) fn open(
        runtime: &Runtime,
        server: Server,
        counter: Counter,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let mut pools = vec![runtime.pool(), runtime.bulk_pool()];
        let address = match &server {
            Server::Tcp(server) => server.local_addr().clone(),
            Server::Udp(server) => {
                pools.push(server.pool().clone());
                Address::Ip(server.local_addr())
            }
        };
        let mut entries = ledger.entries();
        entries.listening = Some((address, runtime.reactor_kind()));
        entries.pools.extend(pools);
        drop(entries);
        Self {
            server,
            counter,
            ledger: ledger.clone(),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let Counts { receives, bytes } = self.counter.get();
        let mut entries = self.ledger.entries();
        let report = &mut entries.report;
        report.receives += receives;
        report.bytes += bytes;
        match &self.server {
            Server::Tcp(server) => {
                report.connections += server.stats().accepted;
                report.panics += server.stats().panics;
            }
            Server::Udp(server) => report.panics += server.panics(),
        }
    }
}

/// What all loops did together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) connections: u64,
    pub(super) panics: u64,
    pub(super) receives: u64,
    pub(super) bytes: u64,
    pub(super) buffers: usize,
    pub(super) buffers_home: usize,
}

#[derive(Debug, Default)]
struct Entries {
    listening: Option<(Address, ReactorKind)>,
    pools: Vec<BufferPool>,
    report: Report,
}

/// The books of all loops.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Entries>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the loops listen and what drives them; none before the first is open.
    pub(super) fn listening(&self) -> Option<(Address, ReactorKind)> {
        self.entries().listening.clone()
    }

    /// The sum of all loops. Buffers still lent to a runtime that runs count as missing, so this
    /// is for when all have ended.
    pub(super) fn close(&self) -> Report {
        let entries = self.entries();
        let mut report = entries.report;
        for pool in &entries.pools {
            let stats = pool.stats();
            report.buffers += stats.total;
            report.buffers_home += stats.total - stats.in_use;
        }
        report
    }
}
