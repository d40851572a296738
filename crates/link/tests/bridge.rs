//! Two links joined by a bridge.

mod common;

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::Duration;

use common::{Path, pattern};
use zcn_link::{
    Bridge, Driver, Frame, Impaired, Impairments, Medium, MemoryLink, memory_capabilities,
};

const MEDIUM: Medium = Medium::Ethernet {
    address: [2, 0, 0, 0, 0, 1],
};

fn pair(frames: usize) -> (MemoryLink, MemoryLink) {
    let capabilities = memory_capabilities(MEDIUM, 1500);
    MemoryLink::pair(capabilities, capabilities, frames).expect("descriptors are there")
}

fn numbered(index: u32) -> Frame {
    Path::invented().udp(&pattern(index, 100), None, false)
}

fn received(end: &mut MemoryLink) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    end.receive(&mut frames, 1000).expect("the link is there");
    frames.iter().map(|frame| frame.body.to_vec()).collect()
}

#[test]
fn frames_cross_both_ways_and_in_order() {
    let (mut one, left) = pair(256);
    let (mut other, right) = pair(256);
    let mut bridge = Bridge::new(left, right).expect("both Ethernet");
    let count = 200;
    one.transmit(&mut (0..count).map(numbered).collect())
        .expect("room");
    other
        .transmit(&mut (count..2 * count).map(numbered).collect())
        .expect("room");
    while bridge.turn().expect("both are there") {}
    let expected = |range: std::ops::Range<u32>| -> Vec<Vec<u8>> {
        range.map(|index| pattern(index, 100)).collect()
    };
    assert_eq!(received(&mut other), expected(0..count));
    assert_eq!(received(&mut one), expected(count..2 * count));
}

#[test]
fn a_full_link_holds_up_the_other_and_loses_nothing() {
    let (mut one, left) = pair(256);
    let (mut other, right) = pair(10);
    let mut bridge = Bridge::new(left, right).expect("both Ethernet");
    one.transmit(&mut (0..200).map(numbered).collect())
        .expect("room");
    let mut all = Vec::new();
    while all.len() < 200 {
        if !bridge.turn().expect("both are there") {
            // A moment at most, as it has frames to get rid of.
            bridge
                .wait(Duration::from_secs(3600))
                .expect("both are there");
        }
        let batch = received(&mut other);
        assert!(batch.len() <= 10);
        all.extend(batch);
    }
    assert_eq!(all, (0..200).map(|i| pattern(i, 100)).collect::<Vec<_>>());
}

#[test]
fn an_impaired_side_delays_frames_both_ways() {
    let (mut one, left) = pair(256);
    let (mut other, right) = pair(256);
    let delay = Impairments {
        delay: Duration::from_millis(20),
        ..Impairments::default()
    };
    let left = Impaired::new(left, delay.clone(), delay, 1).expect("descriptors are there");
    let mut bridge = Bridge::new(left, right).expect("both Ethernet");
    let pump = thread::spawn(move || {
        // Until an end is dropped.
        while bridge
            .turn()
            .and_then(|moved| {
                if moved {
                    Ok(())
                } else {
                    bridge.wait(Duration::from_secs(1))
                }
            })
            .is_ok()
        {}
    });
    let begun = std::time::Instant::now();
    for frame in [numbered(1), numbered(2)] {
        one.transmit(&mut VecDeque::from([frame])).expect("room");
        other.wait(Duration::ZERO, None).expect("the link is there");
        assert_eq!(received(&mut other).len(), 1);
        other
            .transmit(&mut VecDeque::from([numbered(3)]))
            .expect("room");
        one.wait(Duration::ZERO, None).expect("the link is there");
        assert_eq!(received(&mut one).len(), 1);
    }
    // Never earlier; how much later is up to the machine.
    assert!(begun.elapsed() >= Duration::from_millis(80));
    drop((one, other));
    pump.join().expect("it ends with its links");
}

#[test]
fn a_bridge_needs_links_of_a_kind() {
    let (_, left) = pair(1);
    let capabilities = memory_capabilities(Medium::Ip, 1500);
    let right = MemoryLink::loopback(capabilities, 1).expect("descriptors are there");
    let error = Bridge::new(left, right).expect_err("Ethernet and IP");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
