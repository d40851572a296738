//! After warm-up, jobs and finds cost no allocation.

mod common;

use std::time::{Duration, Instant};

use zcn_miner::crew::{Crew, CrewOptions, Event, Idle, VersionBits, Work};
use zcn_miner::latency::{JobTimes, Latencies};
use zcn_miner::rate::RateMeter;
use zcn_sha256d::{Engine, Nonces, Target};

#[test]
fn a_job_costs_no_allocation() {
    let mut number = [0xff; 32];
    number[..2].copy_from_slice(&[0, 0x0f]);
    let mut work = Work {
        id: 0,
        header: [9; 80],
        target: Target::from_be_bytes(number),
        nonces: Nonces::ALL,
        versions: VersionBits::new(0x1fff_e000),
    };
    for roll in [false, true] {
        let options = CrewOptions {
            engine: Engine::best(),
            roll,
            cores: vec![None; 2],
            idle: Idle::Sleep,
        };
        let mut crew = Crew::start(&options, || ()).unwrap();
        let mut latencies = Latencies::new();
        let mut meter = RateMeter::new(Instant::now());
        let mut jobs = |count: u64, crew: &mut Crew, latencies: &mut Latencies| {
            for _ in 0..count {
                work.id += 1;
                let received = Instant::now();
                crew.assign_parts(&work);
                let times = JobTimes {
                    received,
                    parsed: received,
                    dispatched: Instant::now(),
                };
                let (mut started, mut found) = (0, 0);
                while started < 2 || found < 2 {
                    assert!(received.elapsed() < Duration::from_secs(30), "no event");
                    match crew.poll() {
                        Some(Event::Started { id, begun, at, .. }) if id == work.id => {
                            latencies.record_job(&times, begun, at);
                            started += 1;
                        }
                        Some(Event::Found { id, .. }) if id == work.id => found += 1,
                        _ => std::thread::yield_now(),
                    }
                }
                meter.record(Instant::now(), crew.hashes());
            }
        };
        jobs(3, &mut crew, &mut latencies);
        let before = common::of_all();
        jobs(20, &mut crew, &mut latencies);
        let after = common::of_all();
        assert_eq!(after - before, 0, "rolled {roll}");
    }
}
