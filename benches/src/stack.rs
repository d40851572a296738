//! The user-space TCP/IP beside smoltcp: both ends in one thread, on a link of memory.
//!
//! Figures are per second of that thread's CPU, which both ends share. Time is the real one.
//! "Checksums left to the link": nobody computes any, as within one machine; zcn uses the
//! super-frames that such a link takes. "Checksums computed": every frame is of the MTU at
//! most, and both sides compute and check every checksum. The buffers of smoltcp are as
//! large as those that zcn's grow to. What arrives is compared before anything is measured.

mod end;
mod kernel;
mod peer;
mod tap;
mod zcn;

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use zcn_measure::core::{allowed, pin};
use zcn_measure::cpu_clock::CpuClock;

use crate::harness::{Contender, Contest, Ctx, Figure, Result, Target};
use peer::{Offloads, SmolPair};
use zcn::{Link, ZcnPair};

pub use tap::run as run_tap;

const BENCH: &str = "stack";
/// Connections that do nothing, where there are some.
const IDLE: usize = 10_000;
/// Operations between two looks at the clocks.
const BLOCK: u32 = 64;
/// What one write or read takes or gives at most.
const CHUNK: usize = 64 << 10;
/// Of a message that goes to and fro.
const MESSAGE: usize = 64;
/// How much is compared before anything is measured.
const COMPARED: usize = 4 << 20;

const COPYING: &str = "zcn, copying";
const OWNED: &str = "zcn, owned buffers";
const ZCN: &str = "zcn";
const ZCN_IDLE: &str = "zcn, 10000 idle connections";
const SMOLTCP: &str = "smoltcp";
const SMOLTCP_TSO: &str = "smoltcp, segmentation offload";

/// Two ends in one thread.
trait Ends {
    /// Sends as much as there is room for, carries it across and takes what arrived:
    /// answers how many bytes that were. With `compare` each is looked at.
    fn stream(&mut self, interface: Interface, compare: bool) -> Result<usize>;
    /// Sends one message there and back.
    fn round_trip(&mut self) -> Result;
    /// Connects, accepts, and closes both ends.
    fn connect(&mut self) -> Result;
}

/// How an application hands over its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interface {
    Copying,
    Owned,
}

/// Measures on one core.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = *allowed()?.first().ok_or("no core to run on")?;
    thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            pin(core)?;
            streams(ctx, "checksums left to the link", Link::Offloads)?;
            streams(ctx, "checksums computed", Link::Plain)?;
            round_trips(ctx)?;
            connects(ctx)
        });
        measuring
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// One operation again and again for a while: how many there were, as `turn` counts them,
/// and how much CPU they took.
fn measure(sample: Duration, mut turn: impl FnMut() -> Result<u64>) -> Result<(u64, Duration)> {
    let clock = CpuClock::of_this_thread();
    let (start, cpu) = (Instant::now(), clock.read()?);
    let mut count = 0;
    while start.elapsed() < sample {
        for _ in 0..BLOCK {
            count += turn()?;
        }
    }
    Ok((count, clock.read()? - cpu))
}

fn gigabits(sample: Duration, ends: &mut dyn Ends, interface: Interface) -> Result<Vec<Figure>> {
    let (bytes, cpu) = measure(sample, || Ok(ends.stream(interface, false)? as u64))?;
    let rate = bytes as f64 * 8.0 / cpu.as_secs_f64() / 1e9;
    Ok(vec![Figure::new("bytes", rate, "Gbit/core-s")])
}

/// What arrives is what was sent, to the byte; the windows have grown afterwards.
fn compare(ends: &mut dyn Ends, interface: Interface) -> Result {
    let mut compared = 0;
    while compared < COMPARED {
        compared += ends.stream(interface, true)?;
    }
    Ok(())
}

/// One connection that is always full.
fn streams(ctx: &mut Ctx, checksums: &str, link: Link) -> Result {
    let situation = format!("stream, MTU 1500, {checksums}:");
    if !ctx.wants(&situation) {
        return Ok(());
    }
    let sample = ctx.sample;
    let mut copying = ZcnPair::new(link, 0)?;
    let mut owned = ZcnPair::new(link, 0)?;
    let mut plain = SmolPair::new(match link {
        Link::Offloads => Offloads::Checksums,
        Link::Plain => Offloads::None,
    })?;
    let mut segmenting = SmolPair::new(Offloads::Segmentation)?;
    compare(&mut copying, Interface::Copying)?;
    compare(&mut owned, Interface::Owned)?;
    compare(&mut plain, Interface::Copying)?;
    compare(&mut segmenting, Interface::Copying)?;
    let mut contenders = vec![
        Contender::new(COPYING, || {
            gigabits(sample, &mut copying, Interface::Copying)
        }),
        Contender::new(OWNED, || gigabits(sample, &mut owned, Interface::Owned)),
        Contender::new(SMOLTCP, || gigabits(sample, &mut plain, Interface::Copying)),
    ];
    if link == Link::Offloads {
        contenders.push(Contender::new(SMOLTCP_TSO, || {
            gigabits(sample, &mut segmenting, Interface::Copying)
        }));
    }
    let contest = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    let bars = [(COPYING, 1.5), (OWNED, 3.0)];
    for (name, least) in bars {
        let target = (link == Link::Offloads).then_some(Target::RatioAtLeast(least));
        report(
            ctx,
            &contest,
            BENCH,
            &situation,
            name,
            "bytes",
            Some(SMOLTCP),
            target,
        )?;
        if link == Link::Offloads {
            let peer = Some(SMOLTCP_TSO);
            report(ctx, &contest, BENCH, &situation, name, "bytes", peer, None)?;
        }
    }
    for name in [SMOLTCP, SMOLTCP_TSO] {
        report(ctx, &contest, BENCH, &situation, name, "bytes", None, None)?;
    }
    idle(
        ctx,
        link,
        &situation,
        "bytes",
        Target::RatioAtLeast(0.7),
        &|ends| gigabits(sample, ends, Interface::Copying),
    )
}

/// A message of 64 bytes there and back.
fn round_trips(ctx: &mut Ctx) -> Result {
    let sample = ctx.sample;
    let time = |ends: &mut dyn Ends| {
        let (count, cpu) = measure(sample, || ends.round_trip().map(|()| 1))?;
        let nanos = cpu.as_nanos() as f64 / count as f64;
        Ok(vec![Figure::new("cpu", nanos, "ns/round trip")])
    };
    let target = Target::ValueAtMost(1_000.0);
    exchange(ctx, "64 B there and back:", "cpu", target, &time)?;
    let link = Link::Offloads;
    let target = Target::RatioAtMost(1.3);
    idle(ctx, link, "64 B there and back:", "cpu", target, &time)
}

/// Connections that are made and ended one after the other.
fn connects(ctx: &mut Ctx) -> Result {
    let sample = ctx.sample;
    let rate = |ends: &mut dyn Ends| {
        let (count, cpu) = measure(sample, || ends.connect().map(|()| 1))?;
        let rate = count as f64 / cpu.as_secs_f64();
        Ok(vec![Figure::new("connections", rate, "1/core-s")])
    };
    let situation = "connect, accept, close:";
    let target = Target::ValueAtLeast(100_000.0);
    exchange(ctx, situation, "connections", target, &rate)?;
    let target = Target::RatioAtLeast(0.7);
    idle(ctx, Link::Offloads, situation, "connections", target, &rate)
}

type Measure<'a> = &'a dyn Fn(&mut dyn Ends) -> Result<Vec<Figure>>;

/// zcn and smoltcp, checksums left to the link.
fn exchange(
    ctx: &mut Ctx,
    situation: &str,
    metric: &str,
    target: Target,
    measure: Measure<'_>,
) -> Result {
    if !ctx.wants(situation) {
        return Ok(());
    }
    let mut ours = ZcnPair::new(Link::Offloads, 0)?;
    let mut peer = SmolPair::new(Offloads::Checksums)?;
    let mut contenders = [
        Contender::new(ZCN, || measure(&mut ours)),
        Contender::new(SMOLTCP, || measure(&mut peer)),
    ];
    let contest = ctx.alternate(situation, &mut contenders)?;
    drop(contenders);
    let peer = Some(SMOLTCP);
    report(
        ctx,
        &contest,
        BENCH,
        situation,
        ZCN,
        metric,
        peer,
        Some(target),
    )?;
    report(ctx, &contest, BENCH, situation, SMOLTCP, metric, None, None)
}

/// zcn beside itself with many connections that do nothing.
fn idle(
    ctx: &mut Ctx,
    link: Link,
    situation: &str,
    metric: &str,
    target: Target,
    measure: Measure<'_>,
) -> Result {
    if !ctx.wants(situation) {
        return Ok(());
    }
    let few = RefCell::new(ZcnPair::new(link, 0)?);
    let many = RefCell::new(ZcnPair::new(link, ctx.pick(IDLE, 500))?);
    let mut contenders = [
        Contender::new(ZCN, || measure(&mut *few.borrow_mut())),
        Contender::new(ZCN_IDLE, || measure(&mut *many.borrow_mut())),
    ];
    let contest = ctx.alternate(&format!("{situation} {ZCN_IDLE}"), &mut contenders)?;
    drop(contenders);
    let peer = Some(ZCN);
    report(
        ctx,
        &contest,
        BENCH,
        situation,
        ZCN_IDLE,
        metric,
        peer,
        Some(target),
    )
}

/// One row, if that contender took part and measured that.
#[expect(clippy::too_many_arguments, reason = "all that a row has")]
fn report(
    ctx: &mut Ctx,
    contest: &Contest,
    bench: &str,
    situation: &str,
    name: &str,
    metric: &str,
    peer: Option<&str>,
    target: Option<Target>,
) -> Result {
    let Some(row) = contest.row(bench, situation, name, metric, peer) else {
        return Ok(());
    };
    ctx.report(match target {
        Some(target) => row.target(target),
        None => row,
    })
}
