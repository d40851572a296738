//! A runtime as other threads have it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::current;
use super::remote::{Inbox, Remote};
use crate::error::Action;

/// Talks to a runtime from any thread. Cheap to clone; outlives the runtime without harm.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) inbox: Arc<Inbox>,
}

impl Handle {
    /// Makes the runtime leave the [`Runtime::run`](super::Runtime::run) or
    /// [`Runtime::block_on`](super::Runtime::block_on) that is in progress. When none is, it
    /// concerns the next `run`, which returns at once, so that a stop is never lost between the two;
    /// a `block_on` that begins later is not disturbed.
    pub fn stop(&self) {
        self.inbox.post(Remote::Stop);
    }

    /// Ends the runtime's sleep, or the next one; nothing else. Does not allocate.
    pub fn wake(&self) {
        self.inbox.nudge();
    }

    /// Starts a task on the runtime's thread; `make` runs there and may make futures that never
    /// leave it. Nothing happens if the runtime is gone.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.inbox.post(Remote::Run(Box::new(move || {
            // Runs inside the runtime's turn, where it is the current one.
            if let Ok(inner) = current(Action::Start) {
                match catch_unwind(AssertUnwindSafe(make)) {
                    Ok(future) => drop(inner.spawn(future)),
                    Err(_) => tracing::error!("a task sent by another thread panicked"),
                }
            }
        })));
    }
}
