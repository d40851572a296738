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
pub(crate) mod time;
mod timers;

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
use self::timers::Timers;
use crate::config::ReactorKind;
use crate::error::{Action, Error, Result};
use crate::net::half::Half;
use crate::reactor::driver::{DriverStats, Wait};
use crate::reactor::{Event, Look, Reactor};
use crate::runtime::cell::ReactorCell;
use crate::runtime::random::Random;
use crate::table::{Key, Table};

/// What a runtime calls for the events of a server; implemented by the server with its handler.
pub(crate) trait Service {
    fn on_event(&mut self, inner: &Rc<Inner>, event: Event);
    /// Called about `sweep_every` apart, for timeouts.
    fn sweep(&mut self, inner: &Rc<Inner>);
    fn sweep_every(&self) -> Option<Duration>;
    /// Whether it has connections to finish when the runtime drains: then it is told by
    /// [`Event::Drain`] and waited for.
    fn drains(&self) -> bool {
        false
    }
}

struct ServiceSlot {
    /// Taken out while it is called.
    service: Option<Box<dyn Service>>,
    next_sweep: Option<Instant>,
    drains: bool,
}

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

/// A stop that came while nothing was running.
struct Earlier<'a> {
    stopped: &'a Cell<bool>,
    was: bool,
}

impl Drop for Earlier<'_> {
    /// Leaves it to the next `run`, as one that came meanwhile and ended nothing.
    fn drop(&mut self) {
        self.stopped.set(self.was || self.stopped.get());
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

    /// Takes a stop aside that came before what begins now, which it does not concern.
    fn set_stop_aside(self: &Rc<Self>) -> Earlier<'_> {
        self.read_inbox();
        Earlier {
            stopped: &self.stopped,
            was: self.stopped.replace(false),
        }
    }

    /// One round of `run`: everything that is ready, then a turn that may sleep.
    fn round(self: &Rc<Self>, awake: &dyn Fn() -> bool) -> Result<()> {
        self.sleepy_turn(Wait::Forever, awake)
    }

    /// A turn that sleeps at most as long as `wait`, the timers and the sweeps allow, after
    /// spinning for as long as the settings say.
    fn sleepy_turn(self: &Rc<Self>, wait: Wait, awake: &dyn Fn() -> bool) -> Result<()> {
        self.executor.run_ready();
        if awake()
            || self.executor.has_ready()
            || self.stopped.get()
            || wait == Wait::No
            || self.has_leftovers()
        {
            return self.turn(Wait::No);
        }
        if !self.spin.get().is_zero() && self.spin(wait, awake) {
            return self.turn(Wait::No);
        }
        let wait = self.shortened(wait);
        if wait == Wait::No || !self.inbox.fall_asleep() {
            return self.turn(Wait::No);
        }
        let outcome = self.turn(wait);
        self.inbox.wake_up();
        self.idle_since.set(None);
        outcome
    }

    /// Looks for work for a bounded time since the last of it; whether there is some that needs a
    /// turn. What the hot connections bring is handled in here, with nothing but the handler
    /// between the receive and the send.
    fn spin(self: &Rc<Self>, wait: Wait, awake: &dyn Fn() -> bool) -> bool {
        let limit = wait
            .timeout()
            .map_or(self.spin.get(), |limit| limit.min(self.spin.get()));
        {
            let reactor = self.reactor.borrow();
            if !reactor.driver.is_uring() {
                // Only a turn can tell, so turns are taken until they have found nothing for long
                // enough.
                let now = Instant::now();
                let since = match self.idle_since.get() {
                    Some(since) if !reactor.was_busy() => since,
                    _ => now,
                };
                self.idle_since.set(Some(since));
                return now.duration_since(since) < limit;
            }
        }
        let due = self.next_due();
        let mut start = Instant::now();
        // The clock is read once in so many looks; what came in between counts from then.
        let mut looks = 0;
        let mut fresh = false;
        // Everything else gets its turn after so many answers.
        for _ in 0..HOT_ROUNDS {
            loop {
                match self.reactor.borrow_mut().look() {
                    Look::Events => break,
                    Look::News => return true,
                    Look::Nothing => {}
                }
                if self.inbox.is_filled() || awake() {
                    return true;
                }
                std::hint::spin_loop();
                looks += 1;
                if looks == LOOKS_PER_CLOCK {
                    looks = 0;
                    let now = Instant::now();
                    if due.is_some_and(|due| due <= now) {
                        return true;
                    }
                    if std::mem::take(&mut fresh) {
                        start = now;
                    }
                    if now.duration_since(start) >= limit {
                        return false;
                    }
                }
            }
            self.wake_tasks(None);
            self.serve_events();
            if self.executor.has_ready() {
                self.executor.run_ready();
            }
            self.reactor.borrow_mut().flush_directly();
            if cell::let_go() || awake() || self.stopped.get() {
                return true;
            }
            fresh = true;
        }
        true
    }

    /// When the next timer or sweep is due.
    fn next_due(&self) -> Option<Instant> {
        let timer = self.timers.borrow().next();
        let stacks = self.reactor.borrow().stacks.deadline();
        [timer, self.next_sweep(), stacks]
            .into_iter()
            .flatten()
            .min()
    }

    fn next_sweep(&self) -> Option<Instant> {
        let services = self.services.borrow();
        services
            .iter()
            .filter_map(|(_, slot)| slot.next_sweep)
            .min()
    }

    fn shortened(&self, wait: Wait) -> Wait {
        let Some(due) = self.next_due() else {
            return wait;
        };
        let until = due.saturating_duration_since(Instant::now());
        match wait.timeout().map_or(until, |limit| limit.min(until)) {
            Duration::ZERO => Wait::No,
            limit => Wait::AtMost(limit),
        }
    }

    /// One turn: inbox, tasks, reactor, wakers, servers, timers.
    pub(crate) fn turn(self: &Rc<Self>, wait: Wait) -> Result<()> {
        self.read_inbox();
        let wait = if cell::let_go() || self.executor.has_ready() || self.has_leftovers() {
            Wait::No
        } else {
            wait
        };
        let outcome = self.reactor.borrow_mut().turn(wait);
        outcome.map_err(|error| Error::bare(Action::Receive, error))?;
        self.read_inbox();
        let now = self.reactor.borrow().now();
        self.wake_tasks(Some(now));
        self.serve_events();
        self.serve_sweeps(now);
        self.executor.run_ready();
        cell::let_go();
        Ok(())
    }

    fn read_inbox(self: &Rc<Self>) {
        if !self.inbox.is_filled() {
            return;
        }
        let mut remotes = std::mem::take(&mut *self.remotes.borrow_mut());
        self.inbox.take(&mut remotes);
        for remote in remotes.drain(..) {
            match remote {
                Remote::Wake(id) => self.executor.make_ready(id),
                Remote::Run(job) => job(),
                Remote::Stop => self.stopped.set(true),
            }
        }
        *self.remotes.borrow_mut() = remotes;
    }

    fn wake_tasks(&self, now: Option<Instant>) {
        let mut wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.append(&mut self.reactor.borrow_mut().wakers);
        if let Some(now) = now {
            self.timers.borrow_mut().expired(now, &mut wakers);
        }
        for waker in wakers.drain(..) {
            waker.wake();
        }
        *self.wakers.borrow_mut() = wakers;
    }

    /// Hands the reactor's events to their servers, with nothing borrowed (rule 16).
    fn serve_events(self: &Rc<Self>) {
        let mut events = std::mem::take(&mut *self.events.borrow_mut());
        match events.is_empty() {
            true => std::mem::swap(&mut events, &mut self.reactor.borrow_mut().events),
            false => events.append(&mut self.reactor.borrow_mut().events),
        }
        while let Some(event) = self.allowed(&mut events, None) {
            let server = event.server();
            let Some(mut service) = self.take_service(server) else {
                continue;
            };
            service.on_event(self, event);
            // The rest of this server's run of events without putting it back in between.
            while let Some(event) = self.allowed(&mut events, Some(server)) {
                service.on_event(self, event);
            }
            self.give_service(server, service);
        }
        *self.events.borrow_mut() = events;
    }

    /// The next event, of this server if one is named, if the turn may hand out another.
    #[inline]
    fn allowed(&self, events: &mut VecDeque<Event>, server: Option<Key>) -> Option<Event> {
        if self.allowance.get() == 0 {
            return None;
        }
        let event = match server {
            None => events.pop_front(),
            Some(server) => events.pop_front_if(|event| event.server() == server),
        }?;
        // Datagrams are counted one by one by their server.
        if !matches!(event, Event::Datagrams { .. }) {
            self.spend();
        }
        Some(event)
    }

    /// Takes one event off what the turn may still hand out; `false` when that is nothing.
    #[inline]
    pub(crate) fn spend(&self) -> bool {
        match self.allowance.get().checked_sub(1) {
            Some(left) => {
                self.allowance.set(left);
                true
            }
            None => false,
        }
    }

    /// Whether the last turn was not allowed to hand out everything.
    fn has_leftovers(&self) -> bool {
        !self.events.borrow().is_empty()
    }

    fn serve_sweeps(self: &Rc<Self>, now: Instant) {
        if self.next_sweep().is_none_or(|at| at > now) {
            return;
        }
        let mut next = 0;
        loop {
            let Some(server) = self.services.borrow().key_from(next) else {
                return;
            };
            next = server.index + 1;
            let due = match self.services.borrow_mut().get_mut(server) {
                Some(slot) if slot.next_sweep.is_some_and(|at| at <= now) => {
                    let every = slot
                        .service
                        .as_ref()
                        .and_then(|service| service.sweep_every());
                    slot.next_sweep = every.map(|every| now + every);
                    true
                }
                _ => false,
            };
            if due && let Some(mut service) = self.take_service(server) {
                service.sweep(self);
                self.give_service(server, service);
            }
        }
    }

    /// A place for a server's events; the service is put in by [`Self::give_service`].
    pub(crate) fn reserve_service(&self) -> Key {
        self.services.borrow_mut().insert(ServiceSlot {
            service: None,
            next_sweep: None,
            drains: false,
        })
    }

    pub(crate) fn install_service(&self, server: Key, service: Box<dyn Service>) {
        let mut services = self.services.borrow_mut();
        let Some(slot) = services.get_mut(server) else {
            return;
        };
        slot.drains = service.drains();
        slot.next_sweep = service.sweep_every().map(|every| Instant::now() + every);
        slot.service = Some(service);
    }

    fn take_service(&self, server: Key) -> Option<Box<dyn Service>> {
        self.services.borrow_mut().get_mut(server)?.service.take()
    }

    fn give_service(&self, server: Key, service: Box<dyn Service>) {
        let mut services = self.services.borrow_mut();
        if let Some(slot) = services.get_mut(server) {
            if slot.next_sweep.is_none() {
                slot.next_sweep = service.sweep_every().map(|every| Instant::now() + every);
            }
            slot.service = Some(service);
            return;
        }
        drop(services);
        drop(service);
    }

    /// Servers that a drain has to tell and to wait for.
    pub(crate) fn draining_services(&self) -> Vec<Key> {
        let services = self.services.borrow();
        services
            .iter()
            .filter(|(_, slot)| slot.drains)
            .map(|(server, _)| server)
            .collect()
    }

    /// Brings a server's next sweep forward.
    pub(crate) fn sweep_within(&self, server: Key, time: Duration) {
        if let Some(slot) = self.services.borrow_mut().get_mut(server) {
            let at = Instant::now() + time;
            slot.next_sweep = Some(slot.next_sweep.map_or(at, |next| next.min(at)));
        }
    }

    /// Takes a server out of the loop for good.
    pub(crate) fn remove_service(&self, server: Key) {
        // Dropped with nothing borrowed: the handler is the user's.
        let removed = self.services.borrow_mut().remove(server);
        drop(removed);
    }
}

/// Looks between two readings of the clock while spinning (a reading costs some 25 ns).
const LOOKS_PER_CLOCK: u32 = 16;

/// Answers of hot connections before everything else gets a turn.
const HOT_ROUNDS: u32 = 64;

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

/// What the current runtime did so far; `None` when no runtime runs here.
pub fn stats() -> Option<RuntimeStats> {
    Some(current(Action::Start).ok()?.stats())
}
