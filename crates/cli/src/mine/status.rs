//! The state of a miner: what its view, its lines and its pages show.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use zcn_miner::latency::{Percentiles, Stage};
use zcn_miner::rig::RigMeter;
use zcn_miner::session::{Notice, PoolUrl};
use zcn_sha256d::EngineKind;

use super::temperature;

/// What is known of a miner; clones are the same one.
#[derive(Clone)]
pub(super) struct Status(Rc<Inner>);

struct Inner {
    begun: Instant,
    engine: EngineKind,
    threads: usize,
    pools: Vec<(String, &'static str)>,
    meter: RigMeter,
    now: RefCell<Now>,
}

/// What changes with the session.
#[derive(Clone, Default)]
struct Now {
    pool: Option<usize>,
    difficulty: Option<f64>,
    disconnects: u64,
}

/// The state at one moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) version: &'static str,
    pub(super) uptime_s: u64,
    pub(super) engine: &'static str,
    pub(super) threads: usize,
    /// Absent while there is none.
    pub(super) pool: Option<String>,
    /// The version of Stratum that is spoken with it: `v1` or `v2`.
    pub(super) protocol: Option<&'static str>,
    pub(super) difficulty: Option<f64>,
    pub(super) disconnects: u64,
    pub(super) hashes: u64,
    pub(super) hashes_per_second: Rates,
    pub(super) jobs: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) stale: u64,
    pub(super) lost: u64,
    pub(super) wrong: u64,
    pub(super) packet_to_hash_us: Micros,
    pub(super) acknowledge_us: Micros,
    /// The hottest sensor of the CPU; absent where the system tells none.
    pub(super) temperature_c: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rates {
    #[serde(rename = "10s")]
    pub(super) ten_seconds: f64,
    #[serde(rename = "60s")]
    pub(super) minute: f64,
    #[serde(rename = "15m")]
    pub(super) quarter: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Micros {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl From<Percentiles> for Micros {
    fn from(times: Percentiles) -> Self {
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        Self {
            count: times.count,
            p50: micros(times.p50),
            p99: micros(times.p99),
            p999: micros(times.p999),
            max: micros(times.max),
        }
    }
}

impl Status {
    pub(super) fn new(
        engine: EngineKind,
        threads: usize,
        urls: Vec<PoolUrl>,
        meter: RigMeter,
    ) -> Self {
        let pools = urls.iter();
        let pools = pools.map(|url| (url.to_string(), url.protocol.version()));
        Self(Rc::new(Inner {
            begun: Instant::now(),
            engine,
            threads,
            pools: pools.collect(),
            meter,
            now: RefCell::default(),
        }))
    }

    pub(super) fn url(&self, pool: usize) -> &str {
        &self.0.pools[pool].0
    }

    /// Takes notice of what the session tells.
    pub(super) fn hear(&self, notice: &Notice<'_>) {
        let mut now = self.0.now.borrow_mut();
        match notice {
            Notice::Ready { pool, .. } => now.pool = Some(*pool),
            Notice::Work { work, .. } => now.difficulty = Some(work.difficulty),
            Notice::Disconnected { .. } => {
                now.disconnects += u64::from(now.pool.is_some());
                (now.pool, now.difficulty) = (None, None);
            }
            _ => {}
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let Inner {
            begun,
            engine,
            threads,
            meter,
            ..
        } = &*self.0;
        let (totals, latencies) = (meter.totals(), meter.latencies());
        let now = self.0.now.borrow().clone();
        Summary {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: begun.elapsed().as_secs(),
            engine: engine.name(),
            threads: *threads,
            pool: now.pool.map(|pool| self.url(pool).to_owned()),
            protocol: now.pool.map(|pool| self.0.pools[pool].1),
            difficulty: now.difficulty,
            disconnects: now.disconnects,
            hashes: totals.hashes,
            hashes_per_second: Rates {
                ten_seconds: totals.rates.ten_seconds,
                minute: totals.rates.minute,
                quarter: totals.rates.quarter,
            },
            jobs: totals.jobs,
            accepted: totals.accepted,
            rejected: totals.rejected,
            stale: totals.stale,
            lost: totals.lost,
            wrong: totals.wrong,
            packet_to_hash_us: latencies.percentiles(Stage::PacketToHash).into(),
            acknowledge_us: latencies.percentiles(Stage::Acknowledge).into(),
            temperature_c: temperature::of_cpu(),
        }
    }

    /// The times of each stage.
    pub(super) fn stages(&self) -> Vec<(&'static str, Percentiles)> {
        let latencies = self.0.meter.latencies();
        let stages = Stage::ALL.iter();
        stages
            .map(|&stage| (stage.name(), latencies.percentiles(stage)))
            .collect()
    }
}

impl Summary {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let Rates {
            ten_seconds,
            minute,
            quarter,
        } = self.hashes_per_second;
        let (to_hash, answer) = (&self.packet_to_hash_us, &self.acknowledge_us);
        let mut line = format!(
            "{:.2} MH/s over 10 s, {:.2} over 60 s, {:.2} over 15 min; {} accepted, {} rejected, {} \
             stale, {} lost; packet to hash p50 {:.1} us, p99 {:.1} us; answers p50 {:.1} ms, p99 \
             {:.1} ms",
            ten_seconds / 1e6,
            minute / 1e6,
            quarter / 1e6,
            self.accepted,
            self.rejected,
            self.stale,
            self.lost,
            to_hash.p50,
            to_hash.p99,
            answer.p50 / 1e3,
            answer.p99 / 1e3,
        );
        if let Some(degrees) = self.temperature_c {
            line.push_str(&format!("; {degrees:.0} °C"));
        }
        line
    }
}
