//! A runtime inside another event loop: bounded turns, a descriptor to wait on, and what a caller has
//! who holds no connection.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use zcn_pool::{BufferPool, SharedBuf};

use super::{Inner, Runtime};
use crate::error::{Action, Error, Result};
use crate::reactor::driver::{DriverStats, STREAM_SOURCE, Wait, borrowed};
use crate::server::{Conn, ConnId, SendError};

impl Runtime {
    /// One turn that waits for at most `limit` and hands at most `max_events` events (data,
    /// datagrams, ends, …) to servers and clients; the rest comes with the next turn. Returns how
    /// many it handed out.
    ///
    /// It takes `&self`, so that what callbacks hold may reach the runtime.
    ///
    /// # Errors
    /// When the reactor itself fails, or when it is called from inside itself.
    pub fn poll(&self, limit: Duration, max_events: usize) -> Result<usize> {
        let inner = &self.inner;
        if inner.polling.replace(true) {
            let text = "a poll of this runtime is under way: it cannot be polled from inside";
            return Err(Error::setting(Action::Run, text));
        }
        let _polling = Polling(inner);
        let _entered = self.enter();
        // It may have been left asleep by `prepare_to_sleep`.
        inner.inbox.wake_up();
        // Noted before the inbox is read: a wake-up may bring nothing but itself.
        let woken = inner.inbox.is_filled();
        let _earlier = inner.set_stop_aside();
        inner.allowance.set(max_events);
        let wait = match limit {
            Duration::ZERO => Wait::No,
            _ if woken => Wait::No,
            limit => Wait::AtMost(limit),
        };
        inner.sleepy_turn(wait, &|| false)?;
        Ok(max_events - inner.allowance.get())
    }

    /// The descriptor that becomes readable when the kernel has something for the runtime, for a
    /// thread that sleeps in another loop; only for waiting, and after
    /// [`prepare_to_sleep`](Self::prepare_to_sleep). Ask for it before that is called for the first
    /// time: what ends before it has been asked for does not make it readable. On io_uring,
    /// completions cost a little more from then on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        let fd = self.inner.reactor.borrow_mut().driver.wait_fd();
        let fd = fd.map_err(|error| Error::bare(Action::Start, error))?;
        Ok(borrowed(fd, self))
    }

    /// Gets ready for the thread to sleep in another loop, until the runtime's
    /// [descriptor](Self::wait_fd) is readable or the time that this returns has passed (`None`: no
    /// matter how long): starts what was asked for, and lets wake-ups from other threads through.
    /// Then call [`poll`](Self::poll). Calls no handler.
    ///
    /// # Errors
    /// When the reactor itself fails.
    pub fn prepare_to_sleep(&self) -> Result<Option<Duration>> {
        let inner = &self.inner;
        let settled = inner.reactor.borrow_mut().settle();
        if !settled.map_err(|error| Error::bare(Action::Receive, error))?
            || super::cell::let_go()
            || inner.has_leftovers()
            || inner.executor.has_ready()
            || !inner.inbox.fall_asleep()
        {
            return Ok(Some(Duration::ZERO));
        }
        let own = inner.reactor.borrow().shortened(Wait::Forever);
        Ok(inner.shortened(own).timeout())
    }

    /// When the last turn ended its wait: the time at which what it hands out was seen.
    pub fn now(&self) -> Instant {
        self.inner.reactor.borrow().now()
    }

    /// A connection of a server or client of this runtime, for use outside of a callback; `None`
    /// when it is gone.
    #[inline]
    pub fn conn(&self, id: ConnId) -> Option<Conn<'_>> {
        Conn::find(&self.inner, id)
    }

    /// As [`Conn::send`] on the connection of this id: for sends from outside of its callbacks,
    /// with one look at the connection in place of the two of [`conn`](Self::conn) and a send.
    ///
    /// # Errors
    /// As there; [`SendError::Closed`] with `ENOTCONN` when the connection is gone.
    // The error carries what the caller wants back.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub fn send(
        &self,
        id: ConnId,
        data: impl Into<SharedBuf>,
    ) -> std::result::Result<(), SendError> {
        Conn::unchecked(&self.inner, id).send(data)
    }

    /// As [`Conn::send_copy`] on the connection of this id; see [`send`](Self::send).
    ///
    /// # Errors
    /// As there.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub fn send_copy(&self, id: ConnId, data: &[u8]) -> std::result::Result<(), SendError> {
        Conn::unchecked(&self.inner, id).send_copy(data)
    }

    /// The pool that [`buffer`](Self::buffer) takes from.
    pub fn outgoing_pool(&self) -> BufferPool {
        self.inner.reactor.borrow().outgoing.pool().clone()
    }

    /// Buffers of [`pool`](Self::pool) that the kernel has to receive into. They count as in use
    /// there, and hold nothing.
    pub fn lent_buffers(&self) -> usize {
        let reactor = self.inner.reactor.borrow();
        reactor.driver.lent(STREAM_SOURCE)
    }

    /// What its reactor did so far; [`stats`](Self::stats) has more and costs more.
    pub fn driver_stats(&self) -> DriverStats {
        self.inner.reactor.borrow().stats()
    }
}

/// Says that the runtime is being polled, and at its end that turns have no limit.
struct Polling<'a>(&'a Inner);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.polling.set(false);
        self.0.allowance.set(usize::MAX);
    }
}
