//! One completion-shaped face over io_uring and epoll.
//!
//! The reactor above starts operations and is told how they ended; whether the kernel did them in
//! the background (the ring) or we did them when the descriptor was ready (epoll) makes no
//! difference to it. That is what keeps the two reactors' results the same.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use socket2::SockAddr;
use zcn_pool::{BufferPool, SharedBuf};
use zcn_uring::{Msg, OpId, Payload, RegisterError};

use super::epoll::EpollDriver;
pub(crate) use super::epoll::{accepted, borrowed};
use super::uring::UringDriver;

/// How an operation ended, or went on.
#[derive(Debug)]
pub(crate) struct Done {
    /// The word given with the operation.
    pub(crate) token: u64,
    /// Value or negative errno.
    pub(crate) result: i32,
    /// The operation goes on.
    pub(crate) more: bool,
    /// Not an end but the release of a zero-copy send's slices.
    pub(crate) notification: bool,
    /// The notification tells that the kernel copied.
    pub(crate) copied: bool,
    /// The socket held more when the receive ended (io_uring only).
    pub(crate) nonempty: bool,
    /// What arrived, or what was sent.
    pub(crate) payload: Option<Payload>,
}

impl Done {
    /// A plain end.
    pub(crate) fn new(token: u64, result: i32, payload: Option<Payload>) -> Self {
        Self {
            token,
            result,
            more: false,
            notification: false,
            copied: false,
            nonempty: false,
            payload,
        }
    }

    pub(crate) fn failed(token: u64, errno: i32, payload: Option<Payload>) -> Self {
        Self {
            token,
            result: -errno,
            more: false,
            notification: false,
            copied: false,
            nonempty: false,
            payload,
        }
    }
}

/// Where the buffers of a receive come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source(pub(crate) usize);

/// The runtime's own pool.
pub(crate) const STREAM_SOURCE: Source = Source(0);

/// The pool of larger buffers for connections with much data.
pub(crate) const BULK_SOURCE: Source = Source(1);

/// A descriptor as the driver knows it: attached once, detached before it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) fd: RawFd,
    /// Place in the driver's own table (epoll), or in the ring's file table if it has one.
    pub(crate) place: u32,
}

impl Attached {
    /// Of a socket that no driver knows: a stack's.
    pub(crate) const NOWHERE: Self = Self {
        fd: -1,
        place: u32::MAX,
    };
}

/// How long a turn may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until something happens.
    Forever,
    /// Until something happens or this has passed.
    AtMost(Duration),
}

impl Wait {
    pub(crate) fn timeout(self) -> Option<Duration> {
        match self {
            Self::No => Some(Duration::ZERO),
            Self::Forever => None,
            Self::AtMost(limit) => Some(limit),
        }
    }
}

/// What a driver did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverStats {
    /// System calls made for I/O and waiting.
    pub system_calls: u64,
    /// Operations started.
    pub operations: u64,
    /// Completions of operations that were already over (0 on epoll).
    pub stale_completions: u64,
    /// Operations whose owner went away first.
    pub orphaned: u64,
    /// Times the completion queue overflowed (0 on epoll).
    pub overflows: u64,
    /// Receives that found no buffer.
    pub no_buffers: u64,
    /// Sends that moved less than asked.
    pub short_sends: u64,
    /// Zero-copy sends that the kernel copied after all.
    pub zero_copy_copied: u64,
    /// Multishot operations armed again.
    pub rearmed: u64,
}

/// The ring or epoll.
// The ring driver is larger, and there is one per runtime.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Driver {
    Uring(UringDriver),
    Epoll(EpollDriver),
}

macro_rules! each {
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            Self::Uring($driver) => $call,
            Self::Epoll($driver) => $call,
        }
    };
}

impl Driver {
    /// Makes a descriptor known.
    pub(crate) fn attach(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attached> {
        each!(self, driver => driver.attach(fd))
    }

    /// Forgets a descriptor whose operations have all ended.
    pub(crate) fn detach(&mut self, at: Attached) {
        each!(self, driver => driver.detach(at))
    }

    /// Makes operations on a descriptor cheaper that has proved to be used a lot.
    pub(crate) fn favour(&mut self, fd: BorrowedFd<'_>, at: &mut Attached) {
        if let Self::Uring(driver) = self {
            driver.favour(fd, at);
        }
    }

    /// Receives once from a stream into a buffer of `source`. `likely` says that data is probably
    /// there already, so that looking is better than waiting first.
    #[inline]
    pub(crate) fn recv(&mut self, at: Attached, source: Source, likely: bool, token: u64) {
        each!(self, driver => driver.recv(at, source, likely, token))
    }

    /// Sends a slice; the slice comes back with the last completion.
    #[inline]
    pub(crate) fn send(&mut self, at: Attached, data: SharedBuf, zero_copy: bool, token: u64) {
        each!(self, driver => driver.send(at, data, zero_copy, token))
    }

    /// Sends a message; it comes back with the last completion.
    pub(crate) fn sendmsg(&mut self, at: Attached, msg: Box<Msg>, zero_copy: bool, token: u64) {
        each!(self, driver => driver.sendmsg(at, msg, zero_copy, token))
    }

    /// Sends datagrams, in order, with as few system calls as it takes; each comes back with its
    /// own completion. Only for sockets that are not connected: of a batch, the kernel does not
    /// tell which datagram an error of the network is reported for, or that there was one.
    pub(crate) fn send_datagrams(
        &mut self,
        at: Attached,
        msgs: &mut VecDeque<Box<Msg>>,
        token: u64,
    ) {
        each!(self, driver => driver.send_datagrams(at, msgs, token))
    }

    /// Accepts until cancelled; each completion is a descriptor.
    pub(crate) fn accept(&mut self, at: Attached, token: u64) {
        each!(self, driver => driver.accept(at, token))
    }

    /// Connects.
    pub(crate) fn connect(&mut self, at: Attached, address: SockAddr, token: u64) {
        each!(self, driver => driver.connect(at, address, token))
    }

    /// Receives datagrams until cancelled; each completion is a buffer of `source` in the layout
    /// of [`zcn_uring::recv_msg`]. The answer names it for [`Self::cancel_recvmsg`].
    pub(crate) fn recvmsg(&mut self, at: Attached, source: Source, token: u64) -> OpId {
        each!(self, driver => driver.recvmsg(at, source, token))
    }

    /// Ends the receiving of datagrams alone; its final completion still comes.
    pub(crate) fn cancel_recvmsg(&mut self, at: Attached, op: OpId) {
        each!(self, driver => driver.cancel_recvmsg(at, op))
    }

    /// Reports readability until cancelled.
    pub(crate) fn poll_in(&mut self, at: Attached, token: u64) {
        each!(self, driver => driver.poll_in(at, token))
    }

    /// Reports readability at least once from now on: once on the ring, on epoll until cancelled.
    pub(crate) fn watch(&mut self, at: Attached, token: u64) {
        match self {
            Self::Uring(driver) => driver.poll_once(at, libc::POLLIN, token),
            Self::Epoll(driver) => driver.poll_in(at, token),
        }
    }

    /// Reports once when there is room to write, where there was none a moment ago.
    pub(crate) fn watch_room(&mut self, at: Attached, token: u64) {
        match self {
            Self::Uring(driver) => driver.poll_once(at, libc::POLLOUT, token),
            Self::Epoll(driver) => driver.poll_out(at, token),
        }
    }

    /// Ends every operation on a descriptor; their completions still come.
    pub(crate) fn cancel(&mut self, at: Attached) {
        each!(self, driver => driver.cancel(at))
    }

    /// Adds a pool to receive datagrams into.
    pub(crate) fn add_source(
        &mut self,
        pool: &BufferPool,
        entries: u16,
    ) -> Result<Source, RegisterError> {
        each!(self, driver => driver.add_source(pool, entries))
    }

    /// Takes a pool away when no receive uses it any more; the buffers lent from it go home.
    pub(crate) fn remove_source(&mut self, source: Source) {
        each!(self, driver => driver.remove_source(source))
    }

    /// Buffers that receives of this source could take now.
    pub(crate) fn available(&mut self, source: Source) -> usize {
        each!(self, driver => driver.available(source))
    }

    /// Starts what was asked for, waits, and collects what ended.
    pub(crate) fn turn(&mut self, wait: Wait, done: &mut Vec<Done>) -> io::Result<()> {
        each!(self, driver => driver.turn(wait, done))
    }

    /// Whether a turn would find something, as far as can be told without a system call. For epoll
    /// nothing can, so the answer is yes.
    #[inline]
    pub(crate) fn has_news(&mut self) -> bool {
        match self {
            Self::Uring(driver) => driver.has_news(),
            Self::Epoll(_) => true,
        }
    }

    /// An empty message from the stock.
    pub(crate) fn take_msg(&mut self) -> Box<Msg> {
        each!(self, driver => driver.take_msg())
    }

    /// A finished message back to the stock.
    pub(crate) fn give_msg(&mut self, msg: Box<Msg>) {
        each!(self, driver => driver.give_msg(msg))
    }

    pub(crate) fn stats(&self) -> DriverStats {
        each!(self, driver => driver.stats())
    }

    /// Buffers of a source that the kernel has; none on epoll, which takes them as it receives.
    pub(crate) fn lent(&self, source: Source) -> usize {
        match self {
            Self::Uring(driver) => driver.lent(source),
            Self::Epoll(_) => 0,
        }
    }

    /// A descriptor that becomes readable when a turn would find something.
    pub(crate) fn wait_fd(&mut self) -> io::Result<RawFd> {
        match self {
            Self::Uring(driver) => driver.wait_fd(),
            Self::Epoll(driver) => Ok(driver.wait_fd()),
        }
    }

    /// Before a look whether there is something to do, after which the thread sleeps on
    /// [`Self::wait_fd`]: what comes later makes that readable.
    pub(crate) fn before_waiting(&self) -> io::Result<()> {
        match self {
            Self::Uring(driver) => driver.before_waiting(),
            Self::Epoll(_) => Ok(()),
        }
    }

    /// Whether all that was asked for has been handed to the kernel, and nothing has ended that was
    /// not reported: only the descriptor can tell news.
    pub(crate) fn is_settled(&mut self) -> bool {
        match self {
            Self::Uring(driver) => !driver.has_news(),
            Self::Epoll(driver) => driver.is_settled(),
        }
    }

    pub(crate) fn is_uring(&self) -> bool {
        matches!(self, Self::Uring(_))
    }
}
