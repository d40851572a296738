//! The shape of goodput under loss, in virtual time: what theory predicts, not how fast this
//! machine is.

use core::time::Duration;

use zcn_wire::SeqNum;

use super::model::{Load, Path, Peer, run};
use crate::tcp::congestion::Algorithm;
use crate::tcp::sender::SenderConfig;

const MSS: u16 = 1448;

/// Bytes per second over `bytes`.
fn goodput(congestion: Algorithm, path: &Path, peer: &Peer, bytes: u32, seed: u64) -> f64 {
    let config = SenderConfig {
        congestion,
        ..SenderConfig::new(SeqNum(1 << 31), MSS)
    };
    let limit = Duration::from_secs(10_000);
    let report = run(&config, path, peer, &Load::bulk(bytes), seed, limit);
    f64::from(bytes) / report.took.as_secs_f64()
}

/// The law of Mathis, Semke, Mahdavi and Ott (1997): MSS / RTT * sqrt(3/2) / sqrt(p).
fn mathis(rtt: Duration, loss: f64) -> f64 {
    f64::from(MSS) / rtt.as_secs_f64() * (1.5 / loss).sqrt()
}

/// NewReno keeps to the law while timeouts are rare; CUBIC loses less of its window each time,
/// and on short paths grows as fast, so it may be up to half as good again.
#[test]
fn random_loss_costs_what_the_square_root_law_says() {
    for (per_million, bytes, expected) in [
        (1_000, 60_000_000, 0.8..1.7),
        (10_000, 20_000_000, 0.75..1.4),
        (50_000, 5_000_000, 0.5..1.1),
    ] {
        for congestion in Algorithm::ALL {
            let mut path = Path::clean(5);
            path.loss = per_million;
            let predicted = mathis(2 * path.delay, f64::from(per_million) / 1e6);
            let seeds = 1..=3;
            let measured: f64 = seeds
                .map(|seed| goodput(congestion, &path, &Peer::modern(), bytes, seed) / 3.0)
                .sum();
            let share = measured / predicted;
            assert!(
                expected.contains(&share),
                "{congestion} at {per_million}: {share:.2}"
            );
        }
    }
}

#[test]
fn a_bottleneck_is_filled_if_its_queue_holds_half_a_round() {
    for congestion in Algorithm::ALL {
        for halves in [1, 2, 4] {
            let mut path = Path::clean(5);
            path.rate = 5_000_000;
            path.queue = path.rate / 100 * halves / 2;
            let measured = goodput(congestion, &path, &Peer::modern(), 50_000_000, 1);
            let share = measured / 5_000_000.0;
            assert!(
                (0.9..1.0).contains(&share),
                "{congestion}, queue {halves}/2: {share:.2}"
            );
        }
    }
}

/// Reordering alone costs a retransmission now and then, and no window.
#[test]
fn reordering_does_not_look_like_loss_for_long() {
    for congestion in Algorithm::ALL {
        let mut path = Path::clean(5);
        path.rate = 5_000_000;
        path.queue = 200_000;
        path.reorder = 20_000;
        path.reorder_delay = Duration::from_millis(2);
        let measured = goodput(congestion, &path, &Peer::modern(), 50_000_000, 1);
        assert!(measured > 0.85 * 5_000_000.0, "{congestion}: {measured}");
    }
}

/// Without SACK one loss a round is repaired; it is slower, and works.
#[test]
fn a_peer_without_sack_or_timestamps_is_served() {
    let peer = Peer {
        sack: false,
        timestamps: false,
        ..Peer::modern()
    };
    for congestion in Algorithm::ALL {
        let mut path = Path::clean(5);
        path.loss = 10_000;
        let measured = goodput(congestion, &path, &peer, 10_000_000, 2);
        let share = measured / mathis(2 * path.delay, 0.01);
        assert!((0.3..1.4).contains(&share), "{congestion}: {share:.2}");
    }
}
