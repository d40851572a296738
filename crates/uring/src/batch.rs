//! Operations that go to the kernel together, in one system call.

use std::io;
use std::time::Duration;

use crate::push::{Fits, PushError, PushReason};
use crate::ring::Ring;
use crate::sizes::{Completion16, CompletionSize, Entry64, EntrySize};
use crate::slot::OpId;

/// A number of operations for one system call, made by [`Ring::batch`].
///
/// Dropped without a [`flush`](Self::flush), what was prepared stays queued and goes with the
/// ring's next submit: the ring owns it either way (rule 1).
///
/// Memory ordering: nothing prepared is visible to the kernel before `flush`, whose release store
/// of the submission tail publishes all of it.
///
/// ```no_run
/// use zcn_uring::{Op, Ring};
///
/// let mut ring = Ring::builder().build()?;
/// let mut batch = ring.batch();
/// for token in 0..64 {
///     batch.prepare(Op::nop().token(token))?;
/// }
/// assert_eq!(batch.len(), 64);
/// batch.flush()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a batch is sent by its flush, or by the next submit of the ring"]
pub struct Batch<'a, E: EntrySize = Entry64, C: CompletionSize = Completion16> {
    ring: &'a mut Ring<E, C>,
    prepared: u32,
}

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// Begins a batch. What is queued already goes with it.
    pub fn batch(&mut self) -> Batch<'_, E, C> {
        Batch {
            ring: self,
            prepared: 0,
        }
    }
}

impl<E: EntrySize, C: CompletionSize> Batch<'_, E, C> {
    /// Adds an operation; never a system call.
    ///
    /// # Errors
    /// [`PushError`] with the operation back: as [`Ring::push`], and [`PushReason::BatchFull`]
    /// when the submission queue has no room for more in one system call.
    #[allow(clippy::result_large_err)] // The error carries the operation, as in `push`.
    pub fn prepare<O: Fits<E>>(&mut self, op: O) -> Result<OpId, PushError<O>> {
        if self.ring.queued() >= self.ring.sizes().0 as usize {
            let reason = PushReason::BatchFull;
            return Err(PushError { op, reason });
        }
        let id = self.ring.push(op)?;
        self.prepared += 1;
        Ok(id)
    }

    /// Operations prepared so far.
    pub fn len(&self) -> usize {
        self.prepared as usize
    }

    /// Whether nothing has been prepared.
    pub fn is_empty(&self) -> bool {
        self.prepared == 0
    }

    /// Hands everything to the kernel in one system call; none if nothing is queued.
    ///
    /// # Errors
    /// As [`Ring::submit`]; what the kernel did not take stays queued.
    pub fn flush(self) -> io::Result<()> {
        self.ring.submit()
    }

    /// Hands everything to the kernel and waits for as many completions as there are operations
    /// in the batch, or until `timeout` has passed, in one system call. A signal makes it one call
    /// more.
    ///
    /// # Errors
    /// As [`Ring::wait`].
    pub fn flush_and_wait(self, timeout: Option<Duration>) -> io::Result<()> {
        self.ring.wait_patiently(self.prepared, timeout)
    }
}
