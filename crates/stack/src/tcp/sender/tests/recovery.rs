//! Fast recovery: RACK, NewReno, proportional rate reduction.

use core::time::Duration;

use super::support::{Bench, Sent, each};
use crate::tcp::sender::{CaState, SenderConfig, TimeoutOutcome, TransmissionKind as Kind};

fn twenty_in_flight() -> Bench {
    let mut b = Bench::new(&SenderConfig {
        initial_window: 20,
        ..Bench::config()
    });
    assert_eq!(b.send(20), each(0, 20, Kind::New));
    b.wait(100);
    b
}

/// One letter for what left after an acknowledgment.
fn letter(sent: &[Sent]) -> char {
    match sent {
        [] => '-',
        [(.., Kind::Retransmit)] => 'R',
        [(.., Kind::New | Kind::LimitedTransmit)] => 'N',
        more => panic!("{more:?}"),
    }
}

/// One loss in twenty segments, `ssthresh` ten (an example of RFC 9937): recovery begins at the
/// third SACK, then one segment leaves for every two that arrive, until `ssthresh` is
/// reached.
#[test]
fn prr_sends_one_segment_for_two_delivered() {
    let mut b = twenty_in_flight();
    let mut sent = String::new();
    for n in 2..=20 {
        b.ack(0, &[1..n]);
        sent.push(letter(&b.send(100)));
        if n == 4 {
            assert_eq!(b.sender.ca_state(), CaState::Recovery);
            assert_eq!(b.sender.ssthresh(), 10 * Bench::MSS);
        }
    }
    // The first two duplicates release new data (limited transmit).
    assert_eq!(sent, "NNR-N-N-N-N-N-N-N--");
    assert_eq!(b.pipe(), 10);
    b.wait(100);
    b.ack(22, &[]);
    assert_eq!((b.sender.ca_state(), b.cwnd()), (CaState::Open, 10));
}

/// Fifteen losses in twenty segments: the pipe is far below `ssthresh`, and for every segment
/// delivered one leaves (RFC 9937, conservative reduction bound).
#[test]
fn prr_conserves_packets_when_much_is_lost() {
    let mut b = twenty_in_flight();
    let mut sent = String::new();
    for n in 16..=20 {
        b.ack(0, &[15..n]);
        sent.push(letter(&b.send(100)));
    }
    assert_eq!(sent, "NNRRR");
    assert_eq!(b.pipe(), 5);
}

/// Once a retransmission is acknowledged and nothing new is lost, one segment more than was
/// delivered may leave (slow start reduction bound).
#[test]
fn prr_catches_up_when_recovery_makes_progress() {
    let mut b = twenty_in_flight();
    b.ack(0, &[15..20]);
    assert_eq!(b.sender.ca_state(), CaState::Recovery);
    let first = b.send(0).len();
    b.wait(100);
    b.ack(1, &[15..20]);
    assert_eq!(b.send(0).len(), 2, "after {first} at first");
}

#[test]
fn a_new_loss_within_recovery_is_not_a_new_reduction() {
    let mut b = twenty_in_flight();
    b.ack(0, &[1..6]);
    assert_eq!(b.sender.ssthresh(), 10 * Bench::MSS);
    b.send(0);
    b.wait(10);
    b.ack(0, &[8..12, 1..6]);
    assert_eq!(
        b.sender.info(b.now).lost,
        3,
        "0, which is under way again, 6 and 7"
    );
    assert_eq!(b.sender.ssthresh(), 10 * Bench::MSS);
    assert_eq!(b.sender.info(b.now).total_recoveries, 1);
}

/// RFC 8985, section 3.3: the last segments and their retransmissions, without timeout.
#[test]
fn rack_finds_a_lost_retransmission() {
    let mut b = twenty_in_flight();
    b.ack(0, &[1..6]);
    assert!(b.send(0).contains(&(0, 1, Kind::Retransmit)));
    // What left after the retransmission arrives, it does not.
    b.wait(1);
    b.ack(0, &[1..20]);
    let later = b.send(3);
    assert!(later.iter().all(|s| s.0 >= 20), "{later:?}");
    b.wait(105);
    b.ack(0, &[20..22, 1..20]);
    assert_eq!(b.send(0), [(0, 1, Kind::Retransmit)]);
    assert_eq!(b.sender.info(b.now).total_rto, 0);
}

/// Two segments arrive before the first: too few for three duplicates, so RACK waits a quarter
/// of the least round-trip time and then retransmits (RFC 8985, section 6.2).
#[test]
fn rack_waits_for_late_segments_a_quarter_of_the_rtt() {
    let mut b = Bench::new(&Bench::config());
    b.send(3);
    b.wait(100);
    b.ack(0, &[1..3]);
    assert_eq!(b.sender.ca_state(), CaState::Disorder);
    assert_eq!(b.send(0), []);
    let deadline = b.sender.next_timeout().expect("the reordering timer");
    assert_eq!(deadline, b.now + Duration::from_millis(25));
    assert_eq!(b.expire(), TimeoutOutcome::Reordering);
    assert_eq!(b.sender.ca_state(), CaState::Recovery);
    assert_eq!(b.send(0), [(0, 1, Kind::Retransmit)]);
}

/// The late segment comes within the window: no retransmission, and from then on three
/// duplicates prove nothing.
#[test]
fn rack_learns_of_reordering() {
    let mut b = Bench::new(&Bench::config());
    b.send(3);
    b.wait(100);
    b.ack(0, &[1..3]);
    b.wait(20);
    b.ack(3, &[]);
    assert_eq!(b.sender.ca_state(), CaState::Open);
    assert_eq!(b.sender.info(b.now).reord_seen, 1);
    b.send(10);
    b.wait(100);
    b.ack(3, &[4..8]);
    assert_eq!(b.sender.ca_state(), CaState::Disorder);
    assert!(b.send(0).is_empty());
}

/// Where reordering was seen, each round with a D-SACK widens the reordering window by a quarter
/// of the least round-trip time (RFC 8985, section 6.2).
#[test]
fn dsacks_widen_the_reordering_window() {
    let mut b = Bench::new(&Bench::config());
    b.send(3);
    b.wait(100);
    b.ack(0, &[1..3]);
    b.wait(20);
    b.ack(3, &[]); // Late by 20 ms.
    b.send(10);
    b.wait(100);
    b.ack(3, &[4..13]);
    b.expire();
    assert_eq!(b.send(0), [(3, 1, Kind::Retransmit)]);
    b.wait(10);
    b.ack(13, &[]);
    b.ack(13, &[3..4]); // D-SACK: both copies arrived.
    assert_eq!(b.sender.info(b.now).dsack_dups, 1);
    b.send(3);
    b.wait(100);
    b.ack(13, &[14..16]);
    let deadline = b.sender.next_timeout().expect("the reordering timer");
    assert_eq!(deadline, b.now + Duration::from_millis(50), "two quarters");
}

#[test]
fn limited_transmit_sends_new_data_for_the_first_duplicates() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.ack(0, &[1..2]);
    assert_eq!(b.send(100), [(10, 1, Kind::LimitedTransmit)]);
    b.ack(0, &[1..3]);
    assert_eq!(b.send(100), [(11, 1, Kind::LimitedTransmit)]);
}

/// The peer's window closes the way for new data also in recovery, not for what was sent.
#[test]
fn a_shrunken_window_holds_new_data_back() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.window = 3 * Bench::MSS;
    b.ack(0, &[1..6]);
    b.ack(1, &[2..6]);
    assert_eq!(b.sender.usable_window(), 0);
    assert!(b.send(100).iter().all(|s| s.0 < 4), "beyond the window");
}

mod without_sack {
    use super::*;

    fn bench(segments: u32) -> Bench {
        let mut b = Bench::new(&SenderConfig {
            sack: false,
            ..Bench::config()
        });
        assert_eq!(b.send(segments).len() as u32, segments);
        b.wait(100);
        b
    }

    /// RFC 5681, section 3.2, and RFC 6582, section 3.2.
    #[test]
    fn three_duplicates_retransmit_and_partial_acknowledgments_go_on() {
        let mut b = bench(10);
        for _ in 0..2 {
            assert!(b.ack(0, &[]).duplicate);
            assert!(b.send(0).is_empty());
        }
        b.ack(0, &[]);
        assert_eq!(b.sender.ca_state(), CaState::Recovery);
        assert_eq!(b.sender.ssthresh(), 5 * Bench::MSS);
        assert_eq!(b.send(0), [(0, 1, Kind::Retransmit)]);
        for _ in 0..5 {
            b.ack(0, &[]);
        }
        b.wait(100);
        // 4 was lost as well.
        b.ack(4, &[]);
        assert_eq!(b.sender.ca_state(), CaState::Recovery);
        assert_eq!(b.send(0), [(4, 1, Kind::Retransmit)]);
        b.wait(100);
        b.ack(10, &[]);
        // Held until something beyond is acknowledged (RFC 6582, section 4.1).
        assert_eq!(b.sender.ca_state(), CaState::Recovery);
        for _ in 0..4 {
            b.ack(10, &[]);
        }
        assert!(b.send(0).is_empty(), "a false fast retransmit");
        b.send(1);
        b.wait(100);
        b.ack(11, &[]);
        assert_eq!((b.sender.ca_state(), b.cwnd()), (CaState::Open, 5));
    }

    #[test]
    fn an_acknowledgment_with_data_or_a_window_is_no_duplicate() {
        let mut b = bench(10);
        for _ in 0..5 {
            b.window += 1;
            assert!(!b.ack(0, &[]).duplicate);
        }
        assert_eq!(b.sender.ca_state(), CaState::Open);
    }

    #[test]
    fn no_probe_and_no_reordering_timer() {
        let mut b = bench(1);
        assert_eq!(b.expire(), TimeoutOutcome::Retransmission { in_a_row: 1 });
    }
}
