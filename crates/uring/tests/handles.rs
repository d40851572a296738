//! Handles: waiting for one operation, giving one up, at every stage.
#![allow(unsafe_code)]

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{GUARD, bytes, errno, open_descriptors, pool, target};
use zcn_uring::{Consumption, HandleError, NewFd, Op, PushReason, Ring, SharedRing};

fn shared_ring() -> SharedRing {
    SharedRing::new(common::ring())
}

/// Lets the ring work until nothing is in flight.
fn settle(ring: &SharedRing) {
    ring.with(|ring| common::run_until(ring, |ring| ring.in_flight() == 0));
}

#[test]
fn handles_may_be_waited_for_in_any_order() {
    let ring = shared_ring();
    let mut handles: Vec<_> = (0..20)
        .map(|token| ring.submit_async(Op::nop().token(token)).expect("a push"))
        .collect();
    for (token, handle) in handles.iter_mut().enumerate().rev() {
        let done = handle.wait().expect("a completion");
        assert_eq!(done.token, token as u64);
        let error = handle.wait().expect_err("it has ended");
        assert!(matches!(error, HandleError::Ended), "{error}");
        assert!(error.to_string().contains("ended"), "{error}");
    }
    assert_eq!(ring.with(|ring| ring.in_flight()), 0);
}

#[test]
fn a_poll_does_not_wait_and_a_wait_with_a_limit_does_not_end_the_operation() {
    let ring = shared_ring();
    let pool = pool(4);
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let op = Op::recv(target(&ours), pool.acquire().expect("one")).token(5);
    let mut handle = ring.submit_async(op).expect("a push");
    assert!(handle.poll().expect("nothing yet").is_none());
    let waited = handle.wait_timeout(Duration::from_millis(1));
    assert!(waited.expect("nothing yet").is_none());
    theirs.write_all(b"now").expect("a write");
    let done = handle.wait().expect("a completion");
    assert_eq!((done.token, bytes(&done.payload)), (5, b"now".to_vec()));
}

#[test]
fn a_cancelled_operation_completes_and_its_handle_tells() {
    let ring = shared_ring();
    let pool = pool(4);
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let op = Op::recv(target(&ours), pool.acquire().expect("one"));
    let mut handle = ring.submit_async(op).expect("a push");
    handle.cancel().expect("a cancel");
    handle.cancel().expect("another");
    let done = handle.wait().expect("a completion");
    assert_eq!(errno(&done), libc::ECANCELED);
    assert!(done.payload.is_some(), "the buffer is back");
    handle.cancel().expect("too late, and harmless");
    drop(done);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_handle_dropped_at_any_stage_leaks_nothing_and_disturbs_nobody() {
    let ring = shared_ring();
    let pool = pool(16);
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let recv = || Op::recv(target(&ours), pool.acquire().expect("one"));
    // Before the submit.
    drop(ring.prepare_async(recv()).expect("a push"));
    settle(&ring);
    // Under way.
    let handle = ring.submit_async(recv()).expect("a push");
    drop(handle);
    settle(&ring);
    // Arrived and still in the queue.
    theirs.write_all(b"lost").expect("a write");
    let handle = ring.submit_async(recv()).expect("a push");
    ring.with(|ring| ring.wait(1, Some(GUARD)).expect("a wait"));
    drop(handle);
    settle(&ring);
    // Arrived and collected by somebody else's wait.
    theirs.write_all(b"lost").expect("a write");
    let handle = ring.submit_async(recv()).expect("a push");
    let mut other = ring.submit_async(Op::nop().token(7)).expect("a push");
    assert_eq!(other.wait().expect("a completion").token, 7);
    drop(handle);
    settle(&ring);
    // Taken.
    theirs.write_all(b"kept").expect("a write");
    let mut handle = ring.submit_async(recv()).expect("a push");
    let done = handle.wait().expect("a completion");
    drop(handle);
    assert_eq!(bytes(&done.payload), b"kept");
    drop(done);
    assert_eq!(pool.stats().in_use, 0);
    assert_eq!(ring.with(|ring| ring.in_flight()), 0);
}

#[test]
fn a_connection_accepted_for_a_dropped_handle_is_closed() {
    let ring = shared_ring();
    ring.with(|ring| ring.register_files(8)).expect("a table");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    for new in [NewFd::Ordinary, NewFd::DirectAuto, NewFd::Direct(3)] {
        let client = TcpStream::connect(address).expect("a connection");
        let accept = Op::accept(target(&listener), new);
        let handle = ring.submit_async(accept).expect("a push");
        let mut other = ring.submit_async(Op::nop()).expect("a push");
        other.wait().expect("a completion");
        ring.with(|ring| {
            common::run_until(ring, |ring| ring.in_flight() == 0);
        });
        drop(handle);
        settle(&ring);
        // The end of the stream, because nobody holds the other side.
        client.set_read_timeout(Some(GUARD)).expect("a limit");
        let read = std::io::Read::read(&mut &client, &mut [0; 8]);
        assert_eq!(read.expect("the end"), 0, "{new:?}");
    }
}

#[test]
fn a_multishot_handle_gives_one_completion_after_the_other() {
    let ring = shared_ring();
    let pool = pool(32);
    let group = ring.with(|ring| {
        ring.register_group(8, pool.local(), Consumption::Whole)
            .expect("a group")
    });
    let (ours, theirs) = common::message_pair();
    let receive = Op::recv_multi(target(&ours), group).token(3);
    let mut handle = ring.submit_async(receive).expect("a push");
    for number in 0..5u8 {
        rustix::io::write(&theirs, &[number]).expect("a write");
    }
    for number in 0..5u8 {
        let done = handle.wait().expect("a message");
        assert!(done.more());
        assert_eq!((done.token, bytes(&done.payload)), (3, vec![number]));
    }
    handle.cancel().expect("a cancel");
    let last = handle.wait().expect("the last");
    assert!(!last.more());
    assert_eq!(errno(&last), libc::ECANCELED);
    assert!(matches!(handle.poll(), Err(HandleError::Ended)));
}

#[test]
fn a_ring_dropped_with_handles_alive_ends_with_the_last_of_them() {
    let before = open_descriptors();
    let pool = pool(4);
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let ring = shared_ring();
    let op = Op::recv(target(&ours), pool.acquire().expect("one"));
    let handle = ring.submit_async(op).expect("a push");
    drop(ring);
    assert_eq!(pool.stats().in_use, 1);
    drop(handle);
    assert_eq!(pool.stats().in_use, 0, "the drop of the ring drained it");
    drop((ours, theirs));
    // Other tests of this process open and close descriptors meanwhile.
    let deadline = Instant::now() + GUARD;
    while open_descriptors() > before + 64 {
        assert!(Instant::now() < deadline, "descriptors leak");
    }
}

#[test]
fn a_refused_push_gives_the_operation_and_its_token_back() {
    let pool = pool(8);
    let mut ring = common::ring();
    let group = ring
        .register_group(1, pool.local(), Consumption::Whole)
        .expect("a group");
    assert!(ring.unregister_group(group));
    let ring = SharedRing::new(ring);
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let receive = Op::recv_from_group(target(&ours), group).token(77);
    let error = ring.submit_async(receive).expect_err("no such group");
    assert_eq!(error.reason, PushReason::NoSuchGroup);
    assert_eq!(error.op.user_token(), 77);
    // The seat is free for the next.
    let mut handle = ring.submit_async(Op::nop().token(1)).expect("a push");
    assert_eq!(handle.wait().expect("a completion").token, 1);
}

#[test]
#[should_panic(expected = "operations of its own")]
fn a_ring_at_work_cannot_be_shared_out() {
    let mut ring = Ring::builder().build().expect("a ring");
    ring.push(Op::nop()).expect("a push");
    let _ = SharedRing::new(ring);
}

/// Signals that arrived; `Relaxed`, because only the count matters.
static SIGNALS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

/// Ends the thread that sends signals.
struct Stop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

#[test]
fn signals_neither_end_nor_lengthen_a_wait() {
    use std::sync::atomic::{AtomicBool, Ordering};
    // SAFETY: the handler only adds to an atomic, and the old one is the default, which nothing in
    // this process relies on for SIGUSR2.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        // Without SA_RESTART: the system call itself must be taken up again.
        libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut());
    }
    let stop = AtomicBool::new(false);
    // SAFETY: returns the calling thread, which outlives the scope below.
    let waiter = unsafe { libc::pthread_self() } as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                // SAFETY: the thread is in this scope until `stop` is set.
                unsafe { libc::pthread_kill(waiter as libc::pthread_t, libc::SIGUSR2) };
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // Also when an assertion below fails.
        let _stopping = Stop(&stop);
        let ring = shared_ring();
        let mut handle = ring
            .submit_async(Op::timeout(Duration::from_millis(60), 0).token(4))
            .expect("a push");
        let waited = handle.wait_timeout(Duration::from_millis(20));
        assert!(waited.expect("no error").is_none(), "the time passed");
        let done = handle.wait().expect("a completion");
        assert_eq!((done.token, errno(&done)), (4, libc::ETIME));
        // A batch goes on waiting as well. On a busy machine a signal may need several waits to
        // fall into one.
        let deadline = Instant::now() + GUARD;
        ring.with(|ring| {
            loop {
                let mut batch = ring.batch();
                let nap = Op::timeout(Duration::from_millis(30), 0).token(9);
                batch.prepare(nap).expect("room");
                batch.flush_and_wait(Some(GUARD)).expect("a flush");
                assert!(ring.completions().any(|done| done.token == 9));
                if ring.counters().interrupted > 0 {
                    break;
                }
                assert!(Instant::now() < deadline, "no signal comes");
            }
        });
    });
    assert!(SIGNALS.load(Ordering::Relaxed) > 0);
}
