//! A bounded queue from one thread to another, as cheap as it gets: each side tells the
//! other what it did once in many items, so that the queue's own traffic between the
//! cores does not hide that of the pools.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

const CAPACITY: usize = 1024;

/// Items between two tellings.
const BATCH: usize = 32;

/// Places for items, and how many were ever pushed and popped.
pub struct Ring<T> {
    /// Stored by the sender with release, after the item.
    pushed: CachePadded<AtomicUsize>,
    /// Stored by the receiver with release, after it took the item.
    popped: CachePadded<AtomicUsize>,
    closed: AtomicBool,
    places: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a place is touched by the sender while it is free and by the receiver while it
// is full; the two counters hand it over.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Ring<T> {}

/// The only one that pushes. Closes the ring when it goes.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    pushed: usize,
    /// What `popped` was when it was last looked at.
    popped: usize,
}

/// The only one that pops.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    popped: usize,
    /// What `pushed` was when it was last looked at.
    pushed: usize,
}

impl<T> Ring<T> {
    /// Both ends of a new ring.
    pub fn channel() -> (Sender<T>, Receiver<T>) {
        let ring = Arc::new(Self {
            pushed: CachePadded::default(),
            popped: CachePadded::default(),
            closed: AtomicBool::new(false),
            places: (0..CAPACITY)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
        });
        let sender = Sender {
            ring: ring.clone(),
            pushed: 0,
            popped: 0,
        };
        let receiver = Receiver {
            ring,
            popped: 0,
            pushed: 0,
        };
        (sender, receiver)
    }
}

impl<T> Sender<T> {
    /// Hands `item` over, or returns it if the ring is full.
    #[inline(always)]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.pushed - self.popped == CAPACITY {
            self.popped = self.ring.popped.load(Ordering::Acquire);
            if self.pushed - self.popped == CAPACITY {
                return Err(item);
            }
        }
        let place = &self.ring.places[self.pushed % CAPACITY];
        // SAFETY: the receiver is done with the place, and this is the only sender.
        unsafe { (*place.get()).write(item) };
        self.pushed += 1;
        if self.pushed.is_multiple_of(BATCH) {
            self.ring.pushed.store(self.pushed, Ordering::Release);
        }
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.ring.pushed.store(self.pushed, Ordering::Release);
        self.ring.closed.store(true, Ordering::Release);
    }
}

impl<T> Receiver<T> {
    /// The next item, if there is one.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        if self.popped == self.pushed {
            self.pushed = self.ring.pushed.load(Ordering::Acquire);
            if self.popped == self.pushed {
                return None;
            }
        }
        let place = &self.ring.places[self.popped % CAPACITY];
        // SAFETY: the sender filled the place, and this is the only receiver.
        let item = unsafe { (*place.get()).assume_init_read() };
        self.popped += 1;
        if self.popped.is_multiple_of(BATCH) {
            self.ring.popped.store(self.popped, Ordering::Release);
        }
        Some(item)
    }

    /// Whether nothing comes any more.
    pub fn is_closed(&self) -> bool {
        self.ring.closed.load(Ordering::Acquire)
            && self.ring.pushed.load(Ordering::Acquire) == self.popped
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // What was pushed must be dropped: a buffer must go home.
        while self.pop().is_some() {}
    }
}
