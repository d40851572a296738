//! A graceful end: servers drain, tasks that want to finish something do, what is queued is sent.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::time::{sleep, timeout};
use super::{Inner, Runtime, current};
use crate::error::{Action, Result};
use crate::reactor::Event;

/// Where the drain of a runtime stands.
#[derive(Debug, Default)]
pub(crate) struct Draining {
    /// When connections that are left will be cut; none while nobody has asked.
    by: Cell<Option<Instant>>,
    /// Tasks that want to be told, by the number of their wait.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    waits: Cell<u64>,
    /// Signals that live: each stands for something to finish.
    signals: Cell<usize>,
}

/// How often a drain looks whether it is complete.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Inner {
    /// Asks every server and every task with a [`DrainSignal`] to finish, and waits until they
    /// have and everything queued is sent, or `limit` has passed.
    pub(crate) async fn drain(&self, limit: Duration) -> bool {
        if self.draining.by.get().is_none() {
            let now = Instant::now();
            self.draining
                .by
                .set(Some(now.checked_add(limit).unwrap_or(now)));
            let mut reactor = self.reactor.borrow_mut();
            for server in self.draining_services() {
                reactor.events.push_back(Event::Drain { server });
            }
            drop(reactor);
            for waker in self.draining.waiting.take().into_values() {
                waker.wake();
            }
        }
        let drained = async {
            while !self.is_drained() {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(limit, drained).await.is_ok()
    }

    /// When the runtime's servers have to be done, once it drains.
    pub(crate) fn drain_by(&self) -> Option<Instant> {
        self.draining.by.get()
    }

    fn is_drained(&self) -> bool {
        self.draining_services().is_empty()
            && self.draining.signals.get() == 0
            && !self.reactor.borrow().is_flushing()
    }
}

impl Runtime {
    /// Ends gracefully: every server stops listening and lets its connections finish
    /// ([`TcpServer::shutdown`](crate::TcpServer::shutdown)), tasks that hold a [`DrainSignal`]
    /// are told and waited for, and what is queued on closing connections is sent. Whether all of
    /// it was done within `limit`.
    ///
    /// [`Cluster::stop`](crate::Cluster::stop) does this on every core.
    ///
    /// # Errors
    /// When the reactor itself fails.
    pub fn drain(&mut self, limit: Duration) -> Result<bool> {
        let inner = self.inner().clone();
        self.block_on(async move { inner.drain(limit).await })
    }
}

/// Tells a task that its runtime drains, and holds the drain up for as long as it lives.
///
/// ```
/// # async fn serve(_: zcn::TcpStream) {}
/// # async fn main_of_a_core(listener: zcn::TcpListener) -> zcn::Result<()> {
/// use std::pin::pin;
/// use std::task::Poll;
///
/// let signal = zcn::drain_signal()?;
/// loop {
///     let mut asked = pin!(signal.asked());
///     let mut accept = pin!(listener.accept());
///     let accepted = std::future::poll_fn(|context| {
///         if asked.as_mut().poll(context).is_ready() {
///             return Poll::Ready(None);
///         }
///         accept.as_mut().poll(context).map(Some)
///     });
///     match accepted.await {
///         None => return Ok(()), // drops the listener and the signal
///         Some(accepted) => {
///             let hold = zcn::drain_signal()?;
///             zcn::spawn(async move {
///                 serve(accepted.unwrap().0).await;
///                 drop(hold);
///             });
///         }
///     }
/// }
/// # }
/// ```
pub struct DrainSignal {
    inner: Rc<Inner>,
}

impl fmt::Debug for DrainSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainSignal")
            .field("asked", &self.is_asked())
            .finish()
    }
}

impl Clone for DrainSignal {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl Drop for DrainSignal {
    fn drop(&mut self) {
        let signals = &self.inner.draining.signals;
        signals.set(signals.get() - 1);
    }
}

impl DrainSignal {
    fn new(inner: Rc<Inner>) -> Self {
        let signals = &inner.draining.signals;
        signals.set(signals.get() + 1);
        Self { inner }
    }

    /// Whether the runtime drains.
    pub fn is_asked(&self) -> bool {
        self.inner.drain_by().is_some()
    }

    /// Ends when the runtime begins to drain.
    pub async fn asked(&self) {
        let draining = &self.inner.draining;
        let number = draining.waits.get() + 1;
        draining.waits.set(number);
        let wait = Wait { draining, number };
        poll_fn(|context| {
            if self.is_asked() {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            let mut waiting = wait.draining.waiting.borrow_mut();
            waiting.insert(wait.number, waker);
            Poll::Pending
        })
        .await;
    }
}

/// Takes a task that waits no longer out of the list.
struct Wait<'a> {
    draining: &'a Draining,
    number: u64,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.draining.waiting.borrow_mut().remove(&self.number);
    }
}

/// A signal of the current runtime's end, for a task that has something to finish.
///
/// # Errors
/// When no runtime is running on this thread.
pub fn drain_signal() -> Result<DrainSignal> {
    current(Action::Start).map(DrainSignal::new)
}
