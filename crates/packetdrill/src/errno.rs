//! Error numbers of Linux for the stack's errors.

use libc::c_int;
use zcn_stack::error::RouteError;
use zcn_stack::tcp::{
    AcceptError, CloseError, ConnectError, ListenError, OptionError, RecvError, SendError,
};
use zcn_stack::udp::{UdpBindError, UdpRecvError, UdpSendError};

/// A number of `errno(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

/// What the calls here answer.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// The call would block.
pub(crate) const WOULD_BLOCK: Errno = Errno(libc::EAGAIN);

impl From<RouteError> for Errno {
    fn from(error: RouteError) -> Self {
        Self(match error {
            RouteError::NoSource | RouteError::SourceNotOurs => libc::EADDRNOTAVAIL,
            _ => libc::ENETUNREACH,
        })
    }
}

impl From<ListenError> for Errno {
    fn from(error: ListenError) -> Self {
        Self(match error {
            ListenError::AddressNotLocal => libc::EADDRNOTAVAIL,
            _ => libc::EADDRINUSE,
        })
    }
}

impl From<ConnectError> for Errno {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Route(error) => error.into(),
            ConnectError::AddressInUse | ConnectError::NoPort => Self(libc::EADDRNOTAVAIL),
            ConnectError::TooMany => Self(libc::ENOBUFS),
            _ => Self(libc::EINVAL),
        }
    }
}

impl From<AcceptError> for Errno {
    fn from(error: AcceptError) -> Self {
        Self(match error {
            AcceptError::WouldBlock => libc::EAGAIN,
            _ => libc::EINVAL,
        })
    }
}

impl From<SendError> for Errno {
    fn from(error: SendError) -> Self {
        Self(match error {
            SendError::WouldBlock => libc::EAGAIN,
            SendError::Connection(error) => error.errno(),
            _ => libc::EPIPE,
        })
    }
}

impl From<RecvError> for Errno {
    fn from(error: RecvError) -> Self {
        Self(match error {
            RecvError::WouldBlock => libc::EAGAIN,
            RecvError::Connection(error) => error.errno(),
            _ => libc::ENOTCONN,
        })
    }
}

impl From<CloseError> for Errno {
    fn from(_: CloseError) -> Self {
        Self(libc::ENOTCONN)
    }
}

impl From<OptionError> for Errno {
    fn from(_: OptionError) -> Self {
        Self(libc::EINVAL)
    }
}

impl From<UdpBindError> for Errno {
    fn from(error: UdpBindError) -> Self {
        Self(match error {
            UdpBindError::AddressNotLocal(_) => libc::EADDRNOTAVAIL,
            UdpBindError::TooMany => libc::ENOBUFS,
            _ => libc::EADDRINUSE,
        })
    }
}

impl From<UdpSendError> for Errno {
    fn from(error: UdpSendError) -> Self {
        match error {
            UdpSendError::Route(error) => error.into(),
            UdpSendError::WouldBlock => WOULD_BLOCK,
            UdpSendError::DestinationRequired => Self(libc::EDESTADDRREQ),
            UdpSendError::Broadcast => Self(libc::EACCES),
            UdpSendError::MessageTooLong { .. } => Self(libc::EMSGSIZE),
            UdpSendError::AddressInUse => Self(libc::EADDRINUSE),
            _ => Self(libc::EINVAL),
        }
    }
}

impl From<UdpRecvError> for Errno {
    fn from(_: UdpRecvError) -> Self {
        WOULD_BLOCK
    }
}
