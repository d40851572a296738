//! Reductions that were wrong.

use core::time::Duration;

use super::support::{Bench, each};
use crate::tcp::congestion::Algorithm;
use crate::tcp::sender::{CaState, SenderConfig, TransmissionKind as Kind, timestamp_clock};

/// Eifel (RFC 3522): the echo is older than the retransmission, so the original arrived.
#[test]
fn an_old_echo_undoes_a_fast_retransmit() {
    for congestion in Algorithm::ALL {
        let mut b = Bench::new(&SenderConfig {
            congestion,
            ..Bench::config()
        });
        b.send(10);
        let original = timestamp_clock(b.now);
        b.wait(100);
        b.ack_echoing(0, &[1..5], Some(original));
        assert_eq!(b.send(0), [(0, 1, Kind::Retransmit)]);
        assert!(b.sender.ssthresh() < 10 * Bench::MSS);
        b.wait(5);
        assert!(b.ack_echoing(10, &[], Some(original)).undone);
        assert_eq!(b.sender.ca_state(), CaState::Open);
        assert!(b.cwnd() >= 10, "{congestion}");
        assert_eq!(b.sender.ssthresh(), u32::MAX);
    }
}

#[test]
fn an_echo_of_the_retransmission_undoes_nothing() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    let original = timestamp_clock(b.now);
    b.wait(100);
    b.ack_echoing(0, &[1..10], Some(original));
    b.send(0);
    let again = timestamp_clock(b.now);
    b.wait(100);
    assert!(!b.ack_echoing(10, &[], Some(again)).undone);
    assert_eq!((b.cwnd(), b.sender.ssthresh()), (5, 5 * Bench::MSS));
}

/// Eifel after a timeout (RFC 4015, section 3.2).
#[test]
fn an_old_echo_undoes_a_timeout() {
    let mut b = Bench::new(&SenderConfig {
        sack: false,
        ..Bench::config()
    });
    b.send(10);
    let original = timestamp_clock(b.now);
    b.expire();
    b.send(0);
    assert_eq!(b.cwnd(), 1);
    b.wait(5);
    assert!(b.ack_echoing(2, &[], Some(original)).undone);
    assert!(b.cwnd() >= 10);
    assert_eq!(b.sender.retransmits(), 0);
}

/// Every retransmission came twice, says the peer, even if recovery is over by then.
#[test]
fn dsacks_for_all_retransmissions_undo() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.ack(0, &[2..10]);
    assert_eq!(b.send(0), each(0, 2, Kind::Retransmit));
    b.wait(5);
    b.ack(10, &[]);
    assert_eq!(b.cwnd(), 5);
    b.send(3);
    b.wait(100);
    assert!(!b.ack(10, &[0..1]).undone);
    assert!(b.ack(10, &[1..2]).undone);
    assert_eq!((b.cwnd(), b.sender.ssthresh()), (10, u32::MAX));
}

/// A duplicate that the network made must not undo a reduction for a real loss: there are more
/// D-SACKs than retransmissions.
#[test]
fn duplicates_of_the_network_undo_nothing() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.ack(5, &[3..4]); // Nothing was sent twice.
    assert_eq!(b.sender.info(b.now).dsack_dups, 1);
    b.ack(5, &[6..10]);
    assert_eq!(b.send(0), [(5, 1, Kind::Retransmit)]);
    b.wait(100);
    b.ack(10, &[]);
    assert!(!b.ack(10, &[4..5]).undone);
    assert!(b.cwnd() < 10);
}

/// What the network itself demanded stays (RFC 3168).
#[test]
fn a_congestion_notification_is_not_undone() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.ack_with_ece(1);
    assert_eq!(b.sender.ca_state(), CaState::Cwr);
    assert!(b.sender.take_cwr());
    assert!(!b.sender.take_cwr());
    b.ack_with_ece(2);
    assert_eq!(b.sender.ssthresh(), 5 * Bench::MSS, "once a round");
    b.send(10);
    b.wait(100);
    for n in 3..=11 {
        b.ack(n, &[]);
        b.send(1);
    }
    assert_eq!(b.sender.ca_state(), CaState::Open);
    assert_eq!((b.cwnd(), b.sender.ssthresh()), (5, 5 * Bench::MSS));
    assert_eq!(b.sender.info(b.now).total_undone, 0);
}

/// A segment delayed beyond the timeout: one second of nothing, then everything arrives.
#[test]
fn a_stalled_path_costs_no_window() {
    use super::model::{Load, Path, Peer, run};
    for congestion in Algorithm::ALL {
        for (sack, timestamps) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut path = Path::clean(20);
            path.rate = 2_000_000;
            path.queue = 1_000_000;
            path.stall = Some((Duration::from_secs(1), Duration::from_secs(2)));
            let peer = Peer {
                sack,
                timestamps,
                ..Peer::modern()
            };
            let config = SenderConfig {
                congestion,
                ..SenderConfig::new(Bench::config().snd_una, 1448)
            };
            let limit = Duration::from_secs(60);
            let report = run(&config, &path, &peer, &Load::bulk(10_000_000), 1, limit);
            assert!(report.timeouts > 0, "sack {sack} timestamps {timestamps}");
            assert!(report.undone > 0, "sack {sack} timestamps {timestamps}");
        }
    }
}
