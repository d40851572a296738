//! NOPs through the ring: what zcn adds to the bare `io-uring` crate.

use std::time::Instant;

use zcn_measure::core::{self, Cores};

use crate::bare_ring::{self, BareRing};
use crate::harness::{Contender, Ctx, Figure, Result, Target};

const BENCH: &str = "ring";
const BATCH: u32 = 256;
const ZCN: &str = "zcn";
const BARE: &str = "io-uring crate";

/// Measures submit-and-wait, one by one and in batches.
pub fn run(ctx: &mut Ctx) -> Result {
    // A thread of its own, so that the others are not pinned by this one.
    let core = Cores::pick()?.client;
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            core::pin(core)?;
            measure(ctx)
        });
        measuring
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn measure(ctx: &mut Ctx) -> Result {
    for (situation, count) in [("NOP, submit and wait:", 1), ("NOP, batch of 256:", BATCH)] {
        let mut ring = bare_ring::build(BATCH)?;
        let mut bare = BareRing::over(&mut ring)?;
        let mut zcn = zcn_ring()?;
        let mut contenders = vec![
            Contender::new(BARE, || timed(ctx, count, || bare.batch(count))),
            Contender::new(ZCN, || timed(ctx, count, || zcn_batch(&mut zcn, count))),
        ];
        let outcome = ctx.alternate(situation, &mut contenders)?;
        drop(contenders);
        for row in outcome.rows(BENCH, situation, Some(BARE)) {
            let row = match (row.ratio.is_some(), row.metric.as_str()) {
                (true, "time") => row.target(Target::RatioAtMost(1.05)),
                (true, "rate") if count == BATCH => row.target(Target::ValueAtLeast(10e6)),
                _ => row,
            };
            ctx.report(row)?;
        }
    }
    Ok(())
}

/// Repeats `batch` for one sample and gives time and rate of one operation.
fn timed(ctx: &Ctx, count: u32, mut batch: impl FnMut() -> Result<u32>) -> Result<Vec<Figure>> {
    let begun = Instant::now();
    let mut done = 0_u64;
    // Sixteen batches between two looks at the clock keep it out of the figure.
    while begun.elapsed() < ctx.sample {
        for _ in 0..16 {
            let completed = batch()?;
            if completed != count {
                return Err(format!("{completed} completions of {count}").into());
            }
            done += u64::from(completed);
        }
    }
    let elapsed = begun.elapsed();
    Ok(vec![
        crate::harness::ns_per_op(elapsed, done),
        Figure::new("rate", done as f64 / elapsed.as_secs_f64(), "op/s"),
    ])
}

/// zcn's ring with its defaults.
fn zcn_ring() -> Result<zcn_uring::Ring> {
    Ok(zcn_uring::Ring::builder().entries(BATCH).build()?)
}

/// The same batch on zcn's ring.
fn zcn_batch(ring: &mut zcn_uring::Ring, count: u32) -> Result<u32> {
    for number in 0..count {
        let nop = zcn_uring::Op::nop().token(number.into());
        ring.push(nop).map_err(|error| error.to_string())?;
    }
    ring.wait(count, None)?;
    let (mut done, mut failed) = (0, false);
    ring.completions().for_each(|completion| {
        failed |= completion.raw_result() != 0;
        done += 1;
    });
    match failed {
        true => Err("a NOP failed".into()),
        false => Ok(done),
    }
}
