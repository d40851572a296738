//! What calls answer when they do not succeed.

use core::net::{IpAddr, SocketAddr};

use crate::error::RouteError;

/// Why a socket could not be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UdpBindError {
    /// Another socket has the address and port (EADDRINUSE).
    #[error("{0} is in use; choose another port, or 0 for any")]
    AddressInUse(SocketAddr),
    /// Not an address of this stack (EADDRNOTAVAIL).
    #[error("{0} is not an address of this stack; bind to one of its own, or to 0.0.0.0 or ::")]
    AddressNotLocal(IpAddr),
    /// All ports of the range are taken (EADDRINUSE).
    #[error("no free port in the range of local ports")]
    NoPort,
    /// The limit of sockets is reached (ENOBUFS).
    #[error("too many UDP sockets; raise `udp.sockets` of the configuration")]
    TooMany,
}

/// Why a datagram was not sent, or a socket not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UdpSendError {
    /// The way out is full; wait for a writable event (EAGAIN).
    #[error("the queue of the interface is full")]
    WouldBlock,
    /// No way to the peer.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No peer was given, and the socket is not connected (EDESTADDRREQ).
    #[error("no destination: the socket is not connected")]
    DestinationRequired,
    /// Port 0, or an address of another family than the socket's (EINVAL).
    #[error("not a destination for this socket: the port is 0 or the families differ")]
    InvalidDestination,
    /// A broadcast address without the option to send there (EACCES).
    #[error("a broadcast address; set the option `broadcast` to send there")]
    Broadcast,
    /// Larger than a datagram, or a packet that must not be fragmented, can be (EMSGSIZE).
    #[error("the datagram is too long; the largest possible here has {max} bytes")]
    MessageTooLong {
        /// Bytes that would have been possible.
        max: usize,
    },
    /// Another socket is connected with the same ends (EADDRINUSE).
    #[error("another socket has the same address, port and peer")]
    AddressInUse,
    /// There is no such socket (EBADF).
    #[error("no such socket")]
    NotFound,
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UdpRecvError {
    /// Nothing is there; wait for a readable event (EAGAIN).
    #[error("nothing to receive yet")]
    WouldBlock,
    /// There is no such socket (EBADF).
    #[error("no such socket")]
    NotFound,
}

/// A call on a socket that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UdpSocketError {
    /// There is no such socket (EBADF).
    #[error("no such socket")]
    NotFound,
}
