//! The value of a task, for whoever waits for it.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

enum State<T> {
    Running(Option<Waker>),
    Done(T),
    /// With what it panicked.
    Panicked(Box<dyn Any + Send>),
    /// Taken, or the task was dropped before its end.
    Gone,
}

/// Waits for a task of the same runtime. Dropping it lets the task run on by itself.
///
/// A panic ends its task alone. It goes on in whoever awaits this; if nobody does, it is in the log
/// and on the error output, where the panic hook put it.
pub struct JoinHandle<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}

impl<T> JoinHandle<T> {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(*self.state.borrow(), State::Running(_))
    }
}

impl<T> Future for JoinHandle<T> {
    /// `None` when the runtime dropped the task before its end.
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Running(_) => {
                *state = State::Running(Some(context.waker().clone()));
                Poll::Pending
            }
            State::Done(value) => Poll::Ready(Some(value)),
            State::Panicked(panic) => {
                drop(state);
                resume_unwind(panic)
            }
            State::Gone => Poll::Ready(None),
        }
    }
}

/// Tells the handle when the task is dropped unfinished.
struct Finisher<T>(Rc<RefCell<State<T>>>);

impl<T> Finisher<T> {
    fn finish(&self, state: State<T>) {
        let previous = std::mem::replace(&mut *self.0.borrow_mut(), state);
        if let State::Running(Some(waker)) = previous {
            waker.wake();
        }
    }
}

impl<T> Drop for Finisher<T> {
    fn drop(&mut self) {
        if matches!(*self.0.borrow(), State::Running(_)) {
            self.finish(State::Gone);
        }
    }
}

/// Splits a future into a task without a value and the handle that gets it.
pub(crate) fn joinable<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> (JoinHandle<T>, impl Future<Output = ()> + 'static) {
    let state = Rc::new(RefCell::new(State::Running(None)));
    let finisher = Finisher(state.clone());
    let task = async move {
        let mut future = pin!(future);
        let ended = poll_fn(|context| {
            // What a panic leaves half-done is dropped with the future, or is the caller's own.
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(value)) => Poll::Ready(State::Done(value)),
                Err(panic) => Poll::Ready(State::Panicked(panic)),
            }
        })
        .await;
        if let State::Panicked(_) = ended {
            tracing::error!("a task panicked");
        }
        finisher.finish(ended);
    };
    (JoinHandle { state }, task)
}
