//! A connected socket of either half.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::sockopt;
use socket2::SockRef;

use super::progress;
use crate::error::{Action, Error, Result};
use crate::net::socket::{self, Address};
use crate::stack::errno::kernel_only;
use crate::stack::socket::StackSocket;

/// A connected socket: the kernel's, by its descriptor, or a stack's.
///
/// Receiving and sending differ between the two (`streams.rs`, `stacks.rs`); all else is here.
#[derive(Debug)]
pub(crate) enum Socket {
    Kernel(OwnedFd),
    Stack(StackSocket),
}

const _: () = assert!(size_of::<Socket>() <= 16);

impl Socket {
    /// The descriptor, which a stack's socket does not have.
    #[inline]
    pub(crate) fn fd(&self) -> Option<&OwnedFd> {
        match self {
            Self::Kernel(fd) => Some(fd),
            Self::Stack(_) => None,
        }
    }

    /// The descriptor, for what only the kernel's sockets have.
    pub(crate) fn kernel(&self, what: &str) -> Result<&OwnedFd> {
        self.fd().ok_or_else(|| kernel_only(what))
    }

    pub(crate) fn local_address(&self) -> Result<Address> {
        match self {
            Self::Kernel(fd) => socket::local_address(fd),
            Self::Stack(socket) => match socket.addresses() {
                Some((local, _)) => Ok(Address::Ip(local)),
                None => Err(not_connected()),
            },
        }
    }

    pub(crate) fn peer_address(&self) -> Result<Address> {
        match self {
            Self::Kernel(fd) => socket::peer_address(fd),
            Self::Stack(socket) => match socket.addresses() {
                Some((_, peer)) => Ok(Address::Ip(peer)),
                None => Err(not_connected()),
            },
        }
    }

    /// Ends the write side; whether there was one to end.
    pub(crate) fn shut_down_write(&self) -> bool {
        match self {
            Self::Kernel(fd) => SockRef::from(fd).shutdown(Shutdown::Write).is_ok(),
            Self::Stack(socket) => socket.shut_down_write(),
        }
    }

    /// Ends both sides, before an orderly close.
    pub(crate) fn shut_down(&self) {
        match self {
            // A broken connection answers ENOTCONN, and is as shut as can be.
            Self::Kernel(fd) => {
                let _ = SockRef::from(fd).shutdown(Shutdown::Both);
            }
            // Its close does that.
            Self::Stack(_) => {}
        }
    }

    /// Has the close reset the peer.
    pub(crate) fn abort(&self) {
        match self {
            // Without the option the close is a plain one; nothing is lost by that.
            Self::Kernel(fd) => {
                let _ = sockopt::set_socket_linger(fd, Some(std::time::Duration::ZERO));
            }
            Self::Stack(socket) => socket.abort(),
        }
    }

    /// A number that changes when the peer takes something.
    pub(crate) fn taken(&self) -> Option<u32> {
        match self {
            Self::Kernel(fd) => progress::taken(fd.as_fd()),
            Self::Stack(socket) => socket.taken(),
        }
    }

    /// Whether something has arrived, or the connection is over.
    pub(crate) fn is_readable(&self) -> bool {
        match self {
            Self::Kernel(fd) => {
                let mut byte = [std::mem::MaybeUninit::uninit()];
                let peeked = SockRef::from(fd)
                    .recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT);
                !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Stack(socket) => socket.is_readable(),
        }
    }
}

pub(crate) fn not_connected() -> Error {
    Error::bare(Action::Option, io::ErrorKind::NotConnected.into())
}
