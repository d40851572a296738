//! Connections for tasks: TCP and Unix.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use zcn_pool::{Buf, SharedBuf};
use zcn_stack::tcp::{SocketOption, TcpInfo};

use super::half::{Half, Net};
use super::listener::no_paths;
use super::socket::{self, Address, ConnectOptions};
use crate::error::{Action, Error, Result};
use crate::reactor::queue::Refusal;
use crate::reactor::socket::{Socket, not_connected};
use crate::reactor::stream::{CloseReason, Closing, Owner, Shut, WaterMarks};
use crate::runtime::time::{sleep, timeout};
use crate::runtime::{Inner, current};
use crate::stack::socket::StackSocket;
use crate::table::Key;

/// A connected stream socket of the current runtime.
///
/// All methods take `&self`: one task may receive while another sends (put it into an
/// [`Rc`]). Dropping it sends what is queued, then closes.
///
/// Buffers: [`recv`](Self::recv) hands out a pool buffer on loan, given back by dropping it;
/// [`send`](Self::send) takes a buffer and gives it back when the kernel has taken the bytes.
/// Neither copies in user space. [`read`](Self::read) and [`send_copy`](Self::send_copy) copy
/// once.
///
/// Futures may be dropped at any point: what has arrived stays for the next receive, and a send
/// that was not accepted yet was not sent at all.
pub struct Stream {
    inner: Rc<Inner>,
    key: Key,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // One whose key was taken may go while the reactor is borrowed.
        if self.key != Key::NOTHING {
            self.inner
                .reactor
                .borrow_mut()
                .close_stream(self.key, CloseReason::Local);
        }
    }
}

impl Stream {
    pub(crate) fn from_key(inner: Rc<Inner>, key: Key) -> Self {
        Self { inner, key }
    }

    pub(crate) fn adopt(inner: Rc<Inner>, socket: Socket, marks: WaterMarks) -> io::Result<Self> {
        let key = inner
            .reactor
            .borrow_mut()
            .add_stream(socket, Owner::Task, marks)?;
        Ok(Self { inner, key })
    }

    /// Gives up the handle, not the connection.
    pub(crate) fn into_key(mut self) -> Key {
        std::mem::replace(&mut self.key, Key::NOTHING)
    }

    fn error(&self, action: Action, source: io::Error) -> Error {
        match self.peer_addr() {
            Ok(peer) => Error::new(action, format_args!("from {peer}"), source),
            Err(_) => Error::bare(action, source),
        }
    }

    fn send_error(&self, source: io::Error) -> Error {
        match self.peer_addr() {
            Ok(peer) => Error::new(Action::Send, peer, source),
            Err(_) => Error::bare(Action::Send, source),
        }
    }

    /// The next bytes, in a buffer on loan; `None` at the end of the stream.
    ///
    /// # Errors
    /// The error the connection died of, e.g. `ECONNRESET`.
    pub async fn recv(&self) -> Result<Option<Buf>> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Poll form of [`recv`](Self::recv). One task receives at a time: the last one that polled is
    /// woken.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Result<Option<Buf>>> {
        let polled = self.inner.reactor.borrow_mut().poll_recv(self.key, context);
        polled.map_err(|source| self.error(Action::Receive, source))
    }

    /// The next bytes as a slice that others may hold, too; `None` at the end of the stream.
    ///
    /// Never a copy on either half: [`recv`](Self::recv) makes one where a stack's bytes are also
    /// held by somebody else, as they are by a sender in the same process until it is
    /// acknowledged.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_shared(&self) -> Result<Option<SharedBuf>> {
        std::future::poll_fn(|context| self.poll_recv_shared(context)).await
    }

    /// Poll form of [`recv_shared`](Self::recv_shared).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv_shared(&self, context: &mut Context<'_>) -> Poll<Result<Option<SharedBuf>>> {
        let polled = self
            .inner
            .reactor
            .borrow_mut()
            .poll_recv_shared(self.key, context);
        polled.map_err(|source| self.error(Action::Receive, source))
    }

    /// Waits until [`recv`](Self::recv) would answer at once. One task waits at a time, and none
    /// receives meanwhile: the last one that polled is woken.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self
            .inner
            .reactor
            .borrow_mut()
            .poll_readable(self.key, context);
        polled.map_err(|source| self.error(Action::Receive, source))
    }

    /// Waits until [`send`](Self::send) would answer at once.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self
            .inner
            .reactor
            .borrow_mut()
            .poll_writable(self.key, context);
        polled.map_err(|source| self.send_error(source))
    }

    /// Copies the next bytes into `into`; 0 at the end of the stream, or when `into` is empty.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn read(&self, into: &mut [u8]) -> Result<usize> {
        std::future::poll_fn(|context| self.poll_read(context, into)).await
    }

    /// Poll form of [`read`](Self::read).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_read(&self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<Result<usize>> {
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(mut buf) = ready!(self.poll_recv(context))? else {
            return Poll::Ready(Ok(0));
        };
        let count = buf.len().min(into.len());
        into[..count].copy_from_slice(&buf[..count]);
        if count < buf.len() {
            buf.advance(count);
            self.unread(buf);
        }
        Poll::Ready(Ok(count))
    }

    /// Puts bytes back in front of what is received next, e.g. after a message was found to end
    /// inside a buffer.
    pub fn unread(&self, buf: Buf) {
        if !buf.is_empty() {
            self.inner.reactor.borrow_mut().unread(self.key, buf);
        }
    }

    /// Fills `into` completely.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and `UnexpectedEof` when the stream ends first.
    pub async fn read_exact(&self, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let count = self.read(into).await?;
            if count == 0 {
                return Err(self.error(Action::Receive, io::ErrorKind::UnexpectedEof.into()));
            }
            into = &mut into[count..];
        }
        Ok(())
    }

    /// Sends bytes without copying them in user space: a pool [`Buf`], a [`SharedBuf`], or
    /// `bytes::Bytes`. Waits while the queue is above its high-water mark; ends when the bytes are
    /// accepted, not when they have arrived ([`flush`](Self::flush) waits for the kernel).
    ///
    /// # Errors
    /// The error the connection died of, or `EPIPE` after [`shutdown`](Self::shutdown).
    pub async fn send(&self, data: impl Into<SharedBuf>) -> Result<()> {
        let mut data = Some(data.into());
        std::future::poll_fn(|context| self.poll_send(context, &mut data)).await
    }

    /// Poll form of [`send`](Self::send): takes `data` out when it is accepted.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_send(
        &self,
        context: &mut Context<'_>,
        data: &mut Option<SharedBuf>,
    ) -> Poll<Result<()>> {
        let Some(slice) = data.take() else {
            return Poll::Ready(Ok(()));
        };
        let mut reactor = self.inner.reactor.borrow_mut();
        let source = match reactor.send(self.key, slice) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err((Refusal::Full, slice)) => {
                *data = Some(slice);
                match ready!(reactor.poll_writable(self.key, context)) {
                    // Refused for being full a moment ago, so this is not reached; polling again is
                    // right all the same.
                    Ok(()) => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(source) => source,
                }
            }
            Err((Refusal::Closed(errno), _)) => io::Error::from_raw_os_error(errno),
            // Nothing is copied here.
            Err((Refusal::NoBuffer, _)) => io::ErrorKind::OutOfMemory.into(),
        };
        drop(reactor);
        Poll::Ready(Err(self.send_error(source)))
    }

    /// Copies `data` into pool buffers and sends them; waits for buffers when the pool is empty.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_copy(&self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let Some(mut buf) = self.inner.buffer() else {
                // Buffers come home as sends complete.
                sleep(Duration::from_millis(1)).await;
                continue;
            };
            let count = data.len().min(buf.capacity());
            // It fits by construction.
            let _ = buf.extend_from_slice(&data[..count]);
            data = &data[count..];
            self.send(buf).await?;
        }
        Ok(())
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
        let polled = self
            .inner
            .reactor
            .borrow_mut()
            .poll_flushed(self.key, context);
        polled.map_err(|source| self.send_error(source))
    }

    /// Ends the write side after what is queued; receiving goes on (half-close).
    pub fn shutdown(&self) {
        self.inner.reactor.borrow_mut().shutdown_write(self.key);
    }

    /// Resets the connection: what is queued is dropped, the peer sees `ECONNRESET`. Whoever waits
    /// on the stream, or uses it afterwards, gets `NotConnected`.
    pub fn abort(&self) {
        self.inner
            .reactor
            .borrow_mut()
            .abort_stream(self.key, CloseReason::Local);
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

    /// Whether either side has finished, an error came up, or bytes have arrived that nobody asked
    /// for: an idle connection in that state is not worth keeping.
    pub fn is_stale(&self) -> bool {
        let reactor = self.inner.reactor.borrow();
        let Some(stream) = reactor.streams.get(self.key) else {
            return true;
        };
        let shut = stream.shut != Shut::Open || stream.closing != Closing::No;
        if shut || stream.eof || stream.error.is_some() || !stream.arrived.is_empty() {
            return true;
        }
        stream.socket.is_readable()
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

    fn with_half<T>(&self, call: impl FnOnce(&Socket) -> Result<T>) -> Result<T> {
        let reactor = self.inner.reactor.borrow();
        let stream = reactor.streams.get(self.key).ok_or_else(not_connected)?;
        call(&stream.socket)
    }

    /// The kernel's socket, for options that have no method here. Its descriptor stays this
    /// stream's.
    ///
    /// # Errors
    /// When the connection is gone, or a stack's; or what `call` answers.
    pub fn with_socket<T>(&self, call: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> Result<T> {
        let fd = self.inner.reactor.borrow().duplicate(self.key)?;
        call(SockRef::from(&fd)).map_err(|error| Error::bare(Action::Option, error))
    }

    /// Whether it is a stack's connection, not the kernel's.
    pub(crate) fn is_of_stack(&self) -> bool {
        let reactor = self.inner.reactor.borrow();
        reactor.stack_socket(self.key).is_some()
    }

    /// A call on the socket of either half, which changes nothing here: without a second
    /// descriptor, so that it works when there is none left.
    fn with_own(
        &self,
        kernel: impl FnOnce(SockRef<'_>) -> io::Result<()>,
        stack: impl FnOnce(&StackSocket) -> Result<()>,
    ) -> Result<()> {
        self.with_half(|socket| match socket {
            Socket::Kernel(fd) => {
                kernel(SockRef::from(fd)).map_err(|error| Error::bare(Action::Option, error))
            }
            Socket::Stack(socket) => stack(socket),
        })
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpStream(Stream);

impl Deref for TcpStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.0
    }
}

impl TcpStream {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(stream)
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.0
    }

    /// Connects to an address, on the runtime's default [`Net`].
    ///
    /// # Errors
    /// What the peer or the network answered, with the address.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_with(address, &ConnectOptions::default()).await
    }

    /// Connects with options, among them a time limit.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `TimedOut` when the limit has passed.
    pub async fn connect_with(address: SocketAddr, options: &ConnectOptions) -> Result<Self> {
        Net::current()?.tcp_connect(address, options).await
    }

    /// Connects to `host:port`: looks the name up and tries its addresses in order, the next one
    /// after 250 ms or as soon as one has failed; the first to connect wins.
    ///
    /// # Errors
    /// As [`Resolver::resolve`](crate::Resolver::resolve) and [`connect`](Self::connect); when no
    /// address answers, the first one's error, with the others beside it. `TimedOut` when the
    /// limit of the options has passed for all of it.
    pub async fn connect_host(target: &str, options: &ConnectOptions) -> Result<Self> {
        Net::current()?.tcp_connect_host(target, options).await
    }

    /// Takes over a connected socket of the standard library.
    ///
    /// # Errors
    /// Outside of a runtime, or when the reactor cannot take it.
    pub fn from_std(stream: std::net::TcpStream) -> Result<Self> {
        let inner = current(Action::Socket)?;
        // The ring answers EAGAIN on a non-blocking socket instead of waiting for it.
        stream
            .set_nonblocking(false)
            .map_err(|error| Error::bare(Action::Socket, error))?;
        Stream::adopt(inner, Socket::Kernel(stream.into()), WaterMarks::default())
            .map(Self)
            .map_err(|error| Error::bare(Action::Socket, error))
    }

    /// Whether small messages leave at once (`TCP_NODELAY`; they do by default).
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn set_nodelay(&self, yes: bool) -> Result<()> {
        self.with_own(
            |socket| socket.set_tcp_nodelay(yes),
            |socket| socket.set_option(SocketOption::NoDelay(yes)),
        )
    }

    /// Probes the peer after this long without traffic (`SO_KEEPALIVE`, `TCP_KEEPIDLE`).
    ///
    /// # Errors
    /// When the connection is gone, or the time is out of the kernel's range.
    pub fn set_keepalive(&self, after: Duration) -> Result<()> {
        self.with_own(
            |socket| socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(after)),
            |socket| {
                socket.set_option(SocketOption::KeepAliveIdle(after))?;
                socket.set_option(SocketOption::KeepAlive(true))
            },
        )
    }

    /// What TCP knows of the connection, in the names of Linux's `struct tcp_info`: of a stack's
    /// connection. The kernel tells it by `getsockopt` on [`with_socket`](Stream::with_socket).
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        let reactor = self.0.inner.reactor.borrow();
        reactor.stack_socket(self.0.key)?.info()
    }

    /// Changes an option of a stack's connection that has no method here; on the kernel's that is
    /// done by [`with_socket`](Stream::with_socket).
    ///
    /// # Errors
    /// The value is out of range, the connection is gone, or the kernel's.
    pub fn set_stack_option(&self, option: SocketOption) -> Result<()> {
        self.with_half(|socket| match socket {
            Socket::Stack(socket) => socket.set_option(option),
            Socket::Kernel(_) => Err(Error::errno(Action::Option, "", libc::EOPNOTSUPP)
                .hinted("this connection is the kernel's: with_socket sets its options")),
        })
    }

    /// Ends the write side after what is queued, or both sides at once.
    pub fn shutdown_how(&self, how: Shutdown) {
        match how {
            Shutdown::Write => self.shutdown(),
            Shutdown::Read | Shutdown::Both => {
                // The read side of a TCP socket cannot be shut so that the peer notices.
                let _ = self.with_own(
                    |socket| socket.shutdown(how),
                    |socket| {
                        socket.shut_down_read();
                        Ok(())
                    },
                );
                if let (Shutdown::Both, true) = (how, self.is_of_stack()) {
                    self.shutdown();
                }
            }
        }
    }
}

/// A Unix stream connection.
#[derive(Debug)]
pub struct UnixStream(Stream);

impl Deref for UnixStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.0
    }
}

impl UnixStream {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(stream)
    }

    /// Connects to a path.
    ///
    /// # Errors
    /// What the kernel answered, with the path.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Self::connect_with(path, &ConnectOptions::default()).await
    }

    /// Connects to a path, with settings. While the listener's backlog is full it waits, for as
    /// long as the time limit allows.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); `TimedOut` after the time limit.
    pub async fn connect_with(path: impl AsRef<Path>, options: &ConnectOptions) -> Result<Self> {
        connect(&Net::kernel()?, &Address::from(path.as_ref()), options)
            .await
            .map(Self)
    }

    /// Two connected ends.
    ///
    /// # Errors
    /// Outside of a runtime, or when the kernel has no descriptors left.
    pub fn pair() -> Result<(Self, Self)> {
        let inner = current(Action::Socket)?;
        let fail = |error| Error::bare(Action::Socket, error);
        let (one, other) = std::os::unix::net::UnixStream::pair().map_err(fail)?;
        let marks = WaterMarks::default();
        let one = Socket::Kernel(one.into());
        let one = Stream::adopt(inner.clone(), one, marks).map_err(fail)?;
        let other = Stream::adopt(inner, Socket::Kernel(other.into()), marks).map_err(fail)?;
        Ok((Self(one), Self(other)))
    }
}

/// A connect that is cancelled when nobody waits for it any more.
struct ConnectGuard {
    inner: Rc<Inner>,
    key: Option<Key>,
}

impl Drop for ConnectGuard {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.inner.reactor.borrow_mut().abandon_connect(key);
        }
    }
}

/// Pauses between attempts to get into a full backlog: doubled from the first to the last.
const BACKLOG_PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(64));

/// Looks a name up and connects to the first of its addresses that answers.
pub(crate) async fn connect_host(
    net: &Net,
    target: &str,
    options: &ConnectOptions,
) -> Result<TcpStream> {
    let connected = async {
        let addresses = options.resolver.resolve(target).await?;
        super::race::connect_any(net, target, addresses, options).await
    };
    match options.timeout {
        None => connected.await,
        Some(limit) => timeout(limit, connected)
            .await
            .unwrap_or_else(|elapsed| Err(Error::new(Action::Connect, target, elapsed.into()))),
    }
}

pub(crate) async fn connect(
    net: &Net,
    address: &Address,
    options: &ConnectOptions,
) -> Result<Stream> {
    let connected = async {
        let (mut pause, longest) = BACKLOG_PAUSES;
        loop {
            match connect_once(net, address, options).await {
                // The ring waits until the listener's backlog has room; epoll is told that it has
                // none, and by nothing when it has.
                Err(error)
                    if matches!(address, Address::Unix(_))
                        && error.raw_os_error() == Some(libc::EAGAIN) =>
                {
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
                outcome => return outcome,
            }
        }
    };
    match options.timeout {
        None => connected.await,
        Some(limit) => timeout(limit, connected).await.unwrap_or_else(|elapsed| {
            let error = io::Error::new(io::ErrorKind::TimedOut, elapsed);
            Err(Error::new(Action::Connect, address, error))
        }),
    }
}

async fn connect_once(net: &Net, address: &Address, options: &ConnectOptions) -> Result<Stream> {
    let inner = net.inner.clone();
    let fail = |error: io::Error| Error::new(Action::Connect, address, error);
    let key = match (&net.half, address) {
        (Half::Kernel, _) => {
            let raw = address.to_sock_addr(Action::Connect)?;
            let fd = socket::outgoing(address, options)?;
            inner.reactor.borrow_mut().start_connect(fd, raw)
        }
        (Half::Stack(host), Address::Ip(ip)) => {
            let socket = StackSocket::connect(host, *ip, options)?;
            Ok(inner.reactor.borrow_mut().await_connect(socket))
        }
        (Half::Stack(_), Address::Unix(_)) => return Err(no_paths(Action::Connect, address)),
    }
    .map_err(fail)?;
    let mut guard = ConnectGuard {
        inner: inner.clone(),
        key: Some(key),
    };
    let marks = options.marks;
    let connected = std::future::poll_fn(|context| {
        let stream = ready!(
            guard
                .inner
                .reactor
                .borrow_mut()
                .poll_connect(key, marks, context)
        );
        guard.key = None;
        Poll::Ready(stream)
    });
    let connected = connected.await;
    let stream = connected
        .map(|key| Stream::from_key(inner, key))
        .map_err(fail)?;
    if let (Half::Kernel, Some(early)) = (&net.half, options.early_data()) {
        // With a cookie, the SYN leaves with this.
        stream.send(early).await?;
    }
    Ok(stream)
}
