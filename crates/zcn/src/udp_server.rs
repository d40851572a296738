//! A UDP server with callbacks: no task between the kernel and the handler.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use zcn_pool::{Buf, BufferPool, SharedBuf};

use crate::error::{Action, Error, Result};
use crate::net::half::Net;
use crate::net::udp::{connect, copied, open, stats};
use crate::net::udp_options::{Letter, UdpOptions};
use crate::reactor::Event;
use crate::reactor::datagram::{Datagram, UdpStats, Unsendable};
use crate::reactor::stream::Owner;
use crate::runtime::{Inner, Runtime, Service};
use crate::table::Key;

/// What a UDP server does with its datagrams.
///
/// All methods run on the runtime's thread, one at a time. A method that panics costs its
/// datagram, not the server.
pub trait DatagramHandler: 'static {
    /// A datagram arrived, in a buffer on loan.
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram);

    /// There is room for sends again, after one was refused with [`UdpSendError::Full`].
    fn on_writable(&mut self, socket: &mut UdpConn<'_>) {
        let _ = socket;
    }

    /// The network or the kernel reported an error; the server goes on.
    fn on_error(&mut self, socket: &mut UdpConn<'_>, error: Error) {
        let _ = socket;
        tracing::debug!(%error, "UDP");
    }
}

/// Why a datagram was not accepted for sending; it comes back with the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdpSendError {
    /// The queue is full; [`DatagramHandler::on_writable`] tells when it is not.
    #[error("the socket's send queue is full until on_writable")]
    Full(SharedBuf),
    /// It cannot be sent: too long, no such peer, or the socket is closed.
    #[error("{1}")]
    Refused(SharedBuf, Error),
}

/// The server's socket, for the time of a callback.
#[derive(Debug)]
pub struct UdpConn<'a> {
    inner: &'a Rc<Inner>,
    key: Key,
    local: SocketAddr,
}

impl UdpConn<'_> {
    /// Sends a datagram without copying it in user space: a received or filled [`Buf`], a
    /// [`SharedBuf`], or `bytes::Bytes`. It leaves at the end of the turn, together with everything
    /// else that is queued.
    ///
    /// # Errors
    /// [`UdpSendError`], with the bytes back.
    // The error carries what the caller wants back.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub fn send_to(
        &mut self,
        data: impl Into<SharedBuf>,
        peer: SocketAddr,
    ) -> std::result::Result<(), UdpSendError> {
        self.send_letter(data.into(), Some(peer), None)
    }

    /// Sends `data` as datagrams of `segment_size` bytes, the last one possibly shorter, cut by the
    /// kernel; see [`UdpSocket::send_segments`](crate::UdpSocket::send_segments).
    ///
    /// # Errors
    /// [`UdpSendError`]; when the queue fills up in the middle, with the rest that was not accepted.
    #[allow(clippy::result_large_err)]
    pub fn send_segments(
        &mut self,
        data: impl Into<SharedBuf>,
        segment_size: usize,
        peer: SocketAddr,
    ) -> std::result::Result<(), UdpSendError> {
        self.send_letter(data.into(), Some(peer), Some(segment_size))
    }

    /// Sends what arrived to `peer`, coalesced datagrams in the same sizes as they came.
    ///
    /// # Errors
    /// As [`send_segments`](Self::send_segments).
    #[allow(clippy::result_large_err)]
    #[inline]
    pub fn forward(
        &mut self,
        datagram: Datagram,
        peer: SocketAddr,
    ) -> std::result::Result<(), UdpSendError> {
        let segment = datagram.segment_size.map(usize::from);
        self.send_letter(datagram.data.into(), Some(peer), segment)
    }

    /// Copies `data` and sends it to `peer` or the connected one; the copy goes to a buffer of the
    /// runtime's pool, or to the heap when it is longer than one or the pool is empty.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to).
    #[allow(clippy::result_large_err)]
    pub fn send_copy(
        &mut self,
        data: &[u8],
        peer: impl Into<Option<SocketAddr>>,
    ) -> std::result::Result<(), UdpSendError> {
        let data = copied(self.inner, data);
        self.send_letter(data, peer.into(), None)
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.inner.reactor.borrow().udp.table.get(self.key)?.peer
    }

    /// Sends to `peer` or, without one, to the peer that the socket is
    /// [connected](UdpServer::connect) to; cut by the kernel into datagrams of `segment_size` bytes
    /// if one is given.
    ///
    /// # Errors
    /// As [`send_segments`](Self::send_segments), and `EDESTADDRREQ` without any peer.
    #[allow(clippy::result_large_err)]
    pub fn send_message(
        &mut self,
        data: impl Into<SharedBuf>,
        peer: impl Into<Option<SocketAddr>>,
        segment_size: Option<usize>,
    ) -> std::result::Result<(), UdpSendError> {
        self.send_letter(data.into(), peer.into(), segment_size)
    }

    #[allow(clippy::result_large_err)]
    #[inline]
    fn send_letter(
        &mut self,
        mut data: SharedBuf,
        peer: Option<SocketAddr>,
        segment: Option<usize>,
    ) -> std::result::Result<(), UdpSendError> {
        let letter = Letter { peer, segment };
        let connected = match peer {
            Some(_) => None,
            None => self.peer(),
        };
        if let Err(error) = letter.check(data.len(), self.local, connected) {
            return Err(UdpSendError::Refused(data, error));
        }
        // What to give back when the queue fills up in the middle.
        let whole = segment.map(|_| data.clone());
        let rest = |part: SharedBuf, rest: &SharedBuf| match whole {
            Some(mut whole) => {
                whole.advance(whole.len() - part.len() - rest.len());
                whole
            }
            None => part,
        };
        let mut reactor = self.inner.reactor.borrow_mut();
        loop {
            let message = letter.next_message(&mut data);
            match reactor.send_datagram(self.key, message) {
                Ok(()) if data.is_empty() => return Ok(()),
                Ok(()) => {}
                Err(Unsendable::Full(message)) => {
                    return Err(UdpSendError::Full(rest(message.data, &data)));
                }
                Err(Unsendable::Error(message, errno)) => {
                    return Err(UdpSendError::Refused(
                        rest(message.data, &data),
                        match peer.or(connected) {
                            Some(peer) => Error::errno(Action::Send, peer, errno),
                            None => Error::errno(Action::Send, "", errno),
                        },
                    ));
                }
            }
        }
    }

    /// An empty buffer of the runtime's pool to fill and send; `None` when it has none left.
    pub fn buffer(&self) -> Option<Buf> {
        self.inner.buffer()
    }

    /// Address of the server.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[derive(Debug, Default)]
struct Shared {
    panics: Cell<u64>,
    stopped: Cell<bool>,
    /// Kept beyond the socket's end.
    last: Cell<UdpStats>,
}

/// A UDP server running its [`DatagramHandler`] inside a [`Runtime`].
///
/// Dropping the handle lets the server run on for as long as its runtime;
/// [`shutdown`](Self::shutdown) ends it.
#[derive(Debug)]
pub struct UdpServer {
    inner: Rc<Inner>,
    key: Key,
    local: SocketAddr,
    pool: BufferPool,
    shared: Rc<Shared>,
}

impl UdpServer {
    /// Binds to `address` and serves with `handler` whenever the runtime runs.
    ///
    /// # Errors
    /// As [`UdpSocket::bind_with`](crate::UdpSocket::bind_with).
    pub fn bind<H: DatagramHandler>(
        runtime: &Runtime,
        address: SocketAddr,
        options: &UdpOptions,
        handler: H,
    ) -> Result<Self> {
        Self::bind_on(&runtime.net(), address, options, handler)
    }

    /// [`bind`](Self::bind) on a net that is not the runtime's default.
    ///
    /// # Errors
    /// As there.
    pub fn bind_on<H: DatagramHandler>(
        net: &Net,
        address: SocketAddr,
        options: &UdpOptions,
        handler: H,
    ) -> Result<Self> {
        let inner = net.inner.clone();
        let server = inner.reserve_service();
        let (key, local) =
            open(net, address, options, Owner::Server(server)).inspect_err(|_| {
                inner.remove_service(server);
            })?;
        let pool = {
            let reactor = inner.reactor.borrow();
            let socket = reactor.udp.table.get(key);
            socket.map(|socket| socket.pool.clone())
        }
        .ok_or_else(|| Error::bare(Action::Socket, io::ErrorKind::NotConnected.into()))?;
        let shared = Rc::new(Shared::default());
        let serving = Serving {
            server,
            local,
            handler,
            arrived: VecDeque::new(),
            shared: shared.clone(),
        };
        inner.install_service(server, Box::new(serving));
        Ok(Self {
            inner,
            key,
            local,
            pool,
            shared,
        })
    }

    /// Its socket, for use outside of a callback.
    pub fn socket(&self) -> UdpConn<'_> {
        UdpConn {
            inner: &self.inner,
            key: self.key,
            local: self.local,
        }
    }

    /// Makes `peer` the one to send to and the only one to receive from, and has the network's
    /// errors reported. What had arrived before stays in the queue.
    ///
    /// # Errors
    /// There is no route, or the peer is of the other address family.
    pub fn connect(&self, peer: SocketAddr) -> Result<()> {
        connect(&self.inner, self.key, peer)
    }

    /// The address it serves, with the port the kernel picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What its socket did so far.
    pub fn stats(&self) -> UdpStats {
        match self.shared.stopped.get() {
            true => self.shared.last.get(),
            false => stats(&self.inner, self.key),
        }
    }

    /// Handler calls that panicked.
    pub fn panics(&self) -> u64 {
        self.shared.panics.get()
    }

    /// The pool it receives into.
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Stops receiving, sends what is queued and closes, within the runtime's next turns.
    pub fn shutdown(&self) {
        let last = stats(&self.inner, self.key);
        if !self.shared.stopped.replace(true) {
            self.shared.last.set(last);
            self.inner
                .reactor
                .borrow_mut()
                .close_datagram_socket(self.key);
        }
    }
}

struct Serving<H> {
    server: Key,
    local: SocketAddr,
    handler: H,
    /// Swapped with the socket's queue; empty between events, but for what a turn was not allowed
    /// to hand out.
    arrived: VecDeque<Datagram>,
    shared: Rc<Shared>,
}

impl<H: DatagramHandler> Serving<H> {
    #[inline]
    fn call(
        &mut self,
        inner: &Rc<Inner>,
        key: Key,
        callback: impl FnOnce(&mut H, &mut UdpConn<'_>),
    ) {
        let mut socket = UdpConn {
            inner,
            key,
            local: self.local,
        };
        let handler = &mut self.handler;
        if catch_unwind(AssertUnwindSafe(|| callback(handler, &mut socket))).is_err() {
            self.shared.panics.set(self.shared.panics.get() + 1);
            tracing::error!(local = %self.local, "the handler panicked; its datagram is dropped");
        }
    }
}

impl<H: DatagramHandler> Serving<H> {
    /// Hands out what has arrived, as far as the turn allows; whether that was all.
    #[inline]
    fn deliver(&mut self, inner: &Rc<Inner>, key: Key) -> bool {
        while !self.arrived.is_empty() {
            if !inner.spend() {
                let event = Event::Datagrams {
                    server: self.server,
                    socket: key,
                };
                inner.reactor.borrow_mut().events.push_front(event);
                return false;
            }
            let Some(datagram) = self.arrived.pop_front() else {
                break;
            };
            self.call(inner, key, |handler, socket| {
                handler.on_datagram(socket, datagram);
            });
        }
        true
    }
}

impl<H: DatagramHandler> Service for Serving<H> {
    fn on_event(&mut self, inner: &Rc<Inner>, event: Event) {
        let Event::Datagrams { socket: key, .. } = event else {
            return;
        };
        // What an earlier turn was not allowed to hand out comes first.
        if !self.deliver(inner, key) {
            return;
        }
        let news = inner
            .reactor
            .borrow_mut()
            .take_datagrams(key, &mut self.arrived);
        let Some((errno, room)) = news else {
            self.shared.stopped.set(true);
            inner.remove_service(self.server);
            return;
        };
        if let Some(errno) = errno {
            let error = Error::errno(Action::Receive, self.local, errno);
            self.call(inner, key, |handler, socket| {
                handler.on_error(socket, error);
            });
        }
        if room {
            self.call(inner, key, |handler, socket| handler.on_writable(socket));
        }
        self.deliver(inner, key);
    }

    fn sweep(&mut self, _: &Rc<Inner>) {}

    fn sweep_every(&self) -> Option<Duration> {
        None
    }
}
