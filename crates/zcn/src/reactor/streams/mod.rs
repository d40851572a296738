//! What streams do: receive, send, shut down, close.
//!
//! Rules kept here: one send in flight per stream and short sends continued (rule 10), close is
//! shutdown, cancel, await the final completions, close (rule 6), receives that found no buffer
//! wait for the pool (rule 8).

mod close;
mod poll;
mod receive;
mod send;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Reactor;
use super::driver::Attached;
use super::socket::{Socket, not_connected};
use super::stream::{Owner, Stream, WaterMarks};
use super::token::{Class, Token, Way};
use crate::config::ZeroCopy;
use crate::error::{Action, Error};
use crate::stack::host::Role;
use crate::table::Key;

fn token(way: Way, key: Key) -> u64 {
    Token::new(Class::Stream, way, key).encode()
}

impl Reactor {
    /// Takes over a connected socket.
    pub(crate) fn add_stream(
        &mut self,
        socket: Socket,
        owner: Owner,
        marks: WaterMarks,
    ) -> io::Result<Key> {
        let at = match &socket {
            Socket::Kernel(fd) => self.driver.attach(fd.as_fd())?,
            Socket::Stack(_) => Attached::NOWHERE,
        };
        Ok(self.adopt_stream(socket, at, owner, marks))
    }

    /// [`Self::add_stream`] for a descriptor that is attached already.
    pub(crate) fn adopt_stream(
        &mut self,
        socket: Socket,
        at: Attached,
        owner: Owner,
        marks: WaterMarks,
    ) -> Key {
        let zero_copy = match (self.zero_copy, &socket) {
            (ZeroCopy::Never, _) | (_, Socket::Stack(_)) => false,
            (ZeroCopy::Always, _) => true,
            (ZeroCopy::Auto, Socket::Kernel(fd)) => {
                self.driver.is_uring() && leaves_the_machine(fd)
            }
        };
        let mut stream = Stream::new(socket, at, owner, marks);
        stream.zero_copy = zero_copy;
        stream.last_read_ms = self.now_ms;
        stream.last_write_ms = self.now_ms;
        let key = self.streams.insert(stream);
        if let Some(Socket::Stack(socket)) = self.streams.get(key).map(|stream| &stream.socket) {
            socket.set_role(Role::Stream(key));
        }
        if let Owner::Server(_) = owner {
            self.list_receive(key);
        }
        key
    }

    /// Hands a connected stream of a task over to a server.
    pub(crate) fn give_stream(&mut self, key: Key, server: Key) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.owner = Owner::Server(server);
            self.list_receive(key);
        }
    }

    /// A second descriptor of the stream's socket, for user code that runs with nothing borrowed
    /// and may close the stream meanwhile (rule 16).
    pub(crate) fn duplicate(&self, key: Key) -> crate::Result<OwnedFd> {
        let stream = self.streams.get(key).ok_or_else(not_connected)?;
        let fd = stream.socket.kernel("the descriptor")?;
        fd.try_clone()
            .map_err(|error| Error::bare(Action::Option, error))
    }
}

/// Whether the peer is on another machine, as far as the address tells; only there can a send do
/// without the copy.
fn leaves_the_machine(fd: &OwnedFd) -> bool {
    let Ok(peer) = socket2::SockRef::from(fd).peer_addr() else {
        return false;
    };
    let Ok(local) = socket2::SockRef::from(fd).local_addr() else {
        return false;
    };
    match (peer.as_socket(), local.as_socket()) {
        (Some(peer), Some(local)) => !peer.ip().is_loopback() && peer.ip() != local.ip(),
        _ => false,
    }
}
