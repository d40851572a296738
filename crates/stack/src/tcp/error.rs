//! What calls answer when they do not succeed.

use crate::error::RouteError;

/// Why a connection ended before its time, or never came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The peer refused (ECONNREFUSED).
    #[error("connection refused by the peer")]
    Refused,
    /// The peer reset the connection (ECONNRESET).
    #[error("connection reset by the peer")]
    Reset,
    /// No answer in time (ETIMEDOUT).
    #[error("connection timed out")]
    TimedOut,
    /// A router says that the peer cannot be reached (EHOSTUNREACH).
    #[error("no route to the host")]
    HostUnreachable,
    /// The application aborted it (ECONNABORTED).
    #[error("connection aborted")]
    Aborted,
    /// The peer was reset while data of ours was on its way (EPIPE).
    #[error("broken pipe")]
    BrokenPipe,
}

impl TcpError {
    /// The number that Linux has for it.
    pub const fn errno(self) -> i32 {
        match self {
            Self::Refused => 111,
            Self::Reset => 104,
            Self::TimedOut => 110,
            Self::HostUnreachable => 113,
            Self::Aborted => 103,
            Self::BrokenPipe => 32,
        }
    }
}

/// Why a listener could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another socket has the address and port (EADDRINUSE).
    #[error("address already in use; choose another port, or 0 for any")]
    AddressInUse,
    /// Not an address of this stack (EADDRNOTAVAIL).
    #[error("not an address of this stack; listen at one of its own, or at 0.0.0.0 or ::")]
    AddressNotLocal,
    /// No port is free (EADDRINUSE).
    #[error("no free port in the range of local ports")]
    NoPort,
}

/// Why a connect could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No way to the peer.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The port of the peer is 0, or an address is of the other family (EINVAL).
    #[error("not an address to connect to: the port is 0 or the families differ")]
    Invalid,
    /// The local address and port have a connection to this peer (EADDRINUSE).
    #[error("address already in use")]
    AddressInUse,
    /// All local ports have a connection to this peer (EADDRNOTAVAIL).
    #[error(
        "no local port is free for this peer; use more local addresses, or wait for TIME-WAIT to end"
    )]
    NoPort,
    /// The limit of connections is reached (ENOBUFS).
    #[error("too many connections; raise `connections` of the configuration")]
    TooMany,
}

/// Why there is nothing to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// No connection is waiting (EAGAIN).
    #[error("no connection is waiting")]
    WouldBlock,
    /// There is no such listener (EBADF).
    #[error("no such listener")]
    NotFound,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The send buffer is full, or the pool empty; wait for a writable event (EAGAIN).
    #[error("the send buffer is full")]
    WouldBlock,
    /// We ended our side, or the connection is over (EPIPE).
    #[error("the sending side is closed")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Connection(TcpError),
    /// There is no such connection (EBADF).
    #[error("no such connection")]
    NotFound,
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing is there yet; wait for a readable event (EAGAIN).
    #[error("nothing to receive yet")]
    WouldBlock,
    /// Not connected yet, or never was (ENOTCONN).
    #[error("not connected")]
    NotConnected,
    /// The connection failed.
    #[error(transparent)]
    Connection(TcpError),
    /// There is no such connection (EBADF).
    #[error("no such connection")]
    NotFound,
}

/// Why a connection could not be shut down or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Not connected (ENOTCONN).
    #[error("not connected")]
    NotConnected,
    /// There is no such socket (EBADF).
    #[error("no such socket")]
    NotFound,
}

/// Why an option was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The value is out of range (EINVAL).
    #[error("the value is out of range: {0}")]
    Invalid(&'static str),
    /// There is no such socket (EBADF).
    #[error("no such socket")]
    NotFound,
}

/// A slice that was not queued, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SendBufError {
    /// Why.
    pub error: SendError,
    /// The slice.
    pub bytes: zcn_pool::SharedBuf,
}
