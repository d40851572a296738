//! A connection as its handler sees it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use zcn_pool::{Buf, SharedBuf};

use super::SendError;
use crate::error::{Action, Error, Result};
use crate::net::socket::Address;
use crate::reactor::socket::{Socket, not_connected};
use crate::reactor::stream::{CloseReason, Owner, WaterMarks};
use crate::runtime::Inner;
use crate::table::Key;

/// Names a connection of a server. Never an old one: it goes stale with the connection, even when
/// the descriptor's number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(crate) Key);

/// One connection, for the time of a callback.
#[derive(Debug)]
pub struct Conn<'a> {
    pub(super) inner: &'a Rc<Inner>,
    pub(super) server: Key,
    pub(super) key: Key,
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

    /// The connection of an id, whether or not it is still there: for calls that look themselves.
    #[inline]
    pub(crate) fn unchecked(inner: &'a Rc<Inner>, id: ConnId) -> Self {
        Conn {
            inner,
            server: Key::NOTHING,
            key: id.0,
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
        let mut reactor = self.inner.reactor.borrow_mut();
        reactor
            .send(self.key, data.into())
            .map_err(|(refusal, data)| SendError::new(refusal, data))
    }

    /// Copies bytes into pool buffers and sends them: all or nothing.
    ///
    /// # Errors
    /// [`SendError::Full`] (with nothing in it) or [`SendError::Closed`] as for
    /// [`send`](Self::send), [`SendError::NoBuffer`] when the pool cannot hold all of it.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub fn send_copy(&mut self, data: &[u8]) -> std::result::Result<(), SendError> {
        let mut reactor = self.inner.reactor.borrow_mut();
        reactor
            .send_copy(self.key, data)
            .map_err(|refusal| SendError::new(refusal, SharedBuf::new()))
    }

    /// Whether [`send`](Self::send) would accept something now.
    pub fn is_writable(&self) -> bool {
        let reactor = self.inner.reactor.borrow();
        let stream = reactor.streams.get(self.key);
        stream.is_some_and(|stream| stream.admits().is_ok())
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
        self.with_half(Socket::local_address)
    }

    /// Address of the other end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn peer_addr(&self) -> Result<Address> {
        self.with_half(Socket::peer_address)
    }

    /// Number of its descriptor, which stays this connection's; `None` when it is gone, or a
    /// stack's.
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.with_half(|socket| Ok(socket.fd().map(AsRawFd::as_raw_fd)))
            .ok()?
    }

    fn with_half<T>(&self, call: impl FnOnce(&Socket) -> Result<T>) -> Result<T> {
        let reactor = self.inner.reactor.borrow();
        let stream = reactor.streams.get(self.key).ok_or_else(not_connected)?;
        call(&stream.socket)
    }

    /// The kernel's socket, for options that have no method here.
    ///
    /// # Errors
    /// When the connection is gone, or a stack's; or what `call` answers.
    pub fn with_socket<T>(
        &self,
        call: impl FnOnce(socket2::SockRef<'_>) -> io::Result<T>,
    ) -> Result<T> {
        let fd = self.inner.reactor.borrow().duplicate(self.key)?;
        call(socket2::SockRef::from(&fd)).map_err(|error| Error::bare(Action::Option, error))
    }
}
