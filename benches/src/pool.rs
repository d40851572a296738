//! Buffer pool, object pool and arena beside their peers.
//!
//! A pair is an acquisition and its release. What goes out passes a `black_box`, so that
//! the compiler cannot pair the two up; nobody writes into the buffers, for all alike.

mod ring;
mod subject;
mod timing;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Duration;

use zcn_measure::core::{allowed, on_core};
use zcn_pool::{Arena, BufferPool, FixedPool};

use crate::harness::{Contender, Contest, Ctx, Error, Figure, Result, Row, Target};
use ring::Ring;
use subject::{AlignedMalloc, Mimalloc, Nothing, Peer, Pool, Queue, Subject};

const BENCH: &str = "pool";
const METRIC: &str = "time";
const BUFFER_SIZE: usize = 4096;
const COUNT: usize = 4096;
/// What a burst takes before it gives all back: four magazines.
const BURST: usize = 256;
/// Objects between two resets of an arena.
const OBJECTS: u64 = 1000;

const ZCN: &str = "zcn BufferPool";
const QUEUE: &str = "crossbeam ArrayQueue";
const MIMALLOC: &str = "mimalloc";
const ALIGNED: &str = "aligned malloc";

/// Measures the pools.
pub fn run(ctx: &mut Ctx) -> Result {
    let cores = allowed()?;
    let first = *cores.first().ok_or("no core to run on")?;
    let second = *cores.get(1).unwrap_or(&first);
    one_thread(ctx, first)?;
    if second != first {
        two_threads(ctx, [first, second])?;
        bursts(ctx, [first, second])?;
        handed_over(ctx, [first, second])?;
    } else {
        ctx.progress("one core only: the cases of two threads are left out");
    }
    fixed_pool(ctx, first)?;
    arena(ctx, first)
}

fn pool() -> Result<BufferPool> {
    let builder = BufferPool::builder().buffer_size(BUFFER_SIZE).count(COUNT);
    Ok(builder.build()?)
}

fn ns(value: f64) -> Result<Vec<Figure>> {
    Ok(vec![Figure::new(METRIC, value, "ns/pair")])
}

/// The rows of a contest: ours against `limit` and beside each peer, then the peers. A
/// peer comes with the ratio that ours must reach, if there is one.
fn report(
    ctx: &mut Ctx,
    contest: &Contest,
    situation: &str,
    ours: &str,
    limit: Option<f64>,
    peers: &[(&str, Option<f64>)],
) -> Result {
    let row = |name: &str, peer| -> Result<Row> {
        let row = contest.row(BENCH, situation, name, METRIC, peer);
        row.ok_or_else(|| Error::from(format!("{name} was not measured")))
    };
    let own = row(ours, None)?;
    ctx.report(match limit {
        Some(most) => own.target(Target::ValueAtMost(most)),
        None => own,
    })?;
    for (peer, ratio) in peers {
        let row = row(ours, Some(peer))?;
        ctx.report(match ratio {
            Some(most) => row.target(Target::RatioAtMost(*most)),
            None => row,
        })?;
    }
    peers
        .iter()
        .try_for_each(|(peer, _)| ctx.report(row(peer, None)?))
}

/// Pairs one after the other on one thread.
fn one_thread(ctx: &mut Ctx, core: usize) -> Result {
    fn pairs<S: Subject>(core: usize, sample: Duration, subject: &S) -> Result<Vec<Figure>> {
        ns(on_pinned(core, || {
            let mut peer = subject.peer();
            timing::pairs(sample, 1, || drop(black_box(peer.take())))
        })?)
    }
    let sample = ctx.sample;
    let pool = Pool(pool()?);
    let queue = Queue::new(COUNT);
    // The handle that finds the thread's magazines by itself, without a `LocalPool` at hand.
    let handle = "zcn BufferPool, found by thread";
    let found = || {
        ns(on_pinned(core, || {
            let _magazines = pool.0.local();
            timing::pairs(sample, 1, || drop(black_box(pool.0.acquire())))
        })?)
    };
    let mut contenders = [
        Contender::new(ZCN, || pairs(core, sample, &pool)),
        Contender::new(handle, found),
        Contender::new(QUEUE, || pairs(core, sample, &queue)),
        Contender::new(MIMALLOC, || pairs(core, sample, &Mimalloc)),
        Contender::new(ALIGNED, || pairs(core, sample, &AlignedMalloc)),
    ];
    let contest = ctx.alternate("one thread", &mut contenders)?;
    drop(contenders);
    let peers = [
        (QUEUE, Some(1.0 / 4.0)),
        (MIMALLOC, Some(1.0 / 8.0)),
        (ALIGNED, Some(1.0 / 15.0)),
        (handle, None),
    ];
    report(ctx, &contest, "one thread", ZCN, Some(3.0), &peers)
}

/// Pairs on two threads at once, each with its own handle.
fn two_threads(ctx: &mut Ctx, cores: [usize; 2]) -> Result {
    contest_of_two(ctx, "two threads", cores, 1, 3.5)
}

/// The same in bursts that magazines cannot hold, so that the threads meet at the depot.
fn bursts(ctx: &mut Ctx, cores: [usize; 2]) -> Result {
    contest_of_two(ctx, "bursts on two threads", cores, BURST, 10.0)
}

fn contest_of_two(
    ctx: &mut Ctx,
    situation: &str,
    cores: [usize; 2],
    burst: usize,
    limit: f64,
) -> Result {
    fn pairs<S: Subject>(
        cores: [usize; 2],
        sample: Duration,
        burst: usize,
        subject: &S,
    ) -> Result<Vec<Figure>> {
        let start = Barrier::new(2);
        let side = |core| {
            on_pinned(core, || {
                let mut peer = subject.peer();
                let mut held = Vec::with_capacity(burst);
                start.wait();
                // Two loops, so that the single pairs are as tight as on one thread.
                if burst == 1 {
                    return timing::pairs(sample, 1, || drop(black_box(peer.take())));
                }
                timing::pairs(sample, burst, || {
                    for _ in 0..burst {
                        held.push(peer.take());
                    }
                    black_box(&mut held).clear();
                })
            })
        };
        let (a, b) = both(|| side(cores[0]), || side(cores[1]))?;
        ns((a + b) / 2.0)
    }
    let sample = ctx.sample;
    let pool = Pool(pool()?);
    let queue = Queue::new(COUNT);
    let mut contenders = [
        Contender::new(ZCN, || pairs(cores, sample, burst, &pool)),
        Contender::new(QUEUE, || pairs(cores, sample, burst, &queue)),
        Contender::new(MIMALLOC, || pairs(cores, sample, burst, &Mimalloc)),
        Contender::new(ALIGNED, || pairs(cores, sample, burst, &AlignedMalloc)),
    ];
    let contest = ctx.alternate(situation, &mut contenders)?;
    drop(contenders);
    let peers = [(QUEUE, None), (MIMALLOC, None), (ALIGNED, None)];
    report(ctx, &contest, situation, ZCN, Some(limit), &peers)
}

/// One thread acquires, a bounded queue hands over, another thread releases.
fn handed_over(ctx: &mut Ctx, cores: [usize; 2]) -> Result {
    fn pairs<S: Subject>(cores: [usize; 2], sample: Duration, subject: &S) -> Result<Vec<Figure>> {
        let (mut sender, mut receiver) = Ring::channel();
        let start = Barrier::new(2);
        let give = || {
            on_pinned(cores[0], || {
                let mut peer = subject.peer();
                start.wait();
                let time = timing::pairs(sample, 1, || {
                    let mut item = loop {
                        // Empty means that the other thread has not brought back yet.
                        match peer.try_take() {
                            Some(item) => break item,
                            None => std::hint::spin_loop(),
                        }
                    };
                    while let Err(back) = sender.push(item) {
                        item = back;
                        std::hint::spin_loop();
                    }
                });
                drop(sender);
                time
            })
        };
        let take = || {
            on_pinned(cores[1], || {
                let _peer = subject.peer();
                start.wait();
                loop {
                    match receiver.pop() {
                        Some(item) => drop(black_box(item)),
                        None if receiver.is_closed() => break,
                        None => std::hint::spin_loop(),
                    }
                }
            })
        };
        ns(both(give, take)?.0)
    }
    let sample = ctx.sample;
    let pool = Pool(pool()?);
    let queue = Queue::new(COUNT);
    let situation = "released by another thread";
    let alone = "the way alone";
    let mut contenders = [
        Contender::new(ZCN, || pairs(cores, sample, &pool)),
        Contender::new(QUEUE, || pairs(cores, sample, &queue)),
        Contender::new(MIMALLOC, || pairs(cores, sample, &Mimalloc)),
        Contender::new(ALIGNED, || pairs(cores, sample, &AlignedMalloc)),
        Contender::new(alone, || pairs(cores, sample, &Nothing)),
    ];
    let contest = ctx.alternate(situation, &mut contenders)?;
    drop(contenders);
    let peers = [
        (QUEUE, None),
        (MIMALLOC, None),
        (ALIGNED, None),
        (alone, None),
    ];
    report(ctx, &contest, situation, ZCN, Some(15.0), &peers)
}

/// An object of half a cache line, made and dropped.
fn fixed_pool(ctx: &mut Ctx, core: usize) -> Result {
    type Object = [u64; 4];
    let (ours, peer) = ("zcn FixedPool", "Box");
    let sample = ctx.sample;
    let fixed = || {
        ns(on_pinned(core, || {
            let pool = FixedPool::<Object>::with_capacity(COUNT).map_err(|_| "no memory")?;
            let mut next = 0;
            Ok::<_, Error>(timing::pairs(sample, 1, || {
                next += 1;
                let Ok(mut object) = pool.insert([next; 4]) else {
                    unreachable!("one object in a pool of many")
                };
                black_box(&mut *object);
            }))
        })??)
    };
    let boxed = || {
        ns(on_pinned(core, || {
            let mut next = 0;
            timing::pairs(sample, 1, || {
                next += 1;
                let mut object: Box<Object> = Box::new([next; 4]);
                black_box(&mut *object);
            })
        })?)
    };
    let mut contenders = [Contender::new(ours, fixed), Contender::new(peer, boxed)];
    let contest = ctx.alternate("objects", &mut contenders)?;
    report(ctx, &contest, "objects", ours, Some(3.0), &[(peer, None)])
}

/// Many small objects, then a reset.
fn arena(ctx: &mut Ctx, core: usize) -> Result {
    let (ours, peer) = ("zcn Arena", "bumpalo");
    let sample = ctx.sample;
    let burst = OBJECTS as usize;
    let own = || {
        let time = on_pinned(core, || {
            let mut arena = Arena::new();
            timing::pairs(sample, burst, || {
                for value in 0..OBJECTS {
                    black_box(arena.alloc([value; 3]));
                }
                arena.reset();
            })
        })?;
        Ok(vec![Figure::new(METRIC, time, "ns/object")])
    };
    let bump = || {
        let time = on_pinned(core, || {
            let mut arena = bumpalo::Bump::new();
            timing::pairs(sample, burst, || {
                for value in 0..OBJECTS {
                    black_box(arena.alloc([value; 3]));
                }
                arena.reset();
            })
        })?;
        Ok(vec![Figure::new(METRIC, time, "ns/object")])
    };
    let mut contenders = [Contender::new(ours, own), Contender::new(peer, bump)];
    let contest = ctx.alternate("arena", &mut contenders)?;
    report(ctx, &contest, "arena", ours, None, &[(peer, Some(1.1))])
}

/// Runs `work` on a thread of its own, pinned to `core`.
fn on_pinned<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> Result<T> {
    Ok(on_core(core, || Ok(work()))?)
}

/// Runs both at once and waits for both.
fn both<A: Send, B: Send>(
    a: impl FnOnce() -> Result<A> + Send,
    b: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(a), scope.spawn(b));
        let joined = (a.join(), b.join());
        match joined {
            (Ok(a), Ok(b)) => Ok((a?, b?)),
            (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
        }
    })
}
