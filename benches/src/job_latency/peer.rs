//! The miner that most would write: lines read by tokio, parsed into `serde_json::Value`, hashed
//! by `sha2`, and handed to the worker under a lock beside a number that it watches. The worker
//! searches with our engine, so that it leaves a batch as fast as ours does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zcn_measure::core::{Cores, on_core};
use zcn_miner::drill::{Drill, DrillOptions};
use zcn_sha256d::{Engine, Job, Nonces, Target, Watch};
use zcn_stratum::hex;
use zcn_stratum::inline::JobId;

use super::{P50, P99, UNIT, WAKE_UP, is_over, quantile};
use crate::harness::{Figure, Result};

/// What the session hands to the worker.
struct Slot {
    /// One more with each job.
    number: AtomicU64,
    stop: AtomicBool,
    job: Mutex<Option<([u8; 80], Instant)>>,
}

pub(super) fn client(options: DrillOptions, cores: Cores, sample: Duration) -> Result<Vec<Figure>> {
    let drill = Drill::start(options)?;
    let slot = Slot {
        number: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        job: Mutex::new(None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut times, wake_ups) = std::thread::scope(|scope| {
        let worker = scope.spawn(|| on_core(cores.client, || Ok(work(&slot))));
        let wake_ups = runtime.block_on(session(&drill, &slot, sample));
        slot.stop.store(true, Ordering::Release);
        slot.number.fetch_add(1, Ordering::Release);
        let times = worker.join().map_err(|_| "the worker panicked")??;
        Ok::<_, crate::harness::Error>((times, wake_ups?))
    })?;
    if times.is_empty() {
        return Err("no job reached the worker".into());
    }
    let mut wake_ups = wake_ups;
    Ok(vec![
        Figure::new(P50, quantile(&mut times, 0.5), UNIT),
        Figure::new(P99, quantile(&mut times, 0.99), UNIT),
        Figure::new(WAKE_UP, quantile(&mut wake_ups, 0.5), UNIT),
    ])
}

/// Searches what it is handed; how long it took from the bytes to the first hash.
fn work(slot: &Slot) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut seen = 0;
    while !slot.stop.load(Ordering::Acquire) {
        let number = slot.number.load(Ordering::Acquire);
        if number == seen {
            std::hint::spin_loop();
            continue;
        }
        seen = number;
        let taken = slot.job.lock().ok().and_then(|mut job| job.take());
        let Some((header, received)) = taken else {
            continue;
        };
        let job = Job::new(&header, Target::from_be_bytes([0; 32]));
        times.push(received.elapsed());
        let watch = Watch::new(&slot.number, number);
        Engine::best().search(&job, Nonces::ALL, watch, &mut |_| ());
    }
    times
}

/// Reads jobs until the sample is over; how long each took to get here.
async fn session(drill: &Drill, slot: &Slot, sample: Duration) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(drill.address()).await?;
    stream.set_nodelay(true)?;
    let hello = [
        json!({"id": 1, "method": "mining.subscribe", "params": ["bench"]}),
        json!({"id": 2, "method": "mining.authorize", "params": ["bench", "x"]}),
    ];
    for line in hello {
        stream.write_all(format!("{line}\n").as_bytes()).await?;
    }
    let (mut lines, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let (mut extranonce_1, mut wake_ups) = (Vec::new(), Vec::new());
    let (begun, mut extranonce_2) = (Instant::now(), 0_u32);
    while !is_over(begun, sample, wake_ups.len() as u64) {
        let count = stream.read(&mut buffer).await?;
        let received = Instant::now();
        if count == 0 {
            return Err("the pool hung up".into());
        }
        lines.extend_from_slice(&buffer[..count]);
        while let Some(end) = lines.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = lines.drain(..=end).collect();
            let message: Value = serde_json::from_slice(&line)?;
            if message["id"] == 1 {
                extranonce_1 = bytes(&message["result"][1])?;
            } else if message["method"] == "mining.notify" {
                let params = &message["params"];
                let header = header(params, &extranonce_1, extranonce_2.to_le_bytes())?;
                extranonce_2 += 1;
                if let Ok(mut job) = slot.job.lock() {
                    *job = Some((header, received));
                }
                slot.number.fetch_add(1, Ordering::Release);
                let id = params[0].as_str().unwrap_or_default();
                let sent = JobId::new(id.as_bytes()).and_then(|id| drill.sent_at(&id));
                wake_ups.extend(sent.map(|sent| received.saturating_duration_since(sent)));
            }
        }
    }
    Ok(wake_ups)
}

fn bytes(digits: &Value) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    hex::decode_onto(digits.as_str().ok_or("no text")?.as_bytes(), &mut bytes)?;
    Ok(bytes)
}

fn twice(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// The header of a job.
fn header(params: &Value, extranonce_1: &[u8], extranonce_2: [u8; 4]) -> Result<[u8; 80]> {
    let coinbase = [
        &bytes(&params[2])?[..],
        extranonce_1,
        &extranonce_2,
        &bytes(&params[3])?,
    ]
    .concat();
    let mut root = twice(&coinbase);
    for branch in params[4].as_array().ok_or("no branches")? {
        root = twice(&[&root[..], &bytes(branch)?].concat());
    }
    let mut header = [0; 80];
    let reversed = |value: &Value| -> Result<Vec<u8>> {
        let mut bytes = bytes(value)?;
        bytes.reverse();
        Ok(bytes)
    };
    header[..4].copy_from_slice(&reversed(&params[5])?);
    let mut previous = bytes(&params[1])?;
    for word in previous.as_chunks_mut::<4>().0 {
        word.reverse();
    }
    header[4..36].copy_from_slice(&previous);
    header[36..68].copy_from_slice(&root);
    header[68..72].copy_from_slice(&reversed(&params[7])?);
    header[72..76].copy_from_slice(&reversed(&params[6])?);
    Ok(header)
}
