//! The larger rings: NOPs on 128-byte entries and 32-byte completions beside the 64-byte ring, and
//! socket commands beside the system calls that do the same.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

use socket2::SockRef;
use zcn_measure::core::{self, Cores};
use zcn_pool::{BufferPool, SharedBuf};
use zcn_uring::{Completion16, Completion32, CompletionSize, Entry64, Entry128, EntrySize};
use zcn_uring::{Op, Ring, Target as On};

use crate::harness::{Contender, Ctx, Figure, Result, Target};

const BENCH: &str = "ring128";
const BATCH: u32 = 64;
const SMALL: &str = "64/16";
const SYSTEM_CALLS: &str = "system calls";

/// Measures NOPs, then commands.
pub fn run(ctx: &mut Ctx) -> Result {
    // A thread of its own, so that the others are not pinned by this one.
    let core = Cores::pick()?.client;
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            core::pin(core)?;
            nops(ctx)?;
            commands(ctx)
        });
        measuring
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A ring of these sizes for one batch.
struct Batches<E: EntrySize, C: CompletionSize>(Ring<E, C>);

impl<E: EntrySize, C: CompletionSize> Batches<E, C> {
    /// Puts a socket into the ring's file table.
    fn register(&mut self, stream: &TcpStream) -> Result {
        self.0.register_files(1)?;
        Ok(self.0.update_files(0, &[stream.as_fd()])?)
    }

    /// Makes a batch of operations, and waits for all of them in one system call.
    fn run(&mut self, make: impl Fn(u64) -> Result<Op>) -> Result {
        let mut batch = self.0.batch();
        for number in 0..u64::from(BATCH) {
            batch
                .prepare(make(number)?)
                .map_err(|error| error.to_string())?;
        }
        batch.flush_and_wait(None)?;
        let (mut done, mut failed) = (0, None);
        self.0.completions().for_each(|completion| {
            done += 1;
            if let Err(error) = completion.command_result() {
                failed = Some(error);
            }
        });
        match failed {
            Some(error) => Err(error.into()),
            None if done == BATCH => Ok(()),
            None => Err(format!("{done} completions of {BATCH}").into()),
        }
    }
}

fn small() -> Result<Batches<Entry64, Completion16>> {
    Ok(Batches(Ring::builder().entries(BATCH).build()?))
}

fn large() -> Result<Batches<Entry128, Completion32>> {
    let builder = Ring::builder().entries(BATCH);
    Ok(Batches(
        builder
            .entries_of_128_bytes()
            .completions_of_32_bytes()
            .build()?,
    ))
}

fn nops(ctx: &mut Ctx) -> Result {
    let situation = "NOP, batch of 64:";
    let nop = |number| Ok(Op::nop().token(number));
    let (mut small, mut large) = (small()?, large()?);
    let mut contenders = vec![
        Contender::new(SMALL, || timed(ctx, || small.run(nop))),
        Contender::new("128/32", || timed(ctx, || large.run(nop))),
    ];
    let outcome = ctx.alternate(situation, &mut contenders)?;
    drop(contenders);
    for row in outcome.rows(BENCH, situation, Some(SMALL)) {
        let row = match (row.ratio.is_some(), row.metric.as_str()) {
            (true, "time") => row.target(Target::RatioAtMost(1.15)),
            (true, "rate") => row.target(Target::ValueAtLeast(8e6)),
            _ => row,
        };
        ctx.report(row)?;
    }
    Ok(())
}

/// One socket command in a batch of 64, and the system call, 64 times.
fn commands(ctx: &mut Ctx) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    // In the ring's file table, which spares each command a lookup.
    let on = On::Direct(0);
    let socket = SockRef::from(&stream);
    let pool = BufferPool::builder().count(2 * BATCH as usize).build()?;
    let local = pool.local();
    let buf = || local.acquire().ok_or("no buffer left");
    let (level, name) = (libc::SOL_SOCKET, libc::SO_KEEPALIVE);

    let inq = |number| Ok(Op::socket_inq(on).token(number));
    beside(ctx, "ioctl(SIOCINQ), 64:", &stream, inq, || {
        rustix::io::ioctl_fionread(&stream)?;
        Ok(())
    })?;
    let get = |number| Ok(Op::getsockopt(on, level, name, buf()?).token(number));
    beside(ctx, "getsockopt(SO_KEEPALIVE), 64:", &stream, get, || {
        socket.keepalive()?;
        Ok(())
    })?;
    let mut value = buf()?;
    value
        .extend_from_slice(&1_i32.to_ne_bytes())
        .map_err(|_| "no room")?;
    let value = SharedBuf::from(value);
    let set = |number| Ok(Op::setsockopt(on, level, name, value.clone()).token(number));
    beside(ctx, "setsockopt(SO_KEEPALIVE), 64:", &stream, set, || {
        Ok(socket.set_keepalive(true)?)
    })
}

fn beside(
    ctx: &mut Ctx,
    situation: &str,
    stream: &TcpStream,
    make: impl Fn(u64) -> Result<Op>,
    call: impl Fn() -> Result,
) -> Result {
    let (mut small, mut large) = (small()?, large()?);
    small.register(stream)?;
    large.register(stream)?;
    let mut contenders = vec![
        Contender::new(SYSTEM_CALLS, || {
            timed(ctx, || (0..BATCH).try_for_each(|_| call()))
        }),
        Contender::new(SMALL, || timed(ctx, || small.run(&make))),
        Contender::new("128/32", || timed(ctx, || large.run(&make))),
    ];
    let outcome = ctx.alternate(situation, &mut contenders)?;
    drop(contenders);
    for row in outcome.rows(BENCH, situation, Some(SYSTEM_CALLS)) {
        let row = match (row.ratio.is_some(), row.metric.as_str()) {
            (true, "time") => row.target(Target::RatioAtMost(1.0)),
            _ => row,
        };
        ctx.report(row)?;
    }
    Ok(())
}

/// Repeats a batch for one sample; gives time and rate of one operation.
fn timed(ctx: &Ctx, mut batch: impl FnMut() -> Result) -> Result<Vec<Figure>> {
    let begun = Instant::now();
    let mut done = 0_u64;
    // Sixteen batches between two looks at the clock keep it out of the figure.
    while begun.elapsed() < ctx.sample {
        for _ in 0..16 {
            batch()?;
        }
        done += 16 * u64::from(BATCH);
    }
    let elapsed = begun.elapsed();
    Ok(vec![
        crate::harness::ns_per_op(elapsed, done),
        Figure::new("rate", done as f64 / elapsed.as_secs_f64(), "op/s"),
    ])
}
