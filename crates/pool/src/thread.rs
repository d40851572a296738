//! Finds the shard of the calling thread.
//!
//! A `Buf` is dropped anywhere and has no room for a `LocalPool`; this is how its release
//! comes to the magazines of the thread it happens on.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::core::Core;
use crate::shard::Shard;

/// The shards of one thread. Constant at first and without a destructor, so access is one
/// instruction, and it works in destructors of other thread-locals, too.
struct Thread {
    /// The pool and shard used last.
    core: Cell<*const Core>,
    shard: Cell<*const Shard>,
    /// All open shards of the thread, linked through `Shard::next`.
    first: Cell<*const Shard>,
}

impl Thread {
    const fn new() -> Self {
        Self {
            core: Cell::new(ptr::null()),
            shard: Cell::new(ptr::null()),
            first: Cell::new(ptr::null()),
        }
    }
}

// Pointers in here are valid: an open shard belongs to a `LocalPool`, which is not `Send`,
// holds a handle of the core, and removes the shard from here when it goes. If it is
// leaked, so is the handle, and the core stays for good.
#[cfg(not(loom))]
thread_local! {
    static THREAD: Thread = const { Thread::new() };
}

#[cfg(loom)]
loom::thread_local! {
    static THREAD: Thread = Thread::new();
}

/// Runs `found` with this thread's shard of `core`, or `missing` if it has none open.
#[inline(always)]
pub(crate) fn with_shard<R>(
    core: NonNull<Core>,
    found: impl FnOnce(&Shard) -> R,
    missing: impl FnOnce() -> R,
) -> R {
    let shard = THREAD.with(|thread| {
        if ptr::eq(thread.core.get(), core.as_ptr()) {
            thread.shard.get()
        } else {
            search(thread, core)
        }
    });
    // SAFETY: null or an open shard of this thread, which stays open meanwhile: nothing
    // that is run here closes one.
    match unsafe { shard.as_ref() } {
        Some(shard) => found(shard),
        None => missing(),
    }
}

/// Looks among the other shards, and remembers what it finds.
#[cold]
#[inline(never)]
fn search(thread: &Thread, core: NonNull<Core>) -> *const Shard {
    let mut at = thread.first.get();
    // SAFETY: the list holds open shards of this thread only.
    while let Some(shard) = unsafe { at.as_ref() } {
        if ptr::eq(shard.core, core.as_ptr()) {
            thread.core.set(core.as_ptr());
            thread.shard.set(shard);
            break;
        }
        at = shard.next.get();
    }
    at
}

/// Opens a shard of `core` on this thread, or joins the one that is open.
pub(crate) fn open(core: NonNull<Core>) -> NonNull<Shard> {
    if let Some(shard) = with_shard(core, |shard| Some(NonNull::from(shard)), || None) {
        // SAFETY: found open just now.
        let users = unsafe { &shard.as_ref().users };
        users.set(users.get() + 1);
        return shard;
    }
    // SAFETY: the caller has a handle.
    let shard = unsafe { core.as_ref() }.enlist();
    THREAD.with(|thread| {
        // SAFETY: enlisted for us, so no other thread uses it.
        let new = unsafe { shard.as_ref() };
        new.users.set(1);
        new.next.set(thread.first.get());
        thread.first.set(new);
        thread.core.set(core.as_ptr());
        thread.shard.set(new);
    });
    shard
}

/// Leaves a shard; the last one to leave brings its stock home and closes it.
///
/// # Safety
/// `shard` came from `open(core)` on this thread, the caller leaves once for each time,
/// and has a handle of `core`.
pub(crate) unsafe fn close(core: NonNull<Core>, shard: NonNull<Shard>) {
    // SAFETY: both are alive, says the caller.
    let (core, open) = unsafe { (core.as_ref(), shard.as_ref()) };
    open.users.set(open.users.get() - 1);
    if open.users.get() > 0 {
        return;
    }
    THREAD.with(|thread| {
        if ptr::eq(thread.shard.get(), open) {
            thread.core.set(ptr::null());
            thread.shard.set(ptr::null());
        }
        let mut link = &thread.first;
        while !ptr::eq(link.get(), open) {
            // SAFETY: the list holds open shards of this thread only, this one among
            // them, so the end is not reached before it.
            link = unsafe { &(*link.get()).next };
        }
        link.set(open.next.get());
    });
    core.retire(shard, open.flush(core));
}
