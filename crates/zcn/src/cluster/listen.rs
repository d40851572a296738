//! One address, one listening socket per core.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::{
    DatagramHandler, Handler, ListenOptions, Runtime, ServerOptions, TcpListener, TcpServer,
    UdpOptions, UdpServer, UdpSocket,
};

/// Lets every core of a [`Cluster`](crate::Cluster) listen on the same address by `SO_REUSEPORT`,
/// and the kernel spread the peers over them: connections one by one, datagrams by their source,
/// so that a peer's all reach the same core. With port 0 the first to bind picks the port and the
/// others use it. A group is for TCP or for UDP, not for both: a port that is free in one may be
/// taken in the other.
#[derive(Debug)]
pub struct ListenGroup {
    asked: SocketAddr,
    bound: Mutex<Option<SocketAddr>>,
}

impl ListenGroup {
    /// A group for `address`. Nothing is bound yet.
    pub fn new(address: impl Into<SocketAddr>) -> Self {
        Self {
            asked: address.into(),
            bound: Mutex::new(None),
        }
    }

    /// The address that the cores listen on; none until the first has bound it.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds one more socket: `bind` is given the address to use and answers what it made and the
    /// address that it got. One core binds at a time.
    fn bind<T>(&self, bind: impl FnOnce(SocketAddr) -> Result<(T, SocketAddr)>) -> Result<T> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, address) = bind(bound.unwrap_or(self.asked))?;
        bound.get_or_insert(address);
        Ok(value)
    }

    /// This core's server with callbacks. `reuse_port` of the options is set here.
    ///
    /// # Errors
    /// As [`TcpServer::bind`].
    pub fn serve<H: Handler>(
        &self,
        runtime: &Runtime,
        mut options: ServerOptions,
        handler: H,
    ) -> Result<TcpServer> {
        options.listen.reuse_port = true;
        self.bind(|address| {
            let server = TcpServer::bind(runtime, address, options, handler)?;
            // Bound to an IP address, so it has one.
            let local = server.local_addr().ip().unwrap_or(address);
            Ok((server, local))
        })
    }

    /// This core's listener for tasks. `reuse_port` of the options is set here.
    ///
    /// # Errors
    /// As [`TcpListener::bind_with`].
    pub fn listen(&self, mut options: ListenOptions) -> Result<TcpListener> {
        options.reuse_port = true;
        self.bind(|address| {
            let listener = TcpListener::bind_with(address, &options)?;
            let local = listener.local_addr();
            Ok((listener, local))
        })
    }

    /// This core's UDP server with callbacks. `reuse_port` of the options is set here.
    ///
    /// # Errors
    /// As [`UdpServer::bind`].
    pub fn serve_udp<H: DatagramHandler>(
        &self,
        runtime: &Runtime,
        mut options: UdpOptions,
        handler: H,
    ) -> Result<UdpServer> {
        options.reuse_port = true;
        self.bind(|address| {
            let server = UdpServer::bind(runtime, address, &options, handler)?;
            let local = server.local_addr();
            Ok((server, local))
        })
    }

    /// This core's UDP socket for tasks. `reuse_port` of the options is set here.
    ///
    /// # Errors
    /// As [`UdpSocket::bind_with`].
    pub fn bind_udp(&self, mut options: UdpOptions) -> Result<UdpSocket> {
        options.reuse_port = true;
        self.bind(|address| {
            let socket = UdpSocket::bind_with(address, &options)?;
            let local = socket.local_addr();
            Ok((socket, local))
        })
    }
}
