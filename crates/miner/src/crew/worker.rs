//! One worker thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::thread::{CpuSet, sched_setaffinity};
use zcn_sha256d::{Engine, Job, Nonces, RolledJob, Searched, VERSIONS, Watch};

use super::work::Work;
use super::{CrewError, CrewOptions, Event, Idle, Shared};

/// Nonces of the first search of a work: one batch, after which the first hash is told.
const FIRST: u64 = 48;

/// Nonces of a search, after which the count of hashes is told: a few milliseconds.
const CHUNK: u64 = 1 << 16;

pub(super) struct Worker {
    index: usize,
    engine: Engine,
    roll: bool,
    idle: Idle,
    shared: Arc<Shared>,
}

impl Worker {
    pub(super) fn new(index: usize, options: &CrewOptions, shared: Arc<Shared>) -> Self {
        Self {
            index,
            engine: options.engine,
            roll: options.roll,
            idle: options.idle,
            shared,
        }
    }

    /// Starts the thread, and waits until it is on its core.
    pub(super) fn start(self, core: Option<usize>) -> Result<JoinHandle<()>, CrewError> {
        let worker = self.index;
        let (ready, answer) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("zcn-miner-{worker}"))
            .spawn(move || {
                let pinned = core.map_or(Ok(()), pin);
                let runs = pinned.is_ok();
                // The other side waits for exactly this.
                let _ = ready.send(pinned);
                if runs {
                    self.run();
                }
            })
            .map_err(|source| CrewError::Spawn { worker, source })?;
        match (answer.recv(), core) {
            (Ok(Err(source)), Some(core)) => Err(CrewError::Pin {
                worker,
                core,
                source: source.into(),
            }),
            _ => Ok(thread),
        }
    }

    fn run(self) {
        let handover = &self.shared.posts[self.index].handover;
        let mut seen = 0;
        let mut last = None;
        while !self.shared.stop.load(Ordering::Acquire) {
            if let Some((sequence, words)) = handover.take(seen) {
                seen = sequence;
                last = Work::from_words(&words);
                if let Some(work) = &last {
                    self.search(work, sequence);
                }
            } else if handover.is_newer(seen) {
                // Announced. What it will need is gone through with the work before, once: the
                // CPU has it at hand then.
                if let Some(work) = last.take() {
                    std::hint::black_box(job(&work, work.version()));
                }
                std::hint::spin_loop();
            } else if self.idle == Idle::Spin {
                std::hint::spin_loop();
            } else {
                // Work that comes between the look and the sleep leaves a token.
                thread::park();
            }
        }
    }

    /// Searches until there is other work or nothing left.
    fn search(&self, work: &Work, sequence: u64) {
        let watch = Watch::new(self.shared.posts[self.index].handover.sequence(), sequence);
        let mut started = false;
        let versions = work.versions;
        let mut index = 0;
        while index < versions.count() {
            let version = |place: u64| versions.version(work.version(), place as u32);
            let left = versions.count() - index;
            let many = VERSIONS as u64;
            let finished = if self.roll && left >= many && self.engine.rolls() {
                let all = std::array::from_fn(|i| version(index + i as u64));
                let job = RolledJob::new(&work.header, all, work.target);
                index += many;
                self.chunks(work, many, &mut started, |nonces| {
                    let mut found = |version, nonce| self.found(work.id, version, nonce);
                    // `None` cannot be: asked before.
                    let searched = self.engine.search_rolled(&job, nonces, watch, &mut found);
                    searched.unwrap_or(Searched {
                        nonces: 0,
                        interrupted: true,
                    })
                })
            } else {
                let version = version(index);
                let job = job(work, version);
                index += 1;
                self.chunks(work, 1, &mut started, |nonces| {
                    let mut found = |nonce| self.found(work.id, version, nonce);
                    self.engine.search(&job, nonces, watch, &mut found)
                })
            };
            if !finished {
                return;
            }
        }
        let worker = self.index;
        self.tell(Event::Exhausted {
            worker,
            id: work.id,
        });
    }

    /// All nonces of the work in pieces; `false` when other work came.
    fn chunks(
        &self,
        work: &Work,
        hashes_per_nonce: u64,
        started: &mut bool,
        mut search: impl FnMut(Nonces) -> Searched,
    ) -> bool {
        let all = work.nonces.count.min(Nonces::ALL.count);
        let hashes = &self.shared.posts[self.index].hashes;
        let mut done = 0;
        // Read once a work: after what comes before its first hash.
        let begun = (!*started).then(Instant::now);
        while done < all {
            let most = if *started { CHUNK } else { FIRST };
            let searched = search(Nonces {
                first: work.nonces.first.wrapping_add(done as u32),
                count: most.min(all - done),
            });
            done += searched.nonces;
            // Nobody else writes it: no need of a locked instruction.
            let sum = hashes.load(Ordering::Relaxed) + searched.nonces * hashes_per_nonce;
            hashes.store(sum, Ordering::Relaxed);
            if searched.interrupted {
                return false;
            }
            if !*started && let Some(begun) = begun {
                *started = true;
                self.tell(Event::Started {
                    worker: self.index,
                    id: work.id,
                    begun,
                    at: Instant::now(),
                });
            }
        }
        true
    }

    fn found(&self, id: u64, version: u32, nonce: u32) {
        self.tell(Event::Found {
            worker: self.index,
            id,
            version,
            nonce,
            at: Instant::now(),
        });
    }

    /// Queues an event, and waits for room: what is found is not thrown away. Ends early
    /// when the crew ends, whose owner reads no more.
    fn tell(&self, event: Event) {
        let mut event = event;
        while let Err(back) = self.shared.events.push(event) {
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            event = back;
            (self.shared.wake)();
            thread::yield_now();
        }
        (self.shared.wake)();
    }
}

/// The job of one version of a work. One function, so that a rehearsal goes through the same
/// instructions.
#[inline(never)]
fn job(work: &Work, version: u32) -> Job {
    let mut header = work.header;
    header[..4].copy_from_slice(&version.to_le_bytes());
    Job::new(&header, work.target)
}

fn pin(core: usize) -> Result<(), rustix::io::Errno> {
    if core >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL);
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
}
