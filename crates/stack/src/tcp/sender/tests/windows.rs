//! How much may leave: the two windows, growth, idle times, segment sizes, bad input.

use core::time::Duration;

use zcn_wire::{SackBlock, SeqNum};

use super::support::{Bench, each};
use crate::tcp::congestion::Algorithm;
use crate::tcp::sender::records::MAX_RECORDS;
use crate::tcp::sender::{Ack, AckError, CaState, MIN_MSS, SenderConfig, TransmissionKind as Kind};

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

/// Byte counting (RFC 3465): a thousand acknowledgments of one byte grow the window like one
/// of a thousand, and one of sixteen segments like sixteen.
#[test]
fn neither_split_nor_stretched_acknowledgments_change_growth() {
    for congestion in Algorithm::ALL {
        let config = SenderConfig {
            congestion,
            ..Bench::config()
        };
        let mut split = Bench::new(&config);
        split.send(10);
        split.wait(100);
        for byte in 1..=10_000 {
            split.ack_byte(byte);
        }
        let mut stretched = Bench::new(&config);
        stretched.send(10);
        stretched.wait(100);
        stretched.ack(10, &[]);
        assert_eq!((split.cwnd(), stretched.cwnd()), (20, 20), "{congestion}");
    }
}

#[test]
fn an_optimistic_acknowledgment_is_refused() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    let mut ack = Ack {
        ack: b.seq(10) + 1_u32,
        sack: &[],
        window: 0,
        segment_seq: SeqNum(9),
        ts_ecr: None,
        carries_data: false,
        ece: false,
    };
    assert_eq!(
        b.sender.handle_ack(b.now, &ack, None),
        Err(AckError::BeyondSndNxt)
    );
    assert_eq!(
        (b.sender.snd_una(), b.sender.snd_wnd()),
        (b.seq(0), 1 << 20)
    );
    ack.ack = b.seq(0) - ((1_u32 << 20) + 1);
    assert_eq!(
        b.sender.handle_ack(b.now, &ack, None),
        Err(AckError::TooOld)
    );
    ack.ack = b.seq(0) - (1_u32 << 20);
    assert!(b.sender.handle_ack(b.now, &ack, None).is_ok());
}

/// SACK blocks that cannot be: backwards, beyond `snd_nxt`, from `snd_una` on, far away.
#[test]
fn impossible_sack_blocks_are_ignored() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    let (una, nxt) = (b.seq(0), b.seq(10));
    for (left, right) in [
        (una + 5_000_u32, una + 2_000_u32),
        (una + 5_000_u32, nxt + 1_u32),
        (una, una + 5_000_u32),
        (una + (1_u32 << 31), una + (1_u32 << 31) + 1_000_u32),
        (una + 3_000_u32, una + 3_000_u32),
        (una - 5_000_u32, una + 5_000_u32),
    ] {
        let block = [SackBlock::new(left, right)];
        let outcome = b.ack_blocks(0, &block);
        assert_eq!(outcome.sacked, 0, "{block:?}");
    }
    assert_eq!(b.sender.ca_state(), CaState::Open);
}

/// Growth stops when the application is what limits (`cwnd` would be a licence for a burst).
#[test]
fn an_unused_window_does_not_grow() {
    for congestion in Algorithm::ALL {
        let mut b = Bench::new(&SenderConfig {
            congestion,
            ..Bench::config()
        });
        for round in 0..50 {
            b.send(3);
            b.wait(100);
            b.ack(3 * (round + 1), &[]);
        }
        assert_eq!(b.cwnd(), 10, "{congestion}");
    }
}

#[test]
fn after_an_idle_time_the_window_is_the_initial_one() {
    let mut b = Bench::new(&Bench::config());
    let mut acked = 0;
    for _ in 0..3 {
        acked += b.send(100).len() as u32;
        b.wait(100);
        b.ack(acked, &[]);
    }
    assert_eq!(b.cwnd(), 80);
    // A little more than one timeout: one halving (RFC 2861).
    b.now += b.sender.rto() + Duration::from_millis(1);
    assert_eq!(b.send(1000).len(), 40);
    acked += 40;
    b.wait(100);
    b.ack(acked, &[]);
    b.wait(60_000);
    assert_eq!(b.send(1000).len(), 10);
    assert!(
        b.sender.ssthresh() >= 60 * Bench::MSS,
        "slow start leads back"
    );
}

#[test]
fn the_peers_window_is_a_limit_and_its_crumbs_are_left() {
    let mut b = Bench::new(&SenderConfig {
        snd_wnd: 4_700,
        ..Bench::config()
    });
    // 700 bytes are neither a segment nor half the largest window.
    assert_eq!(b.send(100), each(0, 4, Kind::New));
    assert_eq!(b.sender.usable_window(), 700);
    let probe = b.sender.window_probe(10_000).expect("some window");
    assert_eq!((probe.seq, probe.len), (b.seq(4), 700));
    // The last of the data does fit.
    let last = b.sender.next_transmission(700, 65_535).expect("it fits");
    assert_eq!(last.len, 700);
    // Who serves a receiver whose whole window is small makes segments that fit.
    let mut b = Bench::new(&SenderConfig {
        snd_wnd: 600,
        ..Bench::config()
    });
    assert_eq!(b.sender.next_transmission(5_000, 65_535), None);
    b.sender.set_mss(300);
    let fits = b.sender.next_transmission(5_000, 65_535);
    assert_eq!(fits.map(|t| t.len), Some(600));
    let mut b = Bench::new(&SenderConfig {
        snd_wnd: 0,
        ..Bench::config()
    });
    assert!(b.send(10).is_empty());
    assert_eq!(b.sender.window_probe(10), None);
    b.window = 2_000;
    assert!(b.ack(0, &[]).window_updated);
    assert_eq!(b.send(10), each(0, 2, Kind::New));
}

/// RFC 9293, section 3.10.7.4: an old segment does not set the window back.
#[test]
fn windows_come_from_the_newest_segment() {
    let mut b = Bench::new(&Bench::config());
    b.send(4);
    let mut tell = |seq: u32, ack: u32, window: u32| {
        let ack = Ack {
            ack: b.start + ack,
            sack: &[],
            window,
            segment_seq: SeqNum(seq),
            ts_ecr: None,
            carries_data: true,
            ece: false,
        };
        b.sender.handle_ack(b.now, &ack, None).expect("acceptable");
        b.sender.snd_wnd()
    };
    assert_eq!(tell(10, 1_000, 5_000), 5_000);
    assert_eq!(tell(9, 1_000, 9_000), 5_000, "older data");
    assert_eq!(tell(10, 0, 9_000), 5_000, "older acknowledgment");
    assert_eq!(
        tell(10, 1_000, 4_000),
        5_000,
        "the same, smaller: reordered"
    );
    assert_eq!(tell(10, 1_000, 6_000), 6_000, "the same, larger: an update");
    assert_eq!(tell(11, 1_000, 100), 100, "newer data");
}

/// The FIN takes a sequence number and rides on the last segment.
#[test]
fn a_fin_is_one_number() {
    let mut b = Bench::new(&Bench::config());
    let last = b.sender.next_transmission(1_001, 65_535).expect("room");
    assert_eq!(last.len, 1_001);
    b.sender.on_transmitted(b.now, &last, true);
    assert_eq!(b.sender.info(b.now).unacked, 1, "one segment");
    b.expire();
    b.send(0);
    b.expire();
    let again = b.sender.next_transmission(0, 65_535).expect("the oldest");
    assert_eq!((again.seq, again.len), (b.seq(0), 1_001));
    b.sender.on_transmitted(b.now, &again, true);
    b.ack(1, &[]);
    assert_eq!(b.sender.flight_size(), 1, "the FIN alone");
    let fin = b.ack_byte(1_001);
    assert_eq!(fin.acked, 1);
    assert_eq!(b.sender.next_timeout(), None);
}

/// What the connection could not send whole it tells shorter.
#[test]
fn a_transmission_may_be_cut_short() {
    let mut b = Bench::new(&Bench::config());
    b.burst = 10;
    let mut sent = b.sender.next_transmission(20_000, 10_000).expect("room");
    assert_eq!(sent.len, 10_000);
    sent.len = 3_000;
    b.sender.on_transmitted(b.now, &sent, false);
    assert_eq!(b.sender.snd_nxt(), b.seq(3));
    assert_eq!(b.send(20), [(3, 7, Kind::New)]);
}

/// RFC 1191: what is too large for the path is sent again in pieces, and the window stays as many
/// segments as it was.
#[test]
fn a_smaller_mtu_resends_in_smaller_segments_without_reduction() {
    let mut b = Bench::new(&Bench::config());
    b.burst = 10;
    b.send(10);
    b.wait(10);
    b.sender.set_mss(400);
    assert_eq!((b.sender.cwnd(), b.sender.ssthresh()), (4_000, u32::MAX));
    let mut pieces = Vec::new();
    let mut leave = |b: &mut Bench| {
        while let Some(t) = b.sender.next_transmission(0, 400) {
            b.sender.on_transmitted(b.now, &t, false);
            pieces.push(t.len);
        }
    };
    leave(&mut b);
    b.wait(100);
    for n in 1..=25 {
        b.ack_byte(n * 400);
        leave(&mut b);
    }
    assert_eq!(pieces, [400; 25]);
    assert_eq!(b.sender.ca_state(), CaState::Open);
    assert_eq!(b.sender.ssthresh(), u32::MAX);
    assert_eq!(b.sender.info(b.now).total_rto, 0);
}

/// A tiny segment size and a SACK for every second segment: memory is bounded.
#[test]
fn a_sack_attack_with_tiny_segments_is_bounded() {
    let config = SenderConfig {
        mss: 8,
        snd_wnd: 1 << 28,
        initial_window: 1_000_000,
        ..Bench::config()
    };
    let mut b = Bench::new(&config);
    assert_eq!(b.sender.mss(), MIN_MSS);
    let mss = u32::from(MIN_MSS);
    let sent = b
        .sender
        .next_transmission(40_000_000, 40_000_000)
        .expect("room");
    b.sender.on_transmitted(b.now, &sent, false);
    b.wait(100);
    for n in 0..10_000 {
        let left = b.start + (2 * n + 1) * mss;
        b.ack_blocks(0, &[SackBlock::new(left, left + mss)]);
    }
    assert!(b.sender.records.iter().count() <= 2 * MAX_RECORDS);
}

/// Records are one a transmission and stop at a bound.
#[test]
fn tiny_writes_are_bounded() {
    let config = SenderConfig {
        initial_window: 1_000,
        ..Bench::config()
    };
    let mut b = Bench::new(&config);
    let mut sent = 0;
    while let Some(t) = b.sender.next_transmission(1, 65_535) {
        b.sender.on_transmitted(b.now, &t, false);
        sent += 1;
        assert!(sent <= MAX_RECORDS);
    }
    assert_eq!(sent, MAX_RECORDS);
    b.ack_byte(sent as u32);
    assert_eq!(b.sender.flight_size(), 0);
    assert!(b.sender.next_transmission(1, 65_535).is_some());
}

/// RFC 9937's companion in TCP_INFO.
#[test]
fn info_counts_segments() {
    let mut b = Bench::new(&Bench::config());
    b.send(10);
    b.wait(100);
    b.ack(1, &[3..7]);
    b.send(0);
    let info = b.sender.info(b.now);
    assert_eq!(
        (info.unacked, info.sacked, info.lost, info.retrans),
        (9, 4, 2, info.retrans)
    );
    assert_eq!(info.ca_state, CaState::Recovery);
    assert_eq!(
        (info.snd_mss, info.rtt, info.min_rtt),
        (1_000, 100_000, 100_000)
    );
    assert_eq!(info.delivered, 5);
    assert!(info.delivery_rate > 0);
}
