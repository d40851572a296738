//! What must hold on any path: all arrives, within the windows, and wrong guesses are undone.

use core::time::Duration;

use zcn_wire::SeqNum;

use super::model::{Load, Path, Peer, Report, run};
use crate::random::Random;
use crate::tcp::congestion::Algorithm;
use crate::tcp::sender::SenderConfig;

/// A thousand paths by default; `ZCN_SEEDS` asks for another number, `ZCN_SEED` for one.
fn seeds() -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let one = number("ZCN_SEED");
    let count = number("ZCN_SEEDS").unwrap_or(1_000);
    one.map_or(0..count, |seed| seed..seed + 1)
}

/// Names the seed when a run fails.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "the seed of a failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with ZCN_SEED={}", self.0);
        }
    }
}

fn config(random: &mut Random) -> SenderConfig {
    let mss = [48, 536, 1000, 1448, 8948][random.below(5) as usize];
    SenderConfig {
        congestion: Algorithm::ALL[random.below(2) as usize],
        ..SenderConfig::new(SeqNum(random.next_u32()), mss)
    }
}

fn random_run(seed: u64) -> Report {
    random_run_with(seed, false)
}

fn random_run_with(seed: u64, babbles: bool) -> Report {
    let _named = Seed(seed);
    let mut bytes = [0; 32];
    bytes[8..16].copy_from_slice(&seed.to_le_bytes());
    let random = &mut Random::new(&bytes, "paths");
    let config = config(random);
    let mss = u32::from(config.mss);
    let millis = |n: u32| Duration::from_millis(n.into());
    let pick =
        |random: &mut Random, choices: &[u32]| choices[random.below(choices.len() as u32) as usize];
    let mut path = Path::clean(0);
    path.delay = Duration::from_micros(pick(random, &[10, 100, 1_000, 5_000, 50_000]).into());
    path.loss = pick(random, &[0, 0, 1_000, 10_000, 50_000, 200_000]);
    path.ack_loss = pick(random, &[0, 0, 10_000, 200_000]);
    path.reorder = pick(random, &[0, 0, 10_000, 200_000]);
    path.reorder_delay = path.delay * pick(random, &[1, 2, 5]);
    path.duplicate = pick(random, &[0, 0, 10_000, 100_000]);
    if random.below(2) == 0 {
        path.rate = u64::from(pick(random, &[20_000, 1_000_000, 50_000_000]));
        path.queue = u64::from(pick(random, &[4, 20, 200]) * mss);
    }
    let from = random.below(500);
    let span = Some((millis(from), millis(from + random.below(2_000))));
    match random.below(4) {
        0 => path.outage = span,
        1 => path.stall = span,
        _ => {}
    }
    let sack = random.below(4) != 0;
    let peer = Peer {
        sack,
        dsack: random.below(3) != 0,
        timestamps: random.below(2) != 0,
        delayed_ack: millis(pick(random, &[1, 40, 200])),
        window: pick(random, &[2, 10, 100, 1_000]) * mss + random.below(2) * random.below(mss),
        renege_after: (random.below(8) == 0).then(|| random.below(50 * mss)),
        babbles,
    };
    let bytes = random.below(200 * mss) + 1;
    let load = Load {
        bytes,
        write: pick(random, &[bytes, mss, 100, 7 * mss + 1]),
        pause: millis(pick(random, &[0, 1, 20])),
        burst: pick(random, &[mss, 10 * mss, 65_535]),
    };
    // Liveness: even a fifth lost in either direction, at 20 kB/s, with backed-off timers.
    run(
        &config,
        &path,
        &peer,
        &load,
        seed,
        Duration::from_secs(3_600),
    )
}

#[test]
fn all_arrives_on_a_thousand_random_paths() {
    let (mut runs, mut again, mut timeouts, mut probes, mut undone) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let report = random_run(seed);
        runs += 1;
        again += u32::from(report.sent_again > 0);
        timeouts += u32::from(report.timeouts > 0);
        probes += u32::from(report.probes > 0);
        undone += u32::from(report.undone > 0);
    }
    // The paths are such that everything happens in many of the runs.
    if runs >= 100 {
        let rare = [again, timeouts, probes, undone]
            .into_iter()
            .min()
            .unwrap_or(0);
        assert!(
            rare > runs / 50,
            "{again} {timeouts} {probes} {undone} of {runs}"
        );
    }
}

/// Acknowledgments of one transmission in calm take a way of their own, which must lead to
/// where the common one does.
#[test]
fn plain_acknowledgments_are_no_special_case() {
    for seed in seeds().take(300) {
        let (plain, common) = (random_run(seed), random_run_with(seed, true));
        assert_eq!(plain.digest, common.digest, "ZCN_SEED={seed}");
        assert_eq!(plain.took, common.took, "ZCN_SEED={seed}");
        assert_eq!(plain.undone, common.undone, "ZCN_SEED={seed}");
    }
}

#[test]
fn a_seed_replays_to_the_bit() {
    for seed in 0..20 {
        assert_eq!(
            random_run(seed).digest,
            random_run(seed).digest,
            "seed {seed}"
        );
    }
}
