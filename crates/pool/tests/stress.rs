//! Eight threads, ten million operations, every buffer home and distinct at the end.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc;
use std::thread;

use zcn_pool::{Buf, BufferPool, RawBuf};

const THREADS: u64 = 8;

/// An acquisition and a release are two operations. Miri takes fewer of them, and an
/// instrumented build may be told to.
fn pairs_per_thread() -> u64 {
    let operations = match std::env::var("ZCN_STRESS_OPERATIONS") {
        Ok(text) => text.parse().expect("ZCN_STRESS_OPERATIONS is a number"),
        Err(_) if cfg!(miri) => 8_000,
        Err(_) => 10_000_000,
    };
    operations / THREADS / 2
}

/// A small generator (splitmix64), so that schedules differ from thread to thread and
/// are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % bound
    }
}

/// Writes who has the buffer; two owners would see each other's mark.
fn mark(buf: &mut Buf, owner: u64) {
    buf.clear();
    buf.extend_from_slice(&owner.to_ne_bytes()).unwrap();
}

fn check(buf: &Buf, owner: u64) {
    assert_eq!(buf[..], owner.to_ne_bytes(), "two owners of {buf:?}");
}

/// One thread: holds up to `most` buffers, hands some to its neighbour, sends some on a
/// trip as raw handles.
fn work(
    pool: &BufferPool,
    me: u64,
    pairs: u64,
    with_local: bool,
    neighbour: &mpsc::Sender<Buf>,
    inbox: &mpsc::Receiver<Buf>,
) {
    let mut local = with_local.then(|| pool.local());
    let mut random = Random(me);
    let mut held = VecDeque::new();
    let mut acquired = 0;
    let mut used: Option<RawBuf> = None;
    while acquired < pairs {
        let most = 1 + random.below(300);
        while acquired < pairs && (held.len() as u64) < most {
            let buf = match &local {
                Some(local) => local.acquire(),
                None => pool.acquire(),
            };
            let Some(mut buf) = buf else { break };
            mark(&mut buf, me);
            held.push_back(buf);
            acquired += 1;
        }
        for other in inbox.try_iter() {
            drop(other);
        }
        let keep = random.below(most) as usize;
        while held.len() > keep {
            let buf = held.pop_front().unwrap();
            check(&buf, me);
            match random.below(64) {
                0 => neighbour.send(buf).unwrap(),
                1 => {
                    let raw = buf.into_raw();
                    if let Some(used) = used.replace(raw) {
                        assert!(pool.release_raw(used).is_err());
                    }
                    pool.release_raw(raw).unwrap();
                }
                _ => drop(buf),
            }
        }
        if held.is_empty() && random.below(4) == 0 {
            thread::yield_now();
        }
        // Now and then the magazines are closed and opened again.
        if with_local && random.below(1000) == 0 {
            local = None;
            local.replace(pool.local());
        }
    }
}

fn stress(count: usize, with_local: impl Fn(u64) -> bool) {
    let pool = BufferPool::builder().count(count).build().unwrap();
    let pairs = pairs_per_thread();
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel()).unzip();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (me, inbox) in (0..THREADS).zip(inboxes) {
            let neighbour = senders[(me as usize + 1) % senders.len()].clone();
            let (pool, with_local) = (&pool, with_local(me));
            threads.push(scope.spawn(move || {
                work(pool, me, pairs, with_local, &neighbour, &inbox);
                drop(neighbour);
                // Until all neighbours are gone, so that no buffer is left in a channel.
                inbox.into_iter().for_each(drop);
            }));
        }
        drop(senders);
        // Joined one by one: the end of a scope alone is no order that ThreadSanitizer sees.
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.free), (0, count), "{stats:?}");
    assert_eq!(stats.acquired, THREADS * pairs);
    assert_eq!(stats.released, THREADS * pairs);
    let all: Vec<Buf> = std::iter::from_fn(|| pool.acquire()).collect();
    let distinct: HashSet<u32> = all.iter().map(Buf::index).collect();
    assert_eq!((all.len(), distinct.len()), (count, count));
}

#[test]
fn every_buffer_is_home_and_distinct_with_magazines_on_all_threads() {
    stress(2048, |_| true);
}

#[test]
fn every_buffer_is_home_and_distinct_with_magazines_on_some_threads() {
    stress(500, |thread| thread % 2 == 0);
}
