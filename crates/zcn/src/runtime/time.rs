//! Sleeping and time limits.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::timers::TimerId;
use super::{Inner, current};
use crate::error::Action;

/// Ends at a point in time.
#[must_use = "futures do nothing unless awaited"]
pub struct SleepUntil {
    deadline: Instant,
    timer: Option<(Rc<Inner>, TimerId)>,
}

impl std::fmt::Debug for SleepUntil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SleepUntil")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Ends `time` from now.
///
/// # Panics
/// When it is awaited while no runtime is running on the thread.
pub fn sleep(time: Duration) -> SleepUntil {
    // A time beyond the clock's range is as good as never.
    let now = Instant::now();
    let deadline = now
        .checked_add(time)
        .unwrap_or(now + Duration::from_secs(86_400 * 365));
    sleep_until(deadline)
}

/// Ends at `deadline`.
///
/// # Panics
/// When it is awaited while no runtime is running on the thread.
pub fn sleep_until(deadline: Instant) -> SleepUntil {
    SleepUntil {
        deadline,
        timer: None,
    }
}

impl Future for SleepUntil {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        match &self.timer {
            Some((inner, id)) => inner.timers().rewake(*id, context.waker()),
            None => {
                // A future of another runtime's thread cannot be here: it is polled by a runtime.
                let inner = match current(Action::Start) {
                    Ok(inner) => inner,
                    // Waiting in silence would be for ever.
                    Err(error) => panic!("{error}"),
                };
                let id = inner.timers().set(self.deadline, context.waker().clone());
                self.timer = Some((inner, id));
            }
        }
        Poll::Pending
    }
}

impl Drop for SleepUntil {
    fn drop(&mut self) {
        if let Some((inner, id)) = self.timer.take() {
            inner.timers().clear(id);
        }
    }
}

/// A future that ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time limit has passed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Gives `future` at most `limit`; then it is dropped.
///
/// # Errors
/// [`Elapsed`] when the time has passed first.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut limit = std::pin::pin!(sleep(limit));
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        limit.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}
