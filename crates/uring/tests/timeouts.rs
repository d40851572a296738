//! Times: on their own, counted, linked to an operation.

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{by_token, bytes, errno, for_each_rung, perform, pool, push, reap, target};
use zcn_uring::{Op, Payload};

#[test]
fn a_timeout_ends_with_etime_and_its_time() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let done = perform(&mut ring, Op::timeout(Duration::from_millis(2), 0));
        assert_eq!(errno(&done), libc::ETIME);
        assert!(matches!(done.payload, Some(Payload::Timespec(_))));
    });
}

#[test]
fn timeouts_end_in_the_order_of_their_times() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        for token in [30, 10, 20] {
            push(
                &mut ring,
                Op::timeout(Duration::from_millis(token * 3), 0).token(token),
            );
        }
        let tokens: Vec<_> = reap(&mut ring, 3).iter().map(|done| done.token).collect();
        assert_eq!(tokens, [10, 20, 30]);
    });
}

#[test]
fn a_timeout_can_count_completions_instead() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        push(
            &mut ring,
            Op::timeout(Duration::from_secs(3600), 2).token(9),
        );
        push(&mut ring, Op::nop().token(1));
        push(&mut ring, Op::nop().token(2));
        let all = reap(&mut ring, 3);
        assert_eq!(errno(by_token(&all, 9)), 0);
    });
}

#[test]
fn a_link_timeout_races_with_data_and_neither_is_lost() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut random = common::Random(11);
        let mut got = 0usize;
        let mut sent = 0usize;
        for _ in 0..100 {
            let buf = pool.acquire().expect("one");
            push(&mut ring, Op::recv(target(&ours), buf).token(1).link());
            let limit = Duration::from_micros(50 + random.below(200));
            push(&mut ring, Op::link_timeout(limit).token(2));
            ring.submit().expect("a submit");
            std::thread::sleep(Duration::from_micros(random.below(300)));
            (&theirs).write_all(b"x").expect("a write");
            sent += 1;
            let all = reap(&mut ring, 2);
            let (recv, timeout) = (by_token(&all, 1), by_token(&all, 2));
            match errno(recv) {
                0 => assert!(
                    [libc::ECANCELED, libc::ENOENT, libc::ETIME, libc::EALREADY]
                        .contains(&errno(timeout))
                ),
                errno => {
                    assert!([libc::ECANCELED, libc::EINTR].contains(&errno));
                    assert!([0, libc::ETIME, libc::EALREADY].contains(&common::errno(timeout)));
                }
            }
            got += bytes(&recv.payload).len();
        }
        while got < sent {
            let op = Op::recv(target(&ours), pool.acquire().expect("one"));
            got += bytes(&perform(&mut ring, op).payload).len();
        }
        assert_eq!(got, sent);
        assert_eq!((ring.in_flight(), pool.stats().in_use), (0, 0));
    });
}

#[test]
fn a_link_timeout_without_a_link_is_an_error_and_frees_its_slot() {
    let mut ring = common::ring();
    let done = perform(&mut ring, Op::link_timeout(Duration::from_secs(1)));
    assert_eq!(errno(&done), libc::EINVAL);
    assert_eq!(ring.in_flight(), 0);
}
