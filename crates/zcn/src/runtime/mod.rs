//! One event loop of one core.

mod builder;
pub(crate) mod cell;
pub(crate) mod drain;
mod embed;
pub(crate) mod executor;
mod handle;
pub(crate) mod join;
mod random;
pub(crate) mod remote;
mod service;
pub(crate) mod time;
mod timers;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use zcn_pool::{Buf, BufferPool, PoolStats};

pub use self::builder::RuntimeBuilder;
use self::drain::Draining;
use self::executor::Executor;
pub use self::handle::Handle;
use self::join::JoinHandle;
use self::remote::{Inbox, Remote};
pub(crate) use self::service::Service;
use self::service::ServiceSlot;
use self::timers::Timers;
use crate::config::ReactorKind;
use crate::error::{Action, Error, Result};
use crate::net::half::Half;
use crate::reactor::driver::{DriverStats, Wait};
use crate::reactor::{Event, Reactor};
use crate::runtime::cell::ReactorCell;
use crate::runtime::random::Random;
use crate::table::Table;

/// A runtime's state, shared by its handles on its own thread.
pub(crate) struct Inner {
    pub(crate) reactor: ReactorCell,
    executor: Executor,
    timers: RefCell<Timers>,
    services: RefCell<Table<ServiceSlot>>,
    inbox: Arc<Inbox>,
    spin: Cell<Duration>,
    /// Which half sockets are on that name none.
    pub(crate) half: RefCell<Half>,
    stopped: Cell<bool>,
    /// A [`Runtime::poll`] is under way.
    polling: Cell<bool>,
    /// Events that the turn may still hand out; without limit but in [`Runtime::poll`].
    allowance: Cell<usize>,
    /// While spinning on epoll: since when turns have found nothing.
    idle_since: Cell<Option<Instant>>,
    /// How often the future of [`Runtime::block_on`] was polled since the last turn.
    polls_in_a_row: Cell<u32>,
    pub(crate) random: Random,
    draining: Draining,
    /// Reused between turns; holds what a turn was not allowed to hand out.
    events: RefCell<VecDeque<Event>>,
    wakers: RefCell<Vec<Waker>>,
    remotes: RefCell<VecDeque<Remote>>,
}

thread_local! {
    /// The runtime that the code on this thread runs in.
    static CURRENT: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
}

/// The runtime of the calling code.
///
/// # Errors
/// When no runtime is running on this thread.
pub(crate) fn current(action: Action) -> Result<Rc<Inner>> {
    CURRENT.with(|current| current.borrow().clone()).ok_or_else(|| {
        Error::setting(action, "no zcn runtime is running on this thread")
            .hinted("call this from inside Runtime::block_on, a spawned task, or while the guard of Runtime::enter lives")
    })
}

/// One event loop: sockets, timers and tasks of one core.
///
/// Not `Send`: make it on the thread that runs it. Other threads talk to it through a [`Handle`].
///
/// ```
/// let mut runtime = zcn::Runtime::new()?;
/// let answer = runtime.block_on(async {
///     let task = zcn::spawn(async { 40 + 2 });
///     task.await
/// })?;
/// assert_eq!(answer, Some(42));
/// # Ok::<(), zcn::Error>(())
/// ```
pub struct Runtime {
    inner: Rc<Inner>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("reactor", &self.reactor_kind())
            .field("tasks", &self.inner.executor.len())
            .finish_non_exhaustive()
    }
}

/// What a runtime did so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeStats {
    /// Of the reactor and its system calls.
    pub reactor: DriverStats,
    /// Of the pool that receives fill.
    pub pool: PoolStats,
    /// Of the pool that [`Runtime::buffer`] takes from.
    pub outgoing: PoolStats,
    /// Open connections.
    pub connections: usize,
    /// Open UDP sockets.
    pub udp_sockets: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
}

/// Makes a runtime the current one of this thread, until dropped.
pub struct EnterGuard {
    previous: Option<Rc<Inner>>,
    _executor: executor::Entered,
}

impl std::fmt::Debug for EnterGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnterGuard")
    }
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        let previous = self.previous.take();
        // The thread may be ending; then there is nothing to put back.
        let _ = CURRENT.try_with(|current| *current.borrow_mut() = previous);
    }
}

impl Runtime {
    /// A runtime with the default settings.
    ///
    /// # Errors
    /// As [`RuntimeBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Settings for a new runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    pub(crate) fn inner(&self) -> &Rc<Inner> {
        &self.inner
    }

    /// Which reactor it runs on.
    pub fn reactor_kind(&self) -> ReactorKind {
        match self.inner.reactor.borrow().driver.is_uring() {
            true => ReactorKind::Uring,
            false => ReactorKind::Epoll,
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> RuntimeStats {
        self.inner.stats()
    }

    /// The pool that its receives fill.
    pub fn pool(&self) -> BufferPool {
        self.inner.reactor.borrow().pool.clone()
    }

    /// The pool of large buffers, filled by receives on streams with much data.
    pub fn bulk_pool(&self) -> BufferPool {
        self.inner.reactor.borrow().bulk.pool().clone()
    }

    /// An empty buffer, `None` when the pool has none left.
    #[inline]
    pub fn buffer(&self) -> Option<Buf> {
        self.inner.buffer()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        Handle {
            inbox: self.inner.inbox.clone(),
        }
    }

    /// Makes this runtime the current one of the thread, for calls that need one outside of its
    /// tasks.
    pub fn enter(&self) -> EnterGuard {
        self.inner.enter()
    }

    /// Starts a task on this runtime.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.inner.spawn(future)
    }

    /// Runs until `future` has ended and returns its value. Other tasks and servers run along.
    ///
    /// # Errors
    /// When the reactor itself fails, or a [`Handle::stop`] comes meanwhile; one that came before
    /// waits for the next [`run`](Self::run).
    pub fn block_on<F: Future>(&mut self, future: F) -> Result<F::Output> {
        let _entered = self.enter();
        let flag = Arc::new(RootWaker {
            woken: AtomicBool::new(true),
            inbox: self.inner.inbox.clone(),
            thread: std::thread::current().id(),
        });
        let waker = Waker::from(flag.clone());
        let mut future = pin!(future);
        let _earlier = self.inner.set_stop_aside();
        loop {
            if flag.woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return Ok(value);
            }
            if self.inner.stopped.take() {
                let error = std::io::Error::other("the runtime was stopped before it was done");
                return Err(Error::bare(Action::Start, error));
            }
            self.inner.round(&|| flag.woken.load(Ordering::Acquire))?;
        }
    }

    /// Runs until [`Handle::stop`] or [`stop`]; not at all if that came while nothing was running.
    ///
    /// # Errors
    /// When the reactor itself fails.
    pub fn run(&mut self) -> Result<()> {
        let _entered = self.enter();
        while !self.inner.stopped.take() {
            self.inner.round(&|| false)?;
        }
        Ok(())
    }

    /// One turn without sleeping: polls what is ready, starts what was asked for, handles what has
    /// ended. For embedding in another loop.
    ///
    /// # Errors
    /// When the reactor itself fails.
    pub fn run_once(&mut self) -> Result<()> {
        let _entered = self.enter();
        self.inner.turn(Wait::No)
    }

    /// One turn that waits for at most `limit`.
    ///
    /// # Errors
    /// When the reactor itself fails.
    pub fn run_for(&mut self, limit: Duration) -> Result<()> {
        let _entered = self.enter();
        let _earlier = self.inner.set_stop_aside();
        self.inner.sleepy_turn(Wait::AtMost(limit), &|| false)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Tasks and services hold the runtime; without them everything else goes by itself.
        let _entered = self.enter();
        self.inner.executor.clear();
        let services = self.inner.services.replace(Table::new());
        drop(services);
        self.inner.inbox.close();
        self.inner.reactor.borrow_mut().shut_down();
        cell::let_go();
    }
}

/// Wakes the future that `block_on` runs.
struct RootWaker {
    woken: AtomicBool,
    inbox: Arc<Inbox>,
    thread: std::thread::ThreadId,
}

impl Wake for RootWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if std::thread::current().id() != self.thread {
            self.inbox.post(Remote::Run(Box::new(|| ())));
        }
    }
}

impl Inner {
    fn new(reactor: Reactor, inbox: Arc<Inbox>, spin: Duration, seed: Option<u64>) -> Self {
        Self {
            reactor: ReactorCell::new(reactor),
            executor: Executor::new(inbox.clone()),
            timers: RefCell::default(),
            services: RefCell::new(Table::new()),
            inbox,
            spin: Cell::new(spin),
            half: RefCell::default(),
            stopped: Cell::new(false),
            polling: Cell::new(false),
            allowance: Cell::new(usize::MAX),
            idle_since: Cell::new(None),
            polls_in_a_row: Cell::new(0),
            random: Random::new(seed),
            draining: Draining::default(),
            events: RefCell::default(),
            wakers: RefCell::default(),
            remotes: RefCell::default(),
        }
    }

    pub(crate) fn enter(self: &Rc<Self>) -> EnterGuard {
        let previous = CURRENT.with(|current| current.borrow_mut().replace(self.clone()));
        EnterGuard {
            previous,
            _executor: self.executor.enter(),
        }
    }

    pub(crate) fn spawn<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        let (handle, task) = join::joinable(future);
        self.executor.spawn(Box::pin(task));
        handle
    }

    #[inline]
    pub(crate) fn buffer(&self) -> Option<Buf> {
        self.reactor.borrow().outgoing.acquire()
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Looks for work for at least this long before sleeping.
    pub(crate) fn raise_spin(&self, spin: Duration) {
        self.spin.set(self.spin.get().max(spin));
    }

    pub(crate) fn stats(&self) -> RuntimeStats {
        let reactor = self.reactor.borrow();
        RuntimeStats {
            reactor: reactor.stats(),
            pool: reactor.pool.stats(),
            outgoing: reactor.outgoing.pool().stats(),
            connections: reactor.streams.len(),
            udp_sockets: reactor.udp.table.len(),
            tasks: self.executor.len(),
        }
    }

    pub(crate) fn timers(&self) -> std::cell::RefMut<'_, Timers> {
        self.timers.borrow_mut()
    }
}

/// Starts a task on the current runtime.
///
/// # Panics
/// When no runtime is running on this thread, as a future cannot be run then; [`Runtime::spawn`]
/// needs none.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    match current(Action::Start) {
        Ok(inner) => inner.spawn(future),
        Err(error) => panic!("{error}"),
    }
}

/// Makes the current runtime leave [`Runtime::run`] or [`Runtime::block_on`] after this turn.
pub fn stop() {
    if let Ok(inner) = current(Action::Start) {
        inner.stop();
    }
}

/// An empty buffer of the current runtime's pool; `None` when it has none left or no runtime runs
/// here.
pub fn buffer() -> Option<Buf> {
    current(Action::Start).ok()?.buffer()
}

/// When the current runtime ended its last wait, or has fetched bytes while it spins: the time at
/// which it saw what it hands out now. `None` when no runtime runs here.
pub fn now() -> Option<Instant> {
    CURRENT.with(|current| Some(current.borrow().as_ref()?.reactor.borrow().now()))
}

/// What the current runtime did so far; `None` when no runtime runs here.
pub fn stats() -> Option<RuntimeStats> {
    Some(current(Action::Start).ok()?.stats())
}
