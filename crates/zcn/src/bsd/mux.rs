//! Which of many sockets are ready, with one wake-up a turn.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use zcn_sys::eventfd::EventFd;

use super::sockets::{SocketNumber, Table};
use crate::runtime::Runtime;

/// What one wants to know of a socket, and what it is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// Nothing; errors are told all the same.
    pub const NONE: Self = Self(0);
    /// Bytes, datagrams, the peer's end or a connection to accept are there.
    pub const READABLE: Self = Self(1);
    /// There is room to send, or a connect has ended well.
    pub const WRITABLE: Self = Self(2);
    /// The socket has failed; [`Sockets::take_error`](super::Sockets::take_error) tells why.
    pub const ERROR: Self = Self(4);

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A socket and what it is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuxEvent {
    /// Which socket.
    pub socket: SocketNumber,
    /// What it is ready for, of what was asked.
    pub ready: Interest,
}

/// What the wakers of the sockets reach, from any thread.
#[derive(Debug)]
pub(super) struct Shared {
    /// Sockets to be looked at, each once.
    ready: Mutex<VecDeque<Arc<Signal>>>,
    /// A wake-up was raised that nobody has taken. `AcqRel`: who takes it sees what was queued
    /// before.
    signalled: AtomicBool,
    /// Only counted: relaxed.
    wakeups: AtomicU64,
    event: EventFd,
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Arc<Signal>>> {
        // Nothing in here panics halfway through a change.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one socket in a multiplexer.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) socket: SocketNumber,
    /// In the queue already. `AcqRel`, as for [`Shared::signalled`].
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl Signal {
    /// Puts the socket into the queue, without a wake-up.
    fn queue(self: &Arc<Self>) -> bool {
        if self.queued.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.shared.ready().push_back(self.clone());
        true
    }

    fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queue() && !self.shared.signalled.swap(true, Ordering::AcqRel) {
            self.shared.wakeups.fetch_add(1, Ordering::Relaxed);
            // A full counter is readable already, and nothing else can fail here.
            let _ = self.shared.event.wake();
        }
    }
}

/// An event multiplexer: tells which sockets of a table are ready.
///
/// Levels, as `epoll` has them by default: a socket is told of again for as long as it is ready.
/// Its descriptor becomes readable once, however many sockets become ready in a turn of the
/// runtime; [`events`](Self::events) takes that back.
pub struct Mux {
    table: Rc<RefCell<Table>>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Mux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux")
            .field("wakeups", &self.wakeups())
            .finish_non_exhaustive()
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        self.table
            .borrow_mut()
            .leave(|signal| signal.is_of(&self.shared));
    }
}

impl Mux {
    pub(super) fn new(table: Rc<RefCell<Table>>) -> io::Result<Self> {
        Ok(Self {
            table,
            shared: Arc::new(Shared {
                ready: Mutex::default(),
                signalled: AtomicBool::new(false),
                wakeups: AtomicU64::new(0),
                event: EventFd::new()?,
            }),
        })
    }

    /// Begins to watch a socket. It can be in one multiplexer at a time.
    ///
    /// # Errors
    /// `EBADF`: there is no such socket; `EEXIST`: it is watched already.
    pub fn add(&self, socket: SocketNumber, interest: Interest) -> io::Result<()> {
        let signal = Arc::new(Signal {
            socket,
            queued: AtomicBool::new(false),
            shared: self.shared.clone(),
        });
        self.table
            .borrow_mut()
            .watch(socket, interest, signal.clone())?;
        // It may be ready now, which the next look finds out.
        signal.queue();
        Ok(())
    }

    /// Changes what is wanted of a socket.
    ///
    /// # Errors
    /// `EBADF`: there is no such socket; `ENOENT`: it is not watched.
    pub fn modify(&self, socket: SocketNumber, interest: Interest) -> io::Result<()> {
        let signal = self.table.borrow_mut().change(socket, interest)?;
        signal.queue();
        Ok(())
    }

    /// Ends to watch a socket. Closing does that, too.
    ///
    /// # Errors
    /// As [`modify`](Self::modify).
    pub fn remove(&self, socket: SocketNumber) -> io::Result<()> {
        self.table.borrow_mut().unwatch(socket)
    }

    /// A descriptor that is readable when a socket has become ready since the last
    /// [`events`](Self::events): for another event loop.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// Wake-ups so far: at most one between two calls of [`events`](Self::events).
    pub fn wakeups(&self) -> u64 {
        self.shared.wakeups.load(Ordering::Relaxed)
    }

    /// The sockets that are ready now, into `events`, which is emptied first. Does not wait.
    pub fn events(&self, events: &mut Vec<MuxEvent>) {
        events.clear();
        if self.shared.signalled.swap(false, Ordering::AcqRel) {
            // What is left in the counter only costs a look in vain.
            let _ = self.shared.event.drain();
        }
        // What becomes ready from here on has its turn in the next call.
        let count = self.shared.ready().len();
        for _ in 0..count {
            let Some(signal) = self.shared.ready().pop_front() else {
                break;
            };
            signal.queued.store(false, Ordering::Release);
            let waker = Waker::from(signal.clone());
            let ready = self.table.borrow_mut().look(&signal, &waker);
            if !ready.is_empty() {
                events.push(MuxEvent {
                    socket: signal.socket,
                    ready,
                });
                // Looked at again next time, whether it is still.
                signal.queue();
            }
        }
    }

    /// Runs the runtime, one turn at least, until sockets are ready or `limit` is over, and tells
    /// which are.
    ///
    /// # Errors
    /// When the runtime fails.
    pub fn wait(
        &self,
        runtime: &mut Runtime,
        limit: Option<Duration>,
        events: &mut Vec<MuxEvent>,
    ) -> crate::Result<()> {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        // A socket that is always ready must not keep the others from getting on.
        runtime.run_once()?;
        loop {
            self.events(events);
            if !events.is_empty() {
                return Ok(());
            }
            let left = end.map_or(LONGEST, |end| end.saturating_duration_since(Instant::now()));
            runtime.run_for(left)?;
            if left.is_zero() {
                self.events(events);
                return Ok(());
            }
        }
    }
}

/// One sleep of a wait without a limit.
const LONGEST: Duration = Duration::from_secs(3600);
