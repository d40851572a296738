//! Lines of a pool read, beside `serde_json`: a job without merkle branches and one with twelve.
//!
//! Everybody finds the same nine fields, as text that borrows from the line; then the same with
//! all of it decoded into a job whose memory is used again.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Deserialize;
use zcn_measure::core::allowed;
use zcn_stratum::client::{ClientConfig, ClientSession};
use zcn_stratum::inline::JobId;
use zcn_stratum::message::{FromPool, write};
use zcn_stratum::{Job, hex};

use crate::harness::{Contender, Ctx, Figure, Result, ns_per_op, repeat};

const BENCH: &str = "stratum";
/// Operations between two looks at the clock.
const BLOCK: u64 = 1 << 8;

const ZCN: &str = "zcn";
const SESSION: &str = "zcn, whole session";
const BORROWED: &str = "serde_json, typed, borrowed";
const VALUE: &str = "serde_json, Value";

/// `mining.notify` as somebody would write it for `serde_json`.
#[derive(Deserialize)]
struct Notify<'a> {
    #[serde(borrow)]
    params: Params<'a>,
    method: &'a str,
}

#[derive(Deserialize)]
struct Params<'a>(
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    #[serde(borrow)] Vec<&'a str>,
    &'a str,
    &'a str,
    &'a str,
    bool,
);

/// Measures on one core.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = *allowed()?.first().ok_or("no core to run on")?;
    for (branches, len) in [(0, 659), (12, 1462)] {
        let line = line(branches, len)?;
        parse(ctx, core, &line)?;
        decode(ctx, core, &line)?;
    }
    Ok(())
}

/// A line of `len` bytes; what the branches leave is coinbase.
fn line(branches: usize, len: usize) -> Result<Vec<u8>> {
    let mut job = Job {
        id: JobId::new(b"6a3f2b01").ok_or("a long name")?,
        prev_hash: [0x17; 32],
        branches: vec![[0x5c; 32]; branches],
        version: 0x2000_0000,
        nbits: 0x1924_95f8,
        ntime: 0x64b3_f3ec,
        ..Job::default()
    };
    let mut line = Vec::new();
    write::notify(&mut line, &job);
    let room = (len + 1 - line.len()) / 2;
    job.coinbase_1 = vec![0x03; room / 3];
    job.coinbase_2 = vec![0xc9; room - room / 3];
    line.clear();
    write::notify(&mut line, &job);
    line.pop();
    // Half a byte may be missing to the length.
    line.resize(len, b' ');
    Ok(line)
}

fn parse(ctx: &mut Ctx, core: usize, line: &[u8]) -> Result {
    let sample = ctx.sample;
    let text = std::str::from_utf8(line)?;
    let theirs: Notify<'_> = serde_json::from_str(text)?;
    let Ok((FromPool::Notify(ours), _)) = FromPool::parse(line) else {
        return Err("our parser finds no job".into());
    };
    if theirs.method != "mining.notify"
        || !ours.job_id.is(theirs.params.0)
        || ours.branches.count() != theirs.params.4.len()
    {
        return Err("the peers disagree about the job".into());
    }
    let situation = format!("parse a job of {} bytes", line.len());
    let mut contenders = vec![
        Contender::new(ZCN, || {
            time(core, sample, || {
                let _ = black_box(FromPool::parse(black_box(line)));
            })
        }),
        Contender::new(BORROWED, || {
            time(core, sample, || {
                let _ = black_box(serde_json::from_slice::<Notify<'_>>(black_box(line)));
            })
        }),
        Contender::new(VALUE, || {
            time(core, sample, || {
                let _ = black_box(serde_json::from_slice::<serde_json::Value>(black_box(line)));
            })
        }),
    ];
    let contest = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    ctx.report_all(contest.rows(BENCH, &situation, Some(BORROWED)))
}

/// Decodes what `serde_json` found into `job`.
fn assign(job: &mut Job, params: &Params<'_>) -> std::result::Result<(), hex::HexError> {
    job.prev_hash = hex::decode_array(params.1.as_bytes())?;
    job.coinbase_1.clear();
    job.coinbase_2.clear();
    hex::decode_onto(params.2.as_bytes(), &mut job.coinbase_1)?;
    hex::decode_onto(params.3.as_bytes(), &mut job.coinbase_2)?;
    job.branches.clear();
    for branch in &params.4 {
        job.branches.push(hex::decode_array(branch.as_bytes())?);
    }
    job.version = hex::decode_u32(params.5.as_bytes())?;
    job.nbits = hex::decode_u32(params.6.as_bytes())?;
    job.ntime = hex::decode_u32(params.7.as_bytes())?;
    job.clean = params.8;
    Ok(())
}

fn decode(ctx: &mut Ctx, core: usize, line: &[u8]) -> Result {
    let sample = ctx.sample;
    let now = Instant::now();
    let mut config = ClientConfig::new("pool.example", "user", "x");
    (config.configure, config.max_messages) = (false, u32::MAX);
    let mut session = ClientSession::new(config, now);
    session.handle_bytes(now, b"{\"id\":1,\"result\":[[],\"08000002\",4]}\n")?;
    let mut with_end = line.to_vec();
    with_end.push(b'\n');
    let (mut ours, mut theirs) = (Job::default(), Job::default());
    let situation = format!("decode a job of {} bytes", line.len());
    let mut contenders = vec![
        Contender::new(ZCN, || {
            time(core, sample, || {
                if let Ok((FromPool::Notify(notify), _)) = FromPool::parse(black_box(line)) {
                    let _ = black_box(ours.assign(&notify));
                }
            })
        }),
        Contender::new(SESSION, || {
            time(core, sample, || {
                let _ = session.handle_bytes(now, black_box(&with_end));
                while let Some(event) = session.poll_event() {
                    black_box(event);
                }
            })
        }),
        Contender::new(BORROWED, || {
            time(core, sample, || {
                if let Ok(notify) = serde_json::from_slice::<Notify<'_>>(black_box(line)) {
                    let _ = black_box(assign(&mut theirs, &notify.params));
                }
            })
        }),
    ];
    let contest = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    ctx.report_all(contest.rows(BENCH, &situation, Some(BORROWED)))
}

/// The time of a step, repeated for about `sample` on `core`.
fn time(core: usize, sample: Duration, step: impl FnMut() + Send) -> Result<Vec<Figure>> {
    let (elapsed, steps) = repeat(core, sample, BLOCK, step)?;
    Ok(vec![ns_per_op(elapsed, steps)])
}
