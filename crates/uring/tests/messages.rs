//! From one thread's ring to another's.

mod common;

use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;

use common::{errno, for_each_rung, perform, push, reap};
use zcn_uring::{Kind, MESSAGE_TOKEN_MASK, Op, Ring, Waker};

#[test]
fn two_rings_on_two_threads_send_each_other_messages() {
    const ROUNDS: u64 = 1000;
    for rung in 0..=3 {
        let (give, take) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        let other = thread::spawn(move || {
            let mut ring = Ring::builder().skip_rungs(rung).build().expect("a ring");
            answer
                .send(ring.as_fd().try_clone_to_owned().expect("a descriptor"))
                .expect("the first thread");
            let back: std::os::fd::OwnedFd = take.recv().expect("the first thread");
            let mut echoed = 0;
            while echoed < ROUNDS {
                for done in reap(&mut ring, 1) {
                    if done.kind() == Kind::Message {
                        assert_eq!(done.raw_result(), 42);
                        let op = Op::msg_ring(back.as_fd(), -7, done.token + 1);
                        let id = push(&mut ring, op);
                        ring.hide(id);
                        echoed += 1;
                    }
                }
            }
            assert_eq!(ring.drain(common::GUARD), 0);
        });
        let mut ring = Ring::builder().skip_rungs(rung).build().expect("a ring");
        let theirs = answered.recv().expect("the second thread");
        give.send(ring.as_fd().try_clone_to_owned().expect("a descriptor"))
            .expect("the second thread");
        for round in 0..ROUNDS {
            // The token may use 56 bits; what is above is cut off.
            let token = MESSAGE_TOKEN_MASK - 2 * round;
            let id = push(
                &mut ring,
                Op::msg_ring(theirs.as_fd(), 42, token | 3 << 56).token(1),
            );
            let mut all = Vec::new();
            common::reap_until(&mut ring, &mut all, |all| all.len() == 2);
            for done in all {
                match done.kind() {
                    Kind::MsgRing => assert_eq!((done.id(), errno(&done)), (id, 0)),
                    Kind::Message => {
                        assert_eq!(done.token, (token + 1) & MESSAGE_TOKEN_MASK);
                        assert_eq!(done.raw_result(), -7);
                        assert!(!done.more() && done.payload.is_none());
                    }
                    kind => panic!("a {kind:?}"),
                }
            }
        }
        other.join().expect("the second thread");
        assert_eq!(ring.counters().stale, 0);
        assert_eq!(ring.in_flight(), 0);
    }
}

#[test]
fn a_message_to_what_is_no_ring_is_an_error() {
    let mut ring = common::ring();
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let done = perform(&mut ring, Op::msg_ring(reader.as_fd(), 1, 2));
    assert_eq!(errno(&done), libc::EBADFD);
}

#[test]
fn wakes_from_other_threads_end_the_wait_and_none_is_lost() {
    const THREADS: u64 = 3;
    const EACH: u64 = 3000;
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let waker = Waker::new().expect("a waker");
        ring.arm_waker(&waker, 5).expect("armed");
        let (give, take) = mpsc::channel();
        let wakers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (give, waker) = (give.clone(), waker.clone());
                thread::spawn(move || {
                    for number in 0..EACH {
                        give.send(number).expect("the ring's thread");
                        waker.wake().expect("a wake");
                    }
                })
            })
            .collect();
        let mut got = 0;
        let mut wakes = 0;
        while got < THREADS * EACH {
            // Without a limit: a wake that got lost would hang here.
            ring.wait(1, None).expect("a wait");
            let all: Vec<_> = ring.completions().collect();
            for done in all {
                assert_eq!((done.kind(), done.token), (Kind::PollMulti, 5));
                wakes += 1;
                if !done.more() {
                    ring.arm_waker(&waker, 5).expect("armed again");
                }
                waker.acknowledge().expect("an acknowledge");
                got += take.try_iter().count() as u64;
            }
        }
        for thread in wakers {
            thread.join().expect("a waker");
        }
        assert!(wakes <= THREADS * EACH + 1);
    });
}

#[test]
fn a_wake_before_the_wait_ends_it_too() {
    let mut ring = common::ring();
    let waker = Waker::new().expect("a waker");
    waker.wake().expect("a wake");
    ring.arm_waker(&waker, 1).expect("armed");
    ring.wait(1, None).expect("a wait");
    assert_eq!(ring.completions().next().map(|done| done.token), Some(1));
    waker.acknowledge().expect("an acknowledge");
    // Even when the waker is dropped while it is armed.
    drop(waker);
    assert_eq!(ring.in_flight(), 1);
}
