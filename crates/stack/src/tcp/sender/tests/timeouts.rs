//! The retransmission timer, F-RTO, tail loss probes, reneging.

use core::time::Duration;

use super::support::{Bench, each};
use crate::tcp::congestion::Algorithm;
use crate::tcp::sender::{
    CaState, FALLBACK_RTO, MAX_RTO, SenderConfig, TimeoutOutcome, TransmissionKind as Kind,
    backed_off,
};

/// A sender that starts no probes, so that the timer is what expires.
fn after_probe(segments: u32) -> Bench {
    let mut b = Bench::new(&Bench::config());
    b.send(segments);
    assert_eq!(b.expire(), TimeoutOutcome::LossProbe);
    let last = segments - 1;
    assert_eq!(b.send(0), [(last, 1, Kind::TailLossProbe)]);
    b
}

#[test]
fn timeouts_double_up_to_two_minutes() {
    let mut b = after_probe(1);
    let rto = Duration::from_millis(300);
    assert_eq!(b.sender.rto(), rto);
    let mut last = b.now;
    for n in 1..=12 {
        assert_eq!(b.expire(), TimeoutOutcome::Retransmission { in_a_row: n });
        let waited = b.now.saturating_duration_since(last);
        assert_eq!(waited, (rto * (1 << (n - 1))).min(MAX_RTO));
        assert_eq!(b.send(0), [(0, 1, Kind::RtoRetransmit)]);
        assert_eq!(b.cwnd(), 1);
        assert_eq!(b.sender.retransmits(), n);
        last = b.now;
    }
    // Karn: the acknowledgment of what was sent again measures nothing and leaves the timer
    // backed off, until something sent once is acknowledged.
    b.wait(10);
    b.ack(1, &[]);
    assert_eq!(b.sender.retransmits(), 0);
    assert_eq!(b.sender.rto(), MAX_RTO);
    b.send(1);
    b.wait(100);
    b.ack(2, &[]);
    assert!(b.sender.rto() < Duration::from_millis(400));
}

/// RFC 8985, section 7.2, and the least time of Linux: two round trips of a link within a machine
/// are shorter than a wake-up may take.
#[test]
fn a_probe_on_a_fast_link_waits_two_milliseconds() {
    let rtt = Duration::from_micros(100);
    let mut b = Bench::new(&SenderConfig {
        handshake_rtt: Some(rtt),
        ..Bench::config()
    });
    b.send(2);
    let waits = |b: &Bench| {
        let deadline = b.sender.next_timeout().expect("a deadline");
        deadline.saturating_duration_since(b.now)
    };
    let least = Duration::from_millis(2);
    assert_eq!(waits(&b), 2 * rtt + least);
    // Also when acknowledgments make the round trips still shorter.
    for segment in 1..200 {
        b.now += Duration::from_micros(20);
        b.ack(segment, &[]);
        b.send(1);
        assert!(waits(&b) >= least, "{segment}");
    }
    assert_eq!(b.expire(), TimeoutOutcome::LossProbe);
}

#[test]
fn a_handshake_timer_backs_off_from_a_second() {
    let seconds: Vec<u64> = (0..9)
        .map(|n| backed_off(Duration::from_secs(1), n).as_secs())
        .collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    assert_eq!(backed_off(Duration::from_secs(1), 255), MAX_RTO);
}

/// RFC 6298, section 5.7, and RFC 5681, section 3.1.
#[test]
fn a_lost_syn_starts_carefully() {
    let start = |handshake_rtt, syn_retransmissions| {
        Bench::new(&SenderConfig {
            handshake_rtt,
            syn_retransmissions,
            ..Bench::config()
        })
    };
    let b = start(None, 1);
    assert_eq!((b.sender.rto(), b.cwnd()), (FALLBACK_RTO, 10));
    let b = start(None, 2);
    assert_eq!((b.sender.rto(), b.cwnd()), (FALLBACK_RTO, 1));
    let b = start(Some(Duration::from_millis(10)), 1);
    assert_eq!(b.sender.rto(), Duration::from_millis(210));
}

/// The window is lost, then it doubles up to half of what it was.
#[test]
fn after_a_timeout_slow_start_leads_to_half_the_window() {
    let mut b = after_probe(10);
    b.expire();
    assert_eq!(b.send(0), [(0, 1, Kind::RtoRetransmit)]);
    assert_eq!(b.sender.ssthresh(), 5 * Bench::MSS);
    assert_eq!(b.sender.ca_state(), CaState::Loss);
    b.wait(100);
    b.ack(1, &[]);
    // F-RTO wants new data first; there is none.
    assert_eq!(b.send(0), each(1, 2, Kind::Retransmit));
    b.wait(100);
    b.ack(3, &[]);
    assert_eq!(b.send(0), each(3, 4, Kind::Retransmit));
    b.wait(100);
    b.ack(7, &[]);
    assert_eq!(b.cwnd(), 5);
    b.send(0);
    b.wait(100);
    b.ack(10, &[]);
    assert_eq!(b.sender.ca_state(), CaState::Open);
    assert_eq!(b.sender.info(b.now).total_undone, 0);
}

/// RFC 5681, section 3.1 (4): one reduction for one window, however often the timer expires.
#[test]
fn repeated_timeouts_reduce_once() {
    let mut b = after_probe(10);
    for _ in 0..4 {
        b.expire();
        b.send(0);
        assert_eq!(b.sender.ssthresh(), 5 * Bench::MSS);
    }
}

/// RFC 5682, figure: the segments were only late. The first acknowledgment advances, new data
/// leaves, the second acknowledges what was sent once.
#[test]
fn frto_finds_a_spurious_timeout_without_sack() {
    let mut b = Bench::new(&SenderConfig {
        sack: false,
        ..Bench::config()
    });
    b.send(10);
    b.expire();
    assert_eq!(b.send(0), [(0, 1, Kind::RtoRetransmit)]);
    assert_eq!(b.cwnd(), 1);
    b.wait(10);
    b.ack(1, &[]);
    assert_eq!(b.send(100), each(10, 2, Kind::New));
    b.wait(10);
    let outcome = b.ack(2, &[]);
    assert!(outcome.undone);
    assert_eq!(b.cwnd(), 10 + 1);
    assert_eq!(b.sender.ssthresh(), u32::MAX);
    assert_eq!(b.sender.info(b.now).lost, 0);
}

/// The same, with SACK: any delivery of what was sent once will do.
#[test]
fn frto_with_sack_believes_the_first_original() {
    for congestion in Algorithm::ALL {
        let mut b = Bench::new(&SenderConfig {
            congestion,
            ..Bench::config()
        });
        b.send(10);
        b.expire();
        b.send(0); // The probe: segment 9 again.
        b.expire();
        assert_eq!(b.send(0), [(0, 1, Kind::RtoRetransmit)]);
        b.wait(10);
        assert!(b.ack(2, &[]).undone);
        assert!(b.cwnd() >= 10, "{congestion}");
        assert_eq!(b.sender.ssthresh(), u32::MAX);
    }
}

/// RFC 5682, step 3.a: duplicates after the new data prove the loss.
#[test]
fn frto_takes_a_real_timeout_for_real() {
    let mut b = Bench::new(&SenderConfig {
        sack: false,
        ..Bench::config()
    });
    b.send(10);
    b.expire();
    b.send(0);
    b.wait(100);
    b.ack(1, &[]);
    assert_eq!(b.send(100), each(10, 2, Kind::New));
    b.wait(100);
    assert!(!b.ack(1, &[]).undone);
    let next = b.send(100);
    assert_eq!(next.first(), Some(&(1, 1, Kind::Retransmit)));
    assert_eq!(b.sender.ca_state(), CaState::Loss);
    assert_eq!(b.sender.ssthresh(), 5 * Bench::MSS);
}

/// Without SACK one acknowledgment that covers all may have been waiting behind one hole.
#[test]
fn frto_without_sack_does_not_believe_an_acknowledgment_of_everything() {
    let mut b = Bench::new(&SenderConfig {
        sack: false,
        timestamps: false,
        ..Bench::config()
    });
    b.send(3);
    b.wait(100);
    b.ack(0, &[]);
    b.ack(0, &[]); // 0 is lost, 1 and 2 arrived: two duplicates.
    b.expire();
    b.send(0);
    b.wait(100);
    assert!(!b.ack(3, &[]).undone);
    assert_eq!(b.sender.ssthresh(), 5 * Bench::MSS);
}

/// RFC 8985, section 7.2: twice the round-trip time, and the peer's delayed acknowledgment if
/// there is only one segment to acknowledge; never later than the timeout.
#[test]
fn a_probe_leaves_after_two_rounds() {
    let mut b = Bench::new(&Bench::config());
    b.send(2);
    assert_eq!(
        b.sender.next_timeout(),
        Some(b.now + Duration::from_millis(202))
    );
    let mut b = Bench::new(&Bench::config());
    b.send(1);
    assert_eq!(
        b.sender.next_timeout(),
        Some(b.now + Duration::from_millis(300))
    );
    let mut b = Bench::new(&SenderConfig {
        handshake_rtt: None,
        ..Bench::config()
    });
    b.send(2);
    assert_eq!(
        b.sender.next_timeout(),
        Some(b.now + Duration::from_secs(1))
    );
}

#[test]
fn a_probe_prefers_new_data_and_ignores_the_window() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    assert!(b.send(10).is_empty(), "the window is full");
    assert_eq!(b.expire(), TimeoutOutcome::LossProbe);
    assert_eq!(b.send(10), [(10, 1, Kind::TailLossProbe)]);
    // One probe, then the timeout.
    assert_eq!(b.expire(), TimeoutOutcome::Retransmission { in_a_row: 1 });
}

/// The tail was lost: the probe's SACK lets RACK find it, without a timeout.
#[test]
fn a_probe_recovers_a_lost_tail() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.ack(7, &[]);
    b.expire();
    assert_eq!(b.send(0), [(9, 1, Kind::TailLossProbe)]);
    b.wait(100);
    b.ack(7, &[9..10]);
    assert_eq!(b.send(0).first(), Some(&(7, 1, Kind::Retransmit)));
    b.wait(100);
    b.ack(10, &[]);
    assert_eq!(b.sender.info(b.now).total_rto, 0);
    assert_eq!(
        b.sender.ssthresh(),
        8_000,
        "half of the 17 segments that it was, in whole ones"
    );
}

/// RFC 8985, section 7.4.2: a loss that the probe itself repaired still counts as one.
#[test]
fn a_loss_repaired_by_a_probe_reduces_the_window() {
    let mut b = Bench::new(&Bench::config());
    b.send(1);
    b.expire();
    b.send(0);
    b.wait(100);
    b.ack(1, &[]);
    assert_eq!(b.sender.ssthresh(), u32::MAX, "the D-SACK may still come");
    b.send(1);
    b.wait(100);
    b.ack(2, &[]);
    assert_eq!(b.sender.ssthresh(), 5 * Bench::MSS);
    assert_eq!(b.sender.ca_state(), CaState::Open);
}

#[test]
fn a_probe_that_was_not_needed_costs_nothing() {
    // With D-SACK, and for a peer without it by a duplicate.
    for dsack in [&[0..1][..], &[]] {
        let mut b = Bench::new(&Bench::config());
        b.send(1);
        b.expire();
        b.send(0);
        b.wait(100);
        b.ack(1, &[]);
        b.ack(1, dsack);
        b.send(1);
        b.wait(100);
        b.ack(2, &[]);
        assert_eq!(b.sender.ssthresh(), u32::MAX);
    }
}

/// RFC 2018, section 8: after a timeout SACKs are forgotten if the peer has thrown data away.
#[test]
fn a_peer_that_reneges_gets_its_data_again() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.ack(0, &[1..10]);
    assert_eq!(b.send(0), [(0, 1, Kind::Retransmit)]);
    b.wait(100);
    b.ack(1, &[]); // It should have been 10.
    let wait = b
        .sender
        .next_timeout()
        .expect("a timer")
        .saturating_duration_since(b.now);
    assert_eq!(wait, Duration::from_millis(50), "half a round-trip time");
    b.expire();
    assert_eq!(b.sender.info(b.now).sacked, 0);
    let mut again = b.send(0);
    while b.sender.flight_size() > 0 {
        b.wait(100);
        let next = again
            .iter()
            .map(|s| s.0 + s.1)
            .max()
            .expect("something leaves");
        b.ack(next, &[]);
        again = b.send(0);
    }
    assert_eq!(b.sender.snd_una(), b.seq(10));
}

/// A closed window does not count towards giving up (RFC 9293, section 3.8.6.1).
#[test]
fn timeouts_against_a_closed_window_are_probes() {
    let mut b = after_probe(2);
    b.window = 0;
    b.ack(1, &[]);
    for _ in 0..5 {
        assert_eq!(b.expire(), TimeoutOutcome::Retransmission { in_a_row: 0 });
        assert_eq!(b.send(5), [(1, 1, Kind::RtoRetransmit)]);
    }
}
