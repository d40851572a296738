//! Links through memory.

mod common;

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::Duration;

use common::{Path, pattern};
use zcn_link::{
    Capabilities, Driver, DropReason, Frame, Medium, MemoryLink, SoftwareOffload,
    memory_capabilities,
};
use zcn_pool::BufferPool;

const MEDIUM: Medium = Medium::Ethernet {
    address: [2, 0, 0, 0, 0, 1],
};

fn pair(frames: usize) -> (MemoryLink, MemoryLink) {
    let capabilities = memory_capabilities(MEDIUM, 1500);
    MemoryLink::pair(capabilities, capabilities, frames).expect("descriptors")
}

fn send(link: &mut impl Driver, frames: impl IntoIterator<Item = Frame>) -> VecDeque<Frame> {
    let mut frames: VecDeque<Frame> = frames.into_iter().collect();
    link.transmit(&mut frames).expect("the other end is there");
    link.flush().expect("the other end is there");
    frames
}

fn receive(link: &mut impl Driver) -> Vec<Frame> {
    let mut frames = Vec::new();
    let count = link.receive(&mut frames, usize::MAX).expect("alive");
    assert_eq!(count, frames.len());
    frames
}

#[test]
fn frames_change_owner_and_are_not_copied() {
    let pool = BufferPool::builder().count(4).build().expect("memory");
    let mut buf = pool.acquire().expect("four");
    buf.extend_from_slice(b"payload").expect("room");
    let place = buf.as_ptr();
    let mut frame = Path::invented().udp(b"", None, true);
    frame.push(buf.into()).expect("room");
    frame.meta.checksum = zcn_link::Checksum::Partial {
        start: 34,
        offset: 6,
    };
    let meta = frame.meta;

    let (mut one, mut other) = pair(8);
    assert!(send(&mut one, [frame]).is_empty());
    let received = receive(&mut other).remove(0);
    assert_eq!(received.meta, meta);
    assert_eq!(received.head.len(), 42);
    assert_eq!(received.body.first().as_ptr(), place);
    assert_eq!(pool.stats().in_use, 1);
    drop(received);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_full_link_leaves_frames_with_the_sender() {
    let (mut one, mut other) = pair(3);
    let frames = (0..5).map(|index| Path::invented().udp(&pattern(index, 100), None, false));
    let mut left = send(&mut one, frames);
    assert_eq!(left.len(), 2);
    let first = receive(&mut other);
    assert_eq!(first.len(), 3);
    // The sender is told that there is room again.
    assert!(one.wait(Duration::ZERO, None).expect("poll"));
    assert_eq!(one.transmit(&mut left).expect("alive"), 2);
    let payloads: Vec<Vec<u8>> = first
        .into_iter()
        .chain(receive(&mut other))
        .map(|frame| frame.body.to_vec())
        .collect();
    let wanted: Vec<Vec<u8>> = (0..5).map(|index| pattern(index, 100)).collect();
    assert_eq!(payloads, wanted);
    assert_eq!(one.statistics().frames_out, 5);
    assert_eq!(other.statistics().frames_in, 5);
}

#[test]
fn loopback_hears_itself() {
    let mut link = MemoryLink::loopback(memory_capabilities(MEDIUM, 65535), 8).expect("eventfd");
    assert!(
        !link
            .wait(Duration::from_micros(50), Some(Duration::ZERO))
            .expect("poll")
    );
    send(&mut link, [Path::invented().udp(b"echo", None, true)]);
    assert!(link.wait(Duration::ZERO, None).expect("poll"));
    assert_eq!(receive(&mut link)[0].body.to_vec(), b"echo");
}

#[test]
fn what_the_link_cannot_carry_is_dropped_and_counted() {
    let plain = Capabilities::plain(MEDIUM, 1500);
    let (mut one, mut other) = MemoryLink::pair(plain, plain, 8).expect("eventfd");
    let path = Path::invented();
    let frames = [
        path.udp(&pattern(1, 1472), None, false),
        path.udp(&pattern(2, 1473), None, false),
        path.udp(&pattern(3, 100), None, true),
        path.udp(&pattern(4, 4000), Some(1000), true),
        Frame::default(),
    ];
    assert!(send(&mut one, frames).is_empty());
    assert_eq!(receive(&mut other).len(), 1);
    let statistics = one.statistics();
    assert_eq!(statistics.frames_out, 1);
    assert_eq!(statistics.drops(DropReason::AboveMtu), 1);
    assert_eq!(statistics.drops(DropReason::Unsupported), 2);
    assert_eq!(statistics.drops(DropReason::Malformed), 1);
}

#[test]
fn software_offload_cuts_for_a_plain_link() {
    let plain = Capabilities::plain(MEDIUM, 1500);
    let (one, mut other) = MemoryLink::pair(plain, plain, 4).expect("eventfd");
    let mut one = SoftwareOffload::new(one);
    assert!(one.capabilities().gso.udp_l4);
    let payload = pattern(7, 10_000);
    let super_frame = Path::invented().udp(&payload, Some(1400), true);
    assert!(send(&mut one, [super_frame]).is_empty());
    // Eight packets through room for four.
    let mut received = receive(&mut other);
    assert_eq!(received.len(), 4);
    one.flush().expect("alive");
    received.extend(receive(&mut other));
    assert_eq!(received.len(), 8);
    let mut joined = Vec::new();
    for frame in received {
        assert_eq!(
            (frame.meta.gso, frame.meta.checksum),
            (None, Default::default())
        );
        let bytes = frame.to_vec();
        let ip = zcn_wire::Ipv4View::new(&bytes[14..]).expect("IPv4");
        ip.verify_checksum().expect("sound");
        let udp = zcn_wire::UdpView::new(ip.payload()).expect("UDP");
        udp.verify_checksum(ip.pseudo_header()).expect("sound");
        joined.extend_from_slice(udp.payload());
    }
    assert_eq!(joined, payload);
}

#[test]
fn an_end_that_is_gone_is_told_after_what_it_sent() {
    let (mut one, mut other) = pair(8);
    send(&mut one, [Path::invented().udp(b"last", None, false)]);
    drop(one);
    assert!(other.wait(Duration::ZERO, None).expect("poll"));
    assert_eq!(receive(&mut other).len(), 1);
    assert!(other.wait(Duration::ZERO, None).expect("poll"));
    let error = other.receive(&mut Vec::new(), 8).expect_err("gone");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let mut frames = VecDeque::from([Path::invented().udp(b"x", None, false)]);
    let error = other.transmit(&mut frames).expect_err("gone");
    assert_eq!((error.kind(), frames.len()), (io::ErrorKind::BrokenPipe, 1));
}

#[test]
fn two_threads_that_sleep_lose_no_wake_up() {
    const FRAMES: u32 = 20_000;
    // A small queue, so that both sides wait again and again.
    let (mut one, mut other) = pair(4);
    let sender = thread::spawn(move || {
        let mut frames = VecDeque::new();
        for index in 0..FRAMES {
            frames.push_back(Path::invented().udp(&index.to_be_bytes(), None, true));
            while !frames.is_empty() {
                if one.transmit(&mut frames).expect("alive") == 0 {
                    one.wait(Duration::ZERO, None).expect("poll");
                    // Takes the event back.
                    one.receive(&mut Vec::new(), 1).expect("alive");
                }
            }
        }
        // Until the other end has read everything.
        while one.receive(&mut Vec::new(), 1).is_ok() {
            one.wait(Duration::ZERO, None).expect("poll");
        }
    });
    let mut next = 0;
    let mut batch = Vec::new();
    while next < FRAMES {
        if other.receive(&mut batch, 64).expect("alive") == 0 {
            other.wait(Duration::from_micros(5), None).expect("poll");
        }
        for frame in batch.drain(..) {
            assert_eq!(frame.body.to_vec(), next.to_be_bytes());
            next += 1;
        }
    }
    drop(other);
    sender.join().expect("the sender saw the end");
}
