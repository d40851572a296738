//! What a server and its service have in common: figures, and where the end stands.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::reactor::Event;
use crate::runtime::Inner;
use crate::table::Key;

/// What a server did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections open now.
    pub connections: usize,
    /// Peers accepted.
    pub accepted: u64,
    /// Peers refused by the handler.
    pub refused: u64,
    /// Connections closed.
    pub closed: u64,
    /// Handler calls that panicked.
    pub panics: u64,
    /// Connections closed for one of the timeouts.
    pub timed_out: u64,
}

#[derive(Default)]
pub(crate) struct Shared {
    pub(super) stats: Cell<ServerStats>,
    /// Connections of a client being made.
    pub(crate) attempts: Cell<usize>,
    pub(super) notify_sent: Cell<bool>,
    pub(super) drain_by: Cell<Option<Instant>>,
    pub(super) stopped: Cell<bool>,
    /// Tasks that wait for the end.
    pub(super) wakers: RefCell<Vec<Waker>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn stats(&self) -> ServerStats {
        self.stats.get()
    }

    pub(crate) fn notify_sent(&self, yes: bool) {
        self.notify_sent.set(yes);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_by.get().is_some()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Asks the service to let its connections finish.
    pub(crate) fn shut_down(&self, inner: &Inner, server: Key, limit: Duration) {
        if self.drain_by.get().is_none() {
            let now = Instant::now();
            // A limit beyond the clock's range is as good as none.
            let by = now.checked_add(limit).unwrap_or(now + FOR_EVER);
            self.drain_by.set(Some(by));
            let mut reactor = inner.reactor.borrow_mut();
            reactor.events.push_back(Event::Drain { server });
        }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut ServerStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}

const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);
