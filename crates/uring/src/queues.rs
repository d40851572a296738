//! The two queues shared with the kernel, borrowed once for as long as the ring lives.
//!
//! The `io-uring` crate hands out a guard for each look at a queue, which loads both cursors and
//! stores one back. The guards are kept here instead, so a push or a reap touches the shared
//! cursors only when the kernel is to learn of it, or when our copy says full or empty.
//!
//! Memory ordering: entries become visible to the kernel by the release store of the submission
//! tail in [`Queues::publish`], room in the submission queue to us by the acquire load of its head
//! there; completions become visible to us by the acquire load of the completion tail, and their
//! places free for the kernel by the release store of the completion head, both in
//! [`Queues::release`]. Each side writes its own cursor only, and our side is one thread.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use io_uring::cqueue::CompletionQueue;
use io_uring::squeue::SubmissionQueue;
use io_uring::{IoUring, Submitter};

use crate::sizes::sealed::{CompletionSize, EntrySize, Reaped};

/// The `io-uring` crate's ring of these sizes.
pub(crate) type Raw<E, C> = IoUring<<E as EntrySize>::Raw, <C as CompletionSize>::Raw>;

/// An io_uring and the guards of its queues.
pub(crate) struct Queues<E: EntrySize, C: CompletionSize> {
    // The guards point into `io` and are dropped before it.
    submissions: ManuallyDrop<SubmissionQueue<'static, E::Raw>>,
    completions: ManuallyDrop<CompletionQueue<'static, C::Raw>>,
    /// From a box, at an address of its own; a raw pointer, because moving a box would assert that
    /// nothing else points into it.
    io: NonNull<Raw<E, C>>,
}

impl<E: EntrySize, C: CompletionSize> Queues<E, C> {
    pub(crate) fn new(io: Raw<E, C>) -> Self {
        let io = NonNull::from(Box::leak(Box::new(io)));
        // SAFETY: the box was leaked and is freed in `drop` only, after the guards. From here on
        // `io` is used through shared references alone, and no other guard is ever made.
        let (submissions, completions) = unsafe {
            let io: &'static Raw<E, C> = io.as_ref();
            (io.submission_shared(), io.completion_shared())
        };
        Self {
            submissions: ManuallyDrop::new(submissions),
            completions: ManuallyDrop::new(completions),
            io,
        }
    }

    #[inline]
    pub(crate) fn io(&self) -> &Raw<E, C> {
        // SAFETY: alive until `drop`, and only ever borrowed shared.
        unsafe { self.io.as_ref() }
    }

    pub(crate) fn submitter(&self) -> Submitter<'_> {
        self.io().submitter()
    }

    /// Puts an entry behind those queued; whether there was room.
    ///
    /// # Safety
    /// What the entry points to stays valid until the operation's final completion.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &E::Whole) -> bool {
        // SAFETY: as the caller promises.
        unsafe { self.submissions.push(E::raw(entry)) }.is_ok()
    }

    /// Shows what was pushed to the kernel, and learns what the kernel has taken.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.submissions.sync();
    }

    /// Entries pushed and not taken by the kernel, as of the last [`publish`](Self::publish).
    #[inline]
    pub(crate) fn queued(&self) -> u32 {
        self.submissions.len() as u32
    }

    /// Gives the places of reaped completions back and learns what has arrived since.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.completions.sync();
    }

    /// The next completion.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Reaped<C::Extra>> {
        let entry = match self.completions.next() {
            Some(entry) => entry,
            None => {
                self.completions.sync();
                self.completions.next()?
            }
        };
        Some(C::take(entry))
    }

    /// Completions that wait to be reaped.
    #[inline]
    pub(crate) fn ready(&mut self) -> u32 {
        self.completions.sync();
        self.completions.len() as u32
    }

    /// Completions are held back in the kernel for want of room (`IORING_SQ_CQ_OVERFLOW`).
    #[inline]
    pub(crate) fn overflown(&self) -> bool {
        self.submissions.cq_overflow()
    }

    /// Deferred work waits for an enter (`IORING_SQ_TASKRUN`).
    #[inline]
    pub(crate) fn work_waits(&self) -> bool {
        self.submissions.taskrun()
    }
}

impl<E: EntrySize, C: CompletionSize> Drop for Queues<E, C> {
    fn drop(&mut self) {
        // SAFETY: each is dropped once, here; the guards write their cursors into the maps of `io`,
        // which is freed after them and came from a box.
        unsafe {
            ManuallyDrop::drop(&mut self.submissions);
            ManuallyDrop::drop(&mut self.completions);
            drop(Box::from_raw(self.io.as_ptr()));
        }
    }
}
