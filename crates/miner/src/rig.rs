//! A session and its workers as one miner.
//!
//! [`run`] lets a [`Crew`] search what a [`session`](mod@crate::session) brings: each worker has
//! a second extranonce of its own, and is given the next when all nonces of one are tried; where
//! the pool leaves none to miners, the workers divide the nonces. What a worker finds is looked at
//! once more before it is handed in; what comes late, for the work before, is handed in as well,
//! and the session knows whether it still counts.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use thiserror::Error;
use zcn_sha256d::{Nonces, Target};
use zcn_stratum::client::Work;
use zcn_stratum::hash::sha256d;
use zcn_stratum::header::HEADER_LEN;
use zcn_stratum::job::{CoinbasePrefix, Job};
use zcn_stratum::reject::RejectReason;
use zcn_stratum::share::Share;

use crate::crew::{self, Crew, CrewError, CrewOptions, VersionBits};
use crate::draw::Draw;
use crate::latency::{JobTimes, Latencies, Stage};
use crate::rate::{RateMeter, Rates, WorkRate};
use crate::session::{
    self, FoundShare, Lost, Notice, SessionError, SessionHandle, SessionSettings,
};

/// Assignments of each worker that a late find may be for.
const REMEMBERED: usize = 4;
/// How often hashes are read for the rates.
const READING: Duration = Duration::from_secs(1);

/// Why a rig did not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RigError {
    /// The workers did not start.
    #[error(transparent)]
    Crew(#[from] CrewError),
    /// The session did not.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Totals {
    /// Hashes done.
    pub hashes: u64,
    /// Hashes per second.
    pub rates: Rates,
    /// Jobs taken up.
    pub jobs: u64,
    /// Shares that pools took.
    pub accepted: u64,
    /// Shares that they did not take, those that came too late apart.
    pub rejected: u64,
    /// Shares that came too late for them.
    pub stale: u64,
    /// Shares that could no longer be submitted anywhere.
    pub lost: u64,
    /// Finds that did not meet their target when looked at again: a broken machine.
    pub wrong: u64,
}

/// The state of a rig, to be looked at from the tasks of its thread while it runs.
#[derive(Clone, Default)]
pub struct RigMeter(Rc<RefCell<Meter>>);

#[derive(Default)]
struct Meter {
    totals: Totals,
    latencies: Latencies,
}

impl std::fmt::Debug for RigMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RigMeter({:?})", self.totals())
    }
}

impl RigMeter {
    /// A meter to be given to [`run`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts; those of hashes are at most a second old.
    pub fn totals(&self) -> Totals {
        self.0.borrow().totals
    }

    /// How long things took.
    pub fn latencies(&self) -> Latencies {
        self.0.borrow().latencies.clone()
    }
}

/// Mines until stopped by `handle`; `sink` is told what happens.
///
/// # Errors
/// The workers do not start, or there is no pool in the settings.
pub async fn run(
    workers: &CrewOptions,
    settings: SessionSettings,
    handle: &SessionHandle,
    meter: &RigMeter,
    sink: &mut dyn FnMut(Notice<'_>),
) -> Result<(), RigError> {
    let bell = Arc::new(Bell::default());
    let (rung, last) = (bell.clone(), bell.clone());
    let crew = Crew::start(workers, move || rung.ring())?;
    let rig = Rc::new(RefCell::new(Rig {
        desk: Desk {
            crew,
            draw: Draw::new(settings.seed),
            assigned: VecDeque::with_capacity(REMEMBERED * workers.cores.len()),
            starved: Vec::with_capacity(workers.cores.len()),
            next_id: 1,
        },
        meter: meter.clone(),
        rate: RateMeter::new(Instant::now()),
        work_rate: WorkRate::new(Instant::now()),
        current: None,
        on: false,
        found_at: BTreeMap::new(),
        ended: false,
    }));
    let (collector, submit) = (rig.clone(), handle.clone());
    let collecting = zcn::spawn(async move {
        let mut reading = Instant::now();
        loop {
            // Waits for a worker, but no longer than until the next reading.
            let _ = zcn::timeout(READING, bell.wait()).await;
            let mut rig = collector.borrow_mut();
            if rig.ended {
                return;
            }
            rig.collect(&submit);
            if reading.elapsed() >= READING {
                reading = Instant::now();
                rig.read();
                submit.set_hash_rate(rig.work_rate.rate());
                rig.feed();
            }
        }
    });
    let mut hear = |notice: Notice<'_>| {
        rig.borrow_mut().hear(&notice);
        sink(notice);
    };
    let done = session::run(settings, handle, &mut hear).await;
    rig.borrow_mut().end();
    last.ring();
    // It notices; the workers are joined when the last that holds the rig is gone.
    collecting.await;
    Ok(done?)
}

/// Rung on the threads of workers, heard on that of the session.
#[derive(Default)]
struct Bell {
    /// Acquire and release: who hears it sees what was queued before.
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    async fn wait(&self) {
        std::future::poll_fn(|context: &mut Context<'_>| {
            // Left before looking, so that a ring in between wakes.
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            *waker = Some(context.waker().clone());
            drop(waker);
            if self.rung.swap(false, Ordering::AcqRel) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// What the workers search. Its memory is used again for the next job.
struct Current {
    pool: usize,
    work: Work,
    prefix: CoinbasePrefix,
    times: JobTimes,
    /// No worker has told of its first hashes yet.
    fresh: bool,
    /// The first assignment of this work.
    first_id: u64,
}

impl Current {
    fn whole(&self) -> Whole<'_> {
        Whole {
            pool: self.pool,
            work: &self.work,
            prefix: &self.prefix,
            received: self.times.received,
        }
    }
}

/// What one worker was told to search.
struct Assigned {
    id: u64,
    header: [u8; HEADER_LEN],
    target: Target,
    /// Bits of the version that a share has to say.
    version_mask: Option<u32>,
    /// The share but for nonce and version.
    found: FoundShare,
}

/// Who searches what.
struct Desk {
    crew: Crew,
    draw: Draw,
    /// The latest last.
    assigned: VecDeque<Assigned>,
    /// Workers that have tried all there is, until the clock goes on.
    starved: Vec<usize>,
    next_id: u64,
}

/// What the pieces of a job have in common.
#[derive(Clone, Copy)]
struct Whole<'a> {
    pool: usize,
    work: &'a Work,
    prefix: &'a CoinbasePrefix,
    received: Instant,
}

impl Desk {
    /// Gives each of the workers a piece of a new job; what the pieces have in common, and when
    /// the first was given.
    ///
    /// One function for jobs and rehearsals, so that these go through the same instructions.
    #[inline(never)]
    fn hand_out(
        &mut self,
        pool: usize,
        work: &Work,
        received: Instant,
        workers: Range<usize>,
    ) -> (CoinbasePrefix, Instant) {
        // They leave their batches while the header is made.
        for worker in workers.clone() {
            self.crew.announce(worker);
        }
        let prefix = work.job.coinbase_prefix(work.extranonce_1.as_bytes());
        let whole = Whole {
            pool,
            work,
            prefix: &prefix,
            received,
        };
        let all = self.crew.workers();
        self.draw.begin_job(work.extranonce_2_len, all);
        let mut first = None;
        for worker in workers {
            let at = self.assign(worker, &whole);
            if at.is_none() {
                // There is nothing left for it, and it waits.
                self.crew.rest_one(worker);
            }
            first = first.or(at);
        }
        (prefix, first.unwrap_or_else(Instant::now))
    }

    /// Gives a worker its next second extranonce, or its part of the nonces, and tells when; when
    /// there is no more, it waits for the next job or the next second.
    fn assign(&mut self, worker: usize, whole: &Whole<'_>) -> Option<Instant> {
        let Whole {
            pool,
            work,
            prefix,
            received,
        } = *whole;
        let Some(piece) = self.draw.next(|| received.elapsed().as_secs()) else {
            self.starved.push(worker);
            return None;
        };
        let extranonce_2 = piece.extranonce_2;
        let made = || work.job.merkle_root(prefix, extranonce_2.as_bytes());
        let mut header = work.job.header(work.root.unwrap_or_else(made));
        header.ntime = header.ntime.wrapping_add(piece.later_s);
        let mut search = crew::Work {
            id: self.next_id,
            header: header.to_bytes(),
            target: Target::from_le_bytes(work.target.to_le_bytes()),
            nonces: Nonces::ALL,
            versions: VersionBits::new(work.version_mask.unwrap_or(0)),
        };
        let (part, parts) = piece.part;
        if parts > 1 {
            search = search.part(part, parts);
        }
        self.crew.assign(worker, &search);
        let now = Instant::now();
        self.next_id += 1;
        if worker < self.crew.workers() {
            if self.assigned.len() >= REMEMBERED * self.crew.workers() {
                self.assigned.pop_front();
            }
            self.assigned.push_back(Assigned {
                id: search.id,
                header: search.header,
                target: search.target,
                version_mask: work.version_mask,
                found: FoundShare {
                    pool,
                    extranonce_1: work.extranonce_1,
                    prev_hash: work.job.prev_hash,
                    share: work.share(extranonce_2, header.version, header.ntime, 0),
                },
            });
        }
        Some(now)
    }

    /// Does all of it for nobody.
    fn rehearse(&mut self, work: &Work) {
        let (draw, next_id) = (self.draw, self.next_id);
        let nobody = self.crew.workers();
        self.hand_out(0, work, Instant::now(), nobody..nobody + 1);
        (self.draw, self.next_id) = (draw, next_id);
    }
}

struct Rig {
    desk: Desk,
    meter: RigMeter,
    rate: RateMeter,
    work_rate: WorkRate,
    current: Option<Current>,
    /// Whether `current` is still to be searched.
    on: bool,
    /// When shares were found that are not answered yet.
    found_at: BTreeMap<Share, Instant>,
    ended: bool,
}

impl Rig {
    /// Takes notice of what the session tells.
    fn hear(&mut self, notice: &Notice<'_>) {
        match notice {
            Notice::Work {
                pool,
                work,
                received_at,
            } => self.take_up(*pool, work, *received_at),
            Notice::Rehearsal { work } => self.desk.rehearse(work),
            Notice::VersionMask(mask) => {
                if let Some(current) = &mut self.current
                    && self.on
                {
                    current.work.version_mask = Some(*mask);
                    self.desk.starved.clear();
                    for worker in 0..self.desk.crew.workers() {
                        self.desk.assign(worker, &current.whole());
                    }
                }
            }
            Notice::Disconnected { .. } => {
                self.on = false;
                self.desk.crew.rest();
                self.work_rate.rest(Instant::now());
            }
            Notice::Accepted { share, .. } => {
                self.answered(&share.share);
                self.count(|totals| totals.accepted += 1);
            }
            Notice::Rejected {
                share, rejection, ..
            } => {
                self.answered(&share.share);
                let stale = rejection.reason == RejectReason::Stale;
                self.count(|totals| {
                    totals.stale += u64::from(stale);
                    totals.rejected += u64::from(!stale);
                });
            }
            Notice::Lost { share, why } => {
                self.found_at.remove(&share.share);
                // What is kept comes again.
                self.count(|totals| totals.lost += u64::from(*why != Lost::Kept));
            }
            _ => {}
        }
    }

    fn count(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.meter.0.borrow_mut().totals);
    }

    fn answered(&mut self, share: &Share) {
        if let Some(at) = self.found_at.remove(share) {
            let mut meter = self.meter.0.borrow_mut();
            meter.latencies.record(Stage::Acknowledge, at.elapsed());
        }
    }

    fn take_up(&mut self, pool: usize, work: &Work, received: Instant) {
        let parsed = Instant::now();
        let first_id = self.desk.next_id;
        self.desk.starved.clear();
        let workers = 0..self.desk.crew.workers();
        let (prefix, dispatched) = self.desk.hand_out(pool, work, received, workers);
        // The workers have begun; the rest is for later.
        let times = JobTimes {
            received,
            parsed,
            dispatched,
        };
        if let Some(current) = &mut self.current {
            copy(&mut current.work, work);
            (current.pool, current.prefix, current.times) = (pool, prefix, times);
            (current.fresh, current.first_id) = (true, first_id);
        } else {
            self.current = Some(Current {
                pool,
                work: work.clone(),
                prefix,
                times,
                fresh: true,
                first_id,
            });
        }
        self.on = true;
        self.work_rate.begin(dispatched);
        self.count(|totals| totals.jobs += 1);
    }

    /// Gives those something that have tried all there was a second ago.
    fn feed(&mut self) {
        if let Some(current) = &self.current
            && self.on
        {
            for worker in std::mem::take(&mut self.desk.starved) {
                self.desk.assign(worker, &current.whole());
            }
        }
    }

    /// Takes what workers tell.
    fn collect(&mut self, submit: &SessionHandle) {
        while let Some(event) = self.desk.crew.poll() {
            match event {
                crew::Event::Started { id, begun, at, .. } => self.started(id, begun, at),
                crew::Event::Found {
                    id,
                    version,
                    nonce,
                    at,
                    ..
                } => self.found(id, version, nonce, at, submit),
                crew::Event::Exhausted { worker, id } => {
                    // Of work that is over, it comes too late.
                    if let Some(current) = &self.current
                        && self.on
                        && id >= current.first_id
                    {
                        self.desk.assign(worker, &current.whole());
                    }
                }
            }
        }
    }

    fn started(&mut self, id: u64, begun: Instant, at: Instant) {
        let Some(current) = &mut self.current else {
            return;
        };
        if current.fresh && id >= current.first_id {
            current.fresh = false;
            let mut meter = self.meter.0.borrow_mut();
            meter.latencies.record_job(&current.times, begun, at);
        }
    }

    fn found(&mut self, id: u64, version: u32, nonce: u32, at: Instant, submit: &SessionHandle) {
        let Some(assigned) = self.desk.assigned.iter().find(|assigned| assigned.id == id) else {
            // Found for work that is long over.
            return;
        };
        let mut header = assigned.header;
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        if !assigned.target.is_met_by(&sha256d(&header)) {
            tracing::error!(nonce, version, "a worker found what is no share");
            self.count(|totals| totals.wrong += 1);
            return;
        }
        let mut found = assigned.found;
        found.share.nonce = nonce;
        found.share.version_bits = assigned.version_mask.map(|mask| version & mask);
        self.found_at.insert(found.share, at);
        submit.submit(found);
    }

    /// Lets the workers rest for good.
    fn end(&mut self) {
        self.read();
        self.desk.crew.rest();
        self.ended = true;
    }

    /// Brings the counts of hashes up to date.
    fn read(&mut self) {
        let (now, hashes) = (Instant::now(), self.desk.crew.hashes());
        self.rate.record(now, hashes);
        self.work_rate.record(now, hashes);
        let rates = self.rate.rates();
        self.count(|totals| (totals.hashes, totals.rates) = (hashes, rates));
    }
}

/// As `clone_from`, in the memory that is there.
fn copy(to: &mut Work, from: &Work) {
    let Work {
        key,
        job,
        root,
        extranonce_1,
        extranonce_2_len,
        target,
        difficulty,
        version_mask,
        stale,
    } = from;
    to.root = *root;
    (to.key, to.extranonce_1, to.extranonce_2_len) = (*key, *extranonce_1, *extranonce_2_len);
    (to.target, to.difficulty) = (*target, *difficulty);
    (to.version_mask, to.stale) = (*version_mask, *stale);
    let Job {
        id,
        prev_hash,
        coinbase_1,
        coinbase_2,
        branches,
        version,
        nbits,
        ntime,
        clean,
    } = job;
    let to = &mut to.job;
    to.coinbase_1.clone_from(coinbase_1);
    to.coinbase_2.clone_from(coinbase_2);
    to.branches.clone_from(branches);
    (to.id, to.prev_hash, to.version) = (*id, *prev_hash, *version);
    (to.nbits, to.ntime, to.clean) = (*nbits, *ntime, *clean);
}
