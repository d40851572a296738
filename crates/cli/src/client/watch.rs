//! Waiting for the tasks of all connections, with progress and a limit to the
//! patience.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use zcn::JoinHandle;

use super::{Tally, link};
use crate::failure::Failure;

/// How long nothing may move before the server counts as silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);

/// Waits until every task has ended. Progress goes to stderr when that is a
/// terminal.
///
/// # Errors
/// When nothing has moved for [`PATIENCE`].
pub(crate) async fn watch(
    mut tasks: Vec<JoinHandle<()>>,
    tally: &Rc<RefCell<Tally>>,
    duration: Duration,
) -> Result<(), Failure> {
    let bar = bar(duration);
    let begun = Instant::now();
    let mut moved = (Instant::now(), 0);
    loop {
        let all = poll_fn(|context| all_ended(&mut tasks, context));
        if zcn::timeout(TICK, all).await.is_ok() {
            bar.finish_and_clear();
            return Ok(());
        }
        let (messages, movement) = {
            let tally = tally.borrow();
            (tally.messages, tally.movement())
        };
        bar.set_position((begun.elapsed().as_millis() as u64).min(duration.as_millis() as u64));
        bar.set_message(format!("{messages} messages"));
        if movement != moved.1 {
            moved = (Instant::now(), movement);
        } else if moved.0.elapsed() > PATIENCE {
            bar.finish_and_clear();
            return Err(link::silent(PATIENCE));
        }
    }
}

fn all_ended(tasks: &mut Vec<JoinHandle<()>>, context: &mut Context<'_>) -> Poll<()> {
    tasks.retain_mut(|task| Pin::new(task).poll(context).is_pending());
    match tasks.is_empty() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }
}

fn bar(duration: Duration) -> ProgressBar {
    // Milliseconds, so that a short run moves as well. Hidden by itself unless
    // stderr is a terminal.
    let bar = ProgressBar::new(duration.as_millis() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}% {msg}") {
        bar.set_style(style);
    }
    bar
}
