//! Random operations over many sockets against a model in memory: whatever the order, bytes come
//! in order, none is lost, and at the end everything is home.
#![allow(clippy::print_stderr)]

mod common;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{GUARD, Random, bytes, errno, pool, push, shared, target};
use zcn_pool::BufferPool;
use zcn_uring::{
    Completion, Consumption, GroupId, Kind, Op, OpId, Payload, Ring, Target, leaked_ops,
};

const STREAMS: usize = 8;
const STEPS: usize = 3000;

/// One direction of a pair: what was handed to the ring, what came out.
struct Stream {
    from: OwnedFd,
    to: OwnedFd,
    sent: Vec<u8>,
    got: Vec<u8>,
    /// The send in flight and what it holds: one at a time (rule 10).
    sending: Option<(OpId, Vec<u8>)>,
    receiving: Option<OpId>,
    closed: bool,
}

struct Schedule {
    ring: Ring,
    pool: BufferPool,
    groups: Vec<GroupId>,
    random: Random,
    streams: Vec<Stream>,
    /// Completions whose buffers are held for a while.
    held: Vec<Completion>,
    abandoned: u64,
}

const SEND: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const OTHER: u64 = 3 << 32;

impl Schedule {
    fn new(seed: u64, rung: usize) -> Self {
        let mut random = Random(seed);
        let pool = pool(96);
        let entries = [2, 8, 64][random.below(3) as usize];
        let mut ring = Ring::builder()
            .entries(entries)
            .cq_entries(entries)
            .skip_rungs(rung)
            .build()
            .expect("a ring");
        let mut groups = vec![
            ring.register_group(8, pool.local(), Consumption::Whole)
                .expect("a group"),
        ];
        groups.extend(
            ring.register_group(4, pool.local(), Consumption::Incremental)
                .ok(),
        );
        let streams = (0..STREAMS)
            .map(|_| {
                let (from, to) = UnixStream::pair().expect("a pair");
                Stream {
                    from: from.into(),
                    to: to.into(),
                    sent: Vec::new(),
                    got: Vec::new(),
                    sending: None,
                    receiving: None,
                    closed: false,
                }
            })
            .collect();
        Self {
            ring,
            pool,
            groups,
            random,
            streams,
            held: Vec::new(),
            abandoned: 0,
        }
    }

    fn send(&mut self, at: usize) {
        if self.streams[at].sending.is_some() || self.streams[at].closed {
            return;
        }
        let data: Vec<u8> = (0..1 + self.random.below(3000))
            .map(|_| self.random.next() as u8)
            .collect();
        if self.pool.stats().free < 2 {
            return;
        }
        let op = Op::send(target(&self.streams[at].from), shared(&self.pool, &data));
        let op = match self.random.below(3) {
            // May be short, or refused for want of room.
            0 => op.msg_flags(libc::MSG_DONTWAIT),
            1 => op.poll_first(),
            _ => op,
        };
        let id = push(&mut self.ring, op.token(SEND | at as u64));
        self.streams[at].sending = Some((id, data));
    }

    fn receive(&mut self, at: usize) {
        if self.streams[at].receiving.is_some() {
            return;
        }
        let op = self.receive_op(target(&self.streams[at].to));
        let id = push(&mut self.ring, op.token(RECEIVE | at as u64));
        self.streams[at].receiving = Some(id);
    }

    fn receive_op(&mut self, from: Target) -> Op {
        let group = self.groups[self.random.below(self.groups.len() as u64) as usize];
        match self.random.below(4) {
            0 if self.pool.stats().free > 4 => Op::recv(from, self.pool.acquire().expect("one")),
            1 => Op::recv_from_group(from, group),
            2 if self.ring.features().bundles => Op::recv_bundle(from, self.groups[0]),
            _ => Op::recv_multi(from, group),
        }
    }

    fn step(&mut self) {
        let at = self.random.below(STREAMS as u64) as usize;
        match self.random.below(20) {
            0..6 => self.send(at),
            6..12 => self.receive(at),
            12 => {
                // Cancelled, the receive still says itself what became of it.
                if let Some(id) = self.streams[at].receiving {
                    self.ring.cancel(id, OTHER).expect("a cancel");
                }
            }
            13 => {
                let op = Op::cancel_target(target(&self.streams[at].to)).token(OTHER);
                push(&mut self.ring, op);
            }
            14 => {
                // Abandoned operations must not touch streams whose bytes are counted.
                let timeout = Op::timeout(Duration::from_micros(self.random.below(500)), 0);
                let id = push(&mut self.ring, timeout.token(OTHER));
                if self.random.below(2) == 0 {
                    self.ring.abandon(id);
                    self.abandoned += 1;
                }
            }
            15 => {
                let op = Op::poll(target(&self.streams[at].to), libc::POLLPRI);
                let id = push(&mut self.ring, op.token(OTHER));
                self.ring.abandon(id);
                self.abandoned += 1;
            }
            16 => {
                for _ in 0..self.random.below(20) {
                    push(&mut self.ring, Op::nop().token(OTHER));
                }
            }
            17 => {
                let close = self.random.below(10) == 0 && self.streams[at].sending.is_none();
                if close && !self.streams[at].closed {
                    self.streams[at].closed = true;
                    let op =
                        Op::shutdown(target(&self.streams[at].from), std::net::Shutdown::Write);
                    push(&mut self.ring, op.token(OTHER));
                }
            }
            18 => {
                let keep = self.random.below(1 + self.held.len() as u64) as usize;
                self.held.truncate(keep);
            }
            _ => self.ring.submit().expect("a submit"),
        }
        if self.random.below(3) == 0 {
            self.reap(Duration::ZERO);
        }
    }

    fn reap(&mut self, limit: Duration) {
        self.ring.wait(1, Some(limit)).expect("a wait");
        let some = 1 + self.random.below(20) as usize;
        let all: Vec<_> = self.ring.completions().take(some).collect();
        for done in all {
            self.complete(done);
        }
        // As many as there are room for, so that the pool never runs dry for good.
        let most = 30.min(self.held.len());
        self.held.drain(..self.held.len() - most);
    }

    fn complete(&mut self, done: Completion) {
        let at = (done.token & 0xffff_ffff) as usize;
        match done.token & !0xffff_ffff {
            SEND => {
                let stream = &mut self.streams[at];
                let (id, data) = stream.sending.take().expect("a send in flight");
                assert_eq!(id, done.id());
                assert!(matches!(done.payload, Some(Payload::Shared(_))));
                match done.result() {
                    Ok(count) => stream.sent.extend_from_slice(&data[..count as usize]),
                    Err(_) => assert_eq!(errno(&done), libc::EAGAIN),
                }
            }
            RECEIVE => {
                let stream = &mut self.streams[at];
                assert_eq!(stream.receiving, Some(done.id()));
                if !done.more() {
                    stream.receiving = None;
                }
                if done.raw_result() > 0 {
                    let brought = bytes(&done.payload);
                    assert_eq!(brought.len(), done.raw_result() as usize);
                    stream.got.extend(brought);
                    self.held.push(done);
                } else {
                    let expected = [0, libc::ECANCELED, libc::ENOBUFS];
                    assert!(expected.contains(&errno(&done)), "{done:?}");
                }
            }
            _ => assert_ne!(done.kind(), Kind::Recv),
        }
    }

    /// Brings everything to its end; returns how many bytes went through.
    fn finish(mut self) -> usize {
        let deadline = Instant::now() + GUARD;
        loop {
            let mut open = false;
            for at in 0..STREAMS {
                let stream = &self.streams[at];
                let busy = stream.sending.is_some() || stream.got.len() < stream.sent.len();
                if busy {
                    open = true;
                    self.receive(at);
                }
            }
            if !open {
                break;
            }
            assert!(Instant::now() < deadline, "hangs: {:?}", self.ring);
            self.held.clear();
            self.reap(Duration::from_millis(20));
        }
        for (at, stream) in self.streams.iter().enumerate() {
            assert!(stream.got == stream.sent, "stream {at}");
        }
        let total = self.streams.iter().map(|stream| stream.got.len()).sum();
        self.held.clear();
        // The rest ends by itself or is cancelled: by the drain, or by the drop.
        if self.random.below(2) == 0 {
            assert_eq!(self.ring.drain(GUARD), 0);
            let counters = self.ring.counters();
            assert_eq!(counters.orphaned, counters.orphans_reclaimed);
            assert!(counters.orphaned >= self.abandoned - counters.stale);
            assert_eq!(counters.stale, 0);
        }
        drop(self.ring);
        assert_eq!(self.pool.stats().in_use, 0);
        assert_eq!(leaked_ops(), 0);
        total
    }
}

#[test]
fn random_schedules_lose_nothing() {
    let seed = std::env::var("ZCN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            std::time::UNIX_EPOCH
                .elapsed()
                .map_or(1, |time| time.as_nanos() as u64)
        });
    eprintln!("ZCN_SEED={seed}");
    let mut total = 0;
    for round in 0..24 {
        let mut schedule = Schedule::new(seed.wrapping_add(round), round as usize % 4);
        for _ in 0..STEPS {
            schedule.step();
        }
        total += schedule.finish();
    }
    assert!(total > 1_000_000, "{total} bytes are no schedule");
}
