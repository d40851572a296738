//! What other threads may do to a runtime: wake its tasks, send it work, stop it.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::runtime::executor::TaskId;

/// Work sent to a runtime by another thread.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Something another thread put into a runtime's inbox.
pub(crate) enum Remote {
    /// Poll this task.
    Wake(TaskId),
    /// Run this on the runtime's thread.
    Run(Job),
    /// Leave `run`.
    Stop,
}

/// The part of a runtime that other threads hold.
///
/// Ordering of the sleep protocol: the runtime stores `sleeping` and then looks into the inbox
/// once more; a waker fills the inbox and then looks at `sleeping`. Both stores and both loads are
/// `SeqCst`, so at least one side sees the other's store and no wake-up is lost.
pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Remote>>,
    /// The runtime is gone: what is posted is dropped. Changed under the queue's lock only.
    closed: AtomicBool,
    /// Whether `queue` holds something; lets the runtime pass without taking the lock.
    filled: AtomicBool,
    sleeping: AtomicBool,
    wake: OwnedFd,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("sleeping", &self.sleeping)
            .finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(wake: OwnedFd) -> Self {
        Self {
            queue: Mutex::new(VecDeque::new()),
            closed: AtomicBool::new(false),
            filled: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            wake,
        }
    }

    /// Leaves a message and ends the runtime's sleep if it sleeps.
    pub(crate) fn post(&self, message: Remote) {
        {
            let mut queue = self.lock();
            if self.closed.load(Ordering::Relaxed) {
                // Dropped with the lock released: a job may own anything.
                drop(queue);
                drop(message);
                return;
            }
            queue.push_back(message);
        }
        self.filled.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Ends the runtime's sleep, or keeps it from the next one, without a message.
    pub(crate) fn nudge(&self) {
        self.filled.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// The runtime goes away: what was posted and not taken is dropped, and so is all that comes.
    pub(crate) fn close(&self) {
        let left = {
            let mut queue = self.lock();
            self.closed.store(true, Ordering::Relaxed);
            std::mem::take(&mut *queue)
        };
        drop(left);
    }

    fn ring(&self) {
        // A full counter is readable already; nothing else can fail on an eventfd.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Takes everything out; empty without taking the lock when nothing was posted.
    pub(crate) fn take(&self, into: &mut VecDeque<Remote>) {
        if self.filled.load(Ordering::SeqCst) {
            let mut queue = self.lock();
            self.filled.store(false, Ordering::SeqCst);
            into.append(&mut queue);
        }
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::SeqCst)
    }

    /// Announces that the runtime is about to sleep; `false` when there is something to do first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        if self.is_filled() {
            self.sleeping.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    pub(crate) fn wake_up(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Remote>> {
        // A poisoned queue is a queue still: nothing in here panics between two states.
        self.queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
