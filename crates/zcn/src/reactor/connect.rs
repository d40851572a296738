//! Connections being made.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, Waker};

use socket2::SockAddr;

use super::Reactor;
use super::driver::{Attached, Done};
use super::socket::Socket;
use super::stream::{Owner, WaterMarks};
use super::token::{Class, Token, Way};
use crate::stack::host::Role;
use crate::stack::socket::StackSocket;
use crate::table::Key;

/// A socket whose connect has been started.
#[derive(Debug)]
pub(crate) struct Connecting {
    socket: Socket,
    at: Attached,
    waker: Option<Waker>,
    /// Negative errno or 0, once it has ended.
    result: Option<i32>,
    abandoned: bool,
}

impl Reactor {
    /// Starts a connect.
    pub(crate) fn start_connect(&mut self, fd: OwnedFd, address: SockAddr) -> io::Result<Key> {
        let at = self.driver.attach(fd.as_fd())?;
        let key = self.insert_connecting(Socket::Kernel(fd), at);
        self.driver.connect(
            at,
            address,
            Token::new(Class::Connect, Way::Out, key).encode(),
        );
        Ok(key)
    }

    /// Takes over a connection that a stack is making.
    pub(crate) fn await_connect(&mut self, socket: StackSocket) -> Key {
        let key = self.insert_connecting(Socket::Stack(socket), Attached::NOWHERE);
        if let Some(Socket::Stack(socket)) = self.connecting.get(key).map(|made| &made.socket) {
            socket.set_role(Role::Connecting(key));
        }
        key
    }

    fn insert_connecting(&mut self, socket: Socket, at: Attached) -> Key {
        self.connecting.insert(Connecting {
            socket,
            at,
            waker: None,
            result: None,
            abandoned: false,
        })
    }

    /// Every connect by a socket of this kind ends with an error.
    pub(super) fn connects_fail(&mut self, of: impl Fn(&Socket) -> bool, errno: i32) {
        for key in self.connecting.keys() {
            if self
                .connecting
                .get(key)
                .is_some_and(|made| of(&made.socket))
            {
                self.connect_ended(key, -errno);
            }
        }
    }

    /// A stack has made a connection, or has given it up.
    pub(super) fn connect_ended_in_stack(&mut self, key: Key, made: bool) {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return;
        };
        let Socket::Stack(socket) = &connecting.socket else {
            return;
        };
        let failed = || socket.take_error().unwrap_or(libc::ECONNREFUSED);
        let result = if made { 0 } else { -failed() };
        self.connect_ended(key, result);
    }

    pub(super) fn connected(&mut self, key: Key, done: Done) {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return;
        };
        if connecting.abandoned {
            // It may have succeeded after all (rule 7); either way nobody wants it.
            if let Some(connecting) = self.connecting.remove(key) {
                self.forget_connecting(&connecting);
            }
            return;
        }
        self.connect_ended(key, done.result);
    }

    fn forget_connecting(&mut self, connecting: &Connecting) {
        if let Socket::Kernel(_) = connecting.socket {
            self.driver.detach(connecting.at);
        }
    }

    fn connect_ended(&mut self, key: Key, result: i32) {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return;
        };
        connecting.result = Some(result);
        Self::wake_later(&mut self.wakers, &mut connecting.waker);
    }

    /// The connected stream, or why there is none.
    pub(crate) fn poll_connect(
        &mut self,
        key: Key,
        marks: WaterMarks,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Key>> {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(result) = connecting.result else {
            connecting.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let Some(connecting) = self.connecting.remove(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if result < 0 {
            self.forget_connecting(&connecting);
            return Poll::Ready(Err(io::Error::from_raw_os_error(-result)));
        }
        let Connecting { socket, at, .. } = connecting;
        Poll::Ready(Ok(self.adopt_stream(socket, at, Owner::Task, marks)))
    }

    /// The owner of a connect goes away: it is cancelled and its socket closed at its end.
    pub(crate) fn abandon_connect(&mut self, key: Key) {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return;
        };
        connecting.abandoned = true;
        if connecting.result.is_some() || connecting.socket.fd().is_none() {
            if let Some(connecting) = self.connecting.remove(key) {
                self.forget_connecting(&connecting);
            }
            return;
        }
        self.driver.cancel(connecting.at);
    }
}
