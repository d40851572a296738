//! A bell between tasks of one thread.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// Rung by some tasks, heard by others. Whoever listens says how often it had been rung when he
/// last looked, so that nothing is missed in between.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    rung: Cell<u64>,
    listeners: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Wakes all who listen.
    pub(crate) fn ring(&self) {
        self.rung.set(self.rung.get() + 1);
        for waker in self.listeners.take() {
            waker.wake();
        }
    }

    /// Ready when it was rung since `heard`, which is brought up to date.
    pub(crate) fn poll_heard(&self, context: &mut Context<'_>, heard: &mut u64) -> Poll<()> {
        if *heard != self.rung.get() {
            *heard = self.rung.get();
            return Poll::Ready(());
        }
        let mut listeners = self.listeners.borrow_mut();
        if !listeners
            .iter()
            .any(|waker| waker.will_wake(context.waker()))
        {
            listeners.push(context.waker().clone());
        }
        Poll::Pending
    }
}
