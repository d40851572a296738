//! Traces by hand: what leaves after what came.

use core::time::Duration;

use super::support::Bench;
use crate::tcp::sender::{CaState, TimeoutOutcome, TransmissionKind as Kind};

/// Segments of a burst, one by one.
fn each(first: u32, count: u32, kind: Kind) -> Vec<(u32, u32, Kind)> {
    (first..first + count).map(|n| (n, 1, kind)).collect()
}

#[test]
fn the_initial_window_is_ten_segments_and_doubles_in_a_round() {
    let mut b = Bench::new(&Bench::config());
    assert_eq!(b.send(100), each(0, 10, Kind::New));
    b.wait(100);
    for n in 1..=5 {
        b.ack(2 * n, &[]);
    }
    assert_eq!(b.cwnd(), 20);
    assert_eq!(b.send(100).len(), 20);
}

#[test]
fn a_super_segment_counts_as_what_it_holds() {
    let mut b = Bench::new(&Bench::config());
    b.burst = 64;
    assert_eq!(b.send(100), [(0, 10, Kind::New)]);
    b.wait(100);
    assert_eq!(b.ack(10, &[]).acked, 10_000);
    assert_eq!(b.send(100), [(10, 20, Kind::New)]);
}

/// One loss in twenty segments, `ssthresh` ten (an example of RFC 9937): recovery begins at the
/// third SACK, then one segment leaves for every two that arrive, until `ssthresh` is
/// reached.
#[test]
fn prr_sends_one_segment_for_two_delivered() {
    let mut config = Bench::config();
    config.initial_window = 20;
    let mut b = Bench::new(&config);
    b.send(20);
    b.wait(100);
    let mut sent = Vec::new();
    for n in 2..=20 {
        b.ack(0, std::slice::from_ref(&(1..n)));
        let left = b.send(100);
        assert!(left.len() <= 1, "{left:?}");
        sent.push(
            left.first()
                .map_or('-', |s| if s.2 == Kind::Retransmit { 'R' } else { 'N' }),
        );
        if n == 4 {
            assert_eq!(b.sender.ca_state(), CaState::Recovery);
            assert_eq!(b.sender.ssthresh(), 10 * Bench::MSS);
        }
    }
    // The first two duplicates release new data (limited transmit).
    assert_eq!(sent.iter().collect::<String>(), "NNR-N-N-N-N-N-N-N--");
    assert_eq!(b.pipe(), 10);
    b.wait(100);
    b.ack(22, &[]);
    assert_eq!((b.sender.ca_state(), b.cwnd()), (CaState::Open, 10));
}

#[test]
fn timeouts_double() {
    let mut b = Bench::new(&Bench::config());
    b.send(1);
    let rto = b.sender.rto();
    assert_eq!(rto, Duration::from_millis(300));
    // The probe, once.
    assert_eq!(b.expire(), TimeoutOutcome::LossProbe);
    assert_eq!(b.send(0), [(0, 1, Kind::TailLossProbe)]);
    let mut last = b.now;
    for n in 1..=12 {
        assert_eq!(b.expire(), TimeoutOutcome::Retransmission { in_a_row: n });
        let waited = b.now.saturating_duration_since(last);
        assert_eq!(waited, (rto * (1 << (n - 1))).min(Duration::from_secs(120)));
        assert_eq!(b.send(0), [(0, 1, Kind::RtoRetransmit)]);
        assert_eq!(b.cwnd(), 1);
        last = b.now;
    }
}
