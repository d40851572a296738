//! Where buffers go when they are dropped, and what is counted.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Mutex, mpsc};
use std::thread;

use zcn_pool::{Buf, BufferPool, LocalPool};

fn pool(count: usize) -> BufferPool {
    BufferPool::builder().count(count).build().unwrap()
}

/// Everything home, and every buffer distinct.
#[track_caller]
fn assert_all_home(pool: &BufferPool) {
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.free), (0, stats.total), "{stats:?}");
    assert_eq!(stats.acquired, stats.released, "{stats:?}");
    assert_eq!((stats.cached, stats.locals), (0, 0), "{stats:?}");
    let all: Vec<Buf> = std::iter::from_fn(|| pool.acquire()).collect();
    let distinct: HashSet<u32> = all.iter().map(Buf::index).collect();
    assert_eq!((all.len(), distinct.len()), (stats.total, stats.total));
}

#[test]
fn exhaustion_is_none_and_counted() {
    for count in [1, 2, 15, 16, 17, 63, 64, 65, 1000, 1024] {
        let pool = pool(count);
        let local = pool.local();
        let all: Vec<_> = (0..count).map(|_| local.acquire().unwrap()).collect();
        assert!(local.acquire().is_none());
        assert!(pool.acquire().is_none());
        assert!(thread::scope(|s| s
            .spawn(|| pool.acquire().is_none())
            .join()
            .unwrap()));
        let stats = pool.stats();
        assert_eq!((stats.exhausted, stats.free, stats.in_use), (3, 0, count));
        drop(all);
        assert!(local.acquire().is_some());
        drop(local);
        assert_all_home(&pool);
    }
}

#[test]
fn last_buffer_released_is_acquired_first() {
    let pool = pool(1024);
    let local = pool.local();
    let held: Vec<_> = (0..100).map(|_| local.acquire().unwrap()).collect();
    let expected: Vec<_> = held.iter().map(Buf::index).collect();
    // Dropped last to first, so that they come again first to last.
    for buf in held.into_iter().rev() {
        drop(buf);
    }
    let again: Vec<_> = (0..100).map(|_| local.acquire().unwrap()).collect();
    assert!(again.iter().map(Buf::index).eq(expected));
}

#[test]
fn last_buffer_released_is_acquired_first_without_a_local_handle() {
    let pool = pool(1024);
    let index = pool.acquire().unwrap().index();
    for _ in 0..10 {
        assert_eq!(pool.acquire().unwrap().index(), index);
    }
}

#[test]
fn figures_follow_every_step() {
    let pool = pool(1024);
    let local = pool.local();
    let held: Vec<_> = (0..200).map(|_| local.acquire().unwrap()).collect();
    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.released), (200, 0));
    assert_eq!((stats.in_use, stats.free), (200, 824));
    assert_eq!(stats.cached, 256 - 200);
    assert_eq!(stats.locals, 1);
    thread::scope(|s| {
        s.spawn(|| drop(held)).join().unwrap();
    });
    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.released), (200, 200));
    assert_eq!((stats.in_use, stats.cached), (0, 56));
    drop(local);
    assert_all_home(&pool);
}

#[test]
fn magazines_of_one_thread_strand_an_eighth_at_most() {
    for count in [8, 100, 1024, 10_000] {
        let pool = pool(count);
        let local = pool.local();
        drop((0..count).map(|_| local.acquire()).collect::<Vec<_>>());
        let cached = pool.stats().cached;
        assert!(
            cached <= 128 && cached <= count.div_ceil(8).max(2),
            "{cached}"
        );
        let others = thread::scope(|s| {
            let all = || std::iter::from_fn(|| pool.acquire()).collect::<Vec<_>>();
            s.spawn(all).join().unwrap().len()
        });
        assert_eq!(others, count - cached);
    }
}

#[test]
fn two_local_handles_share_one_set_of_magazines() {
    let pool = pool(64);
    let (a, b) = (pool.local(), pool.local());
    let index = a.acquire().unwrap().index();
    assert_eq!(b.acquire().unwrap().index(), index);
    assert_eq!(pool.stats().locals, 1);
    drop(a);
    assert_eq!(b.clone().acquire().unwrap().index(), index);
    assert_eq!(pool.stats().locals, 1);
    drop(b);
    assert_all_home(&pool);
}

#[test]
fn several_pools_on_one_thread_do_not_mix() {
    let pools: Vec<_> = (0..5).map(|_| pool(64)).collect();
    let locals: Vec<_> = pools.iter().map(BufferPool::local).collect();
    for round in 0..1000 {
        let held: Vec<_> = locals
            .iter()
            .map(|local| local.acquire().unwrap())
            .collect();
        for (buf, pool) in held.iter().zip(&pools) {
            assert!(buf.belongs_to(pool), "round {round}");
        }
    }
    for (index, local) in locals.into_iter().enumerate() {
        // Not in the order they were opened in, as far as the list is concerned.
        let buf = local.acquire();
        drop(local);
        drop(buf);
        assert_all_home(&pools[index]);
    }
}

#[test]
fn local_handle_dropped_before_its_buffers() {
    let pool = pool(64);
    let local = pool.local();
    let held: Vec<_> = (0..40).map(|_| local.acquire().unwrap()).collect();
    drop(local);
    assert_eq!(pool.stats().in_use, 40);
    drop(held);
    assert_all_home(&pool);
}

#[test]
fn magazines_are_used_again_by_the_next_thread() {
    let pool = pool(64);
    for _ in 0..20 {
        thread::scope(|s| {
            s.spawn(|| drop(pool.local().acquire())).join().unwrap();
        });
    }
    assert_eq!(pool.stats().acquired, 20);
    assert_all_home(&pool);
}

#[test]
fn one_thread_acquires_and_another_releases() {
    for with_local in [true, false] {
        let pool = pool(300);
        let (sender, receiver) = mpsc::sync_channel::<Buf>(100);
        let rounds = if cfg!(miri) { 1000 } else { 100_000u64 };
        thread::scope(|s| {
            let other = s.spawn(|| {
                let _magazines = with_local.then(|| pool.local());
                for (expected, buf) in receiver.into_iter().enumerate() {
                    assert_eq!(buf[..], (expected as u64).to_le_bytes());
                }
            });
            let local = pool.local();
            for value in 0..rounds {
                let mut buf = loop {
                    match local.acquire() {
                        Some(buf) => break buf,
                        None => thread::yield_now(),
                    }
                };
                buf.extend_from_slice(&value.to_le_bytes()).unwrap();
                sender.send(buf).unwrap();
            }
            drop(sender);
            other.join().unwrap();
        });
        assert_eq!(pool.stats().acquired, rounds);
        assert_all_home(&pool);
    }
}

/// A leaked local handle keeps its magazines, and the pool, for good; nothing else.
#[test]
fn leaked_local_handle_strands_its_magazines_only() {
    /// Makes what is leaked here findable for leak checkers.
    static LEAKED: Mutex<Vec<BufferPool>> = Mutex::new(Vec::new());
    let pool = pool(64);
    LEAKED.lock().unwrap().push(pool.clone());
    thread::scope(|s| {
        s.spawn(|| {
            let local = pool.local();
            let buf = local.acquire();
            std::mem::forget(local);
            drop(buf);
            // The next handle of this thread joins the leaked one's magazines.
            drop(pool.local().acquire());
        })
        .join()
        .unwrap();
    });
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.cached, stats.locals), (0, 4, 1));
    let all: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
    assert_eq!(all.len(), 60);
}

/// What dies with a thread: buffers first, then the handle.
#[derive(Default)]
struct Last {
    held: Vec<Buf>,
    local: Option<LocalPool>,
}

impl Drop for Last {
    fn drop(&mut self) {
        // Destructors may use the pool, too.
        self.held
            .extend(self.local.as_ref().and_then(LocalPool::acquire));
    }
}

thread_local! {
    static A: RefCell<Last> = RefCell::default();
    static B: RefCell<Last> = RefCell::default();
}

#[test]
fn buffers_and_handles_may_die_in_thread_local_destructors() {
    // Destructors run in an order that follows the first accesses; so one of the two
    // cases drops a buffer after the handle.
    for (first, second) in [(&A, &B), (&B, &A)] {
        let pool = pool(64);
        thread::scope(|s| {
            let work = || {
                let local = pool.local();
                for key in [first, second] {
                    let held = vec![local.acquire().unwrap(), pool.acquire().unwrap()];
                    key.with_borrow_mut(|last| last.held = held);
                }
                A.with_borrow_mut(|last| last.local = Some(local));
            };
            // The end of the scope alone would not wait for the destructors.
            s.spawn(work).join().unwrap();
        });
        assert_all_home(&pool);
    }
}
