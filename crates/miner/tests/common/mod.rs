//! The system's allocator, counted.

#![allow(unsafe_code)]
#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALL: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Without a destructor and made without an allocation, so that an allocator may use it.
    static OURS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of all threads so far.
pub(crate) fn of_all() -> u64 {
    ALL.load(Ordering::Relaxed)
}

/// Allocations of this thread so far.
pub(crate) fn of_this_thread() -> u64 {
    OURS.get()
}

fn count() {
    ALL.fetch_add(1, Ordering::Relaxed);
    OURS.set(OURS.get() + 1);
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
