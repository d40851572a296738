//! Worker threads that search for nonces.
//!
//! A [`Crew`] belongs to the thread that talks to the pool. [`Crew::assign`] hands work to
//! one worker: a few stores that never wait, after which the worker leaves its batch (some
//! hundred nanoseconds of work) and takes the new header. Who is only about to have work can
//! [announce](Crew::announce) it, and the worker is there when it comes. Only the latest work counts; an
//! older one that was not taken up yet is overwritten. What workers find comes back
//! through a bounded queue, after which the `wake` function is called, so that a sleeping
//! loop looks.
//!
//! After start nothing here allocates.

mod work;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use thiserror::Error;
use zcn_sha256d::Engine;

use crate::handover::{Handover, Words};

pub use work::{VersionBits, Work};

use worker::Worker;

/// Finds that wait for the owner. A worker whose find does not fit waits, so that none is
/// lost; targets that easy are for tests only.
const EVENTS: usize = 1024;

/// What a worker does when it has no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Idle {
    /// It sleeps; waking it up takes some ten microseconds.
    #[default]
    Sleep,
    /// It keeps looking, and its core busy.
    Spin,
}

/// How a crew is made up.
#[derive(Clone, Debug)]
pub struct CrewOptions {
    /// The implementation that every worker runs.
    pub engine: Engine,
    /// Whether the engine shares message schedules between rolled versions where it can
    /// and where the work allows sixteen versions. See [`zcn_sha256d::RolledJob`].
    pub roll: bool,
    /// The core of each worker, or `None` to leave that one to the system. As many
    /// workers as there are entries.
    pub cores: Vec<Option<usize>>,
    /// What workers do without work.
    pub idle: Idle,
}

/// A crew that could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CrewError {
    /// No worker was asked for.
    #[error("a crew needs at least one worker; give it a core or None")]
    Empty,
    /// The system gave no thread.
    #[error("cannot start worker {worker}: {source}; ask for fewer workers")]
    Spawn {
        /// Which one, from 0.
        worker: usize,
        /// What the system says.
        source: io::Error,
    },
    /// A worker may not run on its core.
    #[error(
        "cannot keep worker {worker} on core {core}: {source}; see `taskset -p $$` for the cores allowed"
    )]
    Pin {
        /// Which one, from 0.
        worker: usize,
        /// The core asked for.
        core: usize,
        /// What the system says.
        source: io::Error,
    },
}

/// What a worker tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first hashes of a work are done.
    Started {
        /// Which worker.
        worker: usize,
        /// [`Work::id`].
        id: u64,
        /// When the first of them was under way.
        begun: Instant,
        /// When they were done.
        at: Instant,
    },
    /// A nonce that meets the target.
    Found {
        /// Which worker.
        worker: usize,
        /// [`Work::id`].
        id: u64,
        /// The header's version, rolled bits included.
        version: u32,
        /// The nonce.
        nonce: u32,
        /// When it was found.
        at: Instant,
    },
    /// All nonces in all versions are tried: the worker needs other work.
    Exhausted {
        /// Which worker.
        worker: usize,
        /// [`Work::id`].
        id: u64,
    },
}

/// What workers and owner share.
struct Shared {
    /// Set once, with release, before the last hand-over.
    stop: AtomicBool,
    events: ArrayQueue<Event>,
    wake: Box<dyn Fn() + Send + Sync>,
    posts: Vec<CachePadded<Post>>,
}

/// The place of one worker.
struct Post {
    handover: Handover,
    /// Hashes done so far; only the worker writes, relaxed: a meter reads it.
    hashes: AtomicU64,
}

/// Worker threads. Dropping it stops and joins them.
pub struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("workers", &self.threads.len())
            .field("hashes", &self.hashes())
            .finish_non_exhaustive()
    }
}

impl Crew {
    /// Starts the workers, each on its core, without work.
    ///
    /// `wake` is called on a worker's thread after every event and must not block; with
    /// the runtime of `zcn` it is `Handle::wake`.
    ///
    /// # Errors
    /// When a thread cannot be had or may not run on its core. Those that run are stopped.
    pub fn start(
        options: &CrewOptions,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, CrewError> {
        if options.cores.is_empty() {
            return Err(CrewError::Empty);
        }
        // One more than there are workers, for what is handed to nobody.
        let posts = (0..=options.cores.len()).map(|_| {
            CachePadded::new(Post {
                handover: Handover::new(),
                hashes: AtomicU64::new(0),
            })
        });
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            events: ArrayQueue::new(EVENTS),
            wake: Box::new(wake),
            posts: posts.collect(),
        });
        // Dropped on an error, it stops the workers started so far.
        let mut crew = Self {
            shared,
            threads: Vec::with_capacity(options.cores.len()),
        };
        for (index, &core) in options.cores.iter().enumerate() {
            let worker = Worker::new(index, options, Arc::clone(&crew.shared));
            crew.threads.push(worker.start(core)?);
        }
        Ok(crew)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Lets a worker leave what it does, because other work is about to come: it waits for that
    /// without sleeping, so [`assign`](Self::assign) or [`rest_one`](Self::rest_one) has to follow
    /// soon.
    ///
    /// # Panics
    /// As `assign`.
    pub fn announce(&mut self, worker: usize) {
        self.shared.posts[worker].handover.announce();
    }

    /// Hands work to one worker in place of what it has; to the one after the last, whom there
    /// is not, for the sake of the way there.
    ///
    /// # Panics
    /// When `worker` is greater than that.
    pub fn assign(&mut self, worker: usize, work: &Work) {
        self.hand_over(worker, &work.to_words());
    }

    /// Hands out a work, a part of the nonces to each worker.
    pub fn assign_parts(&mut self, work: &Work) {
        let workers = self.workers();
        for worker in 0..workers {
            self.assign(worker, &work.part(worker, workers));
        }
    }

    /// Lets all workers rest: the pool is gone, or there is no job yet.
    pub fn rest(&mut self) {
        for worker in 0..self.workers() {
            self.rest_one(worker);
        }
    }

    /// Lets one worker rest.
    ///
    /// # Panics
    /// As [`assign`](Self::assign).
    pub fn rest_one(&mut self, worker: usize) {
        self.hand_over(worker, &work::REST);
    }

    fn hand_over(&mut self, worker: usize, words: &Words) {
        // `&mut self`: nobody else hands over at the same time.
        self.shared.posts[worker].handover.publish(words);
        if let Some(thread) = self.threads.get(worker) {
            thread.thread().unpark();
        }
    }

    /// The oldest event that was not taken yet.
    pub fn poll(&mut self) -> Option<Event> {
        self.shared.events.pop()
    }

    /// Hashes that all workers have done so far.
    pub fn hashes(&self) -> u64 {
        (0..self.shared.posts.len())
            .map(|worker| self.hashes_of(worker))
            .sum()
    }

    /// Hashes that one worker has done so far.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn hashes_of(&self, worker: usize) -> u64 {
        self.shared.posts[worker].hashes.load(Ordering::Relaxed)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.rest();
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so on standard error; the others go on.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
