//! Connections kept for the next request: one pool per runtime, any number of destinations.

mod destination;
mod options;
mod state;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Instant;

pub use self::destination::Destination;
pub use self::options::{ConnectionPoolOptions, HealthCheck};
pub use self::state::ConnectionPoolStats;
use self::state::{Effects, Grant, Idle, State};
use crate::TcpStream;
use crate::error::{Action, Error, Result};
use crate::net::half::Net;
use crate::runtime::time::{sleep, sleep_until, timeout};

/// A pool of client connections of one runtime. Clones are handles of the same pool.
///
/// [`get`](Self::get) hands out the connection used last, if its peer is still there, or makes a
/// new one; where a cap is reached it waits, first come first served. Dropping the [`Pooled`]
/// gives the connection back. When the last handle goes, so do the idle connections.
///
/// ```
/// use zcn::{ConnectionPool, ConnectionPoolOptions};
///
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// let mut runtime = zcn::Runtime::new()?;
/// runtime.block_on(async {
///     let pool = ConnectionPool::new(ConnectionPoolOptions::default())?;
///     let connection = pool.get(address).await?;
///     connection.send_copy(b"hello").await?;
///     drop(connection); // idle from here on
///     let again = pool.get(address).await?;
///     assert_eq!(pool.stats().reused, 1);
///     # drop(again);
///     Ok::<(), zcn::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ConnectionPool {
    shared: Rc<Shared>,
}

impl fmt::Debug for ConnectionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPool")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

struct Shared {
    options: ConnectionPoolOptions,
    state: RefCell<State>,
    net: Net,
}

impl Shared {
    /// Changes the books; what follows from it happens with nothing borrowed.
    fn with<T>(
        &self,
        change: impl FnOnce(&mut State, &ConnectionPoolOptions, &mut Effects) -> T,
    ) -> T {
        let mut effects = Effects::default();
        let answer = change(&mut self.state.borrow_mut(), &self.options, &mut effects);
        drop(effects.closing);
        for waker in effects.wakers {
            waker.wake();
        }
        answer
    }

    /// Whether an idle connection is of no use any more, by the pool's and the user's check.
    fn is_stale(&self, stream: &TcpStream) -> bool {
        stream.is_stale()
            || self
                .options
                .check
                .as_ref()
                .is_some_and(|check| !check(stream))
    }
}

impl ConnectionPool {
    /// A pool of the current runtime, on its default net.
    ///
    /// # Errors
    /// A limit out of range, named; or no runtime runs here.
    pub fn new(options: ConnectionPoolOptions) -> Result<Self> {
        Self::new_on(&Net::current()?, options)
    }

    /// [`new`](Self::new) on a net that is not the runtime's default.
    ///
    /// # Errors
    /// A limit out of range, named.
    pub fn new_on(net: &Net, options: ConnectionPoolOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            shared: Rc::new(Shared {
                options,
                state: RefCell::default(),
                net: net.clone(),
            }),
        })
    }

    /// A connection to an address or `host:port`: an idle one, or a new one within the caps.
    ///
    /// Dropping the future gives up its place in the queue, its connection or its connect.
    ///
    /// # Errors
    /// The connect failed; no connection came free within the time limit; too many wait already.
    pub async fn get(&self, destination: impl Into<Destination>) -> Result<Pooled> {
        let destination = Rc::new(destination.into());
        let (lease, mut candidate) = match self.acquire(&destination).await? {
            Grant::Connect => (self.lease(&destination, true), None),
            Grant::Idle(idle) => (self.lease(&destination, false), Some(idle)),
        };
        while let Some(idle) = candidate {
            if self.is_usable(&idle) {
                self.shared.state.borrow_mut().stats.reused += 1;
                return Ok(Pooled::new(lease, idle.stream, idle.born));
            }
            drop(idle);
            // Another idle connection takes the place of this one in the books.
            candidate = self.shared.with(|state, options, effects| {
                let next = state.take_idle(&destination)?;
                state.release(&destination, options, effects);
                Some(next)
            });
        }
        self.connect(lease).await
    }

    fn is_usable(&self, idle: &Idle) -> bool {
        let expired = state::is_expired(idle, &self.shared.options);
        let usable = !expired && !self.shared.is_stale(&idle.stream);
        let stats = &mut self.shared.state.borrow_mut().stats;
        stats.expired += u64::from(expired);
        stats.stale += u64::from(!expired && !usable);
        usable
    }

    /// A place among the open connections, at once or by waiting for it.
    async fn acquire(&self, destination: &Rc<Destination>) -> Result<Grant> {
        let shared = &self.shared;
        let granted = shared
            .with(|state, options, effects| state.grant_at_once(destination, options, effects));
        if let Some(grant) = granted {
            return Ok(grant);
        }
        let waiting = Waiting {
            shared,
            destination,
            ticket: shared.state.borrow_mut().ticket(),
        };
        let options = &shared.options;
        if shared.state.borrow().stats.waiting >= options.max_waiting {
            let error = io::Error::from_raw_os_error(libc::EAGAIN);
            return Err(Error::new(Action::Pool, destination, error).hinted(format!(
                "{} callers wait already: raise max_waiting or the caps",
                options.max_waiting
            )));
        }
        let granted = poll_fn(|context| {
            let mut state = shared.state.borrow_mut();
            match state.take_granted(waiting.ticket) {
                Some(grant) => Poll::Ready(grant),
                None => {
                    state.wait(destination, waiting.ticket, context.waker());
                    Poll::Pending
                }
            }
        });
        match timeout(options.wait_timeout, granted).await {
            Ok(grant) => Ok(grant),
            Err(_) => {
                let mut state = shared.state.borrow_mut();
                state.stats.timed_out += 1;
                let text = format!(
                    "no connection came free within {:?} ({})",
                    options.wait_timeout,
                    state.why_waiting(destination)
                );
                let error = io::Error::new(io::ErrorKind::TimedOut, text);
                Err(Error::new(Action::Pool, destination, error)
                    .hinted("raise max_per_destination, max_total or wait_timeout"))
            }
        }
    }

    fn lease(&self, destination: &Rc<Destination>, connecting: bool) -> Lease {
        Lease {
            shared: Rc::downgrade(&self.shared),
            destination: destination.clone(),
            connecting: Cell::new(connecting),
            ended: Cell::new(false),
        }
    }

    async fn connect(&self, lease: Lease) -> Result<Pooled> {
        lease.connecting.set(true);
        let options = &self.shared.options.connect;
        let connected = match &*lease.destination {
            Destination::Address(address) => self.shared.net.tcp_connect(*address, options).await,
            Destination::Host(host) => self.shared.net.tcp_connect_host(host, options).await,
        };
        lease.connecting.set(false);
        match connected {
            Ok(stream) => {
                self.shared.with(|state, options, effects| {
                    state.connected(&lease.destination, options, effects);
                });
                Ok(Pooled::new(lease, stream, Instant::now()))
            }
            Err(error) => {
                let random = self.shared.net.inner.random.next();
                let retry_at = self.shared.with(|state, options, _| {
                    state.failed(&lease.destination, &error, options, random)
                });
                if let Some(at) = retry_at {
                    self.retry_later(&lease.destination, at);
                }
                Err(error)
            }
        }
    }

    /// Serves those who wait for a destination when its back-off ends.
    fn retry_later(&self, destination: &Rc<Destination>, at: Instant) {
        let weak = Rc::downgrade(&self.shared);
        let destination = destination.clone();
        let forget_after = self.shared.options.max_backoff;
        let _detached = self.shared.net.inner.spawn(async move {
            sleep_until(at).await;
            if let Some(shared) = weak.upgrade() {
                shared.with(|state, options, effects| state.dispatch(options, effects));
            }
            sleep(forget_after).await;
            if let Some(shared) = weak.upgrade() {
                shared.state.borrow_mut().forget_failure(&destination, at);
            }
        });
    }

    /// Opens connections until `min_idle` of the options are idle, and keeps it that way from then
    /// on; how many are idle now. The caps hold, and nobody is made to wait for it.
    ///
    /// # Errors
    /// A connect failed; those made before it stay.
    pub async fn prewarm(&self, destination: impl Into<Destination>) -> Result<usize> {
        let destination = Rc::new(destination.into());
        let grant = || {
            self.shared
                .with(|state, options, _| state.grant_spare(&destination, options))
        };
        while grant() {
            let connection = self.connect(self.lease(&destination, true)).await?;
            drop(connection);
        }
        self.sweep_from_now_on();
        Ok(self.shared.state.borrow().idle_at(&destination))
    }

    /// Closes every idle connection and keeps no destination warm any more.
    pub fn clear(&self) {
        self.shared
            .with(|state, options, effects| state.clear(options, effects));
    }

    /// What it holds and did so far.
    pub fn stats(&self) -> ConnectionPoolStats {
        self.shared.state.borrow().stats
    }

    /// Idle connections to a destination now.
    pub fn idle(&self, destination: impl Into<Destination>) -> usize {
        self.shared.state.borrow().idle_at(&destination.into())
    }

    /// Starts the task that looks through the idle connections, unless it runs.
    fn sweep_from_now_on(&self) {
        if std::mem::replace(&mut self.shared.state.borrow_mut().sweeping, true) {
            return;
        }
        let weak = Rc::downgrade(&self.shared);
        let every = self.shared.options.sweep_every();
        let _detached = self.shared.net.inner.spawn(async move {
            loop {
                sleep(every).await;
                let Some(shared) = weak.upgrade() else { return };
                let pool = Self { shared };
                if !pool.sweep() {
                    return;
                }
            }
        });
    }

    /// One look through the idle connections; whether there is a reason for another one.
    fn sweep(&self) -> bool {
        // The user's check is left to the take-out: it may look at the pool.
        let wanting = self
            .shared
            .with(|state, options, effects| state.sweep(options, |s| s.is_stale(), effects));
        for destination in wanting {
            let weak = Rc::downgrade(&self.shared);
            let _detached = self.shared.net.inner.spawn(async move {
                if let Some(shared) = weak.upgrade() {
                    // A failure is waited out by the back-off and tried again by a later sweep.
                    let _ = Self { shared }.prewarm(destination).await;
                }
            });
        }
        let mut state = self.shared.state.borrow_mut();
        state.sweeping = state.wants_sweeps();
        state.sweeping
    }
}

/// A caller in the queue; leaves it when dropped.
struct Waiting<'a> {
    shared: &'a Rc<Shared>,
    destination: &'a Destination,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.with(|state, options, effects| {
            state.leave(self.destination, self.ticket, options, effects);
        });
    }
}

/// One place among the open connections; given up when dropped.
struct Lease {
    shared: Weak<Shared>,
    destination: Rc<Destination>,
    /// Being connected.
    connecting: Cell<bool>,
    /// The place has been passed on with an idle connection.
    ended: Cell<bool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (false, Some(shared)) = (self.ended.get(), self.shared.upgrade()) else {
            return;
        };
        shared.with(|state, options, effects| {
            if self.connecting.get() {
                state.probed(&self.destination);
            }
            state.release(&self.destination, options, effects);
        });
    }
}

/// A connection on loan from a [`ConnectionPool`]; dropping it gives it back.
///
/// It is closed instead of kept when it is broken, shut down, past its age, when received bytes are
/// left that nobody took, or after [`discard`](Self::discard). Give back only what is between two
/// requests: an answer that is still to come would reach the next user's hands too late to be
/// noticed, so discard a connection whose exchange was broken off.
pub struct Pooled {
    /// There until the drop.
    stream: Option<TcpStream>,
    lease: Lease,
    born: Instant,
    discarded: Cell<bool>,
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled")
            .field("destination", &self.lease.destination)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Pooled {
    fn new(lease: Lease, stream: TcpStream, born: Instant) -> Self {
        Self {
            stream: Some(stream),
            lease,
            born,
            discarded: Cell::new(false),
        }
    }

    /// What it leads to.
    pub fn destination(&self) -> &Destination {
        &self.lease.destination
    }

    /// When the connection was made.
    pub fn born(&self) -> Instant {
        self.born
    }

    /// Closes the connection instead of keeping it, once this is dropped.
    pub fn discard(&self) {
        self.discarded.set(true);
    }

    /// Takes the connection out of the pool for good; its place is free for another.
    pub fn into_inner(mut self) -> TcpStream {
        match self.stream.take() {
            Some(stream) => stream,
            None => unreachable!("only the drop takes it, and it takes self too"),
        }
    }
}

impl Deref for Pooled {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        match &self.stream {
            Some(stream) => stream,
            None => unreachable!("it is there until the drop"),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let Some(shared) = self.lease.shared.upgrade() else {
            return;
        };
        let aged = shared
            .options
            .max_age
            .is_some_and(|limit| self.born.elapsed() >= limit);
        if aged {
            shared.state.borrow_mut().stats.expired += 1;
        }
        if aged || self.discarded.get() || stream.is_stale() {
            // Closed before the place is free again, so that the caps hold for the peer too.
            drop(stream);
            return;
        }
        self.lease.ended.set(true);
        let idle = Idle {
            stream,
            born: self.born,
            since: Instant::now(),
        };
        shared.with(|state, options, effects| {
            state.give_back(&self.lease.destination, idle, options, effects);
        });
        ConnectionPool { shared }.sweep_from_now_on();
    }
}
