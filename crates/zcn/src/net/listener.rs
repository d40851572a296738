//! Listening for tasks: TCP and Unix.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::half::{Half, Net};
use super::socket::{self, Address, ListenOptions};
use super::stream::{Stream, TcpStream, UnixStream};
use crate::error::{Action, Error, Result};
use crate::reactor::accept::ListeningSocket;
use crate::reactor::stream::{Owner, WaterMarks};
use crate::runtime::Inner;
use crate::stack::socket::StackListener;
use crate::table::Key;

/// A listening socket of the current runtime. Dropping it stops the listening.
struct Listening {
    inner: Rc<Inner>,
    key: Key,
    local: Address,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.inner.reactor.borrow_mut().close_listener(self.key);
    }
}

impl Listening {
    fn bind(net: &Net, address: &Address, options: &ListenOptions) -> Result<Self> {
        let inner = net.inner.clone();
        let (socket, local) = listen(&net.half, address, options)?;
        let key = inner
            .reactor
            .borrow_mut()
            .add_listener(socket, Owner::Task)
            .map_err(|error| Error::new(Action::Listen, address, error))?;
        Ok(Self { inner, key, local })
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<(Stream, Address)>> {
        let accepted = self
            .inner
            .reactor
            .borrow_mut()
            .poll_accept(self.key, context);
        accepted.map(|accepted| {
            let fail = |error| Error::new(Action::Accept, &self.local, error);
            let socket = accepted.map_err(fail)?;
            // A peer that has reset already has no address any more; the first receive tells.
            let peer = socket
                .peer_address()
                .unwrap_or(Address::Unix(PathBuf::new()));
            let stream =
                Stream::adopt(self.inner.clone(), socket, WaterMarks::default()).map_err(fail)?;
            Ok((stream, peer))
        })
    }
}

/// A listening socket of a half, and the address it got.
pub(crate) fn listen(
    half: &Half,
    address: &Address,
    options: &ListenOptions,
) -> Result<(ListeningSocket, Address)> {
    let Half::Stack(host) = half else {
        let fd = socket::listen(address, options)?;
        let local = socket::local_address(&fd)?;
        return Ok((ListeningSocket::Kernel(fd), local));
    };
    let Address::Ip(ip) = address else {
        return Err(no_paths(Action::Listen, address));
    };
    let listener = StackListener::bind(host, *ip, options)?;
    let local = listener.local().unwrap_or(*ip);
    Ok((ListeningSocket::Stack(listener), local.into()))
}

/// The error for a path on a stack.
pub(crate) fn no_paths(action: Action, address: &Address) -> Error {
    Error::errno(action, address, libc::EAFNOSUPPORT)
        .hinted("a stack has no Unix sockets: use the runtime's kernel_net for them")
}

/// Listens for TCP connections.
pub struct TcpListener(Listening);

impl std::fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TcpListener").field(&self.0.local).finish()
    }
}

impl TcpListener {
    /// Listens on an address of the runtime's default [`Net`]; port 0 picks a free one.
    ///
    /// # Errors
    /// The address is in use or not this machine's, with the remedy; or no runtime runs here.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        Self::bind_with(address, &ListenOptions::default())
    }

    /// Listens with options.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and an option the kernel refuses.
    pub fn bind_with(address: SocketAddr, options: &ListenOptions) -> Result<Self> {
        Self::open(&Net::current()?, address, options)
    }

    pub(super) fn open(net: &Net, address: SocketAddr, options: &ListenOptions) -> Result<Self> {
        Listening::bind(net, &Address::Ip(address), options).map(Self)
    }

    /// The next peer and its address.
    ///
    /// When descriptors run out, peers wait in the kernel's backlog until some are free again.
    ///
    /// # Errors
    /// When the reactor cannot take the connection.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    /// Poll form of [`accept`](Self::accept).
    ///
    /// # Errors
    /// As there.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<(TcpStream, SocketAddr)>> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        self.0.poll_accept(context).map_ok(|(stream, peer)| {
            let peer = peer.ip().unwrap_or(unknown);
            (TcpStream::new(stream), peer)
        })
    }

    /// Waits until [`accept`](Self::accept) would answer at once.
    ///
    /// # Errors
    /// When the listener is gone.
    pub fn poll_acceptable(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self
            .0
            .inner
            .reactor
            .borrow_mut()
            .poll_acceptable(self.0.key, context);
        polled.map_err(|error| Error::new(Action::Accept, &self.0.local, error))
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        // Bound to an IP address, so it has one.
        self.0
            .local
            .ip()
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

/// Listens for Unix stream connections. Dropping it removes the socket's file.
pub struct UnixListener(Listening);

impl std::fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UnixListener").field(&self.0.local).finish()
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.0.local {
            // Somebody else may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl UnixListener {
    /// Listens on a path. A socket file left behind by a dead program is replaced.
    ///
    /// # Errors
    /// The path is in use, too long or not writable; or no runtime runs here.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        let address = Address::from(path.as_ref());
        Listening::bind(&Net::kernel()?, &address, &ListenOptions::default()).map(Self)
    }

    /// The next peer.
    ///
    /// # Errors
    /// When the reactor cannot take the connection.
    pub async fn accept(&self) -> Result<UnixStream> {
        let (stream, _) = std::future::poll_fn(|context| self.0.poll_accept(context)).await?;
        Ok(UnixStream::new(stream))
    }
}
