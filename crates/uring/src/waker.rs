//! Wakes a ring's thread from any other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zcn_sys::eventfd::EventFd;

use crate::op::{Op, Target};
use crate::push::PushError;
use crate::ring::Ring;
use crate::sizes::{CompletionSize, EntrySize};
use crate::slot::OpId;

/// Ends the wait of a ring from any thread: an eventfd that the ring polls.
///
/// [`Ring::arm_waker`] arms it; each wake is then a completion of [`Kind::PollMulti`] with the
/// token given there, upon which the ring's thread calls [`acknowledge`](Self::acknowledge) and
/// only then looks at what the wakers left for it. Wakes that come before that are one wake, and
/// cost no system call but for the first.
///
/// To another thread that has a ring, [`Op::msg_ring`] carries a word as well.
///
/// [`Kind::PollMulti`]: crate::Kind::PollMulti
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: EventFd,
    /// A wake is on its way and has not been acknowledged.
    ///
    /// Both sides swap with `AcqRel`. A waker that finds `true` does nothing more: the ring's
    /// thread has yet to swap it back, will then see what was written before the waker's swap, and
    /// looks for work after it. A waker that finds `false` writes to the eventfd. The thread
    /// empties the eventfd before its swap, so that no later wake is swallowed.
    pending: AtomicBool,
}

impl Waker {
    /// Opens an eventfd.
    ///
    /// # Errors
    /// No descriptor or memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            event: EventFd::new()?,
            pending: AtomicBool::new(false),
        })))
    }

    /// Ends the wait of the ring that this is armed on, or its next one.
    ///
    /// # Errors
    /// What write(2) answers on the eventfd; never for want of room.
    pub fn wake(&self) -> io::Result<()> {
        if self.0.pending.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.0.event.wake()
    }

    /// Takes note of all wakes so far; the ring's thread calls this before it looks for work.
    ///
    /// # Errors
    /// What read(2) answers on the eventfd; never for want of wakes.
    pub fn acknowledge(&self) -> io::Result<()> {
        self.0.event.drain()?;
        self.0.pending.swap(false, Ordering::AcqRel);
        Ok(())
    }
}

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// Arms a waker: from now on each wake completes with `token`. To be armed again when a
    /// completion comes without [`more`](crate::Completion::more), as after an overflow.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    // The error carries the operation, as in `push`.
    #[allow(clippy::result_large_err)]
    pub fn arm_waker(&mut self, waker: &Waker, token: u64) -> Result<OpId, PushError> {
        use std::os::fd::AsFd;
        let target = Target::from(waker.0.event.as_fd());
        // The kernel holds the eventfd for as long as the poll is armed.
        self.push(Op::poll_multi(target, libc::POLLIN).token(token))
    }
}
