//! A server with callbacks: the face with the least between the kernel and the handler.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use zcn_pool::{Buf, SharedBuf};

use crate::client::Attempt;
use crate::error::{Action, Error, Result};
use crate::net::socket::{self, Address, ListenOptions};
use crate::reactor::Event;
use crate::reactor::progress::taken;
use crate::reactor::stream::{CloseReason, Closing, Owner, Shut, WaterMarks};
use crate::reactor::streams::Refused;
use crate::runtime::{Inner, Runtime, Service};
use crate::table::Key;

/// Names a connection of a server. Never an old one: it goes stale with the connection, even when
/// the descriptor's number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(crate) Key);

/// Limits and options of a [`TcpServer`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Options of the listening socket.
    pub listen: ListenOptions,
    /// Marks of each connection's send queue: above the high one sends are refused and receiving
    /// pauses, until the kernel has taken all but the low one.
    pub marks: WaterMarks,
    /// Most connections at a time; further peers wait in the kernel's backlog.
    pub max_connections: usize,
    /// Close a connection on which nothing has arrived for this long.
    pub idle_timeout: Option<Duration>,
    /// Close a connection whose peer has taken nothing for this long while something is queued: of
    /// TCP has acknowledged nothing, of a Unix socket has read nothing.
    pub write_timeout: Option<Duration>,
    /// Call [`Handler::on_sent`] for every send that has ended.
    pub notify_sent: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: ListenOptions::default(),
            marks: WaterMarks::default(),
            max_connections: 1 << 20,
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(60)),
            notify_sent: false,
        }
    }
}

impl ServerOptions {
    /// Whether the limits make sense.
    pub(crate) fn check(&self, action: Action) -> Result<()> {
        if self.max_connections == 0 {
            return Err(Error::setting(
                action,
                "max_connections = 0 is out of range: at least 1",
            ));
        }
        for (name, limit) in [
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            if limit.is_some_and(|limit| limit.is_zero()) {
                return Err(Error::setting(
                    action,
                    format!("{name} = 0 is out of range: None sets no limit"),
                ));
            }
        }
        if self.marks.high == 0 || self.marks.low > self.marks.high {
            return Err(Error::setting(
                action,
                format!(
                    "water marks high = {}, low = {} are out of range: high at least 1, low at most high",
                    self.marks.high, self.marks.low
                ),
            ));
        }
        Ok(())
    }
}

/// What a server does with its connections.
///
/// All methods run on the runtime's thread, one at a time. They may send, close, pause and look at
/// other connections of the server through [`Conn`]. A method that panics costs its connection, not
/// the server.
pub trait Handler: 'static {
    /// What the handler keeps for each connection.
    type State: 'static;

    /// A peer was accepted; `None` refuses it.
    fn on_accept(&mut self, conn: &mut Conn<'_>, peer: &Address) -> Option<Self::State>;

    /// Bytes arrived, in a buffer on loan: dropping it gives it back, sending it moves it on
    /// without a copy.
    fn on_data(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, data: Buf);

    /// The send queue, which had been full, is down to its low mark.
    fn on_writable(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// The peer has finished sending (half-close). Unless overridden, what is queued is sent and
    /// the connection closed.
    fn on_end(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// The kernel has taken bytes, with [`ServerOptions::notify_sent`]; [`Conn::unsent`] tells what
    /// is left in the queue.
    fn on_sent(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// A connection that a [`TcpClient`](crate::TcpClient) began is made; `None` closes it. Unless
    /// overridden, as [`on_accept`](Self::on_accept).
    fn on_connect(
        &mut self,
        conn: &mut Conn<'_>,
        peer: &Address,
        attempt: Attempt,
    ) -> Option<Self::State> {
        let _ = attempt;
        self.on_accept(conn, peer)
    }

    /// A connection that a [`TcpClient`](crate::TcpClient) began could not be made.
    fn on_connect_failed(&mut self, attempt: Attempt, error: Error) {
        let _ = attempt;
        tracing::debug!(%error, "a connection could not be made");
    }

    /// The server is shutting down. Unless overridden, what is queued is sent and the connection
    /// closed; a handler in the middle of something may finish it first, within the time limit.
    fn on_drain(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// The connection is gone; its state comes back. The last call for it, after which no other
    /// comes; not made when the runtime itself is dropped, which drops the states with the handler.
    fn on_close(&mut self, conn: ConnId, state: Self::State, reason: CloseReason) {
        let _ = (conn, state, reason);
    }
}

/// Why bytes were not accepted for sending; they come back with the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is above its high-water mark; [`Handler::on_writable`] tells when it is not.
    #[error("the connection's send queue is full until on_writable")]
    Full(SharedBuf),
    /// The connection is closing or gone.
    #[error("the connection is closed: {1}")]
    Closed(SharedBuf, io::Error),
    /// No buffer to copy into; nothing was sent.
    #[error("no free buffer in the pool: raise RuntimeBuilder::buffers, or send what you received")]
    NoBuffer,
}

/// One connection, for the time of a callback.
#[derive(Debug)]
pub struct Conn<'a> {
    inner: &'a Rc<Inner>,
    server: Key,
    key: Key,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner")
    }
}

impl<'a> Conn<'a> {
    /// Which connection this is.
    pub fn id(&self) -> ConnId {
        ConnId(self.key)
    }

    /// A connection by its id, for who holds the runtime.
    #[inline]
    pub(crate) fn find(inner: &'a Rc<Inner>, id: ConnId) -> Option<Self> {
        let owner = inner.reactor.borrow().streams.get(id.0)?.owner;
        match owner {
            Owner::Server(server) => Some(Conn {
                inner,
                server,
                key: id.0,
            }),
            Owner::Task => None,
        }
    }

    /// Another connection of the same server; `None` when it is gone.
    pub fn other(&self, id: ConnId) -> Option<Conn<'a>> {
        let owner = self.inner.reactor.borrow().streams.get(id.0)?.owner;
        (owner == Owner::Server(self.server)).then_some(Conn {
            inner: self.inner,
            server: self.server,
            key: id.0,
        })
    }

    /// Sends bytes without copying them in user space: a received or filled [`Buf`], a
    /// [`SharedBuf`], or `bytes::Bytes`. They leave at the end of the turn, together with
    /// everything else that is queued.
    ///
    /// # Errors
    /// [`SendError`], with the bytes back.
    // The error carries what the caller wants back.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub fn send(&mut self, data: impl Into<SharedBuf>) -> std::result::Result<(), SendError> {
        self.inner
            .reactor
            .borrow_mut()
            .send(self.key, data.into())
            .map_err(|refused| match refused {
                Refused::Full(data) => SendError::Full(data),
                Refused::Closed(data, errno) => {
                    SendError::Closed(data, io::Error::from_raw_os_error(errno))
                }
            })
    }

    /// Copies bytes into pool buffers and sends them: all or nothing.
    ///
    /// # Errors
    /// [`SendError::Full`] (with nothing in it) or [`SendError::Closed`] as for
    /// [`send`](Self::send), [`SendError::NoBuffer`] when the pool cannot hold all of it.
    #[allow(clippy::result_large_err)]
    pub fn send_copy(&mut self, data: &[u8]) -> std::result::Result<(), SendError> {
        if !self.is_writable() {
            return self
                .send(SharedBuf::new())
                .and(Err(SendError::Full(SharedBuf::new())));
        }
        let mut reactor = self.inner.reactor.borrow_mut();
        let Some(mut first) = reactor.outgoing.acquire() else {
            return Err(SendError::NoBuffer);
        };
        let (head, mut rest) = data.split_at(data.len().min(first.capacity()));
        // It fits by construction, here and below.
        let _ = first.extend_from_slice(head);
        // The common case is one buffer.
        if !rest.is_empty() {
            let mut copies = std::mem::take(&mut reactor.copies);
            while !rest.is_empty() {
                let Some(mut buf) = reactor.outgoing.acquire() else {
                    copies.clear();
                    reactor.copies = copies;
                    return Err(SendError::NoBuffer);
                };
                let (head, left) = rest.split_at(rest.len().min(buf.capacity()));
                let _ = buf.extend_from_slice(head);
                rest = left;
                copies.push(buf);
            }
            reactor.send_beyond(self.key, first.into());
            for buf in copies.drain(..) {
                reactor.send_beyond(self.key, buf.into());
            }
            reactor.copies = copies;
            return Ok(());
        }
        reactor.send_beyond(self.key, first.into());
        Ok(())
    }

    /// Whether [`send`](Self::send) would accept something now.
    pub fn is_writable(&self) -> bool {
        let reactor = self.inner.reactor.borrow();
        reactor.streams.get(self.key).is_some_and(|stream| {
            !stream.full
                && stream.closing == Closing::No
                && stream.shut == Shut::Open
                && stream.error.is_none()
        })
    }

    /// Bytes accepted for sending that the kernel has not taken yet.
    pub fn unsent(&self) -> usize {
        self.inner
            .reactor
            .borrow()
            .streams
            .get(self.key)
            .map_or(0, |stream| stream.unsent)
    }

    /// An empty pool buffer to fill and send; `None` when the pool has none left.
    pub fn buffer(&self) -> Option<Buf> {
        self.inner.buffer()
    }

    /// Sends what is queued, then closes.
    pub fn close(&mut self) {
        self.inner
            .reactor
            .borrow_mut()
            .close_stream(self.key, CloseReason::Local);
    }

    /// Closes with a reset; what is queued is dropped.
    pub fn abort(&mut self) {
        self.inner
            .reactor
            .borrow_mut()
            .abort_stream(self.key, CloseReason::Local);
    }

    /// Ends the write side after what is queued; receiving goes on.
    pub fn shutdown(&mut self) {
        self.inner.reactor.borrow_mut().shutdown_write(self.key);
    }

    /// Receives nothing more until [`resume`](Self::resume): the peer's window fills up.
    pub fn pause(&mut self) {
        self.inner.reactor.borrow_mut().pause(self.key, true);
    }

    /// Receives again.
    pub fn resume(&mut self) {
        self.inner.reactor.borrow_mut().pause(self.key, false);
    }

    /// Changes the marks of the send queue.
    pub fn set_marks(&mut self, marks: WaterMarks) {
        let mut reactor = self.inner.reactor.borrow_mut();
        if let Some(stream) = reactor.streams.get_mut(self.key) {
            stream.high_water = marks.high.max(1);
            stream.low_water = marks.low.min(marks.high);
        }
    }

    /// Address of this end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local_addr(&self) -> Result<Address> {
        self.with_fd(socket::local_address)
    }

    /// Address of the other end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn peer_addr(&self) -> Result<Address> {
        self.with_fd(socket::peer_address)
    }

    /// Number of its descriptor, which stays this connection's; `None` when it is gone.
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.with_fd(|fd| Ok(fd.as_raw_fd())).ok()
    }

    fn with_fd<T>(&self, call: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let reactor = self.inner.reactor.borrow();
        match reactor.streams.get(self.key) {
            Some(stream) => call(&stream.fd),
            None => Err(Error::bare(
                Action::Option,
                io::ErrorKind::NotConnected.into(),
            )),
        }
    }

    /// The socket, for options that have no method here.
    ///
    /// # Errors
    /// When the connection is gone, or what `call` answers.
    pub fn with_socket<T>(
        &self,
        call: impl FnOnce(socket2::SockRef<'_>) -> io::Result<T>,
    ) -> Result<T> {
        let fd = self.inner.reactor.borrow().duplicate(self.key)?;
        call(socket2::SockRef::from(&fd)).map_err(|error| Error::bare(Action::Option, error))
    }
}

/// What a server did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections open now.
    pub connections: usize,
    /// Peers accepted.
    pub accepted: u64,
    /// Peers refused by the handler.
    pub refused: u64,
    /// Connections closed.
    pub closed: u64,
    /// Handler calls that panicked.
    pub panics: u64,
    /// Connections closed for one of the timeouts.
    pub timed_out: u64,
}

#[derive(Default)]
pub(crate) struct Shared {
    stats: Cell<ServerStats>,
    /// Connections of a client being made.
    pub(crate) attempts: Cell<usize>,
    notify_sent: Cell<bool>,
    drain_by: Cell<Option<Instant>>,
    stopped: Cell<bool>,
    /// Tasks that wait for the end.
    wakers: RefCell<Vec<Waker>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn stats(&self) -> ServerStats {
        self.stats.get()
    }

    pub(crate) fn notify_sent(&self, yes: bool) {
        self.notify_sent.set(yes);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_by.get().is_some()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Asks the service to let its connections finish.
    pub(crate) fn shut_down(&self, inner: &Inner, server: Key, limit: Duration) {
        if self.drain_by.get().is_none() {
            let now = Instant::now();
            // A limit beyond the clock's range is as good as none.
            let by = now.checked_add(limit).unwrap_or(now + FOR_EVER);
            self.drain_by.set(Some(by));
            let mut reactor = inner.reactor.borrow_mut();
            reactor.events.push_back(Event::Drain { server });
        }
    }

    fn count(&self, change: impl FnOnce(&mut ServerStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}

/// A server on TCP or a Unix socket, running its [`Handler`] inside a [`Runtime`].
///
/// Dropping the handle lets the server run on for as long as its runtime; [`shutdown`](
/// Self::shutdown) ends it.
#[derive(Debug)]
pub struct TcpServer {
    inner: Rc<Inner>,
    server: Key,
    local: Address,
    shared: Rc<Shared>,
}

impl TcpServer {
    /// Listens on `address` (a [`SocketAddr`](std::net::SocketAddr), or a path for a Unix socket)
    /// and serves with `handler` whenever the runtime runs.
    ///
    /// # Errors
    /// The address is in use or not this machine's, an option is refused, or descriptors are
    /// short; each with the address and the remedy.
    pub fn bind<H: Handler>(
        runtime: &Runtime,
        address: impl Into<Address>,
        options: ServerOptions,
        handler: H,
    ) -> Result<Self> {
        let address = address.into();
        options.check(Action::Listen)?;
        let fd = socket::listen(&address, &options.listen)?;
        let local = socket::local_address(&fd)?;
        let inner = runtime.inner().clone();
        let server = inner.reserve_service();
        let listener = inner
            .reactor
            .borrow_mut()
            .add_listener(fd, Owner::Server(server))
            .map_err(|error| {
                inner.remove_service(server);
                Error::new(Action::Listen, &address, error)
            })?;
        let shared = Rc::new(Shared::default());
        let mut service = Serving::new(server, handler, options, shared.clone());
        service.listener = Some(listener);
        service.socket_file = match &local {
            Address::Unix(path) => Some(path.clone()),
            Address::Ip(_) => None,
        };
        inner.install_service(server, Box::new(service));
        Ok(Self {
            inner,
            server,
            local,
            shared,
        })
    }

    /// The address it listens on, with the port the kernel picked.
    pub fn local_addr(&self) -> &Address {
        &self.local
    }

    /// What it did so far.
    pub fn stats(&self) -> ServerStats {
        self.shared.stats.get()
    }

    /// Stops listening and lets the connections finish ([`Handler::on_drain`]); those that are
    /// left after `limit` are reset. The runtime must run on meanwhile;
    /// [`stopped`](Self::stopped) waits for the end.
    pub fn shutdown(&self, limit: Duration) {
        self.shared.shut_down(&self.inner, self.server, limit);
    }

    /// Whether [`Handler::on_sent`] is called, from now on accepted connections on; see
    /// [`ServerOptions::notify_sent`].
    pub fn notify_sent(&self, yes: bool) {
        self.shared.notify_sent(yes);
    }

    /// Whether it has been shut down and its last connection is gone.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.get()
    }

    /// Waits until [`shutdown`](Self::shutdown) is complete.
    pub async fn stopped(&self) {
        std::future::poll_fn(|context| {
            if self.shared.stopped.get() {
                return Poll::Ready(());
            }
            self.shared
                .wakers
                .borrow_mut()
                .push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

/// How often a draining server looks whether its time is up.
const DRAIN_SWEEP: Duration = Duration::from_millis(10);

pub(crate) struct Serving<H: Handler> {
    server: Key,
    handler: H,
    options: ServerOptions,
    /// None for a client, or once it drains.
    listener: Option<Key>,
    draining: bool,
    /// By the stream's index; the generation tells whether it is still the same connection.
    states: Vec<Option<(u32, H::State)>>,
    /// States of connections that are closed, but whose end has not been told yet, and whose index
    /// has been given to another already.
    displaced: Vec<(Key, H::State)>,
    /// Accepted in the same burst that filled the server up; served when there is room.
    waiting: VecDeque<OwnedFd>,
    /// The listener is held back because the server is full.
    held: bool,
    shared: Rc<Shared>,
    socket_file: Option<PathBuf>,
}

impl<H: Handler> Drop for Serving<H> {
    fn drop(&mut self) {
        if let Some(path) = &self.socket_file {
            // Somebody else may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl<H: Handler> Serving<H> {
    /// A service without a listener.
    pub(crate) fn new(server: Key, handler: H, options: ServerOptions, shared: Rc<Shared>) -> Self {
        shared.notify_sent.set(options.notify_sent);
        Self {
            server,
            handler,
            options,
            listener: None,
            draining: false,
            states: Vec::new(),
            displaced: Vec::new(),
            waiting: VecDeque::new(),
            held: false,
            shared,
            socket_file: None,
        }
    }

    fn take_state(&mut self, key: Key) -> Option<H::State> {
        let place = self.states.get_mut(key.index as usize)?;
        match place {
            Some((generation, _)) if *generation == key.generation => {
                place.take().map(|(_, state)| state)
            }
            _ => {
                let at = self.displaced.iter().position(|(old, _)| *old == key)?;
                Some(self.displaced.swap_remove(at).1)
            }
        }
    }

    /// Runs a callback on an open connection, not on one that is being closed; a panic costs the
    /// connection.
    #[inline]
    fn call(
        &mut self,
        inner: &Rc<Inner>,
        key: Key,
        callback: impl FnOnce(&mut H, &mut Conn<'_>, &mut H::State),
    ) {
        let open = inner
            .reactor
            .borrow()
            .streams
            .get(key)
            .is_some_and(|stream| stream.closing == Closing::No);
        if !open {
            return;
        }
        let mut conn = Conn {
            inner,
            server: self.server,
            key,
        };
        let Some(Some((generation, state))) = self.states.get_mut(key.index as usize) else {
            return;
        };
        if *generation != key.generation {
            return;
        }
        let handler = &mut self.handler;
        let outcome = catch_unwind(AssertUnwindSafe(|| callback(handler, &mut conn, state)));
        if outcome.is_err() {
            self.panicked(inner, key);
        }
    }

    #[cold]
    fn panicked(&self, inner: &Rc<Inner>, key: Key) {
        self.shared.count(|stats| stats.panics += 1);
        tracing::error!(
            connection = key.index,
            "the handler panicked; its connection is closed"
        );
        inner
            .reactor
            .borrow_mut()
            .abort_stream(key, CloseReason::HandlerPanic);
    }

    fn accepted(&mut self, inner: &Rc<Inner>, fd: OwnedFd) {
        if self.shared.drain_by.get().is_some() {
            return;
        }
        if self.shared.stats.get().connections >= self.options.max_connections {
            self.waiting.push_back(fd);
            self.hold(inner, true);
            return;
        }
        let peer = socket::peer_address(&fd).unwrap_or(Address::Unix(PathBuf::new()));
        let added = inner.reactor.borrow_mut().add_stream(
            fd,
            Owner::Server(self.server),
            self.options.marks,
        );
        let key = match added {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(%peer, %error, "a peer could not be taken");
                return;
            }
        };
        self.admit_stream(inner, key, |handler, conn| handler.on_accept(conn, &peer));
        if self.shared.stats.get().connections >= self.options.max_connections {
            self.hold(inner, true);
        }
    }

    /// A client's connection was made.
    fn connected(&mut self, inner: &Rc<Inner>, key: Key, attempt: Attempt) {
        let peer = {
            let reactor = inner.reactor.borrow();
            let stream = reactor.streams.get(key);
            stream.and_then(|stream| socket::peer_address(&stream.fd).ok())
        };
        // Without a peer it is broken already, as its handler will hear.
        let peer = peer.unwrap_or(Address::Unix(PathBuf::new()));
        self.admit_stream(inner, key, |handler, conn| {
            handler.on_connect(conn, &peer, attempt)
        });
        self.finish_drain(inner);
    }

    fn connect_failed(&mut self, inner: &Rc<Inner>, attempt: Attempt, error: Error) {
        let handler = &mut self.handler;
        let call = AssertUnwindSafe(|| handler.on_connect_failed(attempt, error));
        self.shared.count(|stats| stats.refused += 1);
        if catch_unwind(call).is_err() {
            self.shared.count(|stats| stats.panics += 1);
        }
        self.finish_drain(inner);
    }

    /// Asks the handler whether it takes a new connection, and what it keeps for it.
    fn admit_stream(
        &mut self,
        inner: &Rc<Inner>,
        key: Key,
        callback: impl FnOnce(&mut H, &mut Conn<'_>) -> Option<H::State>,
    ) {
        self.shared.count(|stats| {
            stats.accepted += 1;
            stats.connections += 1;
        });
        if self.shared.notify_sent.get()
            && let Some(stream) = inner.reactor.borrow_mut().streams.get_mut(key)
        {
            stream.tell_sent = true;
        }
        let mut conn = Conn {
            inner,
            server: self.server,
            key,
        };
        let handler = &mut self.handler;
        let state = catch_unwind(AssertUnwindSafe(|| callback(handler, &mut conn)));
        match state {
            Ok(Some(state)) => {
                let index = key.index as usize;
                if self.states.len() <= index {
                    self.states.resize_with(index + 1, || None);
                }
                let new = (key.generation, state);
                if let Some((generation, state)) = self.states[index].replace(new) {
                    let old = Key { generation, ..key };
                    self.displaced.push((old, state));
                }
            }
            Ok(None) => {
                self.shared.count(|stats| stats.refused += 1);
                inner
                    .reactor
                    .borrow_mut()
                    .close_stream(key, CloseReason::Local);
            }
            Err(_) => self.panicked(inner, key),
        }
    }

    fn hold(&mut self, inner: &Rc<Inner>, hold: bool) {
        if let (Some(listener), true) = (self.listener, self.held != hold) {
            self.held = hold;
            inner.reactor.borrow_mut().hold_listener(listener, hold);
        }
    }

    fn closed(&mut self, inner: &Rc<Inner>, key: Key, reason: CloseReason) {
        self.shared.count(|stats| {
            stats.connections -= 1;
            stats.closed += 1;
        });
        if let Some(state) = self.take_state(key) {
            let handler = &mut self.handler;
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                handler.on_close(ConnId(key), state, reason);
            }));
            if outcome.is_err() {
                self.shared.count(|stats| stats.panics += 1);
            }
        }
        if self.held && self.shared.stats.get().connections < self.options.max_connections {
            self.admit(inner);
        }
        self.finish_drain(inner);
    }

    /// Takes those who wait, as far as there is room, then lets the listener go on.
    fn admit(&mut self, inner: &Rc<Inner>) {
        while self.shared.stats.get().connections < self.options.max_connections {
            let Some(fd) = self.waiting.pop_front() else {
                return self.hold(inner, false);
            };
            self.accepted(inner, fd);
        }
    }

    fn drain(&mut self, inner: &Rc<Inner>) {
        // Asked twice, e.g. for this server and then for the whole runtime.
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        if let Some(listener) = self.listener.take() {
            inner.reactor.borrow_mut().close_listener(listener);
        }
        if self.shared.drain_by.get().is_none() {
            self.shared.drain_by.set(inner.drain_by());
        }
        inner.sweep_within(self.server, DRAIN_SWEEP);
        self.waiting.clear();
        for key in self.keys() {
            self.call(inner, key, |handler, conn, state| {
                handler.on_drain(conn, state)
            });
        }
        self.finish_drain(inner);
    }

    fn finish_drain(&self, inner: &Rc<Inner>) {
        let left = self.shared.stats.get().connections + self.shared.attempts.get();
        if self.draining && left == 0 && !self.shared.stopped.get() {
            self.shared.stopped.set(true);
            for waker in self.shared.wakers.take() {
                waker.wake();
            }
            inner.remove_service(self.server);
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.states
            .iter()
            .enumerate()
            .filter_map(|(index, state)| {
                let (generation, _) = state.as_ref()?;
                Some(Key {
                    index: index as u32,
                    generation: *generation,
                })
            })
            .collect()
    }
}

impl<H: Handler> Service for Serving<H> {
    #[inline]
    fn on_event(&mut self, inner: &Rc<Inner>, event: Event) {
        match event {
            Event::Data { stream, buf, .. } => {
                self.call(inner, stream, |handler, conn, state| {
                    handler.on_data(conn, state, buf)
                });
            }
            Event::Writable { stream, .. } => {
                self.call(inner, stream, |handler, conn, state| {
                    handler.on_writable(conn, state)
                });
            }
            Event::End { stream, .. } => {
                self.call(inner, stream, |handler, conn, state| {
                    handler.on_end(conn, state)
                });
            }
            Event::Sent { stream, .. } => {
                self.call(inner, stream, |handler, conn, state| {
                    handler.on_sent(conn, state)
                });
            }
            Event::Accepted { fd, .. } => self.accepted(inner, fd),
            Event::Connected {
                stream, attempt, ..
            } => self.connected(inner, stream, attempt),
            Event::ConnectFailed { attempt, error, .. } => {
                self.connect_failed(inner, attempt, error);
            }
            Event::Closed { stream, reason, .. } => self.closed(inner, stream, reason),
            Event::Drain { .. } => self.drain(inner),
            // A UDP server's.
            Event::Datagrams { .. } => {}
        }
    }

    fn drains(&self) -> bool {
        true
    }

    fn sweep_every(&self) -> Option<Duration> {
        let draining = self.shared.drain_by.get().map(|_| DRAIN_SWEEP);
        [self.options.idle_timeout, self.options.write_timeout]
            .into_iter()
            .flatten()
            .map(|limit| (limit / 4).clamp(Duration::from_millis(5), Duration::from_secs(1)))
            .chain(draining)
            .min()
    }

    fn sweep(&mut self, inner: &Rc<Inner>) {
        let drained = self
            .shared
            .drain_by
            .get()
            .is_some_and(|by| by <= Instant::now());
        let idle = self.options.idle_timeout.map(millis);
        let write = self.options.write_timeout.map(millis);
        let mut overdue = Vec::new();
        let mut progressed = Vec::new();
        let mut lingering = Vec::new();
        {
            let reactor = inner.reactor.borrow();
            let now = reactor.now_ms();
            for (key, stream) in reactor.streams.iter() {
                if stream.owner != Owner::Server(self.server) {
                    continue;
                }
                if let Closing::Lingering(reason) | Closing::Ending(reason) = stream.closing {
                    // All is sent; only the wait for the peer's end can be cut short.
                    if drained {
                        lingering.push((key, reason));
                    }
                    continue;
                }
                let since = |then: u32| now.wrapping_sub(then);
                // A send reports its end, and a long one to a slow peer ends late.
                let slow = |limit| stream.unsent > 0 && since(stream.last_write_ms) >= limit / 4;
                if drained {
                    overdue.push((key, CloseReason::Shutdown));
                } else if let Some(taken) = write
                    .filter(|&limit| slow(limit))
                    .and_then(|_| taken(stream.fd.as_fd()))
                    .filter(|&taken| taken != stream.taken)
                {
                    progressed.push((key, taken));
                } else if write
                    .is_some_and(|limit| stream.unsent > 0 && since(stream.last_write_ms) >= limit)
                {
                    overdue.push((key, CloseReason::WriteTimeout));
                } else if idle.is_some_and(|limit| {
                    stream.closing == Closing::No
                        && since(stream.last_read_ms) >= limit
                        && since(stream.last_write_ms) >= limit
                }) {
                    overdue.push((key, CloseReason::IdleTimeout));
                }
            }
        }
        for (key, taken) in progressed {
            let mut reactor = inner.reactor.borrow_mut();
            let now = reactor.now_ms();
            if let Some(stream) = reactor.streams.get_mut(key) {
                stream.taken = taken;
                stream.last_write_ms = now;
            }
        }
        for (key, reason) in lingering {
            inner.reactor.borrow_mut().end_stream(key, reason);
        }
        for (key, reason) in overdue {
            let timed_out = reason != CloseReason::Shutdown;
            self.shared
                .count(|stats| stats.timed_out += u64::from(timed_out));
            let mut reactor = inner.reactor.borrow_mut();
            match reason {
                // Nothing is queued, so an orderly end loses nothing.
                CloseReason::IdleTimeout => reactor.close_stream(key, reason),
                _ => reactor.abort_stream(key, reason),
            }
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
