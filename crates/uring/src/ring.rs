//! The ring: what it is made of, and its end.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use io_uring::{IoUring, cqueue, squeue};
use zcn_pool::{Buf, BufferPool};

use crate::buf_ring::BufRing;
use crate::builder::RingBuilder;
use crate::completion::{Completion, Completions};
use crate::counters::Counters;
use crate::enter;
use crate::features::Features;
use crate::msg::Msg;
use crate::queues::{Queues, Raw};
use crate::release::Tether;
use crate::sizes::{Completion16, CompletionSize, Entry64, EntrySize};
use crate::slot::Slots;

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
pub struct Ring<E: EntrySize = Entry64, C: CompletionSize = Completion16> {
    pub(crate) queues: ManuallyDrop<Queues<E, C>>,
    pub(crate) slots: Slots,
    pub(crate) groups: Vec<Option<BufRing>>,
    pub(crate) counters: Counters,
    /// Boxes of finished messages, for reuse; boxed because a header points into its own box.
    #[allow(clippy::vec_box)]
    pub(crate) spare_msgs: Vec<Box<Msg>>,
    /// Vectors of finished bundles, for reuse.
    pub(crate) spare_bundles: Vec<Vec<Buf>>,
    /// Operations accepted while the submission queue was full and the kernel took nothing.
    pub(crate) backlog: VecDeque<E::Whole>,
    /// How many entries at the end of the submission queue belong to a chain that goes on with the
    /// next push: submitted without it, the chain would be broken.
    pub(crate) open_chain: u32,
    /// The kernel reported an overflow that has not been seen to end.
    overflowing: bool,
    features: Features,
    /// Index of the registered ring descriptor, if registered.
    registered: Option<u32>,
    /// What each enter names the ring by: the index, or the descriptor.
    pub(crate) enter_fd: i32,
    pub(crate) enter_flags: u32,
    pub(crate) completion_entries: u32,
    pub(crate) min_wait_us: u32,
    pub(crate) registered_pool: Option<BufferPool>,
    pub(crate) file_slots: u32,
    not_send: PhantomData<*mut ()>,
}

impl<E: EntrySize, C: CompletionSize> std::fmt::Debug for Ring<E, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("fd", &self.as_fd())
            .field("in_flight", &self.slots.live())
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Settings for a new ring; they also choose the sizes of its entries
    /// ([`RingBuilder::entries_of_128_bytes`], [`RingBuilder::completions_of_32_bytes`]).
    pub fn builder() -> RingBuilder {
        RingBuilder::default()
    }
}

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    pub(crate) fn assemble(
        io: Raw<E, C>,
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

    /// The completions that have arrived, one by one. Dropping the iterator leaves the rest in the
    /// queue.
    #[inline]
    pub fn completions(&mut self) -> Completions<'_, E, C> {
        let overflown = self.queues.overflown();
        if overflown != self.overflowing {
            self.overflowing = overflown;
            self.counters.cq_overflows += u64::from(overflown);
        }
        Completions::new(self)
    }

    /// Fills the caller's places with completions that have arrived, as many as there are of
    /// either; returns how many. The rest stays in the queue.
    pub fn reap_into(&mut self, places: &mut [Option<Completion<C::Extra>>]) -> usize {
        let mut filled = 0;
        for (place, done) in places.iter_mut().zip(self.completions()) {
            *place = Some(done);
            filled += 1;
        }
        filled
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
}

/// Most boxes kept for reuse.
const SPARES: usize = 1024;

fn ring_fd<S: squeue::EntryMarker, C: cqueue::EntryMarker>(io: &IoUring<S, C>) -> BorrowedFd<'_> {
    // SAFETY: the ring keeps its descriptor open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(io.as_raw_fd()) }
}

impl<E: EntrySize, C: CompletionSize> AsFd for Ring<E, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        ring_fd(self.queues.io())
    }
}

impl<E: EntrySize, C: CompletionSize> Drop for Ring<E, C> {
    /// Drains the ring (rule 4). Commands that heed no cancel end with the ring itself: it is closed
    /// and the kernel's end of it awaited. What has not ended after two seconds of either is leaked
    /// on purpose, and counted ([`leaked_ops`]).
    fn drop(&mut self) {
        let left = self.drain_all_but_commands(DRAIN_LIMIT);
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
        if self.only_commands_left() {
            let tether = Tether::tie(self);
            // SAFETY: dropped once: the other place returns before. Not used afterwards, by the rest
            // of this function either.
            unsafe { ManuallyDrop::drop(&mut self.queues) };
            if tether.is_ok_and(|tether| tether.wait(DRAIN_LIMIT)) {
                // Over, though nobody saw their completions: what they own goes home with the slots.
                return;
            }
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
        // Unless closed above, the ring itself stays open, so that the kernel's view of its memory
        // stays valid.
    }
}
