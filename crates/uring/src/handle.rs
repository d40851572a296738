//! Operations that are waited for one by one, each by a handle of its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::completion::Completion;
use crate::push::{Fits, PushError};
use crate::ring::Ring;
use crate::sizes::{Completion16, CompletionSize, Entry64, EntrySize};
use crate::slot::OpId;

/// A ring that hands out a [`Handle`] for each operation.
///
/// For programs that start a command here and want its result there, without a loop of their own
/// over completions. Whoever waits takes what has come for the others too and keeps it for them,
/// so handles may be waited for in any order. Clones share the ring, which ends with the last of
/// them and of its handles; all stay on one thread, as the ring does.
///
/// Nothing is allocated once as many operations have been in flight together as ever will be.
///
/// ```no_run
/// use zcn_uring::{Op, Ring, SharedRing};
///
/// let ring = SharedRing::new(Ring::builder().build()?);
/// let mut first = ring.submit_async(Op::nop().token(1))?;
/// let mut second = ring.submit_async(Op::nop().token(2))?;
/// assert_eq!(second.wait()?.token, 2);
/// assert_eq!(first.wait()?.token, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedRing<E: EntrySize = Entry64, C: CompletionSize = Completion16> {
    inner: Rc<RefCell<Inner<E, C>>>,
}

impl<E: EntrySize, C: CompletionSize> Clone for SharedRing<E, C> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl<E: EntrySize, C: CompletionSize> std::fmt::Debug for SharedRing<E, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.inner.try_borrow() {
            Ok(inner) => f.debug_tuple("SharedRing").field(&inner.ring).finish(),
            Err(_) => f.write_str("SharedRing(in use)"),
        }
    }
}

struct Inner<E: EntrySize, C: CompletionSize> {
    ring: Ring<E, C>,
    seats: Vec<Seat<C::Extra>>,
    free: Vec<u32>,
}

/// Where the completions of one handle wait.
struct Seat<X> {
    done: VecDeque<Completion<X>>,
    /// The caller's own word; the ring carries the number of the seat.
    token: u64,
    /// The place of the file table that the caller chose, if it did.
    place: u32,
}

impl<E: EntrySize, C: CompletionSize> SharedRing<E, C> {
    /// Takes over a ring on which nothing is in flight yet.
    ///
    /// # Panics
    /// When something is: its completions would be taken for those of handles.
    pub fn new(ring: Ring<E, C>) -> Self {
        assert_eq!(ring.in_flight(), 0, "a ring with operations of its own");
        Self {
            inner: Rc::new(RefCell::new(Inner {
                ring,
                seats: Vec::new(),
                free: Vec::new(),
            })),
        }
    }

    /// Queues an operation; it goes to the kernel with the next [`submit`](Self::submit) or wait.
    ///
    /// # Errors
    /// As [`Ring::push`].
    #[allow(clippy::result_large_err)] // The error carries the operation, as in `push`.
    pub fn prepare_async<O: Fits<E>>(&self, op: O) -> Result<Handle<E, C>, PushError<O>> {
        let mut inner = self.inner.borrow_mut();
        let seat = inner.take_seat();
        let (token, place) = (op.op().token, op.op().detail);
        match inner.ring.push(op.with_token(seat.into())) {
            Ok(id) => {
                let entry = &mut inner.seats[seat as usize];
                (entry.token, entry.place) = (token, place);
                Ok(Handle {
                    ring: self.clone(),
                    id,
                    seat,
                    ended: false,
                })
            }
            Err(PushError { op, reason }) => {
                inner.free.push(seat);
                let op = op.with_token(token);
                Err(PushError { op, reason })
            }
        }
    }

    /// Queues an operation and submits it with all others that are queued.
    ///
    /// A submit that fails is no failure of the operation: it stays queued, its handle is good, and
    /// the next submit or wait tells again.
    ///
    /// # Errors
    /// As [`Ring::push`].
    #[allow(clippy::result_large_err)] // The error carries the operation, as in `push`.
    pub fn submit_async<O: Fits<E>>(&self, op: O) -> Result<Handle<E, C>, PushError<O>> {
        let handle = self.prepare_async(op)?;
        let _ = self.submit();
        Ok(handle)
    }

    /// Submits everything queued.
    ///
    /// # Errors
    /// As [`Ring::submit`].
    pub fn submit(&self) -> io::Result<()> {
        self.inner.borrow_mut().ring.submit()
    }

    /// Lends the ring itself, to register buffers and files and to look at its counters.
    ///
    /// What is pushed there has no handle: hide it, or give it up.
    ///
    /// # Panics
    /// When `with` is called again from inside `look`, or a handle is used there.
    pub fn with<T>(&self, look: impl FnOnce(&mut Ring<E, C>) -> T) -> T {
        look(&mut self.inner.borrow_mut().ring)
    }
}

impl<E: EntrySize, C: CompletionSize> Inner<E, C> {
    fn take_seat(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat {
                done: VecDeque::new(),
                token: 0,
                place: 0,
            });
            // The ring has fewer than 2^24 operations in flight.
            (self.seats.len() - 1) as u32
        })
    }

    /// Gives each completion that has come to its seat.
    fn collect(&mut self) {
        let seats = &mut self.seats;
        self.ring.completions().for_each(|mut done| {
            if let Some(seat) = seats.get_mut(done.token as usize) {
                done.token = seat.token;
                seat.done.push_back(done);
            }
        });
    }
}

/// Why a handle has nothing to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The final completion has been taken already.
    #[error("this operation has ended, and its final completion has been taken")]
    Ended,
    /// The ring could not be entered.
    #[error("waiting for the ring: {source}")]
    Kernel {
        /// The kernel's error.
        #[from]
        source: io::Error,
    },
}

impl HandleError {
    /// What the kernel answered, if it was asked.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Ended => None,
            Self::Kernel { source } => source.raw_os_error(),
        }
    }
}

/// One operation under way on a [`SharedRing`].
///
/// Dropping it is safe at every stage: before the submit, under way, or with completions that
/// nobody took. The operation is then cancelled with the next submit, and what it owns goes home
/// with its final completion; a descriptor that it has brought, or brings yet, is closed.
///
/// Memory ordering: a completion was made visible by the acquire load of the completion tail when
/// it was collected, so what it carries may be read at once.
#[must_use = "a dropped handle cancels its operation"]
pub struct Handle<E: EntrySize = Entry64, C: CompletionSize = Completion16> {
    ring: SharedRing<E, C>,
    id: OpId,
    seat: u32,
    ended: bool,
}

impl<E: EntrySize, C: CompletionSize> std::fmt::Debug for Handle<E, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("id", &self.id)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<E: EntrySize, C: CompletionSize> Handle<E, C> {
    /// The operation.
    pub fn id(&self) -> OpId {
        self.id
    }

    /// Takes a completion that has come, without a system call unless deferred work waits for one.
    /// A multishot operation has several; the last is without
    /// [`more`](Completion::more).
    ///
    /// # Errors
    /// [`HandleError`]: there will be no more, or the ring could not be entered.
    pub fn poll(&mut self) -> Result<Option<Completion<C::Extra>>, HandleError> {
        if let Some(done) = self.take()? {
            return Ok(Some(done));
        }
        {
            let mut inner = self.ring.inner.borrow_mut();
            if inner.ring.has_news() {
                inner.ring.submit()?;
            }
            inner.collect();
        }
        self.take()
    }

    /// Waits for the next completion. Signals do not end the wait.
    ///
    /// # Errors
    /// [`HandleError`]: there will be none, or the ring could not be entered.
    pub fn wait(&mut self) -> Result<Completion<C::Extra>, HandleError> {
        loop {
            if let Some(done) = self.wait_until(None)? {
                return Ok(done);
            }
        }
    }

    /// Waits for the next completion for so long; `None` when the time has passed. Signals neither
    /// end nor lengthen the wait. The operation goes on.
    ///
    /// # Errors
    /// [`HandleError`]: there will be none, or the ring could not be entered.
    pub fn wait_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Completion<C::Extra>>, HandleError> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Completion<C::Extra>>, HandleError> {
        loop {
            if let Some(done) = self.poll()? {
                return Ok(Some(done));
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.ring.inner.borrow_mut().ring.wait(1, left)?;
        }
    }

    /// Asks the kernel to end the operation. Its completion still comes and still decides: it may
    /// have succeeded (rule 7). Nothing happens when it has ended already.
    ///
    /// # Errors
    /// As [`Ring::submit`]; the cancel stays queued.
    pub fn cancel(&self) -> io::Result<()> {
        let mut inner = self.ring.inner.borrow_mut();
        if let Ok(Some(cancel)) = inner.ring.cancel(self.id, 0) {
            inner.ring.hide(cancel);
        }
        inner.ring.submit()
    }

    fn take(&mut self) -> Result<Option<Completion<C::Extra>>, HandleError> {
        if self.ended {
            return Err(HandleError::Ended);
        }
        let mut inner = self.ring.inner.borrow_mut();
        let done = inner.seats[self.seat as usize].done.pop_front();
        self.ended = done.as_ref().is_some_and(|done| !done.more());
        Ok(done)
    }
}

impl<E: EntrySize, C: CompletionSize> Drop for Handle<E, C> {
    fn drop(&mut self) {
        {
            let mut inner = self.ring.inner.borrow_mut();
            // First what has come and is still in the queue, for this seat will be another's.
            inner.collect();
            inner.ring.abandon(self.id);
        }
        // One by one, and each dropped under no borrow: what it owns may run destructors of others
        // (rule 16).
        while let Some(done) = self.take_untaken() {
            drop(done);
        }
        self.ring.inner.borrow_mut().free.push(self.seat);
    }
}

impl<E: EntrySize, C: CompletionSize> Handle<E, C> {
    /// The next completion that nobody took; a descriptor in it is closed.
    fn take_untaken(&mut self) -> Option<Completion<C::Extra>> {
        let mut inner = self.ring.inner.borrow_mut();
        let seat = inner.seats.get_mut(self.seat as usize)?;
        let (done, place) = (seat.done.pop_front()?, seat.place);
        inner.ring.close_untaken(&done, place);
        Some(done)
    }
}
