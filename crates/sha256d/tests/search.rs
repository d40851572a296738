//! Every engine beside the crate `sha2`: known blocks, random headers, every place of a
//! hit in a batch, ranges that wrap, targets of every difficulty, interruption.

#![allow(clippy::print_stdout)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use zcn_sha256d::{Engine, Job, Nonces, RolledJob, Target, VERSIONS, Watch};

type Header = [u8; 80];

fn header(hex: &str) -> Header {
    assert_eq!(hex.len(), 160);
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
}

fn nonce_of(header: &Header) -> u32 {
    u32::from_le_bytes(header[76..].try_into().unwrap())
}

fn bits_of(header: &Header) -> u32 {
    u32::from_le_bytes(header[72..76].try_into().unwrap())
}

/// The hash as the crate `sha2` has it.
fn oracle(header: &Header, nonce: u32) -> [u8; 32] {
    let mut header = *header;
    header[76..].copy_from_slice(&nonce.to_le_bytes());
    Sha256::digest(Sha256::digest(header)).into()
}

fn shown(hash: [u8; 32]) -> String {
    hash.iter()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn random(seed: u64) -> (Header, Pcg64Mcg) {
    println!("seed {seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut header = [0; 80];
    rng.fill_bytes(&mut header);
    (header, rng)
}

fn found(engine: Engine, job: &Job, nonces: Nonces) -> Vec<u32> {
    let mut found = Vec::new();
    let searched = engine.search(job, nonces, Watch::never(), &mut |nonce| found.push(nonce));
    assert_eq!(searched.nonces, nonces.count, "{:?}", engine.kind());
    assert!(!searched.interrupted);
    found
}

/// What `found` has to be.
fn expected(header: &Header, target: Target, nonces: Nonces) -> Vec<u32> {
    (0..nonces.count)
        .map(|i| nonces.first.wrapping_add(i as u32))
        .filter(|&nonce| target.is_met_by(&oracle(header, nonce)))
        .collect()
}

/// A target that about one of `2^bits` hashes meets.
fn one_of(bits: u32) -> Target {
    let mut number = [0xff; 32];
    for bit in 0..bits as usize {
        number[bit / 8] &= !(0x80 >> (bit % 8));
    }
    Target::from_be_bytes(number)
}

/// Headers and hashes of the blocks 0, 1, 125552 and 100000 of Bitcoin.
const KNOWN: [(&str, &str); 4] = [
    (
        "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b2\
         7ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c",
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    ),
    (
        "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744\
         bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299",
        "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048",
    ),
    (
        "0100000081cd02ab7e569e8bcd9317e2fe99f2de44d49ab2b8851ba4a308000000000000e320b6c2fffc8d75\
         0423db8b1eb942ae710e951ed797f7affc8892b0f1fc122bc7f5d74df2b9441a42a14695",
        "00000000000000001e8d6829a8a21adc5d38d0a473b144b6765798e61f98bd1d",
    ),
    (
        "0100000050120119172a610421a6c3011dd330d9df07b63616c2cc1f1cd00200000000006657a9252aacd5c0\
         b2940996ecff952228c3067cc38d4885efb5a4ac4247e9f337221b4d4c86041b0f2b5710",
        "000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506",
    ),
];

#[test]
fn known_blocks_are_found_by_every_engine() {
    for (hex, hash) in KNOWN {
        let header = header(hex);
        let nonce = nonce_of(&header);
        let target = Target::from_compact(bits_of(&header)).unwrap();
        let job = Job::new(&header, target);
        assert_eq!(shown(job.hash(nonce)), hash);
        assert_eq!(shown(oracle(&header, nonce)), hash);
        for engine in Engine::supported() {
            let nonces = Nonces {
                first: nonce.wrapping_sub(60),
                count: 120,
            };
            assert_eq!(found(engine, &job, nonces), [nonce], "{}", engine.kind());
        }
    }
}

#[test]
fn a_target_one_below_the_hash_finds_nothing() {
    let header = header(KNOWN[0].0);
    let nonce = nonce_of(&header);
    let mut number = oracle(&header, nonce);
    let nonces = Nonces {
        first: nonce,
        count: 1,
    };
    for engine in Engine::supported() {
        let job = Job::new(&header, Target::from_le_bytes(number));
        assert_eq!(found(engine, &job, nonces), [nonce], "{}", engine.kind());
    }
    number[0] -= 1;
    for engine in Engine::supported() {
        let job = Job::new(&header, Target::from_le_bytes(number));
        assert_eq!(found(engine, &job, nonces), [], "{}", engine.kind());
    }
}

#[test]
fn random_headers_and_targets_of_every_difficulty() {
    let (_, mut rng) = random(rand_seed());
    for bits in (0..12).chain([16, 20, 31, 32, 33, 40, 255]) {
        let mut header = [0; 80];
        rng.fill_bytes(&mut header);
        let nonces = Nonces {
            first: rng.next_u32(),
            count: 100 + u64::from(rng.next_u32() % 100),
        };
        let target = one_of(bits);
        let job = Job::new(&header, target);
        let expected = expected(&header, target, nonces);
        assert!(bits > 0 || expected.len() as u64 == nonces.count);
        for engine in Engine::supported() {
            let kind = engine.kind();
            assert_eq!(found(engine, &job, nonces), expected, "{kind}, {bits} bits");
        }
    }
}

#[test]
fn the_hit_may_stand_at_every_place_of_a_batch() {
    let header = header(KNOWN[2].0);
    let nonce = nonce_of(&header);
    let job = Job::new(&header, Target::from_compact(bits_of(&header)).unwrap());
    for engine in Engine::supported() {
        for place in 0..100 {
            let nonces = Nonces {
                first: nonce.wrapping_sub(place),
                count: u64::from(place) + 1,
            };
            let kind = engine.kind();
            assert_eq!(found(engine, &job, nonces), [nonce], "{kind}, {place}");
            // The same range without its last nonce.
            let before = Nonces {
                count: u64::from(place),
                ..nonces
            };
            assert_eq!(found(engine, &job, before), [], "{kind}, {place}");
        }
    }
}

#[test]
fn ranges_wrap() {
    let (header, _) = random(rand_seed());
    let target = one_of(4);
    let job = Job::new(&header, target);
    for before in [0, 1, 15, 16, 17, 47, 48, 63] {
        let nonces = Nonces {
            first: 0_u32.wrapping_sub(before),
            count: 100,
        };
        let expected = expected(&header, target, nonces);
        for engine in Engine::supported() {
            assert_eq!(found(engine, &job, nonces), expected, "{}", engine.kind());
        }
    }
}

#[test]
fn an_empty_range_finds_nothing() {
    let (header, _) = random(1);
    let job = Job::new(&header, Target::MAX);
    let nonces = Nonces { first: 7, count: 0 };
    for engine in Engine::supported() {
        assert_eq!(found(engine, &job, nonces), []);
    }
}

#[test]
fn a_changed_word_ends_the_search() {
    let (header, _) = random(rand_seed());
    let job = Job::new(&header, one_of(6));
    for engine in Engine::supported() {
        let epoch = AtomicU64::new(5);
        let mut hits = 0;
        let searched = engine.search(&job, Nonces::ALL, Watch::new(&epoch, 5), &mut |_| {
            hits += 1;
            epoch.store(6, Ordering::Relaxed);
        });
        assert!(searched.interrupted, "{}", engine.kind());
        assert!(searched.nonces < 10_000, "{searched:?}");
        assert!(hits > 0);
        let searched = engine.search(&job, Nonces::ALL, Watch::new(&epoch, 5), &mut |_| {
            unreachable!("the word has changed already")
        });
        assert!(searched.interrupted);
        assert_eq!(searched.nonces, 0);
    }
}

#[test]
fn rolled_versions_find_what_each_version_finds_alone() {
    let (header, mut rng) = random(rand_seed());
    let Ok(engine) = Engine::new(zcn_sha256d::EngineKind::Avx512) else {
        println!("SKIPPED: no AVX-512, which alone rolls versions");
        return;
    };
    let versions: [u32; VERSIONS] = std::array::from_fn(|i| 0x2000_0000 | (i as u32) << 13);
    for (bits, count) in [(0, 1), (0, 17), (3, 47), (5, 48), (6, 49), (7, 150)] {
        let target = one_of(bits);
        let nonces = Nonces {
            first: rng.next_u32(),
            count,
        };
        let job = RolledJob::new(&header, versions, target);
        let mut found = Vec::new();
        let mut add = |version, nonce| found.push((version, nonce));
        let searched = engine
            .search_rolled(&job, nonces, Watch::never(), &mut add)
            .unwrap();
        assert_eq!(searched.nonces, count);
        let mut expect = Vec::new();
        for version in versions {
            let mut header = header;
            header[..4].copy_from_slice(&version.to_le_bytes());
            let nonces = expected(&header, target, nonces);
            expect.extend(nonces.into_iter().map(|nonce| (version, nonce)));
        }
        found.sort_unstable();
        expect.sort_unstable();
        assert_eq!(found, expect, "{bits} bits, {count} nonces");
    }
}

#[test]
fn rolled_versions_leave_off_when_the_word_changes() {
    let (header, _) = random(rand_seed());
    let Ok(engine) = Engine::new(zcn_sha256d::EngineKind::Avx512) else {
        println!("SKIPPED: no AVX-512, which alone rolls versions");
        return;
    };
    let job = RolledJob::new(&header, [2; VERSIONS], one_of(8));
    let epoch = AtomicU64::new(0);
    let searched = engine
        .search_rolled(&job, Nonces::ALL, Watch::new(&epoch, 0), &mut |_, _| {
            epoch.store(1, Ordering::Relaxed);
        })
        .unwrap();
    assert!(searched.interrupted);
    assert!(searched.nonces < 10_000);
}

/// A seed: another one in each run, or that of the variable `ZCN_SEED`.
fn rand_seed() -> u64 {
    let drawn = || RandomState::new().build_hasher().finish();
    std::env::var("ZCN_SEED").map_or_else(|_| drawn(), |seed| seed.parse().unwrap())
}
