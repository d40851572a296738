//! What the impairment does, in given time.

mod common;

use std::time::Duration;

use common::{Path, pattern};
use proptest::prelude::*;
use zcn_link::{BurstLoss, DropReason, Frame, Impairment, Impairments, Rate};

const MS: Duration = Duration::from_millis(1);

fn numbered(index: u32) -> Frame {
    let mut payload = index.to_be_bytes().to_vec();
    payload.extend(pattern(index, 96));
    Path::invented().udp(&payload, None, false)
}

/// Pushes `count` frames, `gap` apart, and returns what comes out, each with its time.
fn run(path: &mut Impairment, count: u32, gap: Duration) -> Vec<(Duration, Frame)> {
    let mut out = Vec::new();
    let mut now = Duration::ZERO;
    for index in 0..count {
        while let Some(due) = path.next_deadline().filter(|due| *due <= now) {
            out.extend(path.pop(due).map(|frame| (due, frame)));
        }
        path.push(numbered(index), now);
        now += gap;
    }
    while let Some(due) = path.next_deadline() {
        assert!(
            path.pop(due.saturating_sub(Duration::from_nanos(1)))
                .is_none()
        );
        out.extend(path.pop(due).map(|frame| (due, frame)));
    }
    out
}

fn numbers(out: &[(Duration, Frame)]) -> Vec<u32> {
    out.iter()
        .map(|(_, frame)| {
            let bytes = frame.body.to_vec();
            u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
        })
        .collect()
}

fn path(settings: Impairments) -> Impairment {
    Impairment::new(settings, 14, 1)
}

#[test]
fn nothing_set_changes_nothing() {
    let out = run(&mut path(Impairments::default()), 100, MS);
    assert_eq!(numbers(&out), (0..100).collect::<Vec<_>>());
    for (index, (due, frame)) in out.iter().enumerate() {
        assert_eq!(*due, MS * index as u32);
        assert_eq!(frame.to_vec(), numbered(index as u32).to_vec());
    }
}

#[test]
fn delay_and_jitter_keep_the_order() {
    let mut path = path(Impairments {
        delay: 10 * MS,
        jitter: 5 * MS,
        ..Impairments::default()
    });
    let out = run(&mut path, 1000, MS / 2);
    assert_eq!(numbers(&out), (0..1000).collect::<Vec<_>>());
    let delays: Vec<Duration> = (0..)
        .zip(&out)
        .map(|(index, (due, _))| *due - MS / 2 * index)
        .collect();
    assert!(
        delays
            .iter()
            .all(|delay| (10 * MS..=15 * MS).contains(delay))
    );
    let shortest = delays.iter().min().expect("frames");
    let longest = delays.iter().max().expect("frames");
    assert!(*longest - *shortest > 3 * MS, "{shortest:?} to {longest:?}");
}

#[test]
fn loss_is_as_often_as_asked() {
    let mut path = path(Impairments {
        loss: 0.05,
        ..Impairments::default()
    });
    let out = run(&mut path, 20_000, MS);
    // Six standard deviations: 6 * sqrt(20000 * 0.05 * 0.95) = 185.
    assert!((18_815..=19_185).contains(&out.len()), "{}", out.len());
    let statistics = path.statistics();
    assert_eq!(
        statistics.drops(DropReason::Lost),
        20_000 - out.len() as u64
    );
    assert_eq!(statistics.frames_in, 20_000);
    assert_eq!(statistics.frames_out, out.len() as u64);
}

#[test]
fn marks_leave_the_other_fates_of_a_seed_as_they_are() {
    let fates = |mark: f64| {
        let mut path = path(Impairments {
            mark,
            loss: 0.1,
            duplicate: 0.1,
            corrupt: 0.1,
            jitter: 5 * MS,
            reorder: 0.1,
            ..Impairments::default()
        });
        let out = run(&mut path, 1_000, MS);
        let frames = out.iter().map(|(due, frame)| (*due, frame.to_vec()));
        frames.collect::<Vec<_>>()
    };
    // None of them is of a transport that can be marked.
    assert!(fates(0.0) == fates(0.5));
}

#[test]
fn bursts_are_as_long_as_asked() {
    let mut path = path(Impairments {
        burst: Some(BurstLoss {
            enter: 0.01,
            leave: 0.2,
            loss_bad: 1.0,
            loss_good: 0.0,
        }),
        ..Impairments::default()
    });
    let there = numbers(&run(&mut path, 50_000, MS));
    let gaps: Vec<u32> = there
        .windows(2)
        .map(|pair| pair[1] - pair[0] - 1)
        .filter(|gap| *gap > 0)
        .collect();
    let mean = f64::from(gaps.iter().sum::<u32>()) / gaps.len() as f64;
    // About 450 bursts of 5 on average, deviation 4.5: within 6 deviations of the mean.
    assert!((3.7..=6.3).contains(&mean), "mean burst {mean}");
    let lost = 50_000 - there.len();
    assert!((1_200..=3_600).contains(&lost), "lost {lost}");
}

#[test]
fn duplicates_come_twice_and_are_equal() {
    let mut path = path(Impairments {
        duplicate: 0.1,
        ..Impairments::default()
    });
    let there = numbers(&run(&mut path, 10_000, MS));
    let twice = there.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(there.len(), 10_000 + twice);
    assert!((820..=1_180).contains(&twice), "{twice}");
}

#[test]
fn a_flipped_bit_is_one_behind_the_link_header_and_breaks_a_checksum() {
    let mut path = path(Impairments {
        corrupt: 1.0,
        ..Impairments::default()
    });
    for index in 0..500 {
        let frame = Path::invented().udp(&pattern(index, 64), None, index % 2 == 0);
        let mut whole = frame.clone();
        zcn_link::segment::complete_checksum(&mut whole).expect("sound");
        let before = whole.to_vec();
        let kept = frame.body.clone();
        path.push(frame, Duration::ZERO);
        let after = path.pop(Duration::ZERO).expect("one");
        assert_eq!(after.meta.checksum, zcn_link::Checksum::Unverified);
        let after = after.to_vec();
        assert_eq!(before[..14], after[..14]);
        let flipped: u32 = before
            .iter()
            .zip(&after)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert_eq!(flipped, 1);
        // What the sender keeps for a retransmission is as it was.
        assert_eq!(kept.to_vec(), pattern(index, 64));
    }
}

#[test]
fn a_bottleneck_sends_at_its_rate_and_drops_what_does_not_fit() {
    // 142 bytes each; 1.136 Mbit/s carry one per millisecond.
    let mut path = path(Impairments {
        rate: Some(Rate {
            bits_per_second: 1_136_000,
            queue_bytes: 1420,
        }),
        ..Impairments::default()
    });
    assert_eq!(numbered(0).len(), 142);
    for index in 0..50 {
        path.push(numbered(index), Duration::ZERO);
    }
    // One being sent and ten waiting.
    assert_eq!(path.under_way(), 11);
    assert_eq!(path.statistics().drops(DropReason::QueueFull), 39);
    for index in 1..=11 {
        assert_eq!(path.next_deadline(), Some(MS * index));
        assert!(path.pop(MS * index).is_some());
    }
    // After a pause it starts anew, and does not make up for it.
    path.push(numbered(60), Duration::from_secs(1));
    assert_eq!(path.next_deadline(), Some(Duration::from_millis(1001)));
}

#[test]
fn held_back_frames_are_overtaken() {
    let mut path = path(Impairments {
        delay: 2 * MS,
        reorder: 0.1,
        reorder_by: 5 * MS,
        ..Impairments::default()
    });
    let out = run(&mut path, 1000, MS);
    let there = numbers(&out);
    let mut sorted = there.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    let late = there.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!((40..=160).contains(&late), "{late}");
    for (due, frame) in &out {
        let sent = MS * numbers(&[(*due, frame.clone())])[0];
        assert!([2 * MS, 7 * MS].contains(&(*due - sent)));
    }
}

#[test]
fn cut_and_mtu_drop_silently_and_can_be_changed() {
    let mut path = path(Impairments {
        frame_max: Some(141),
        ..Impairments::default()
    });
    path.push(numbered(0), Duration::ZERO);
    assert_eq!(path.statistics().drops(DropReason::AboveMtu), 1);
    path.set(Impairments {
        delay: MS,
        ..Impairments::default()
    });
    path.push(numbered(1), Duration::ZERO);
    path.set(Impairments {
        cut: true,
        ..Impairments::default()
    });
    path.push(numbered(2), Duration::ZERO);
    assert_eq!(path.statistics().drops(DropReason::Disconnected), 1);
    // What was under way when it was cut still comes.
    assert_eq!(path.next_deadline(), Some(MS));
    assert!(path.pop(MS).is_some());
}

/// Found by measuring over a path that corrupts: whoever cut the damaged super-frame
/// afterwards gave its packets checksums that were right for the wrong bytes.
#[test]
fn a_super_frame_is_cut_before_a_bit_of_it_is_flipped() {
    for keep_super_frames in [true, false] {
        let payload = pattern(3, 5000);
        let frame = Path::invented().udp(&payload, Some(1000), true);
        let mut path = path(Impairments {
            keep_super_frames,
            corrupt: 1.0,
            ..Impairments::default()
        });
        path.push(frame, Duration::ZERO);
        assert_eq!(path.under_way(), 5);
        let mut damaged = 0;
        while let Some(packet) = path.pop(Duration::ZERO) {
            assert!(packet.meta.gso.is_none());
            damaged += usize::from(!packet.meta.checksum.is_trusted());
        }
        assert_eq!(damaged, if keep_super_frames { 1 } else { 5 });
    }
}

#[test]
fn super_frames_are_cut_unless_they_are_to_be_kept() {
    let payload = pattern(3, 5000);
    let frame = Path::invented().udp(&payload, Some(1000), true);
    let mut whole = path(Impairments {
        keep_super_frames: true,
        ..Impairments::default()
    });
    whole.push(frame.clone(), Duration::ZERO);
    let kept = whole.pop(Duration::ZERO).expect("one");
    assert_eq!((kept.meta, kept.to_vec()), (frame.meta, frame.to_vec()));

    let mut cut = path(Impairments::default());
    cut.push(frame, Duration::ZERO);
    assert_eq!(cut.under_way(), 5);
    let mut joined = Vec::new();
    while let Some(packet) = cut.pop(Duration::ZERO) {
        assert!(packet.meta.gso.is_none() && packet.meta.checksum.is_trusted());
        joined.extend(packet.body.to_vec());
    }
    assert_eq!(joined, payload);
}

#[test]
fn the_number_under_way_is_bounded() {
    let mut path = path(Impairments {
        delay: Duration::from_secs(3600),
        duplicate: 1.0,
        frames: 10,
        ..Impairments::default()
    });
    for index in 0..100 {
        path.push(numbered(index), Duration::ZERO);
    }
    assert_eq!(path.under_way(), 10);
    assert_eq!(path.statistics().drops(DropReason::QueueFull), 190);
}

proptest! {
    #[test]
    fn a_seed_gives_the_same_fate_again(seed in any::<u64>()) {
        let settings = Impairments {
            loss: 0.1,
            burst: Some(BurstLoss { enter: 0.05, leave: 0.5, loss_bad: 0.9, loss_good: 0.01 }),
            duplicate: 0.1,
            corrupt: 0.1,
            delay: MS,
            jitter: MS,
            reorder: 0.1,
            rate: Some(Rate { bits_per_second: 1_000_000, queue_bytes: 10_000 }),
            ..Impairments::default()
        };
        let fate = |seed| {
            let mut path = Impairment::new(settings.clone(), 14, seed);
            let out = run(&mut path, 200, MS / 2);
            out.into_iter().map(|(due, frame)| (due, frame.to_vec())).collect::<Vec<_>>()
        };
        let first = fate(seed);
        prop_assert_eq!(&first, &fate(seed));
        prop_assert_ne!(first, fate(seed.wrapping_add(1)));
    }
}
