//! A TLS connection over a TCP stream.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use rustls::{Connection, ProtocolVersion};
use zcn_pool::{Buf, SharedBuf};

use super::{Fingerprint, failed};
use crate::TcpStream;
use crate::error::{Action, Error, Result};

/// A TLS connection, of a client or a server.
///
/// The methods are those of [`Stream`](crate::Stream): all take `&self`, so that one task may
/// receive while another sends. Dropping it says goodbye (`close_notify`), sends what is
/// queued, then closes.
pub struct TlsStream {
    stream: TcpStream,
    connection: RefCell<Connection>,
    /// Received and not opened yet.
    sealed_in: RefCell<Option<Buf>>,
    /// Sealed and refused by a full queue; goes before anything sealed later.
    sealed_out: RefCell<Option<SharedBuf>>,
    /// Who waits for the queue. The stream wakes only the last that polled; that one wakes the
    /// other when it is through.
    receiver: Cell<Option<Waker>>,
    sender: Cell<Option<Waker>>,
    peer: String,
}

/// On whose behalf records are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Receiver,
    Sender,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("peer", &self.peer)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.connection.get_mut().send_close_notify();
        // What the queue does not take now is lost with the goodbye.
        let _ = self.poll_records(&mut Context::from_waker(Waker::noop()), Side::Sender);
    }
}

impl TlsStream {
    pub(super) async fn handshake(
        connection: Connection,
        stream: TcpStream,
        peer: &str,
    ) -> Result<Self> {
        let this = Self {
            stream,
            connection: RefCell::new(connection),
            sealed_in: RefCell::new(None),
            sealed_out: RefCell::new(None),
            receiver: Cell::new(None),
            sender: Cell::new(None),
            peer: peer.to_owned(),
        };
        std::future::poll_fn(|context| this.poll_handshake(context)).await?;
        Ok(this)
    }

    fn poll_handshake(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.poll_records(context, Side::Receiver))?;
            if !self.connection.borrow().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if !ready!(self.poll_more(context, Action::Secure))? {
                let end = io::ErrorKind::UnexpectedEof.into();
                return Poll::Ready(Err(Error::new(Action::Secure, &self.peer, end)));
            }
        }
    }

    /// Opens more of what was received; whether there was any before the end of the stream.
    fn poll_more(&self, context: &mut Context<'_>, action: Action) -> Poll<Result<bool>> {
        if self.sealed_in.borrow().is_none() {
            let received = ready!(self.stream.poll_recv(context))?;
            *self.sealed_in.borrow_mut() = received;
        }
        let mut sealed_in = self.sealed_in.borrow_mut();
        let mut connection = self.connection.borrow_mut();
        let Some(buf) = sealed_in.as_mut() else {
            // Tells the connection that its stream has ended.
            let _ = connection.read_tls(&mut io::empty());
            return Poll::Ready(Ok(false));
        };
        let taken = connection
            .read_tls(&mut &buf[..])
            .map_err(|error| Error::new(action, &self.peer, error))?;
        buf.advance(taken);
        if buf.is_empty() {
            *sealed_in = None;
        }
        let processed = connection.process_new_packets();
        drop((connection, sealed_in));
        if let Err(error) = processed {
            // The other side is told why, if it listens.
            let _ = self.poll_records(context, Side::Receiver);
            return Poll::Ready(Err(failed(action, &self.peer, error)));
        }
        Poll::Ready(Ok(true))
    }

    /// Hands every sealed record to the stream, in order.
    fn poll_records(&self, context: &mut Context<'_>, side: Side) -> Poll<Result<()>> {
        let (own, other) = match side {
            Side::Receiver => (&self.receiver, &self.sender),
            Side::Sender => (&self.sender, &self.receiver),
        };
        loop {
            let mut sealed_out = self.sealed_out.borrow_mut();
            if sealed_out.is_none() {
                *sealed_out = self.seal()?;
            }
            if sealed_out.is_none() {
                if let Some(waker) = other.take() {
                    waker.wake();
                }
                return Poll::Ready(Ok(()));
            }
            match self.stream.poll_send(context, &mut sealed_out) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => {
                    own.set(Some(context.waker().clone()));
                    return Poll::Pending;
                }
            }
        }
    }

    /// The next sealed bytes, in a pool buffer while there is one.
    fn seal(&self) -> Result<Option<SharedBuf>> {
        let mut connection = self.connection.borrow_mut();
        if !connection.wants_write() {
            return Ok(None);
        }
        let error = |error| Error::new(Action::Send, &self.peer, error);
        if let Some(mut buf) = crate::buffer() {
            let taken = connection
                .write_tls(&mut buf.as_mut_capacity())
                .map_err(error)?;
            buf.set_len(taken);
            return Ok(Some(buf.into()));
        }
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).map_err(error)?;
        Ok(Some(Bytes::from(bytes).into()))
    }

    /// Copies the next opened bytes into `into`; 0 at the end of the stream, or when `into` is
    /// empty.
    ///
    /// # Errors
    /// The error the connection died of; `UnexpectedEof` when the stream ends without a
    /// goodbye, which anybody on the path could have brought about.
    pub async fn read(&self, into: &mut [u8]) -> Result<usize> {
        std::future::poll_fn(|context| self.poll_read(context, into)).await
    }

    /// Poll form of [`read`](Self::read). One task receives at a time.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn poll_read(&self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<Result<usize>> {
        loop {
            let opened = self.connection.borrow_mut().reader().read(into);
            match opened {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    return Poll::Ready(Err(Error::new(Action::Receive, &self.peer, error)));
                }
                Ok(count) => return Poll::Ready(Ok(count)),
            }
            // What the protocol has to say itself. A full queue does not stop the receiving.
            if let Poll::Ready(Err(error)) = self.poll_records(context, Side::Receiver) {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_more(context, Action::Receive))?;
        }
    }

    /// The next opened bytes, in a buffer on loan from the pool of [`buffer`](crate::buffer);
    /// `None` at the end of the stream.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `QuotaExceeded` while the pool is empty: nothing is lost,
    /// it can be tried again.
    pub async fn recv(&self) -> Result<Option<Buf>> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Poll form of [`recv`](Self::recv). One task receives at a time.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Result<Option<Buf>>> {
        let Some(mut buf) = crate::buffer() else {
            let source = io::Error::new(io::ErrorKind::QuotaExceeded, "no buffer is free");
            let error = Error::new(Action::Receive, &self.peer, source);
            let hint = "drop buffers, or raise RuntimeBuilder::buffers";
            return Poll::Ready(Err(error.hinted(hint)));
        };
        let count = ready!(self.poll_read(context, buf.as_mut_capacity()))?;
        buf.set_len(count);
        Poll::Ready(Ok((count > 0).then_some(buf)))
    }

    /// Fills `into` completely.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `UnexpectedEof` when the stream ends first.
    pub async fn read_exact(&self, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let count = self.read(into).await?;
            if count == 0 {
                let end = io::ErrorKind::UnexpectedEof.into();
                return Err(Error::new(Action::Receive, &self.peer, end));
            }
            into = &mut into[count..];
        }
        Ok(())
    }

    /// Seals all of `data` and sends it; waits while the queue is full. One task sends at a
    /// time. A future that is dropped may have sent a part.
    ///
    /// # Errors
    /// The error the connection died of, or `BrokenPipe` after [`shutdown`](Self::shutdown).
    pub async fn send_copy(&self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let taken = std::future::poll_fn(|context| self.poll_write(context, data)).await?;
            data = &data[taken..];
        }
        std::future::poll_fn(|context| self.poll_records(context, Side::Sender)).await
    }

    /// Seals the front of `data`, at least a byte of it, when the queue is not full: how many.
    /// What was sealed leaves with the next call, or with [`poll_flush`](Self::poll_flush).
    ///
    /// # Errors
    /// As [`send_copy`](Self::send_copy).
    pub fn poll_write(&self, context: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize>> {
        ready!(self.poll_records(context, Side::Sender))?;
        let taken = self.connection.borrow_mut().writer().write(data);
        let taken = taken.and_then(|taken| match taken {
            0 if !data.is_empty() => Err(io::ErrorKind::BrokenPipe.into()),
            taken => Ok(taken),
        });
        Poll::Ready(taken.map_err(|error| Error::new(Action::Send, &self.peer, error)))
    }

    /// Waits until the kernel has taken everything sent so far.
    ///
    /// # Errors
    /// The error the connection died of.
    pub async fn flush(&self) -> Result<()> {
        std::future::poll_fn(|context| self.poll_flush(context)).await
    }

    /// Poll form of [`flush`](Self::flush).
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_records(context, Side::Sender))?;
        self.stream.poll_flush(context)
    }

    /// Says goodbye and ends the write side after what is queued; receiving goes on.
    ///
    /// # Errors
    /// The error the connection died of.
    pub async fn shutdown(&self) -> Result<()> {
        self.connection.borrow_mut().send_close_notify();
        std::future::poll_fn(|context| self.poll_records(context, Side::Sender)).await?;
        self.stream.shutdown();
        Ok(())
    }

    /// The TCP stream underneath, for its options and addresses. Bytes sent or received there
    /// break the connection.
    pub fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// The fingerprint of the certificate that the other side showed; a client rarely shows one.
    pub fn peer_fingerprint(&self) -> Option<Fingerprint> {
        let connection = self.connection.borrow();
        connection.peer_certificates()?.first().map(Fingerprint::of)
    }

    /// The version of the protocol that was agreed on.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.connection.borrow().protocol_version()
    }

    /// The protocol inside that was agreed on (ALPN), if the settings of both sides name any.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        let connection = self.connection.borrow();
        connection.alpn_protocol().map(<[u8]>::to_vec)
    }
}
