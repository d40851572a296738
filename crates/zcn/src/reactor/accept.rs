//! Listeners: accepting without losing a peer when descriptors run out (rule 11).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::driver::{Attached, Done};
use super::socket::Socket;
use super::stream::Owner;
use super::token::{Class, Token, Way};
use super::{Event, Reactor};
use crate::stack::host::Role;
use crate::stack::socket::StackListener;
use crate::table::Key;

/// Accepted peers that a task has not fetched yet before accepting pauses; the rest wait in the
/// kernel's backlog.
const ACCEPTED_MAX: usize = 128;

/// How long accepting rests after descriptors or memory ran out.
const RETRY_MS: u32 = 20;

/// Milliseconds from `now` to `at`, 0 when it is past; the clock wraps after 49 days.
fn left_ms(at: u32, now: u32) -> u32 {
    let left = at.wrapping_sub(now);
    if left > u32::MAX / 2 { 0 } else { left }
}

/// A listening socket of either half.
#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Kernel(OwnedFd),
    Stack(StackListener),
}

/// A listening socket as the reactor keeps it.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Open for as long as the listener is known to the driver.
    socket: ListeningSocket,
    at: Attached,
    owner: Owner,
    accepted: VecDeque<Socket>,
    waker: Option<Waker>,
    armed: bool,
    /// Not accepting because the server is full or the task does not fetch.
    held: bool,
    /// The reactor's clock when to try again after an error.
    retry_ms: Option<u32>,
    /// The error that accepting rests for, so that it is logged once.
    error: Option<i32>,
    closing: bool,
}

impl Reactor {
    /// Takes over a listening socket and starts accepting.
    pub(crate) fn add_listener(
        &mut self,
        socket: ListeningSocket,
        owner: Owner,
    ) -> io::Result<Key> {
        let at = match &socket {
            ListeningSocket::Kernel(fd) => self.driver.attach(fd.as_fd())?,
            ListeningSocket::Stack(_) => Attached::NOWHERE,
        };
        let key = self.listeners.insert(Listener {
            socket,
            at,
            owner,
            accepted: VecDeque::new(),
            waker: None,
            armed: false,
            held: false,
            retry_ms: None,
            error: None,
            closing: false,
        });
        if let Some(ListeningSocket::Stack(socket)) =
            self.listeners.get(key).map(|listener| &listener.socket)
        {
            socket.set_role(Role::Listener(key));
        }
        self.arm_listener(key);
        Ok(key)
    }

    fn arm_listener(&mut self, key: Key) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        if listener.armed || listener.held || listener.closing || listener.retry_ms.is_some() {
            return;
        }
        if let ListeningSocket::Stack(_) = listener.socket {
            return self.accept_from_stack(key);
        }
        listener.armed = true;
        self.driver.accept(
            listener.at,
            Token::new(Class::Listener, Way::In, key).encode(),
        );
    }

    /// Takes the peers that wait in a stack; an event tells of those to come.
    pub(super) fn accept_from_stack(&mut self, key: Key) {
        loop {
            let Some(listener) = self.listeners.get(key) else {
                return;
            };
            let ListeningSocket::Stack(socket) = &listener.socket else {
                return;
            };
            if listener.held || listener.closing {
                return;
            }
            let Some(peer) = socket.accept() else {
                return;
            };
            self.peer_accepted(key, Socket::Stack(peer));
        }
    }

    fn peer_accepted(&mut self, key: Key, socket: Socket) {
        match self.listeners.get_mut(key) {
            Some(listener) if !listener.closing => match listener.owner {
                Owner::Server(server) => {
                    self.events.push_back(Event::Accepted { server, socket });
                }
                Owner::Task => {
                    listener.accepted.push_back(socket);
                    Self::wake_later(&mut self.wakers, &mut listener.waker);
                    if listener.accepted.len() >= ACCEPTED_MAX {
                        self.hold_listener(key, true);
                    }
                }
            },
            // Closed meanwhile: the peer is told so.
            _ => drop(socket),
        }
    }

    /// An accept has brought a peer or ended.
    pub(super) fn accepted(&mut self, key: Key, done: Done) {
        if done.result >= 0 {
            let fd = super::driver::accepted(done.result);
            self.peer_accepted(key, Socket::Kernel(fd));
        }
        if done.more {
            return;
        }
        let now_ms = self.now_ms;
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        listener.armed = false;
        if listener.closing {
            return self.finish_listener(key);
        }
        match -done.result {
            libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS => {
                // The peer stays queued in the kernel; accepting goes on when something is free.
                if listener.error.replace(-done.result).is_none() {
                    tracing::warn!(
                        error = %io::Error::from_raw_os_error(-done.result),
                        "accepting rests: raise RLIMIT_NOFILE or limit the connections"
                    );
                }
                listener.retry_ms = Some(now_ms.wrapping_add(RETRY_MS));
            }
            libc::EBUSY | libc::EAGAIN => listener.retry_ms = Some(now_ms.wrapping_add(1)),
            // A listener that the application has shut down answers this for ever.
            libc::EINVAL | libc::EBADF | libc::EOPNOTSUPP => {
                listener.retry_ms = Some(now_ms.wrapping_add(RETRY_MS));
            }
            _ => {
                listener.error = None;
                self.arm_listener(key);
            }
        }
    }

    /// Stops or resumes accepting; peers wait in the kernel's backlog meanwhile.
    pub(crate) fn hold_listener(&mut self, key: Key, hold: bool) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        listener.held = hold;
        if hold && listener.armed {
            self.driver.cancel(listener.at);
        } else {
            self.arm_listener(key);
        }
    }

    /// The earliest time a resting listener must be tried again.
    pub(super) fn listener_pause(&self) -> Option<Duration> {
        self.listeners
            .iter()
            .filter_map(|(_, listener)| listener.retry_ms)
            .map(|at| Duration::from_millis(left_ms(at, self.now_ms).max(1).into()))
            .min()
    }

    pub(super) fn retry_listeners(&mut self) {
        let now_ms = self.now_ms;
        let due =
            |listener: &Listener| listener.retry_ms.is_some_and(|at| left_ms(at, now_ms) == 0);
        if !self.listeners.iter().any(|(_, listener)| due(listener)) {
            return;
        }
        for key in self.listeners.keys() {
            if let Some(listener) = self.listeners.get_mut(key).filter(|listener| due(listener)) {
                listener.retry_ms = None;
                self.arm_listener(key);
            }
        }
    }

    /// The next peer for a task.
    pub(crate) fn poll_accept(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Socket>> {
        let Some(listener) = self.listeners.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(socket) = listener.accepted.pop_front() {
            if listener.held && listener.accepted.len() <= ACCEPTED_MAX / 2 {
                self.hold_listener(key, false);
            }
            return Poll::Ready(Ok(socket));
        }
        listener.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits until there is a peer to accept.
    pub(crate) fn poll_acceptable(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(listener) = self.listeners.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if !listener.accepted.is_empty() {
            return Poll::Ready(Ok(()));
        }
        listener.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Stops listening. The descriptor is closed after the accept's final completion.
    pub(crate) fn close_listener(&mut self, key: Key) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        listener.closing = true;
        listener.accepted.clear();
        if listener.armed {
            self.driver.cancel(listener.at);
        } else {
            self.finish_listener(key);
        }
    }

    fn finish_listener(&mut self, key: Key) {
        if let Some(listener) = self.listeners.remove(key)
            && let ListeningSocket::Kernel(_) = listener.socket
        {
            self.driver.detach(listener.at);
        }
    }
}
