//! Two TCP layers talk to each other over a wire of every quality. `ZCN_SEEDS` says how many
//! seeds are tried, `ZCN_SEED` with which one to begin.

#![expect(clippy::print_stdout, reason = "a test tells its seed")]

mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use wire::{Weather, Wire};
use zcn_stack::tcp::{SynCookies, TcpConfig};
use zcn_stack::time::Instant;

/// Transfers both ways; panics unless both arrive whole and both ends forget everything.
fn exchange(seed: u64, weather: Weather, config: &TcpConfig, gso: bool, there: u64, back: u64) {
    println!("seed {seed} {weather:?} gso {gso} there {there} back {back}");
    let mut wire = Wire::new(seed, weather, config, gso);
    wire.ends[0].read_size = 3000;
    wire.ends[1].listen(back);
    let now = wire.now;
    wire.ends[0].connect(now, 2, there);
    let done = wire.run(Instant::from_secs(4000), |wire| {
        wire.ends
            .iter()
            .all(|end| end.finished + end.failed > 0 && end.work.is_empty())
    });
    for end in &wire.ends {
        assert!(
            done && end.failed == 0,
            "seed {seed}: {:?}, counters {:?}, drops {:?}",
            end.work,
            end.tcp.stats(),
            end.tcp.drops()
        );
    }
    let until = wire.now + Duration::from_secs(2000);
    wire.run(until, |_| false);
    wire.assert_clean();
}

#[test]
fn bytes_arrive_whole_over_a_clean_wire() {
    let config = TcpConfig::default();
    for (there, back) in [(0, 0), (1, 0), (0, 1), (100_000, 200_000), (3_000_000, 10)] {
        for gso in [false, true] {
            exchange(1, Weather::default(), &config, gso, there, back);
            let whole = Weather {
                cut: false,
                ..Weather::default()
            };
            exchange(2, whole, &config, gso, there, back);
        }
    }
}

#[test]
fn bytes_arrive_whole_over_bad_wires() {
    let seeds: u64 = std::env::var("ZCN_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60);
    let start: u64 = std::env::var("ZCN_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    for seed in start..start + seeds {
        let pick =
            |shift: u32, count: u64| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) % count;
        let weather = Weather {
            delay: Duration::from_millis(1 + pick(3, 40)),
            jitter: Duration::from_micros(pick(9, 3) * 4000),
            loss: [0, 5, 10, 50, 150][pick(13, 5) as usize],
            duplicate: [0, 20, 100][pick(17, 3) as usize],
            cut: pick(21, 4) > 0,
            mtu: [576, 1500, 9000][pick(25, 3) as usize],
        };
        let mut config = TcpConfig::default();
        config.timestamps = pick(29, 4) > 0;
        // Without SACK, and ACKs lost as often as data, the echo of a duplicate's timestamp
        // is taken for a round trip of many timeouts (as Linux does): minutes without end.
        config.sack = pick(33, 4) > 0 || weather.loss > 100;
        config.window_scaling = pick(37, 4) > 0;
        if pick(41, 3) == 0 {
            config.syn_cookies = SynCookies::Always;
        }
        let there = pick(45, 300_000);
        let back = pick(50, 1000) * pick(20, 200);
        exchange(seed, weather, &config, pick(5, 2) == 0, there, back);
    }
}

#[test]
fn bytes_of_syns_arrive_once_over_bad_wires() {
    // RFC 7413 section 6.1: the data of a SYN may come twice to an application, but not in one
    // connection.
    let mut fast = 0;
    for seed in 0..60 {
        let weather = Weather {
            jitter: Duration::from_millis(8),
            loss: if seed % 2 == 0 { 0 } else { 100 },
            duplicate: 100,
            ..Weather::default()
        };
        let mut wire = Wire::new(seed, weather, &TcpConfig::default(), seed % 4 < 2);
        wire.ends[0].options.fast_open_connect = true;
        wire.ends[1].options.fast_open = Some(100);
        wire.ends[1].listen(5_000);
        for round in 1..=4 {
            println!("seed {seed}, connection {round}");
            let now = wire.now;
            wire.ends[0].connect(now, 2, 3_000);
            wire.run(now + Duration::from_secs(1000), |wire| {
                wire.ends.iter().all(|end| end.finished == round)
            });
            let done = wire.ends.iter().map(|end| end.finished);
            assert!(done.eq([round, round]), "{:?}", wire.ends[0].work);
        }
        fast += wire.ends[1].tcp.stats().fast_open_passive;
        let until = wire.now + Duration::from_secs(1000);
        wire.run(until, |_| false);
        wire.assert_clean();
    }
    assert!(
        fast > 60,
        "only {fast} connections were opened by their SYN"
    );
}

#[test]
fn many_connections_at_once_each_finish() {
    // origins.md section 0: of 8,000 connections 2,086 were stuck to the end.
    let config = TcpConfig::default();
    let weather = Weather {
        loss: 20,
        ..Weather::default()
    };
    let mut wire = Wire::new(7, weather, &config, true);
    wire.ends[1].listen(100);
    let now = wire.now;
    for _ in 0..2000 {
        wire.ends[0].connect(now, 2, 300);
    }
    wire.run(Instant::from_secs(1000), |wire| {
        wire.ends[0].finished == 2000
    });
    assert_eq!(
        wire.ends[0].finished, 2000,
        "failed {}",
        wire.ends[0].failed
    );
    let until = wire.now + Duration::from_secs(1000);
    wire.run(until, |_| false);
    assert_eq!(
        wire.ends[1].finished, 2000,
        "failed {}",
        wire.ends[1].failed
    );
    wire.assert_clean();
}

#[test]
fn of_each_connection_it_is_told_once_a_millisecond_that_it_gets_on() {
    let config = TcpConfig::default();
    // Segments of several connections come one after the other.
    let weather = Weather {
        jitter: Duration::from_millis(2),
        ..Weather::default()
    };
    let mut wire = Wire::new(8, weather, &config, true);
    wire.ends[1].listen(100_000);
    let now = wire.now;
    for _ in 0..3 {
        wire.ends[0].connect(now, 2, 100_000);
    }
    wire.run(Instant::from_secs(100), |wire| {
        wire.ends.iter().all(|end| end.finished == 3)
    });
    for end in &wire.ends {
        let told: BTreeSet<_> = end.progress.iter().collect();
        assert_eq!(told.len(), end.progress.len());
        let connections: BTreeSet<_> = told.iter().map(|(_, ours, peer)| (ours, peer)).collect();
        assert_eq!(connections.len(), 3);
    }
}

#[test]
fn a_cut_wire_ends_in_a_timeout_and_leaves_nothing() {
    let config = TcpConfig::default();
    let mut wire = Wire::new(9, Weather::default(), &config, true);
    wire.ends[1].listen(0);
    let now = wire.now;
    wire.ends[0].connect(now, 2, 50_000_000);
    wire.run(Instant::from_millis(1050), |_| false);
    wire.broken = true;
    wire.run(Instant::from_secs(1200), |wire| wire.ends[0].failed == 1);
    let end = &wire.ends[0];
    assert_eq!(end.failed, 1, "{:?} {:?}", end.work, end.tcp.stats());
    assert_eq!(wire.ends[0].pool.stats().in_use, 0);
}

#[test]
fn an_idle_connection_holds_no_buffer_and_sends_nothing() {
    let config = TcpConfig::default();
    let mut wire = Wire::new(10, Weather::default(), &config, true);
    wire.ends[1].listen(u64::from(u32::MAX)); // never ends
    wire.ends[1].answer = 0;
    let now = wire.now;
    let id = wire.ends[0].connect(now, 2, 0);
    wire.ends[0].work.remove(&id);
    wire.run(Instant::from_secs(5), |_| false);
    let before = wire.segments;
    wire.run(Instant::from_secs(500), |_| false);
    assert_eq!(wire.segments, before);
    for end in &wire.ends {
        assert_eq!(end.pool.stats().in_use, 0);
    }
}
