//! Bounded hand-over of values from one core to another.
//!
//! Runtimes share nothing; what has to move (an accepted socket, a batch of data) goes through one
//! of these queues: one sender on one thread, one receiver on another.
//!
//! Inside is a ring behind a mutex that is held for one push or one pop and never while anything
//! is woken. With one party on each side it is all but uncontended: two atomic operations (some
//! 17 ns) for something that happens once per connection or batch, which is why there is no
//! lock-free queue here.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Makes a queue for at most `capacity` values (at least 1), and its two ends.
///
/// Either end may be moved to another thread before it is used, e.g. by
/// [`Handle::spawn`](crate::Handle::spawn) or by the setup of a [`Cluster`](crate::Cluster).
/// A plain thread without a runtime can take part with [`Sender::try_send`] and
/// [`Receiver::try_recv`].
///
/// ```
/// let (mut sender, mut receiver) = zcn::handoff::bounded(2);
/// sender.try_send("first")?;
/// sender.try_send("second")?;
/// assert_eq!(sender.try_send("third").unwrap_err().into_inner(), "third");
/// let mut runtime = zcn::Runtime::new()?;
/// assert_eq!(runtime.block_on(receiver.recv())?, Some("first"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bounded<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.max(1);
    let shared = Arc::new(Shared {
        capacity,
        state: Mutex::new(State {
            queue: VecDeque::with_capacity(capacity),
            sender: End::default(),
            receiver: End::default(),
        }),
    });
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver { shared },
    )
}

struct State<T> {
    queue: VecDeque<T>,
    /// Waits for room.
    sender: End,
    /// Waits for a value.
    receiver: End,
}

#[derive(Default)]
struct End {
    waker: Option<Waker>,
    gone: bool,
}

struct Shared<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here panics between two states, so a poisoned queue is a queue still.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next value, with the sender woken for the room it leaves; or the state, still locked, in
    /// which there is none.
    fn pop(&self) -> Result<T, MutexGuard<'_, State<T>>> {
        let mut state = self.lock();
        let Some(value) = state.queue.pop_front() else {
            return Err(state);
        };
        let waker = state.sender.waker.take();
        drop(state);
        wake(waker);
        Ok(value)
    }

    /// An end goes: the `other` is woken to see it. Without a receiver the values go, too.
    fn leave(&self, own: Which<T>, other: Which<T>) {
        let mut state = self.lock();
        own(&mut state).gone = true;
        let own = own(&mut state).waker.take();
        let other = other(&mut state).waker.take();
        let queued = match state.receiver.gone {
            true => std::mem::take(&mut state.queue),
            false => VecDeque::new(),
        };
        drop(state);
        // Values and wakers are foreign code: dropped without the lock.
        drop((queued, own));
        wake(other);
    }
}

/// Picks an end out of the state.
type Which<T> = fn(&mut State<T>) -> &mut End;

/// Notes who waits at an end.
fn wait<T, R>(
    mut state: MutexGuard<'_, State<T>>,
    end: Which<T>,
    context: &Context<'_>,
) -> Poll<R> {
    let previous = end(&mut state).waker.replace(context.waker().clone());
    drop(state);
    drop(previous);
    Poll::Pending
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Why [`Sender::try_send`] did not take a value, with the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The queue is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the hand-over queue is full",
            Self::Closed(_) => "the receiver of the hand-over queue is gone",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for TrySendError<T> {}

/// The receiver is gone; the value comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendClosed<T>(pub T);

impl<T> fmt::Display for SendClosed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receiver of the hand-over queue is gone")
    }
}

impl<T: fmt::Debug> std::error::Error for SendClosed<T> {}

/// Why [`Receiver::try_recv`] had nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing is queued now.
    Empty,
    /// Nothing is queued and the sender is gone.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the hand-over queue is empty",
            Self::Closed => "the sender of the hand-over queue is gone",
        })
    }
}

impl std::error::Error for TryRecvError {}

/// The end that puts values in. There is one: it cannot be cloned.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("capacity", &self.shared.capacity)
            .finish_non_exhaustive()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared
            .leave(|state| &mut state.sender, |state| &mut state.receiver);
    }
}

impl<T> Sender<T> {
    /// Queues a value if there is room, and wakes the receiver.
    ///
    /// # Errors
    /// The queue is full or the receiver gone; the value comes back.
    pub fn try_send(&mut self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.shared.lock();
        if state.receiver.gone {
            return Err(TrySendError::Closed(value));
        }
        if state.queue.len() >= self.shared.capacity {
            return Err(TrySendError::Full(value));
        }
        state.queue.push_back(value);
        let waker = state.receiver.waker.take();
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Queues a value, waiting for room. A dropped future has sent nothing.
    ///
    /// # Errors
    /// The receiver is gone; the value comes back.
    pub async fn send(&mut self, value: T) -> Result<(), SendClosed<T>> {
        poll_fn(|context| self.poll_room(context)).await;
        self.try_send(value)
            .map_err(|error| SendClosed(error.into_inner()))
    }

    /// Ready when there is room or the receiver is gone. Only this end adds values, so the room
    /// stays until it does.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let state = self.shared.lock();
        if state.receiver.gone || state.queue.len() < self.shared.capacity {
            return Poll::Ready(());
        }
        wait(state, |state| &mut state.sender, context)
    }

    /// Values queued now.
    pub fn len(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Whether nothing is queued now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most values that can be queued.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().receiver.gone
    }
}

/// The end that takes values out, in the order they were put in.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("capacity", &self.shared.capacity)
            .finish_non_exhaustive()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared
            .leave(|state| &mut state.receiver, |state| &mut state.sender);
    }
}

impl<T> Receiver<T> {
    /// The next value; `None` once the sender is gone and the queue empty. A dropped future has
    /// taken nothing.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Poll form of [`recv`](Self::recv).
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        match self.shared.pop() {
            Ok(value) => Poll::Ready(Some(value)),
            Err(state) if state.sender.gone => Poll::Ready(None),
            Err(state) => wait(state, |state| &mut state.receiver, context),
        }
    }

    /// The next value if there is one.
    ///
    /// # Errors
    /// Nothing is queued; whether that may change.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.shared.pop().map_err(|state| match state.sender.gone {
            true => TryRecvError::Closed,
            false => TryRecvError::Empty,
        })
    }

    /// Values queued now.
    pub fn len(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Whether nothing is queued now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most values that can be queued.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}
