//! The ring: push, submit, wait, reap.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use io_uring::IoUring;
use zcn_pool::{Buf, BufferPool, LocalPool};

use crate::buf_ring::{BufRing, Consumption, GroupId, GroupStats};
use crate::builder::RingBuilder;
use crate::completion::Completions;
use crate::counters::Counters;
use crate::enter::{self, Limits};
use crate::error::RegisterError;
use crate::features::Features;
use crate::msg::Msg;
use crate::op::{Op, PushError, PushReason, cancel_tag};
use crate::queues::Queues;
use crate::slot::{CANCELLED, HIDDEN, ORPHANED, OpId, Slots};
use crate::sqe::{self, Sqe};

/// Operations abandoned by rings that could not be drained when dropped; process-wide.
///
/// `Relaxed`: a statistic that orders nothing.
static LEAKED_OPS: AtomicU64 = AtomicU64::new(0);

/// How many operations were leaked on purpose, with their buffers, because the kernel would not
/// let go of them when their ring was dropped. 0 in a healthy process.
pub fn leaked_ops() -> u64 {
    LEAKED_OPS.load(Ordering::Relaxed)
}

/// How long the drop of a ring waits for the kernel to let go of what it was lent.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// An io_uring whose operations own what the kernel points to.
///
/// One thread makes it, uses it and drops it (`!Send`: a submit from another thread would be
/// refused with `EEXIST`). Order of calls: [`push`](Self::push) any number of operations,
/// [`submit`](Self::submit) or [`wait`](Self::wait) once, then take the
/// [`completions`](Self::completions); each carries its operation's token, and the final one its
/// payload.
///
/// Memory ordering: pushes become visible to the kernel by the release store of the submission
/// tail before each enter, completions to us by the acquire load of the completion tail in
/// `completions`, and buffers lent to a group by the release store of the group's tail. Nothing
/// else here is shared between threads:
///
/// ```compile_fail
/// let ring = zcn_uring::Ring::builder().build().unwrap();
/// // A ring cannot go to another thread (rule 13).
/// std::thread::spawn(move || drop(ring));
/// ```
///
/// ```compile_fail
/// let ring = zcn_uring::Ring::builder().build().unwrap();
/// // Nor can a reference to it.
/// std::thread::scope(|scope| {
///     scope.spawn(|| ring.in_flight());
/// });
/// ```
pub struct Ring {
    pub(crate) queues: ManuallyDrop<Queues>,
    pub(crate) slots: Slots,
    pub(crate) groups: Vec<Option<BufRing>>,
    pub(crate) counters: Counters,
    /// Boxes of finished messages, for reuse; boxed because a header points into its own box.
    #[allow(clippy::vec_box)]
    pub(crate) spare_msgs: Vec<Box<Msg>>,
    /// Vectors of finished bundles, for reuse.
    pub(crate) spare_bundles: Vec<Vec<Buf>>,
    /// Operations accepted while the submission queue was full and the kernel took nothing.
    backlog: VecDeque<Sqe>,
    /// How many entries at the end of the submission queue belong to a chain that goes on with the
    /// next push: submitted without it, the chain would be broken.
    open_chain: u32,
    /// The kernel reported an overflow that has not been seen to end.
    overflowing: bool,
    features: Features,
    /// Index of the registered ring descriptor, if registered.
    registered: Option<u32>,
    /// What each enter names the ring by: the index, or the descriptor.
    enter_fd: i32,
    enter_flags: u32,
    completion_entries: u32,
    min_wait_us: u32,
    registered_pool: Option<BufferPool>,
    file_slots: u32,
    not_send: PhantomData<*mut ()>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("fd", &self.as_fd())
            .field("in_flight", &self.slots.live())
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Settings for a new ring.
    pub fn builder() -> RingBuilder {
        RingBuilder::default()
    }

    pub(crate) fn assemble(
        io: IoUring,
        mut features: Features,
        register_ring: bool,
        min_wait_us: u32,
    ) -> Self {
        let registered = if register_ring {
            crate::register::ring_fd(ring_fd(&io)).ok()
        } else {
            None
        };
        features.registered_ring = registered.is_some();
        let slots = Slots::with_capacity(io.params().sq_entries() as usize);
        let (enter_fd, enter_flags) = match registered {
            Some(index) => (index as i32, enter::REGISTERED_RING),
            None => (io.as_raw_fd(), 0),
        };
        let completion_entries = io.params().cq_entries();
        Self {
            queues: ManuallyDrop::new(Queues::new(io)),
            slots,
            groups: Vec::new(),
            counters: Counters::default(),
            spare_msgs: Vec::new(),
            spare_bundles: Vec::new(),
            backlog: VecDeque::new(),
            open_chain: 0,
            overflowing: false,
            features,
            registered,
            enter_fd,
            enter_flags,
            completion_entries,
            min_wait_us,
            registered_pool: None,
            file_slots: 0,
            not_send: PhantomData,
        }
    }

    /// What this kernel can do for this ring.
    pub fn features(&self) -> Features {
        self.features
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Operations whose final completion has not been reaped.
    pub fn in_flight(&self) -> usize {
        self.slots.live()
    }

    /// Entries in the submission and the completion queue.
    pub fn sizes(&self) -> (u32, u32) {
        let params = self.queues.io().params();
        (params.sq_entries(), params.cq_entries())
    }

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
    pub fn push(&mut self, op: Op) -> Result<OpId, PushError> {
        if op.sqe.flags & sqe::BUFFER_SELECT != 0
            && let Some(reason) = self.unfit_group(op.sqe.buf, op.is_bundle())
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
    fn push_growing(&mut self, op: Op) -> Result<OpId, PushError> {
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
    fn put(&mut self, index: u32, op: Op) -> OpId {
        let Op {
            mut sqe,
            kind,
            group,
            token,
            detail,
            payload,
        } = op;
        let (id, word) = self.slots.fill(index, kind, group, token, detail, payload);
        sqe.user_data = word;
        self.counters.submitted += 1;
        if !self.backlog.is_empty() || !self.queue(&sqe) {
            self.push_full(sqe);
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
    fn queue(&mut self, sqe: &Sqe) -> bool {
        // SAFETY: what the entry points to is owned by the slot it was pushed with and stays at its
        // address until the slot is freed by the final completion.
        let queued = unsafe { self.queues.push(sqe) };
        if queued {
            let goes_on = sqe.flags & (sqe::IO_LINK | sqe::IO_HARDLINK) != 0;
            self.open_chain = if goes_on { self.open_chain + 1 } else { 0 };
        }
        queued
    }

    /// The queue is full: let the kernel take it, but for the start of a chain that goes on with
    /// this entry; what still finds no room is kept for later, in order.
    #[cold]
    fn push_full(&mut self, sqe: Sqe) {
        self.backlog.push_back(sqe);
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
        while let Some(sqe) = self.backlog.front().copied() {
            if !self.queue(&sqe) {
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
    /// minimum wait ([`RingBuilder::min_wait`]), when it has passed and something is there; and
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

    /// The completions that have arrived, one by one. Dropping the iterator leaves the rest in the
    /// queue.
    #[inline]
    pub fn completions(&mut self) -> Completions<'_> {
        let overflown = self.queues.overflown();
        if overflown != self.overflowing {
            self.overflowing = overflown;
            self.counters.cq_overflows += u64::from(overflown);
        }
        Completions::new(self)
    }

    /// Asks the kernel to end an operation. Its completion still comes and still decides (the
    /// operation may have succeeded, rule 7); the cancel itself completes as an operation of its
    /// own with `token`. Nothing happens if the operation has ended already.
    // The error carries the operation, as in `push`.
    #[allow(clippy::result_large_err)]
    pub fn cancel(&mut self, id: OpId, token: u64) -> Result<Option<OpId>, PushError> {
        let Some(user_data) = self.mark_cancelled(id) else {
            return Ok(None);
        };
        self.push(Op::cancel_user_data(user_data).token(token))
            .map(Some)
    }

    fn mark_cancelled(&mut self, id: OpId) -> Option<u64> {
        let slot = self.slots.get_mut(id)?;
        slot.state |= CANCELLED;
        Some(cancel_tag(slot.kind, slot.group, id))
    }

    /// The owner of an operation goes away: the operation is cancelled, its completions are no
    /// longer shown, and what it owns goes home with the final one (rule 1). A descriptor that it
    /// yields after all is closed.
    pub fn abandon(&mut self, id: OpId) {
        let Some(user_data) = self.mark_cancelled(id) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(id) {
            if slot.state & ORPHANED != 0 {
                return;
            }
            slot.state |= ORPHANED;
        }
        self.counters.orphaned += 1;
        self.push_hidden(Op::cancel_user_data(user_data).pursuing(id, 1));
    }

    /// The cancel of an orphan found nothing, or found it under way: it may have been on its way
    /// between the kernel's lists. If it has not ended after a while, it is cancelled again.
    #[cold]
    pub(crate) fn pursue(&mut self, id: OpId, attempt: u32) {
        if attempt > CANCEL_ATTEMPTS {
            return;
        }
        let Some(user_data) = self.mark_cancelled(id) else {
            return;
        };
        let pause = Duration::from_millis(1 << (attempt - 1));
        // Hard-linked, because the end of a timeout counts as a failure.
        self.push_hidden(Op::timeout(pause, 0).hard_link());
        self.push_hidden(Op::cancel_user_data(user_data).pursuing(id, attempt + 1));
    }

    /// Pushes an operation whose completion nobody waits for. If there is no slot for it, so be it:
    /// what it was to end ends by itself or with the ring.
    fn push_hidden(&mut self, op: Op) {
        if let Ok(id) = self.push(op) {
            self.hide(id);
        }
    }

    /// Completions of this operation are not shown; for cancels nobody waits for.
    pub fn hide(&mut self, id: OpId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.state |= HIDDEN;
        }
    }

    /// Whether the operation has not had its final completion.
    pub fn is_in_flight(&mut self, id: OpId) -> bool {
        self.slots.get_mut(id).is_some()
    }

    /// A message from the ring's stock of boxes.
    pub fn take_msg(&mut self) -> Box<Msg> {
        self.spare_msgs.pop().unwrap_or_else(Msg::new)
    }

    /// Gives a finished message back to the stock.
    pub fn give_msg(&mut self, mut msg: Box<Msg>) {
        msg.clear();
        if self.spare_msgs.len() < SPARES {
            self.spare_msgs.push(msg);
        }
    }

    /// Gives the vector of a bundle back to the stock once its buffers have been taken out.
    pub fn give_bundle(&mut self, mut bundle: Vec<Buf>) {
        bundle.clear();
        if self.spare_bundles.len() < SPARES {
            self.spare_bundles.push(bundle);
        }
    }

    /// Registers a provided-buffer ring of `entries` buffers of the thread's pool.
    ///
    /// The ring is filled at once and again at every submit, as far as the pool goes; a receive
    /// that finds it empty ends with `ENOBUFS`.
    ///
    /// # Errors
    /// [`RegisterError`]: `entries` not a power of two up to 32768, more than 256 groups, a pool
    /// without a single free buffer, or the kernel's refusal.
    pub fn register_group(
        &mut self,
        entries: u16,
        source: LocalPool,
        consumption: Consumption,
    ) -> Result<GroupId, RegisterError> {
        if !entries.is_power_of_two() || entries > 32768 {
            return Err(RegisterError::Config {
                setting: "buffer-ring entries",
                value: entries.into(),
                range: "a power of two from 1 to 32768",
            });
        }
        let index = match self.groups.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.groups.push(None);
                self.groups.len() - 1
            }
        };
        let Ok(number) = u8::try_from(index) else {
            return Err(RegisterError::Config {
                setting: "buffer groups",
                value: index as u64,
                range: "at most 256 on one ring",
            });
        };
        let mut group = BufRing::new(entries, source, consumption);
        let flags = match consumption {
            Consumption::Whole => 0,
            Consumption::Incremental => crate::constants::PBUF_RING_INC,
        };
        // SAFETY: the entries are `entries` long, zeroed, page-aligned, and owned by the `BufRing`
        // that this ring keeps until it has unregistered the group or is closed itself.
        unsafe {
            self.queues.submitter().register_buf_ring_with_flags(
                group.address(),
                entries,
                number.into(),
                flags,
            )
        }
        .map_err(|source| RegisterError::Kernel {
            what: "provided-buffer ring",
            source,
        })?;
        group.refill();
        let available = group.stats().available;
        self.groups[index] = Some(group);
        if available == 0 {
            self.unregister_group(GroupId(number));
            return Err(RegisterError::PoolExhausted {
                wanted: entries.into(),
                had: 0,
            });
        }
        Ok(GroupId(number))
    }

    /// Takes a group away; its buffers go home. Whether it is gone: nothing happens while a receive
    /// on it is in flight, because its completion may still name one of the buffers.
    pub fn unregister_group(&mut self, group: GroupId) -> bool {
        let index = usize::from(group.0);
        if self.slots.picks_from(group.0) {
            return false;
        }
        if !matches!(self.groups.get(index), Some(Some(_))) {
            return false;
        }
        let result = self.queues.submitter().unregister_buf_ring(group.0.into());
        if result.is_ok() {
            self.groups[index] = None;
        }
        // Otherwise the kernel may still pick from it: keep it for as long as the ring lives.
        result.is_ok()
    }

    /// Stock of a group.
    pub fn group_stats(&self, group: GroupId) -> Option<GroupStats> {
        Some(self.groups.get(usize::from(group.0))?.as_ref()?.stats())
    }

    /// Lends free buffers of the pool to the kernel where a group has room. Every submit does this.
    #[inline]
    pub fn refill_groups(&mut self) {
        for group in self.groups.iter_mut().flatten() {
            group.refill();
        }
    }

    /// Registers the whole region of a pool as fixed buffers, so that reads, writes and zero-copy
    /// sends of its buffers need not map pages each time. Returns the index of the registered
    /// buffer in which each pool buffer lies: pool regions over 1 GiB take several.
    ///
    /// # Errors
    /// [`RegisterError::MemLock`] when the locked-memory limit is too small.
    pub fn register_pool(&mut self, pool: &BufferPool) -> Result<(), RegisterError> {
        if self.registered_pool.is_some() {
            return Err(RegisterError::Config {
                setting: "registered pools",
                value: 2,
                range: "one pool on one ring",
            });
        }
        let (start, bytes) = pool.region();
        let iovecs: Vec<libc::iovec> = (0..bytes)
            .step_by(FIXED_CHUNK)
            .map(|offset| libc::iovec {
                // SAFETY: `offset` lies inside the pool's map.
                iov_base: unsafe { start.as_ptr().add(offset) }.cast(),
                iov_len: (bytes - offset).min(FIXED_CHUNK),
            })
            .collect();
        // SAFETY: the region stays mapped for as long as a handle of the pool exists, and the ring
        // keeps one until it is closed.
        unsafe { self.queues.submitter().register_buffers(&iovecs) }.map_err(
            |source| match source.raw_os_error() {
                Some(libc::ENOMEM) => RegisterError::MemLock { bytes, source },
                _ => RegisterError::Kernel {
                    what: "fixed buffers",
                    source,
                },
            },
        )?;
        self.registered_pool = Some(pool.clone());
        Ok(())
    }

    /// Index of the registered buffer that `bytes` lie in, for [`Op::registered`] and
    /// [`Op::fixed_buffer`]; `None` if they are not of the registered pool.
    pub fn registered_index(&self, bytes: &[u8]) -> Option<u16> {
        let (start, len) = self.registered_pool.as_ref()?.region();
        let offset = (bytes.as_ptr() as usize).checked_sub(start.as_ptr() as usize)?;
        if offset + bytes.len() > len {
            return None;
        }
        u16::try_from(offset / FIXED_CHUNK).ok()
    }

    /// Makes a table of `slots` empty places for direct descriptors and registered files.
    ///
    /// # Errors
    /// [`RegisterError`]: a table exists already, or it exceeds the descriptor limit.
    pub fn register_files(&mut self, slots: u32) -> Result<(), RegisterError> {
        self.queues
            .submitter()
            .register_files_sparse(slots)
            .map_err(|source| RegisterError::Kernel {
                what: "file table",
                source,
            })?;
        self.file_slots = slots;
        Ok(())
    }

    /// Puts descriptors into the file table from `offset` on; they may be closed afterwards, the
    /// table keeps the files open.
    ///
    /// # Errors
    /// [`RegisterError`]: beyond the table, or the kernel's refusal.
    pub fn update_files(
        &mut self,
        offset: u32,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), RegisterError> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        self.set_files(offset, &raw)
    }

    /// Empties a place of the file table. The file is closed when the operations on it have ended,
    /// if no descriptor keeps it open.
    ///
    /// # Errors
    /// [`RegisterError`]: beyond the table, or the kernel's refusal.
    pub fn clear_file(&mut self, place: u32) -> Result<(), RegisterError> {
        self.set_files(place, &[-1])
    }

    fn set_files(&mut self, offset: u32, fds: &[RawFd]) -> Result<(), RegisterError> {
        let end = u64::from(offset) + fds.len() as u64;
        if end > u64::from(self.file_slots) {
            return Err(RegisterError::Config {
                setting: "file slot",
                value: end,
                range: "within the registered file table",
            });
        }
        self.queues
            .submitter()
            .register_files_update(offset, fds)
            .map(drop)
            .map_err(|source| RegisterError::Kernel {
                what: "file table update",
                source,
            })
    }

    /// Lets the kernel choose direct descriptors only from `offset..offset + len`; the rest stays
    /// the caller's.
    ///
    /// # Errors
    /// [`RegisterError::Kernel`].
    pub fn reserve_file_range(&mut self, offset: u32, len: u32) -> Result<(), RegisterError> {
        crate::register::file_alloc_range(self.as_fd(), offset, len).map_err(|source| {
            RegisterError::Kernel {
                what: "file allocation range",
                source,
            }
        })
    }

    /// Has `event` signalled whenever there may be something to reap: what a thread can wait on that
    /// sleeps elsewhere than in [`wait`](Self::wait).
    ///
    /// The ring's own descriptor is not enough for that: with deferred task work, poll(2) on it
    /// tells what is there when it is called, and sleeps through what comes later (Linux 6.18).
    ///
    /// # Errors
    /// What the kernel answers; `EBUSY` when there is one already.
    pub fn register_eventfd(&mut self, event: BorrowedFd<'_>) -> io::Result<()> {
        crate::register::eventfd(self.as_fd(), event)
    }

    /// Cancels everything and waits until nothing is in flight or `limit` has passed; returns what
    /// is left. Completions are consumed; resources go home, descriptors are closed.
    pub fn drain(&mut self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        if self.slots.live() > 0 {
            self.push_hidden(Op::cancel_all());
        }
        while self.slots.live() > 0 {
            for slot in self.slots.iter_live() {
                if slot.state & (ORPHANED | HIDDEN) == 0 {
                    slot.state |= ORPHANED;
                    self.counters.orphaned += 1;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // A short wait: an operation that was between two states when the cancel ran is
            // cancelled again.
            if self
                .wait(1, Some(left.min(Duration::from_millis(50))))
                .is_err()
            {
                break;
            }
            let mut reaped = 0;
            let mut completions = self.completions();
            while completions.next_hidden() {
                reaped += 1;
            }
            drop(completions);
            if reaped == 0 {
                self.push_hidden(Op::cancel_all());
            }
        }
        self.slots.live()
    }
}

/// How often an orphan is cancelled again: after 1, 2, 4, … ms, a second in all.
const CANCEL_ATTEMPTS: u32 = 10;

/// Most boxes kept for reuse.
const SPARES: usize = 1024;

/// Largest piece the kernel takes as one registered buffer (`SZ_1G`).
const FIXED_CHUNK: usize = 1 << 30;

enum Entered {
    Done,
    Interrupted,
    Busy,
}

fn ring_fd(io: &IoUring) -> BorrowedFd<'_> {
    // SAFETY: the ring keeps its descriptor open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(io.as_raw_fd()) }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        ring_fd(self.queues.io())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let left = self.drain(DRAIN_LIMIT);
        if let Some(index) = self.registered.take() {
            crate::register::unregister_ring_fd(self.as_fd(), index);
        }
        if left == 0 {
            for number in 0..self.groups.len() {
                // Nothing is in flight, so nothing picks from the group any more.
                let _ = self.queues.submitter().unregister_buf_ring(number as u16);
            }
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.queues) };
            return;
        }
        // Closing a ring is no barrier: the kernel may write into what it holds after the close
        // (rule 4). So what is left is leaked on purpose.
        LEAKED_OPS.fetch_add(left as u64, Ordering::Relaxed);
        tracing::error!(
            operations = left,
            "ring dropped with operations that did not end; leaked"
        );
        self.slots.leak();
        std::mem::forget(std::mem::take(&mut self.groups));
        std::mem::forget(self.registered_pool.take());
        // The ring itself stays open, so that the kernel's view of its memory stays valid.
    }
}
