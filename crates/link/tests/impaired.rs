//! A driver behind a bad network, by the machine's clock. Nothing here holds when frames
//! come, only that they do, not before their time, and which ones.

mod common;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::{Path, pattern};
use rustix::event::{PollFd, PollFlags, poll};
use zcn_link::{
    Driver, DropReason, Frame, Impaired, Impairments, Medium, MemoryLink, memory_capabilities,
};

const MEDIUM: Medium = Medium::Ethernet {
    address: [2, 0, 0, 0, 0, 1],
};
const DELAY: Duration = Duration::from_millis(20);

fn pair(incoming: Impairments, outgoing: Impairments) -> (Impaired<MemoryLink>, MemoryLink) {
    let capabilities = memory_capabilities(MEDIUM, 1500);
    let (one, other) = MemoryLink::pair(capabilities, capabilities, 64).expect("eventfd");
    let one = Impaired::new(one, incoming, outgoing, 7).expect("descriptors");
    (one, other)
}

fn delayed() -> Impairments {
    Impairments {
        delay: DELAY,
        ..Impairments::default()
    }
}

fn frames(count: u32) -> VecDeque<Frame> {
    (0..count)
        .map(|index| Path::invented().udp(&pattern(index, 100), None, true))
        .collect()
}

#[test]
fn a_delayed_frame_wakes_the_waiter_and_is_not_early() {
    for spin in [Duration::ZERO, Duration::from_millis(40)] {
        let (mut one, mut other) = pair(delayed(), Impairments::default());
        let start = Instant::now();
        other.transmit(&mut frames(3)).expect("alive");
        let mut received = Vec::new();
        while received.len() < 3 {
            one.wait(spin, Some(Duration::from_secs(20))).expect("poll");
            one.receive(&mut received, 10).expect("alive");
            assert!(received.is_empty() || start.elapsed() >= DELAY);
        }
    }
}

#[test]
fn an_event_loop_is_told_when_to_ask() {
    let (mut one, mut other) = pair(delayed(), delayed());
    // Both ways at once: what is sent has to leave, too, though nobody sends any more.
    other.transmit(&mut frames(2)).expect("alive");
    one.transmit(&mut frames(2)).expect("alive");
    let (mut received, mut arrived) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while received.len() < 2 || arrived.len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(20));
        if !one.arm().expect("alive") {
            let readiness = one.readiness();
            let mut fds = [PollFd::from_borrowed_fd(readiness, PollFlags::IN)];
            poll(&mut fds, None).expect("poll");
        }
        one.receive(&mut received, 10).expect("alive");
        other.receive(&mut arrived, 10).expect("alive");
    }
    assert!(start.elapsed() >= DELAY);
}

#[test]
fn each_way_has_settings_of_its_own_that_may_change() {
    let cut = Impairments {
        cut: true,
        ..Impairments::default()
    };
    let (mut one, mut other) = pair(cut, Impairments::default());
    one.transmit(&mut frames(2)).expect("alive");
    other.transmit(&mut frames(5)).expect("alive");
    let (mut received, mut arrived) = (Vec::new(), Vec::new());
    one.receive(&mut received, 10).expect("alive");
    other.receive(&mut arrived, 10).expect("alive");
    assert_eq!((received.len(), arrived.len()), (0, 2));
    assert_eq!(one.statistics().drops(DropReason::Disconnected), 5);
    one.incoming().set(Impairments::default());
    other.transmit(&mut frames(1)).expect("alive");
    one.receive(&mut received, 10).expect("alive");
    assert_eq!(received.len(), 1);
}

#[test]
fn a_full_link_below_gets_everything_in_the_end() {
    let (mut one, mut other) = pair(Impairments::default(), Impairments::default());
    assert_eq!(one.transmit(&mut frames(200)).expect("alive"), 200);
    let mut arrived = Vec::new();
    let start = Instant::now();
    while arrived.len() < 200 {
        assert!(start.elapsed() < Duration::from_secs(20));
        other.receive(&mut arrived, 10).expect("alive");
        one.wait(Duration::ZERO, Some(Duration::from_millis(1)))
            .expect("poll");
    }
    let payloads: Vec<Vec<u8>> = arrived.iter().map(|frame| frame.body.to_vec()).collect();
    let wanted: Vec<Vec<u8>> = (0..200).map(|index| pattern(index, 100)).collect();
    assert!(payloads == wanted);
}
