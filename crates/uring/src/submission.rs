//! Into the kernel: push, submit, wait.
#![allow(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use crate::enter::{self, Limits};
use crate::op::Op;
use crate::push::{Fits, PushError, PushReason};
use crate::ring::Ring;
use crate::sizes::{CompletionSize, EntrySize};
use crate::slot::OpId;
use crate::sqe;

/// How an enter ended that did not fail.
enum Entered {
    Done,
    Interrupted,
    Busy,
}

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// Queues an operation for the next submit; no system call unless the queue is full. From here
    /// on the ring owns its buffers, whatever becomes of the submit (rules 1 and 2).
    ///
    /// A chain of [linked](Op::link) operations stays in one piece as long as it is not longer than
    /// the submission queue and no submit or wait comes between its parts.
    ///
    /// # Errors
    /// [`PushError`] with the operation back.
    // The error carries the operation, which is what a caller wants to have back.
    #[allow(clippy::result_large_err)]
    // Always inline: an operation is then built in registers and written once, into the queue,
    // instead of being copied from call to call.
    #[inline(always)]
    pub fn push<O: Fits<E>>(&mut self, op: O) -> Result<OpId, PushError<O>> {
        let (sqe, bundle) = (&op.op().sqe, op.op().is_bundle());
        if sqe.flags & sqe::BUFFER_SELECT != 0
            && let Some(reason) = self.unfit_group(sqe.buf, bundle)
        {
            return Err(PushError { op, reason });
        }
        match self.slots.reserve() {
            Some(index) => Ok(self.put(index, op)),
            None => self.push_growing(op),
        }
    }

    /// No slot is free: makes one more.
    #[cold]
    #[allow(clippy::result_large_err)]
    fn push_growing<O: Fits<E>>(&mut self, op: O) -> Result<OpId, PushError<O>> {
        match self.slots.grow() {
            Some(index) => Ok(self.put(index, op)),
            None => {
                let reason = PushReason::TooManyOps;
                Err(PushError { op, reason })
            }
        }
    }

    /// Puts an operation into a reserved slot and the queue.
    #[inline(always)]
    fn put<O: Fits<E>>(&mut self, index: u32, op: O) -> OpId {
        let (
            Op {
                mut sqe,
                kind,
                group,
                token,
                detail,
                payload,
            },
            rest,
        ) = op.split();
        let (id, word) = self.slots.fill(index, kind, group, token, detail, payload);
        sqe.user_data = word;
        self.counters.submitted += 1;
        let entry = E::join(sqe, rest);
        if !self.backlog.is_empty() || !self.queue(&entry) {
            self.push_full(entry);
        }
        id
    }

    /// Why a receive cannot pick buffers from its group, if it cannot.
    #[inline]
    fn unfit_group(&self, group: u16, bundle: bool) -> Option<PushReason> {
        match self.groups.get(usize::from(group)) {
            Some(Some(group)) if bundle && group.is_incremental() => {
                Some(PushReason::BundleOfPieces)
            }
            Some(Some(_)) => None,
            _ => Some(PushReason::NoSuchGroup),
        }
    }

    /// Writes an entry into the submission queue; whether there was room.
    #[inline]
    fn queue(&mut self, entry: &E::Whole) -> bool {
        // SAFETY: what the entry points to is owned by the slot it was pushed with and stays at its
        // address until the slot is freed by the final completion.
        let queued = unsafe { self.queues.push(entry) };
        if queued {
            let goes_on = E::first(entry).flags & (sqe::IO_LINK | sqe::IO_HARDLINK) != 0;
            self.open_chain = if goes_on { self.open_chain + 1 } else { 0 };
        }
        queued
    }

    /// The queue is full: let the kernel take it, but for the start of a chain that goes on with
    /// this entry; what still finds no room is kept for later, in order.
    #[cold]
    fn push_full(&mut self, entry: E::Whole) {
        self.backlog.push_back(entry);
        // An error leaves the entry in the backlog, where the next submit finds it.
        let _ = self.enter(self.whole_chains(), 0, self.news_flags(), Limits::default());
        self.move_backlog();
    }

    /// How many queued entries can be submitted without breaking the chain at their end; all if
    /// that chain fills the queue.
    fn whole_chains(&self) -> u32 {
        let queued = self.queues.queued();
        match queued.checked_sub(self.open_chain) {
            None | Some(0) => queued,
            Some(whole) => whole,
        }
    }

    /// Moves the backlog into the queue as far as it has room.
    fn move_backlog(&mut self) {
        while let Some(entry) = self.backlog.front().copied() {
            if !self.queue(&entry) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Operations pushed and not yet taken by the kernel.
    #[inline]
    pub fn queued(&mut self) -> usize {
        self.queues.queued() as usize + self.backlog.len()
    }

    /// Hands everything queued to the kernel, without waiting. One system call for each filling of
    /// the submission queue; none when nothing is queued and no deferred work waits.
    ///
    /// # Errors
    /// What the kernel answers, but for `EBUSY` and `EAGAIN` (counted; the entries stay queued and
    /// the completions must be reaped first) and `EINTR` (left for the next submit).
    pub fn submit(&mut self) -> io::Result<()> {
        self.refill_groups();
        self.submit_queued()
    }

    fn submit_queued(&mut self) -> io::Result<()> {
        loop {
            self.move_backlog();
            let last = self.backlog.is_empty();
            let queued = self.queues.queued();
            let flags = self.news_flags();
            if queued == 0 && flags == 0 {
                return Ok(());
            }
            let whole = if last { queued } else { self.whole_chains() };
            let entered = self.enter(whole, 0, flags, Limits::default())?;
            let took_nothing = self.queues.queued() == queued;
            if last || took_nothing || matches!(entered, Entered::Busy) {
                // What the kernel did not take stays for after the next reap.
                return Ok(());
            }
        }
    }

    /// Submits everything queued and waits for `want` completions (at most as many as the
    /// completion queue holds) or until `timeout` has passed, in one system call. No call at all
    /// when nothing is queued and as many completions are there already.
    ///
    /// Returns early, without an error: on the timeout; on a signal when there is a timeout; with a
    /// minimum wait ([`RingBuilder::min_wait`](crate::RingBuilder::min_wait)), when it has passed and something is there; and
    /// when the kernel is too busy to take what is queued.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn wait(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        self.refill_groups();
        if !self.backlog.is_empty() {
            self.submit_queued()?;
            if !self.backlog.is_empty() {
                return Ok(());
            }
        }
        let want = want.min(self.completion_entries);
        if self.queues.queued() == 0 && self.queues.ready() >= want.max(1) {
            return Ok(());
        }
        let limits = Limits {
            timeout,
            min_wait_us: self.min_wait_us,
        };
        let for_all = timeout.is_none() && self.min_wait_us == 0;
        loop {
            match self.enter(self.queues.queued(), want, enter::GETEVENTS, limits)? {
                Entered::Interrupted if timeout.is_none() => {}
                // A signal that comes after the submission ends the wait without an error.
                Entered::Done if for_all && self.queues.ready() < want => {}
                _ => return Ok(()),
            }
        }
    }

    /// [`wait`](Self::wait) for all of `want`, through signals and early returns, until `timeout`
    /// has passed.
    pub(crate) fn wait_patiently(
        &mut self,
        want: u32,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let want = want.min(self.completion_entries);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            let refused = self.counters.submit_busy;
            self.wait(want, left)?;
            left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let over = left.is_some_and(|left| left.is_zero());
            // A signal after the submission looks like any other early return. What the kernel is
            // too busy to take needs completions to be reaped first.
            if over || self.queues.ready() >= want || self.counters.submit_busy != refused {
                return Ok(());
            }
        }
    }

    /// One system call: the first `to_submit` of the queued entries go to the kernel.
    #[inline]
    fn enter(
        &mut self,
        to_submit: u32,
        want: u32,
        flags: u32,
        limits: Limits,
    ) -> io::Result<Entered> {
        if to_submit == self.queues.queued() {
            self.open_chain = 0;
        }
        self.queues.publish();
        self.counters.enters += 1;
        let result = enter::enter(
            self.enter_fd,
            to_submit,
            want,
            flags | self.enter_flags,
            limits,
        );
        // Learn how much the kernel has taken.
        self.queues.publish();
        match result {
            Ok(_) => Ok(Entered::Done),
            Err(error) => self.classify(error),
        }
    }

    #[cold]
    fn classify(&mut self, error: io::Error) -> io::Result<Entered> {
        match error.raw_os_error() {
            Some(libc::ETIME) => Ok(Entered::Done),
            Some(libc::EINTR) => {
                self.counters.interrupted += 1;
                Ok(Entered::Interrupted)
            }
            Some(libc::EBUSY | libc::EAGAIN) => {
                self.counters.submit_busy += 1;
                Ok(Entered::Busy)
            }
            _ => Err(error),
        }
    }

    /// Whether an enter would bring completions that are not in the queue yet: deferred task work
    /// or an overflown queue. Reads shared memory only.
    #[inline]
    fn kernel_has_news(&self) -> bool {
        self.queues.work_waits() || self.queues.overflown()
    }

    fn news_flags(&self) -> u32 {
        match self.kernel_has_news() {
            true => enter::GETEVENTS,
            false => 0,
        }
    }

    /// Whether there is anything to reap now or after a [`submit`](Self::submit). Reads shared
    /// memory only: this is what a spinning loop asks.
    #[inline]
    pub fn has_news(&mut self) -> bool {
        self.queues.ready() > 0 || self.kernel_has_news()
    }
}
