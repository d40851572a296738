//! What is transferred, and how far it is.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zcn_measure::pattern::Pattern;
use zcn_stack::tcp::congestion::Algorithm;

/// The receiver of flow `n` listens on this port and `n`.
const PORT: u16 = 5000;

/// Bulk data, one way, over several connections at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Connections.
    pub(super) flows: u16,
    /// Of the sender.
    pub(super) congestion: Algorithm,
    /// Bytes of each flow, after which both sides close; without end if `None`.
    pub(super) bytes: Option<u64>,
}

pub(super) const fn port(flow: u16) -> u16 {
    PORT + flow
}

/// How far a transfer is; shared by all threads that have to do with it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    received: AtomicU64,
    /// Flows that came to their end, all of their bytes right.
    finished: AtomicUsize,
    stop: AtomicBool,
    wrong: Mutex<Option<String>>,
}

impl Progress {
    /// Bytes received so far, each of them compared.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How many flows have ended as they should.
    pub(super) fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }

    /// Asks everybody to stop.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Tells that something went wrong; the first one counts.
    pub(super) fn fail(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_stopped() {
            wrong.get_or_insert(what);
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.wrong
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for so long, or until something goes wrong.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn sleep(&self, time: Duration) -> Result<(), String> {
        let begun = Instant::now();
        self.wait_until("sleeping", time * 2, |_| begun.elapsed() >= time)
    }

    /// Waits until `is` answers yes.
    ///
    /// # Errors
    /// What went wrong meanwhile, or that it took longer than `limit`.
    pub(super) fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        is: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if is(self) {
                return Ok(());
            }
            if begun.elapsed() > limit {
                return Err(format!(
                    "{what} took longer than {} s, with {} bytes received and {} flows finished",
                    limit.as_secs(),
                    self.received(),
                    self.finished()
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What one flow has received.
#[derive(Debug)]
pub(super) struct Check {
    flow: u16,
    pattern: Pattern,
    offset: u64,
}

impl Check {
    pub(super) fn new(flow: u16) -> Self {
        Self {
            flow,
            pattern: Pattern::new(flow.into()),
            offset: 0,
        }
    }

    /// Compares what came with what was sent.
    pub(super) fn take(&mut self, bytes: &[u8], progress: &Progress) {
        match self.pattern.check(self.offset, bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                progress
                    .received
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Err(place) => progress.fail(format!("flow {}: byte {place} is wrong", self.flow)),
        }
    }

    /// The peer sends no more.
    pub(super) fn end(&self, plan: &Plan, progress: &Progress) {
        match plan.bytes {
            Some(bytes) if bytes == self.offset => {
                progress.finished.fetch_add(1, Ordering::SeqCst);
            }
            _ => progress.fail(format!(
                "flow {}: ended after {} bytes",
                self.flow, self.offset
            )),
        }
    }
}

/// What one flow sends, piece by piece.
#[derive(Debug)]
pub(super) struct Source {
    pattern: Pattern,
    offset: u64,
    left: Option<u64>,
}

impl Source {
    /// Bytes of a piece.
    pub(super) const PIECE: usize = 64 * 1024;

    pub(super) fn new(flow: u16, plan: &Plan) -> Self {
        Self {
            pattern: Pattern::new(flow.into()),
            offset: 0,
            left: plan.bytes,
        }
    }

    /// Fills the next piece and answers its length: none at the end.
    pub(super) fn fill(&mut self, piece: &mut [u8]) -> usize {
        let len = self.left.map_or(piece.len(), |left| {
            piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        self.pattern.fill(self.offset, &mut piece[..len]);
        self.offset += len as u64;
        if let Some(left) = &mut self.left {
            *left -= len as u64;
        }
        len
    }
}
