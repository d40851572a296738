//! The way in: batches, chains, a queue that is full, waits that end early.
#![allow(unsafe_code)]

mod common;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{by_token, errno, for_each_rung, perform, pool, push, reap, skipped, target};
use zcn_uring::{NewFd, Op, Payload, Ring};

#[test]
fn a_batch_is_one_system_call() {
    for_each_rung(|builder| {
        let mut ring = builder.entries(256).build().expect("a ring");
        for _ in 0..10 {
            for token in 0..256 {
                push(&mut ring, Op::nop().token(token));
            }
            assert_eq!(ring.queued(), 256);
            let before = ring.counters().enters;
            ring.wait(256, None).expect("a wait");
            assert_eq!(ring.counters().enters, before + 1);
            assert_eq!(ring.completions().count(), 256);
        }
        // Nothing to do, no call.
        let before = ring.counters().enters;
        ring.submit().expect("a submit");
        assert_eq!(ring.counters().enters, before);
    });
}

#[test]
fn a_wait_with_something_to_reap_makes_no_call() {
    let mut ring = common::ring();
    for token in 0..4 {
        push(&mut ring, Op::nop().token(token));
    }
    ring.wait(4, None).expect("a wait");
    let before = ring.counters().enters;
    ring.wait(4, None).expect("a wait");
    ring.wait(1, None).expect("a wait");
    assert_eq!(ring.counters().enters, before);
    assert!(ring.has_news());
    assert_eq!(ring.completions().count(), 4);
    assert!(!ring.has_news());
}

#[test]
fn a_backlog_larger_than_the_queue_is_submitted_to_the_last() {
    // The wait needs them all; a backlog left behind would make it wait for itself.
    for_each_rung(|builder| {
        let mut ring = builder.entries(4).cq_entries(4096).build().expect("a ring");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        // A chain that fills the queue keeps it from being emptied push by push.
        for token in 0..1000 {
            push(&mut ring, Op::nop().token(token).hard_link());
        }
        push(&mut ring, Op::nop().token(1000));
        ring.wait(1001, None).expect("a wait");
        assert_eq!(ring.queued(), 0);
        let tokens: Vec<_> = ring.completions().map(|done| done.token).collect();
        assert_eq!(tokens.len(), 1001);
        theirs.write_all(b"x").expect("a write");
        let pool = pool(1);
        let done = perform(
            &mut ring,
            Op::recv(target(&ours), pool.acquire().expect("one")),
        );
        assert_eq!(done.result().expect("one"), 1);
    });
}

#[test]
fn a_chain_stays_whole_when_the_queue_is_full() {
    for_each_rung(|builder| {
        let pool = pool(64);
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        for before in 0..9u64 {
            let mut ring = builder.clone().entries(8).build().expect("a ring");
            for token in 0..before {
                push(&mut ring, Op::nop().token(100 + token));
            }
            // Torn apart, the receive would wait for ever and its time limit be refused.
            let buf = pool.acquire().expect("one");
            push(&mut ring, Op::recv(target(&ours), buf).token(1).link());
            push(
                &mut ring,
                Op::link_timeout(Duration::from_millis(1)).token(2),
            );
            let all = reap(&mut ring, before as usize + 2);
            assert_eq!(errno(by_token(&all, 1)), libc::ECANCELED, "{before} before");
            assert_eq!(errno(by_token(&all, 2)), libc::ETIME, "{before} before");
        }
        // Longer chains: the failure in the middle cancels all behind it and none before.
        let mut ring = builder.clone().entries(8).build().expect("a ring");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        for before in 0..9u64 {
            for token in 0..before {
                push(&mut ring, Op::nop().token(100 + token));
            }
            push(&mut ring, Op::nop().token(1).link());
            push(&mut ring, Op::nop().token(2).link());
            let fails = Op::shutdown(target(&reader), std::net::Shutdown::Both);
            push(&mut ring, fails.token(3).link());
            push(&mut ring, Op::nop().token(4).link());
            push(&mut ring, Op::nop().token(5));
            push(&mut ring, Op::nop().token(6));
            let all = reap(&mut ring, before as usize + 6);
            let errnos: Vec<_> = (1..=6).map(|token| errno(by_token(&all, token))).collect();
            let cancelled = libc::ECANCELED;
            assert_eq!(
                errnos,
                [0, 0, libc::ENOTSOCK, cancelled, cancelled, 0],
                "{before} before"
            );
        }
    });
}

#[test]
fn a_close_that_never_ran_gives_its_descriptor_back() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let fails = Op::shutdown(target(&reader), std::net::Shutdown::Both);
        push(&mut ring, fails.token(1).link());
        push(&mut ring, Op::close(OwnedFd::from(ours)).token(2));
        let mut all = reap(&mut ring, 2);
        let at = all
            .iter()
            .position(|done| done.token == 2)
            .expect("the close");
        let done = all.swap_remove(at);
        assert_eq!(errno(&done), libc::ECANCELED);
        let Some(Payload::Fd(fd)) = done.payload else {
            panic!("the descriptor is lost");
        };
        // It is open: closing it now is what the peer sees.
        theirs.set_nonblocking(true).expect("non-blocking");
        let error = std::io::Read::read(&mut theirs, &mut [0]).expect_err("still open");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        let done = perform(&mut ring, Op::close(fd));
        assert_eq!(errno(&done), 0);
        assert!(done.payload.is_none());
        assert_eq!(
            std::io::Read::read(&mut theirs, &mut [0]).expect("closed"),
            0
        );
    });
}

#[test]
fn an_operation_dropped_unpushed_gives_everything_back() {
    let pool = pool(2);
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    drop(Op::recv(target(&ours), pool.acquire().expect("one")));
    assert_eq!(pool.stats().in_use, 0);
    drop(Op::close(OwnedFd::from(ours)));
    assert_eq!(
        std::io::Read::read(&mut theirs, &mut [0]).expect("closed"),
        0
    );
}

#[test]
fn flags_of_sends_and_receives_mean_nothing_elsewhere() {
    // In other operations the same fields mean other things: multishot, absolute, cancel all.
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let busy = push(
            &mut ring,
            Op::timeout(Duration::from_secs(3600), 0).token(1),
        );
        let op = Op::poll(target(&reader), libc::POLLIN).token(2);
        push(
            &mut ring,
            op.msg_flags(!0).poll_first().fixed_buffer(3).registered(4),
        );
        push(&mut ring, Op::nop().token(3).msg_flags(!0).poll_first());
        writer.write_all(b"x").expect("a write");
        let all = reap(&mut ring, 2);
        assert_eq!(
            by_token(&all, 2).result().expect("events"),
            libc::POLLIN as u32
        );
        assert!(!by_token(&all, 2).more());
        assert_eq!(errno(by_token(&all, 3)), 0);
        let op = Op::timeout(Duration::from_millis(1), 0).token(4);
        let done = perform(&mut ring, op.msg_flags(!0).poll_first());
        assert_eq!((errno(&done), done.more()), (libc::ETIME, false));
        assert!(ring.is_in_flight(busy));
        let op = Op::socket(libc::AF_INET, libc::SOCK_STREAM, 0, NewFd::Ordinary);
        push(&mut ring, op);
        ring.submit().expect("a submit");
    });
}

/// Interrupts one thread again and again until dropped.
struct Interruptions {
    stop: std::sync::Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Interruptions {
    fn of_this_thread() -> Self {
        extern "C" fn nothing(_: i32) {}
        let stop = std::sync::Arc::new(AtomicU32::new(0));
        // SAFETY: the handler does nothing; no SA_RESTART, so that system calls end early.
        let thread = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()),
                0
            );
            libc::pthread_self()
        };
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while stopped.load(Ordering::Relaxed) == 0 {
                // SAFETY: the thread that made this outlives it: it joins in `drop`.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Interruptions {
    fn drop(&mut self) {
        self.stop.store(1, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn a_wait_without_limit_outlasts_signals() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        let _interruptions = Interruptions::of_this_thread();
        for token in 0..20 {
            // Submitted by the wait itself: a signal after that ends the call without an error.
            push(
                &mut ring,
                Op::timeout(Duration::from_millis(3), 0).token(token),
            );
            push(
                &mut ring,
                Op::timeout(Duration::from_millis(3), 0).token(token),
            );
            ring.wait(2, None).expect("a wait");
            assert_eq!(ring.completions().count(), 2, "not before there are two");
        }
    });
}

#[test]
fn a_wait_with_a_limit_ends_without_an_error() {
    for_each_rung(|builder| {
        let mut ring = builder.build().expect("a ring");
        ring.wait(1, Some(Duration::from_millis(1)))
            .expect("a wait");
        ring.wait(1, Some(Duration::ZERO)).expect("a wait");
        ring.wait(0, None).expect("a look");
        assert_eq!(ring.completions().count(), 0);
    });
}

#[test]
fn a_minimum_wait_settles_for_less() {
    let mut ring = Ring::builder()
        .entries(8)
        .min_wait(Duration::from_millis(5))
        .build()
        .expect("a ring");
    if !ring.features().min_wait {
        return skipped("no minimum wait");
    }
    push(&mut ring, Op::nop());
    let begun = Instant::now();
    // Four will never come: without the setting this would hang.
    ring.wait(4, Some(common::GUARD)).expect("a wait");
    assert!(begun.elapsed() < common::GUARD);
    assert_eq!(ring.completions().count(), 1);
}
