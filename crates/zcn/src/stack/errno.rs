//! The stack's answers as the errors that the kernel's sockets give.

use std::net::SocketAddr;

use zcn_stack::error::RouteError;
use zcn_stack::tcp::{ConnectError, ListenError, OptionError, RecvError, SendError};
use zcn_stack::udp::{UdpBindError, UdpSendError};

use crate::error::{Action, Error};

fn route(error: RouteError) -> i32 {
    match error {
        RouteError::NoSource | RouteError::SourceNotOurs => libc::EADDRNOTAVAIL,
        RouteError::NotUnicast => libc::EINVAL,
        _ => libc::ENETUNREACH,
    }
}

pub(super) fn connect(
    address: SocketAddr,
    local: Option<SocketAddr>,
    error: &ConnectError,
) -> Error {
    let (action, target, errno) = match error {
        ConnectError::Route(RouteError::SourceNotOurs) => {
            (Action::Bind, local.unwrap_or(address), libc::EADDRNOTAVAIL)
        }
        ConnectError::Route(error) => (Action::Connect, address, route(*error)),
        ConnectError::AddressInUse => (Action::Bind, local.unwrap_or(address), libc::EADDRINUSE),
        ConnectError::NoPort => (Action::Connect, address, libc::EADDRNOTAVAIL),
        ConnectError::TooMany => (Action::Connect, address, libc::ENOBUFS),
        _ => (Action::Connect, address, libc::EINVAL),
    };
    Error::errno(action, target, errno).hinted(error.to_string())
}

pub(super) fn listen(address: SocketAddr, error: &ListenError) -> Error {
    let errno = match error {
        ListenError::AddressNotLocal => libc::EADDRNOTAVAIL,
        _ => libc::EADDRINUSE,
    };
    Error::errno(Action::Bind, address, errno).hinted(error.to_string())
}

pub(super) fn bind(address: SocketAddr, error: &UdpBindError) -> Error {
    let errno = match error {
        UdpBindError::AddressNotLocal(_) => libc::EADDRNOTAVAIL,
        UdpBindError::TooMany => libc::ENOBUFS,
        _ => libc::EADDRINUSE,
    };
    Error::errno(Action::Bind, address, errno).hinted(error.to_string())
}

/// For a send that failed for good.
pub(super) fn datagram(error: UdpSendError) -> i32 {
    match error {
        UdpSendError::WouldBlock => libc::EAGAIN,
        UdpSendError::Route(error) => route(error),
        UdpSendError::DestinationRequired => libc::EDESTADDRREQ,
        UdpSendError::Broadcast => libc::EACCES,
        UdpSendError::MessageTooLong { .. } => libc::EMSGSIZE,
        UdpSendError::AddressInUse => libc::EADDRINUSE,
        UdpSendError::NotFound => libc::ENOTCONN,
        _ => libc::EINVAL,
    }
}

pub(super) fn receive(error: RecvError) -> i32 {
    match error {
        RecvError::Connection(error) => error.errno(),
        _ => libc::ENOTCONN,
    }
}

pub(super) fn send(error: SendError) -> i32 {
    match error {
        SendError::Connection(error) => error.errno(),
        SendError::NotFound => libc::ENOTCONN,
        _ => libc::EPIPE,
    }
}

pub(super) fn option(error: &OptionError) -> Error {
    let errno = match error {
        OptionError::NotFound => libc::ENOTCONN,
        _ => libc::EINVAL,
    };
    Error::errno(Action::Option, "", errno).hinted(error.to_string())
}

/// Several stacks share no address, and within one stack there is one thread.
pub(super) fn no_reuse_port(address: SocketAddr) -> Error {
    Error::errno(Action::Listen, address, libc::ENOPROTOOPT)
        .hinted("a stack belongs to one runtime and has no reuse_port: give each core a stack and an address of its own")
}

/// What only the kernel's sockets have.
pub(crate) fn kernel_only(what: &str) -> Error {
    Error::errno(Action::Option, "", libc::EOPNOTSUPP).hinted(format!(
        "{what} is of the kernel's sockets only, and this one is a stack's"
    ))
}
