//! The search for a nonce: every engine of `zcn-sha256d` beside a loop over the crate
//! `sha2` with a midstate, and beside the bound that the CPU sets.
//!
//! Nothing meets the target, so that all of it is hashing.

mod issue;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use sha2::block_api::compress256;
use zcn_measure::core::{allowed, on_core};
use zcn_sha256d::{
    Engine, EngineKind, Job, Nonces, RolledJob, Target as Bound, VERSIONS, Watch, census,
    rolled_census,
};

use crate::harness::{Contender, Contest, Ctx, Error, Figure, Result, Row, Target};

const BENCH: &str = "mine";
const METRIC: &str = "rate";
const UNIT: &str = "MH/s";

const SHA2: &str = "sha2 with midstate";
const OWN: &str = "avx512, bound of its instructions";
const ROLLED: &str = "avx512-rolled";
const ROLLED_BOUND: &str = "avx512-rolled, bound of its instructions";

/// Measures the engines.
pub fn run(ctx: &mut Ctx) -> Result {
    let cores = allowed()?;
    let first = *cores.first().ok_or("no core to run on")?;
    one_thread(ctx, first)?;
    if cores.len() > 1 {
        scaling(ctx, &cores)
    } else {
        ctx.progress("one core only: scaling is left out");
        Ok(())
    }
}

/// A header of arbitrary content, and a target that nothing meets.
fn header() -> ([u8; 80], Bound) {
    let header = std::array::from_fn(|i| (i * 7 + 3) as u8);
    (header, Bound::from_be_bytes([0; 32]))
}

/// Millions of hashes a second of `work`, which tells how many it did and is called until
/// `sample` is over.
fn rate(sample: Duration, mut work: impl FnMut(u32) -> u64) -> f64 {
    let start = Instant::now();
    let (mut hashes, mut nonce) = (0, 0_u32);
    loop {
        let done = work(nonce);
        hashes += done;
        nonce = nonce.wrapping_add(done as u32);
        let elapsed = start.elapsed();
        if elapsed >= sample {
            return hashes as f64 / elapsed.as_secs_f64() / 1e6;
        }
    }
}

fn figure(rate: f64) -> Vec<Figure> {
    vec![Figure::new(METRIC, rate, UNIT)]
}

/// Nonces between two looks at the clock.
const CHUNK: u64 = 48 * 512;

fn search(engine: Engine, sample: Duration) -> f64 {
    let (header, target) = header();
    let job = Job::new(&header, target);
    rate(sample, |first| {
        let nonces = Nonces {
            first,
            count: CHUNK,
        };
        engine
            .search(&job, nonces, Watch::never(), &mut |_| ())
            .nonces
    })
}

fn search_rolled(engine: Engine, sample: Duration) -> f64 {
    let (header, target) = header();
    let versions = std::array::from_fn(|i| 0x2000_0000 | (i as u32) << 13);
    let job = RolledJob::new(&header, versions, target);
    rate(sample, |first| {
        let nonces = Nonces {
            first,
            count: CHUNK / 16,
        };
        let searched = engine.search_rolled(&job, nonces, Watch::never(), &mut |_, _| ());
        searched.map_or(1, |searched| searched.nonces) * VERSIONS as u64
    })
}

/// The state after the first block of the header, as `sha2` computes it.
fn search_sha2(sample: Duration) -> f64 {
    const IV: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let (header, _) = header();
    let mut midstate = IV;
    let mut block = [0; 64];
    block.copy_from_slice(&header[..64]);
    compress256(&mut midstate, &[block]);
    block = [0; 64];
    block[..16].copy_from_slice(&header[64..]);
    block[16] = 0x80;
    block[62..].copy_from_slice(&640_u16.to_be_bytes());
    let mut second = [0; 64];
    second[32] = 0x80;
    second[62..].copy_from_slice(&256_u16.to_be_bytes());
    rate(sample, |first| {
        for nonce in 0..CHUNK as u32 / 8 {
            let nonce = first.wrapping_add(nonce);
            block[12..16].copy_from_slice(&nonce.to_le_bytes());
            let mut state = midstate;
            compress256(&mut state, &[block]);
            for (bytes, word) in second.as_chunks_mut().0.iter_mut().zip(state) {
                *bytes = word.to_be_bytes();
            }
            let mut hash = IV;
            compress256(&mut hash, &[second]);
            std::hint::black_box(hash[7] == 0);
        }
        CHUNK / 8
    })
}

fn row(contest: &Contest, situation: &str, name: &str, peer: Option<&str>) -> Result<Row> {
    let row = contest.row(BENCH, situation, name, METRIC, peer);
    row.ok_or_else(|| Error::from(format!("{name} was not measured")))
}

/// Every engine, one after the other, on one core.
fn one_thread(ctx: &mut Ctx, core: usize) -> Result {
    let sample = ctx.sample;
    let mut contenders = vec![Contender::new(SHA2, move || {
        Ok(figure(on_core(core, || Ok(search_sha2(sample)))?))
    })];
    for engine in Engine::supported() {
        contenders.push(Contender::new(engine.kind().name(), move || {
            Ok(figure(on_core(core, || Ok(search(engine, sample)))?))
        }));
    }
    let rolls = Engine::new(EngineKind::Avx512);
    if let Ok(engine) = rolls {
        contenders.push(Contender::new(ROLLED, move || {
            Ok(figure(on_core(core, || Ok(search_rolled(engine, sample)))?))
        }));
        for (name, census) in [(OWN, census()), (ROLLED_BOUND, rolled_census())] {
            contenders.push(Contender::new(name, move || {
                let rates = on_core(core, || Ok(issue::rates(sample)))?;
                let rates = rates.ok_or("no AVX-512 after all")?;
                Ok(figure(rates.bound(&census)))
            }));
        }
    } else {
        ctx.progress("no AVX-512: its engines are left out");
    }
    let contest = ctx.alternate("one thread", &mut contenders)?;
    drop(contenders);
    for engine in Engine::supported() {
        let kind = engine.kind();
        let row = row(&contest, "", kind.name(), Some(SHA2))?;
        ctx.report(match kind {
            EngineKind::Avx512 => row.target(Target::RatioAtLeast(3.9)),
            EngineKind::ShaNi => row.target(Target::RatioAtLeast(1.85)),
            EngineKind::Avx2 => row.target(Target::RatioAtLeast(1.35)),
            _ => row,
        })?;
    }
    if rolls.is_ok() {
        let avx512 = EngineKind::Avx512.name();
        let beside = [
            (avx512, OWN, Some(0.9)),
            (ROLLED, avx512, Some(1.15)),
            (ROLLED, ROLLED_BOUND, Some(0.9)),
        ];
        for (name, peer, ratio) in beside {
            let row = row(&contest, "", name, Some(peer))?;
            ctx.report(match ratio {
                Some(ratio) => row.target(Target::RatioAtLeast(ratio)),
                None => row,
            })?;
        }
        for (name, census) in [(OWN, census()), (ROLLED_BOUND, rolled_census())] {
            ctx.report(row(&contest, "", name, None)?)?;
            ctx.report(Row::new(
                BENCH,
                name,
                "instructions",
                census.total(),
                "per vector",
            ))?;
        }
    }
    ctx.report(row(&contest, "", SHA2, None)?)
}

/// The fastest engine on all cores at once, beside as many times one.
fn scaling(ctx: &mut Ctx, cores: &[usize]) -> Result {
    let sample = ctx.sample;
    let engine = Engine::best();
    let (one, all) = ("one thread, times the cores", "a thread on every core");
    let mut contenders = [
        Contender::new(one, || {
            let mut sum = 0.0;
            for &core in cores {
                sum += on_core(core, || Ok(search(engine, sample)))?;
            }
            Ok(figure(sum))
        }),
        Contender::new(all, || {
            let start = Barrier::new(cores.len());
            let work = |core| {
                on_core(core, || {
                    start.wait();
                    Ok(search(engine, sample))
                })
            };
            let rates: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = cores
                    .iter()
                    .map(|&core| scope.spawn(move || work(core)))
                    .collect();
                threads.into_iter().map(|thread| thread.join()).collect()
            });
            let mut sum = 0.0;
            for rate in rates {
                sum += rate.map_err(|_| "a thread panicked")??;
            }
            Ok(figure(sum))
        }),
    ];
    let contest = ctx.alternate("scaling", &mut contenders)?;
    drop(contenders);
    let situation = engine.kind().name();
    let row = |name, peer| row(&contest, situation, name, peer);
    ctx.report(row(all, Some(one))?.target(Target::RatioAtLeast(0.95)))?;
    ctx.report(row(one, None)?)
}
