//! What the tests of the ring share.
#![allow(dead_code)] // Each test binary uses a part of it.
#![allow(clippy::print_stderr)]

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use zcn_pool::{BufferPool, SharedBuf};
use zcn_uring::{Completion, Op, OpId, Payload, Ring, RingBuilder, Target};

/// Guard against hanging for ever; nothing is measured by it.
pub(crate) const GUARD: Duration = Duration::from_secs(30);

/// Says that the kernel lacks something, so that the test proves nothing here. With `ZCN_NO_SKIPS`
/// that is a failure: whoever sets it knows that this kernel lacks nothing.
pub(crate) fn skipped(reason: &str) {
    assert!(
        std::env::var_os("ZCN_NO_SKIPS").is_none(),
        "skipped, and ZCN_NO_SKIPS is set: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}

/// Runs a test on each rung of the flag ladder, as kernels of several ages would.
pub(crate) fn for_each_rung(test: impl Fn(RingBuilder)) {
    for rung in 0..=3 {
        eprintln!("rung {rung}");
        test(Ring::builder().entries(64).skip_rungs(rung));
    }
}

/// A ring with the defaults and room for 64 submissions.
pub(crate) fn ring() -> Ring {
    Ring::builder().entries(64).build().expect("a ring")
}

/// A pool of `count` buffers of 4096 bytes.
pub(crate) fn pool(count: usize) -> BufferPool {
    BufferPool::builder().count(count).build().expect("a pool")
}

/// Bytes of one's own as a slice to send.
pub(crate) fn shared(pool: &BufferPool, bytes: &[u8]) -> SharedBuf {
    let mut buf = pool.acquire().expect("a buffer");
    buf.extend_from_slice(bytes).expect("it fits");
    SharedBuf::from(buf)
}

/// Waits until `count` completions have come.
pub(crate) fn reap(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let mut all = Vec::new();
    reap_until(ring, &mut all, |all| all.len() >= count);
    all
}

/// Waits until enough has come.
pub(crate) fn reap_until(
    ring: &mut Ring,
    all: &mut Vec<Completion>,
    enough: impl Fn(&[Completion]) -> bool,
) {
    let deadline = Instant::now() + GUARD;
    while !enough(all) {
        assert!(Instant::now() < deadline, "hangs with {all:?}");
        ring.wait(1, Some(Duration::from_millis(200)))
            .expect("a wait");
        all.extend(ring.completions());
    }
}

/// Lets the ring work until something holds of it.
pub(crate) fn run_until(ring: &mut Ring, mut done: impl FnMut(&mut Ring) -> bool) {
    let deadline = Instant::now() + GUARD;
    while !done(ring) {
        assert!(Instant::now() < deadline, "hangs: {ring:?}");
        ring.wait(1, Some(Duration::from_millis(10)))
            .expect("a wait");
        let shown: Vec<_> = ring.completions().collect();
        assert!(shown.is_empty(), "nobody asked for {shown:?}");
    }
}

/// The only completion with this token.
pub(crate) fn by_token(all: &[Completion], token: u64) -> &Completion {
    let mut found = all.iter().filter(|done| done.token == token);
    let first = found.next().expect("a completion with this token");
    assert!(found.next().is_none(), "more than one with {token}");
    first
}

/// Pushes one operation, waits for its one completion.
pub(crate) fn perform(ring: &mut Ring, op: Op) -> Completion {
    push(ring, op);
    let mut all = reap(ring, 1);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

pub(crate) fn push(ring: &mut Ring, op: Op) -> OpId {
    ring.push(op).expect("a push")
}

pub(crate) fn target(fd: &impl AsFd) -> Target {
    Target::from(fd.as_fd())
}

/// Errno of a completion; 0 if it succeeded.
pub(crate) fn errno(done: &Completion) -> i32 {
    (-done.raw_result()).max(0)
}

/// The bytes in what a receive brought.
pub(crate) fn bytes(payload: &Option<Payload>) -> Vec<u8> {
    match payload {
        Some(Payload::Buf(buf)) => buf.to_vec(),
        Some(Payload::Shared(slice)) => slice.to_vec(),
        Some(Payload::Bufs(bufs)) => bufs.iter().flat_map(|buf| buf.to_vec()).collect(),
        _ => Vec::new(),
    }
}

/// A connected TCP pair on loopback.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let ours = TcpStream::connect(address).expect("a connection");
    let (theirs, _) = listener.accept().expect("the other end");
    ours.set_nodelay(true).expect("no delay");
    theirs.set_nodelay(true).expect("no delay");
    (ours, theirs)
}

/// A pair of Unix sockets that keep messages apart.
pub(crate) fn message_pair() -> (OwnedFd, OwnedFd) {
    let (a, b) =
        socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).expect("pair");
    (a.into(), b.into())
}

/// A word of pseudo-random numbers: the seed is the test's to print.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Descriptors this process has open.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}
