//! The service inside the runtime: connections, their states, the calls of the handler.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Conn, ConnId, Handler, ServerOptions, Shared};
use crate::client::Attempt;
use crate::error::Error;
use crate::net::socket::Address;
use crate::reactor::Event;
use crate::reactor::socket::Socket;
use crate::reactor::stream::{CloseReason, Closing, Owner};
use crate::runtime::{Inner, Service};
use crate::table::Key;

/// How often a draining server looks whether its time is up.
const DRAIN_SWEEP: Duration = Duration::from_millis(10);

/// Bytes of one connection that are handed out before others have their turn.
const DATA_TURN: usize = 64 * 1024;

pub(crate) struct Serving<H: Handler> {
    server: Key,
    handler: H,
    options: ServerOptions,
    /// None for a client, or once it drains.
    pub(super) listener: Option<Key>,
    draining: bool,
    /// By the stream's index; the generation tells whether it is still the same connection.
    states: Vec<Option<(u32, H::State)>>,
    /// States of connections that are closed, but whose end has not been told yet, and whose index
    /// has been given to another already.
    displaced: Vec<(Key, H::State)>,
    /// Accepted in the same burst that filled the server up; served when there is room.
    waiting: VecDeque<Socket>,
    /// The listener is held back because the server is full.
    held: bool,
    shared: Rc<Shared>,
    pub(super) socket_file: Option<PathBuf>,
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

    /// What else a stack has for a connection: a segment at a time is little, and costs no system
    /// call. The handler may pause in between, or fill its queue up.
    fn more_data(&mut self, inner: &Rc<Inner>, key: Key) {
        let mut bytes = 0;
        while bytes < DATA_TURN && inner.spend() {
            let next = inner.reactor.borrow_mut().next_data(key);
            let Some(buf) = next else {
                return;
            };
            bytes += buf.len();
            self.call(inner, key, |handler, conn, state| {
                handler.on_data(conn, state, buf)
            });
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

    fn accepted(&mut self, inner: &Rc<Inner>, socket: Socket) {
        if self.shared.drain_by.get().is_some() {
            return;
        }
        if self.shared.stats.get().connections >= self.options.max_connections {
            self.waiting.push_back(socket);
            self.hold(inner, true);
            return;
        }
        let peer = socket
            .peer_address()
            .unwrap_or(Address::Unix(PathBuf::new()));
        let added = inner.reactor.borrow_mut().add_stream(
            socket,
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
            stream.and_then(|stream| stream.socket.peer_address().ok())
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
            let Some(socket) = self.waiting.pop_front() else {
                return self.hold(inner, false);
            };
            self.accepted(inner, socket);
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
            Event::Data {
                stream, buf, more, ..
            } => {
                self.call(inner, stream, |handler, conn, state| {
                    handler.on_data(conn, state, buf)
                });
                if more && inner.reactor.borrow_mut().all_told(stream) {
                    self.more_data(inner, stream);
                }
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
            Event::Accepted { socket, .. } => self.accepted(inner, socket),
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
                    .and_then(|_| stream.socket.taken())
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
