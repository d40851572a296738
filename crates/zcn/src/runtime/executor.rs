//! Tasks of one runtime: futures that never leave their thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::runtime::remote::{Inbox, Remote};
use crate::table::{Key, Table};

/// Names a task; stale once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(pub(crate) Key);

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// Taken out while it is polled.
    future: Option<LocalFuture>,
    waker: Arc<TaskWaker>,
}

/// Wakes one task from any thread: through the run queue on its own, through the inbox otherwise.
struct TaskWaker {
    id: TaskId,
    /// In the run queue or the inbox already. `AcqRel` on the swap: what the waker's thread wrote
    /// before the wake is seen by the poll that follows.
    queued: AtomicBool,
    inbox: Arc<Inbox>,
}

thread_local! {
    /// Run queue of the runtime that runs on this thread, and the inbox that tells which it is.
    static LOCAL: RefCell<Option<(Arc<Inbox>, Rc<RunQueue>)>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    ready: RefCell<VecDeque<TaskId>>,
}

impl TaskWaker {
    fn wake_task(&self) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let local = LOCAL.try_with(|local| {
            if let Some((inbox, queue)) = &*local.borrow()
                && Arc::ptr_eq(inbox, &self.inbox)
            {
                queue.ready.borrow_mut().push_back(self.id);
                return true;
            }
            false
        });
        if local != Ok(true) {
            self.inbox.post(Remote::Wake(self.id));
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_task();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_task();
    }
}

/// The tasks of one runtime and which of them are ready.
pub(crate) struct Executor {
    tasks: RefCell<Table<Task>>,
    queue: Rc<RunQueue>,
    inbox: Arc<Inbox>,
    /// Set when the runtime goes away: nothing is spawned any more.
    closed: Cell<bool>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("tasks", &self.len())
            .finish_non_exhaustive()
    }
}

/// Makes this thread's wake-ups of the runtime's tasks local ones, until dropped.
pub(crate) struct Entered(Option<(Arc<Inbox>, Rc<RunQueue>)>);

impl Drop for Entered {
    fn drop(&mut self) {
        let previous = self.0.take();
        // The thread may be ending; then there is nothing to put back.
        let _ = LOCAL.try_with(|local| *local.borrow_mut() = previous);
    }
}

impl Executor {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self {
            tasks: RefCell::new(Table::new()),
            queue: Rc::default(),
            inbox,
            closed: Cell::new(false),
        }
    }

    pub(crate) fn enter(&self) -> Entered {
        let new = (self.inbox.clone(), self.queue.clone());
        Entered(LOCAL.with(|local| local.borrow_mut().replace(new)))
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Adds a task, ready for its first poll.
    pub(crate) fn spawn(&self, future: LocalFuture) {
        if self.closed.get() {
            return;
        }
        let mut tasks = self.tasks.borrow_mut();
        // The key is known only after the insert; this one names nothing.
        let key = tasks.insert(Task {
            future: Some(future),
            waker: self.waker_for(TaskId(Key::NOTHING)),
        });
        let id = TaskId(key);
        if let Some(task) = tasks.get_mut(key) {
            task.waker = self.waker_for(id);
        }
        drop(tasks);
        self.queue.ready.borrow_mut().push_back(id);
    }

    fn waker_for(&self, id: TaskId) -> Arc<TaskWaker> {
        // Born queued: `spawn` puts it into the run queue itself.
        Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(true),
            inbox: self.inbox.clone(),
        })
    }

    /// Puts a task woken from another thread into the run queue.
    pub(crate) fn make_ready(&self, id: TaskId) {
        self.queue.ready.borrow_mut().push_back(id);
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.queue.ready.borrow().is_empty()
    }

    /// Polls every task that is ready now; those that become ready meanwhile wait for the next
    /// round, so that I/O is never starved.
    pub(crate) fn run_ready(&self) {
        let count = self.queue.ready.borrow().len();
        for _ in 0..count {
            let Some(id) = self.queue.ready.borrow_mut().pop_front() else {
                return;
            };
            self.poll(id);
        }
    }

    fn poll(&self, id: TaskId) {
        let mut tasks = self.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(id.0) else {
            return;
        };
        let Some(mut future) = task.future.take() else {
            return;
        };
        let handle = task.waker.clone();
        drop(tasks);
        handle.queued.store(false, Ordering::Release);
        let waker = Waker::from(handle);
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                if let Some(task) = self.tasks.borrow_mut().get_mut(id.0) {
                    task.future = Some(future);
                }
            }
            Poll::Ready(()) => {
                let ended = self.tasks.borrow_mut().remove(id.0);
                // Dropped with nothing borrowed: its drop may spawn and wake.
                drop(ended);
            }
        }
    }

    /// Drops every task; their drops run with nothing borrowed.
    pub(crate) fn clear(&self) {
        self.closed.set(true);
        loop {
            let Some(key) = self.tasks.borrow().keys().first().copied() else {
                return;
            };
            let task = self.tasks.borrow_mut().remove(key);
            drop(task);
        }
    }
}
