//! The value of a task, for whoever waits for it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

enum State<T> {
    Running(Option<Waker>),
    Done(T),
    /// Taken, or the task was dropped before its end.
    Gone,
}

/// Waits for a task of the same runtime. Dropping it lets the task run on by itself.
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
        let value = future.await;
        finisher.finish(State::Done(value));
    };
    (JoinHandle { state }, task)
}
