//! A client with callbacks: connections made to others, handled as a server handles its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::error::{Action, Error, Result};
use crate::net::half::{Half, Net};
use crate::net::socket::{Address, ConnectOptions};
use crate::net::stream::{self, Stream, TcpStream};
use crate::reactor::Event;
use crate::runtime::Runtime;
use crate::server::{Handler, ServerOptions, ServerStats, Serving, Shared};
use crate::table::Key;

/// Names a connection of a client that is being made; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt(u64);

/// Where a client connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Address(Address),
    /// `host:port`; as [`TcpStream::connect_host`].
    Host(String),
}

impl From<Address> for Target {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl From<std::net::SocketAddr> for Target {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::Address(address.into())
    }
}

/// Options of a [`TcpClient`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Options of each connection.
    pub connect: ConnectOptions,
    /// Close a connection on which nothing has arrived for this long.
    pub idle_timeout: Option<Duration>,
    /// Close a connection whose peer has taken nothing for this long while something is queued.
    pub write_timeout: Option<Duration>,
    /// Call [`Handler::on_sent`] for every send that has ended.
    pub notify_sent: bool,
}

/// Makes outgoing connections inside a [`Runtime`], with a [`Handler`] for all of them.
///
/// [`Handler::on_connect`] and [`Handler::on_connect_failed`] tell how each attempt ended; from
/// there on a connection is handled as a server's. Dropping the handle lets the connections run on
/// for as long as the runtime; [`shutdown`](Self::shutdown) ends them.
pub struct TcpClient {
    net: Net,
    service: Key,
    options: Rc<ConnectOptions>,
    shared: Rc<Shared>,
    attempts: Rc<Attempts>,
    next: Cell<u64>,
}

impl std::fmt::Debug for TcpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpClient")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What is being made.
#[derive(Default)]
struct Attempts(RefCell<HashMap<Attempt, Pending>>);

#[derive(Default)]
struct Pending {
    cancelled: bool,
    waker: Option<Waker>,
}

impl Attempts {
    fn cancel(&self, attempt: Attempt) {
        let waker = self.0.borrow_mut().get_mut(&attempt).and_then(|pending| {
            pending.cancelled = true;
            pending.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn all(&self) -> Vec<Attempt> {
        self.0.borrow().keys().copied().collect()
    }
}

impl TcpClient {
    /// A client of a runtime, on its default net.
    ///
    /// # Errors
    /// A setting out of range, with its name.
    pub fn new<H: Handler>(runtime: &Runtime, options: ClientOptions, handler: H) -> Result<Self> {
        Self::new_on(&runtime.net(), options, handler)
    }

    /// [`new`](Self::new) on a net that is not the runtime's default.
    ///
    /// # Errors
    /// As there.
    pub fn new_on<H: Handler>(net: &Net, options: ClientOptions, handler: H) -> Result<Self> {
        let ClientOptions {
            connect,
            idle_timeout,
            write_timeout,
            notify_sent,
        } = options;
        let settings = ServerOptions {
            marks: connect.marks,
            idle_timeout,
            write_timeout,
            notify_sent,
            ..ServerOptions::default()
        };
        settings.check(Action::Connect)?;
        let inner = &net.inner;
        let service = inner.reserve_service();
        let shared = Rc::new(Shared::default());
        let serving = Serving::new(service, handler, settings, shared.clone());
        inner.install_service(service, Box::new(serving));
        Ok(Self {
            net: net.clone(),
            service,
            options: Rc::new(connect),
            shared,
            attempts: Rc::default(),
            next: Cell::new(1),
        })
    }

    /// Begins to connect. The handler hears how it ended, never from inside this call; during a
    /// [`shutdown`](Self::shutdown) too, with an error. Once [`is_stopped`](Self::is_stopped) there
    /// is no handler to hear anything.
    pub fn connect(&self, target: impl Into<Target>) -> Attempt {
        let attempt = Attempt(self.next.replace(self.next.get() + 1));
        let pending = Pending {
            cancelled: self.shared.is_draining(),
            waker: None,
        };
        self.attempts.0.borrow_mut().insert(attempt, pending);
        self.shared.attempts.set(self.shared.attempts.get() + 1);
        let making = Making {
            net: self.net.clone(),
            service: self.service,
            attempt,
            target: target.into(),
            options: self.options.clone(),
            shared: self.shared.clone(),
            attempts: self.attempts.clone(),
        };
        drop(self.net.inner.spawn(making.run()));
        attempt
    }

    /// Gives an attempt up: [`Handler::on_connect_failed`] comes with `ECANCELED`. Nothing happens
    /// if it has ended.
    pub fn cancel(&self, attempt: Attempt) {
        self.attempts.cancel(attempt);
    }

    /// Connections being made.
    pub fn attempts(&self) -> usize {
        self.shared.attempts.get()
    }

    /// What it did so far: connections made count as accepted, those that failed as refused.
    pub fn stats(&self) -> ServerStats {
        self.shared.stats()
    }

    /// Whether [`Handler::on_sent`] is called, from the next connection on.
    pub fn notify_sent(&self, yes: bool) {
        self.shared.notify_sent(yes);
    }

    /// Gives up what is being made and lets the connections finish ([`Handler::on_drain`]); those
    /// that are left after `limit` are reset.
    pub fn shutdown(&self, limit: Duration) {
        for attempt in self.attempts.all() {
            self.attempts.cancel(attempt);
        }
        self.shared.shut_down(&self.net.inner, self.service, limit);
    }

    /// Whether it has been shut down and its last connection is gone.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }
}

/// One attempt under way.
struct Making {
    net: Net,
    service: Key,
    attempt: Attempt,
    target: Target,
    options: Rc<ConnectOptions>,
    shared: Rc<Shared>,
    attempts: Rc<Attempts>,
}

impl Making {
    async fn run(self) {
        let connected = self.connect().await;
        self.attempts.0.borrow_mut().remove(&self.attempt);
        self.shared.attempts.set(self.shared.attempts.get() - 1);
        let (server, attempt) = (self.service, self.attempt);
        let mut reactor = self.net.inner.reactor.borrow_mut();
        let event = match connected {
            Ok(connected) => {
                let stream = connected.into_key();
                reactor.give_stream(stream, server);
                Event::Connected {
                    server,
                    stream,
                    attempt,
                }
            }
            Err(error) => Event::ConnectFailed {
                server,
                attempt,
                error,
            },
        };
        reactor.events.push_back(event);
    }

    async fn connect(&self) -> Result<Stream> {
        let mut connecting = pin!(async {
            match &self.target {
                Target::Address(address) => self.connect_to(address).await,
                Target::Host(host) => stream::connect_host(&self.net, host, &self.options)
                    .await
                    .map(TcpStream::into_stream),
            }
        });
        poll_fn(|context| {
            if let Some(pending) = self.attempts.0.borrow_mut().get_mut(&self.attempt) {
                if pending.cancelled {
                    return Poll::Ready(Err(self.cancelled()));
                }
                pending.waker = Some(context.waker().clone());
            }
            connecting.as_mut().poll(context)
        })
        .await
    }

    async fn connect_to(&self, address: &Address) -> Result<Stream> {
        let kernel = Net {
            half: Half::Kernel,
            ..self.net.clone()
        };
        // A path is the kernel's, whatever the default net is.
        let net = match address {
            Address::Ip(_) => &self.net,
            Address::Unix(_) => &kernel,
        };
        stream::connect(net, address, &self.options).await
    }

    fn cancelled(&self) -> Error {
        let error = io::Error::from_raw_os_error(libc::ECANCELED);
        match &self.target {
            Target::Address(address) => Error::new(Action::Connect, address, error),
            Target::Host(host) => Error::new(Action::Connect, host, error),
        }
    }
}
