//! Loom models: every interleaving of a few threads, up to a bound on preemptions.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p zcn-pool --release --lib -- --test-threads=1`: one
//! at a time, as some look whether the memory of a pool is gone, where another test would
//! put its own.

#![allow(unsafe_code)]

use loom::sync::Arc;
use loom::thread;

use crate::depot::{Depot, Spares};
use crate::references::References;
use crate::sync::{AtomicU32, Ordering, UnsafeCell};
use crate::tagged_stack::{Links, NIL, TaggedStack};
use crate::{Buf, BufferPool, HugePages, SharedBuf};

/// Explores `model` with up to `preemptions` switches away from a thread that could have
/// gone on; most errors of lock-free code show with two or three.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Indices that own a cell each; two owners at a time would be a race that loom reports.
struct Things {
    links: Vec<AtomicU32>,
    cells: Vec<UnsafeCell<u32>>,
}

// SAFETY: what the models check.
unsafe impl Sync for Things {}

impl Things {
    fn new(count: u32) -> Self {
        Self {
            links: (0..count).map(|_| AtomicU32::new(NIL)).collect(),
            cells: (0..count).map(|_| UnsafeCell::new(0)).collect(),
        }
    }

    /// Uses a thing as its only owner.
    fn own(&self, index: u32) {
        self.cells[index as usize].with_mut(|_| ());
    }
}

/// What the models need of a stack.
trait Stack: Send + Sync + 'static {
    fn new() -> Self;
    fn push(&self, links: &[AtomicU32], index: u32);
    fn pop(&self, links: &[AtomicU32]) -> Option<u32>;
}

impl Stack for TaggedStack {
    fn new() -> Self {
        Self::new()
    }

    fn push(&self, links: &[AtomicU32], index: u32) {
        self.push(links, index);
    }

    fn pop(&self, links: &[AtomicU32]) -> Option<u32> {
        self.pop(links)
    }
}

/// The same stack without tags, which is wrong.
struct UntaggedStack(AtomicU32);

impl Stack for UntaggedStack {
    fn new() -> Self {
        Self(AtomicU32::new(NIL))
    }

    fn push(&self, links: &[AtomicU32], index: u32) {
        loop {
            let head = self.0.load(Ordering::Acquire);
            links.link(index).store(head, Ordering::Relaxed);
            if self
                .0
                .compare_exchange(head, index, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return;
            }
            thread::yield_now();
        }
    }

    fn pop(&self, links: &[AtomicU32]) -> Option<u32> {
        loop {
            let head = self.0.load(Ordering::Acquire);
            if head == NIL {
                return None;
            }
            let next = links.link(head).load(Ordering::Relaxed);
            if self
                .0
                .compare_exchange(head, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return Some(head);
            }
            thread::yield_now();
        }
    }
}

/// One thread takes one thing; the other takes two and puts the first back, which is
/// what ABA needs. In the end everything is there once.
fn reuse<S: Stack>() {
    let shared = Arc::new((S::new(), Things::new(3)));
    for index in 0..3 {
        shared.0.push(&shared.1.links, index);
    }
    let other = shared.clone();
    let thread = thread::spawn(move || {
        let (stack, things) = &*other;
        let first = stack.pop(&things.links);
        let second = stack.pop(&things.links);
        for index in [first, second].into_iter().flatten() {
            things.own(index);
        }
        if let Some(index) = first {
            stack.push(&things.links, index);
        }
        second
    });
    let (stack, things) = &*shared;
    let mine = stack.pop(&things.links);
    if let Some(index) = mine {
        things.own(index);
    }
    let theirs = thread.join().unwrap();
    let mut all: Vec<u32> = [mine, theirs].into_iter().flatten().collect();
    // Bounded, as a broken stack can be a ring.
    all.extend((0..4).map_while(|_| stack.pop(&things.links)));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn models_tagged_stack_survives_reuse() {
    explore(3, reuse::<TaggedStack>);
}

#[test]
#[should_panic]
fn models_untagged_stack_falls_to_aba() {
    explore(3, reuse::<UntaggedStack>);
}

#[test]
fn models_chain_and_batch() {
    explore(3, || {
        let shared = Arc::new((TaggedStack::new(), Things::new(4)));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            let (stack, things) = &*other;
            for index in 0..2 {
                things.own(index);
            }
            stack.push_all(&things.links[..], &[0, 1]);
            stack
                .pop(&things.links[..])
                .inspect(|index| things.own(*index))
        });
        let (stack, things) = &*shared;
        things.own(2);
        stack.push(&things.links[..], 2);
        let mut into = [NIL; 2];
        let taken = stack.pop_many(&things.links[..], &mut into);
        for index in &into[..taken] {
            things.own(*index);
        }
        let mut all = into[..taken].to_vec();
        all.extend(thread.join().unwrap());
        all.extend((0..4).map_while(|_| stack.pop(&things.links[..])));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

/// Two threads move magazines of two through a depot that has one slot to spare.
#[test]
fn models_depot_hands_magazines_over() {
    explore(3, || {
        let shared = Arc::new((Depot::new(6, 2), Things::new(6)));
        let mut spares = Spares::new();
        for pair in [[0, 1], [2, 3]] {
            assert!(shared.0.give(&pair, &mut spares));
        }
        shared.0.park_all(&mut spares);
        let work = |shared: &(Depot, Things)| {
            let (depot, things) = shared;
            let (mut entries, mut spares) = ([NIL; 2], Spares::new());
            let mut held = Vec::new();
            for keep in [false, true] {
                if depot.take(&mut entries, &mut spares) {
                    entries.iter().for_each(|&index| things.own(index));
                    if keep {
                        held.extend(entries);
                    } else {
                        assert!(depot.give(&entries, &mut spares));
                    }
                }
            }
            depot.park_all(&mut spares);
            held
        };
        let other = shared.clone();
        let thread = thread::spawn(move || work(&other));
        let mut all = work(&shared);
        all.extend(thread.join().unwrap());
        let mut entries = [NIL; 2];
        while shared.0.take(&mut entries, &mut spares) {
            all.extend(entries);
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
    });
}

/// A buffer comes home on a thread without a handle while the last handle goes: exactly
/// one of them is the last, and it sees what the other did.
#[test]
fn models_one_party_is_the_last() {
    explore(3, || {
        let shared = Arc::new((References::new(1), UnsafeCell::new(0)));
        shared.0.add(1);
        let other = shared.clone();
        let leave = |shared: &(References, UnsafeCell<u32>)| {
            shared.1.with(|_| ());
            shared.0.sub(1).then(|| shared.1.with_mut(|_| ()))
        };
        let thread = thread::spawn(move || leave(&other));
        let mine = leave(&shared);
        let theirs = thread.join().unwrap();
        assert!(mine.is_some() != theirs.is_some());
    });
}

// From here on the whole pool, with magazines of one buffer so that each operation or two
// meets the depot.

fn pool(count: usize) -> BufferPool {
    BufferPool::builder()
        .count(count)
        .huge_pages(HugePages::Never)
        .build()
        .unwrap()
}

fn place(pool: &BufferPool) -> *mut u8 {
    pool.region().0.as_ptr()
}

/// Loom runs its threads on one real one, so nobody else maps anything here meanwhile.
fn is_mapped(place: *mut u8) -> bool {
    // SAFETY: this advice changes nothing, and where there is no map it is an error.
    unsafe { rustix::mm::madvise(place.cast(), 4096, rustix::mm::Advice::Normal) }.is_ok()
}

#[track_caller]
fn assert_all_home(pool: BufferPool) {
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.cached), (0, 0), "{stats:?}");
    let all: Vec<Buf> = std::iter::from_fn(|| pool.acquire()).collect();
    let mut indices: Vec<_> = all.iter().map(Buf::index).collect();
    indices.sort_unstable();
    assert!(indices.into_iter().eq(0..stats.total as u32));
    let place = place(&pool);
    drop(pool);
    assert!(is_mapped(place));
    drop(all);
    assert!(!is_mapped(place));
}

#[test]
fn models_magazines_beside_single_buffers() {
    explore(3, || {
        let pool = pool(3);
        let other = pool.clone();
        let thread = thread::spawn(move || {
            let held = (other.acquire(), other.acquire());
            drop(other);
            held
        });
        let local = pool.local();
        drop((local.acquire(), local.acquire()));
        drop(local);
        drop(thread.join().unwrap());
        assert_all_home(pool);
    });
}

#[test]
fn models_two_threads_with_magazines() {
    explore(3, || {
        let pool = pool(4);
        let other = pool.clone();
        let thread = thread::spawn(move || {
            let local = other.local();
            let held = [local.acquire(), local.acquire(), local.acquire()];
            drop(held);
        });
        let local = pool.local();
        let held = [local.acquire(), local.acquire(), local.acquire()];
        drop(held);
        drop(local);
        thread.join().unwrap();
        assert_all_home(pool);
    });
}

#[test]
fn models_released_on_another_thread_while_the_pool_goes() {
    explore(3, || {
        let pool = pool(3);
        let place = place(&pool);
        let local = pool.local();
        let (first, second) = (local.acquire(), local.acquire());
        let thread = thread::spawn(move || drop(first));
        drop((local, pool));
        drop(second);
        thread.join().unwrap();
        assert!(!is_mapped(place));
    });
}

#[test]
fn models_released_into_magazines_of_another_thread_while_the_pool_goes() {
    explore(3, || {
        let pool = pool(3);
        let place = place(&pool);
        let other = pool.clone();
        let (first, second) = (pool.acquire(), pool.acquire());
        let thread = thread::spawn(move || {
            let local = other.local();
            drop(other);
            drop(first);
            drop(local);
        });
        drop(pool);
        drop(second);
        thread.join().unwrap();
        assert!(!is_mapped(place));
    });
}

#[test]
fn models_last_slice_gives_the_buffer_back_once() {
    explore(3, || {
        let pool = pool(2);
        let shared = SharedBuf::from(pool.acquire().unwrap());
        let clone = shared.clone();
        let thread = thread::spawn(move || drop(clone));
        match shared.try_into_buf() {
            Ok(buf) => drop(buf),
            Err(shared) => drop(shared),
        }
        thread.join().unwrap();
        assert_all_home(pool);
    });
}

#[test]
fn models_raw_handle_is_granted_once() {
    explore(3, || {
        let pool = pool(2);
        let raw = pool.acquire().unwrap().into_raw();
        let other = pool.clone();
        let thread = thread::spawn(move || other.release_raw(raw).is_ok());
        let mine = pool.release_raw(raw).is_ok();
        let theirs = thread.join().unwrap();
        assert!(mine != theirs);
        assert_all_home(pool);
    });
}
