use super::*;
use proptest::prelude::*;
use zcn_pool::BufferPool;

const LIMITS: Limits = Limits {
    memory: 1 << 20,
    slices: 64,
    buffer_bytes: 4096,
};

fn pool() -> BufferPool {
    BufferPool::builder()
        .buffer_size(4096)
        .count(64)
        .build()
        .unwrap()
}

/// The bytes of a stream from `at` on.
fn bytes(at: u64, len: usize) -> Chain {
    let bytes: Vec<u8> = (at..at + len as u64).map(|i| (i % 251) as u8).collect();
    Chain::from(SharedBuf::from(Bytes::from(bytes)))
}

/// A queue that has received nothing yet, and where it stands.
struct Case {
    queue: ReceiveQueue,
    pool: BufferPool,
    next: u64,
    duplicate: Option<(u64, u64)>,
}

impl Case {
    fn new() -> Self {
        Self {
            queue: ReceiveQueue::default(),
            pool: pool(),
            next: 0,
            duplicate: None,
        }
    }

    /// A segment of `len` bytes at position `at`, not below what is in order.
    fn receive(&mut self, at: u64, len: usize) -> Received {
        self.duplicate = None;
        let received = self.queue.receive(
            self.next,
            (at - self.next) as u32,
            &mut bytes(at, len),
            &LIMITS,
            &self.pool.local(),
            &mut self.duplicate,
        );
        if let Received::InOrder { bytes, .. } = received {
            self.next += u64::from(bytes);
        }
        received
    }

    fn sack(&self) -> Vec<(u32, u32)> {
        self.queue
            .sack_blocks(self.next, SeqNum(self.next as u32))
            .map(|(left, right)| (left.0, right.0))
            .collect()
    }
}

#[test]
fn sack_blocks_are_sent_and_the_last_to_grow_comes_first() {
    // origins.md 1a: the predecessor negotiated SACK and never sent a block.
    let mut case = Case::new();
    case.receive(1000, 500);
    assert_eq!(case.sack(), [(1000, 1500)]);
    case.receive(3000, 500);
    assert_eq!(case.sack(), [(3000, 3500), (1000, 1500)]);
    case.receive(1500, 500);
    assert_eq!(case.sack(), [(1000, 2000), (3000, 3500)]);
    case.receive(2000, 1000);
    assert_eq!(case.sack(), [(1000, 3500)]);
    assert_eq!(
        case.receive(0, 1000),
        Received::InOrder {
            bytes: 3500,
            filled: true
        }
    );
    assert!(case.sack().is_empty());
    assert!(!case.queue.has_holes());
}

#[test]
fn what_was_there_before_is_reported() {
    let mut case = Case::new();
    case.receive(1000, 500);
    assert_eq!(case.receive(1100, 100), Received::Duplicate);
    assert_eq!(case.duplicate, Some((1100, 1200)));
    assert_eq!(case.receive(900, 300), Received::OutOfOrder);
    assert_eq!(case.duplicate, Some((1000, 1200)));
    assert_eq!(case.sack(), [(900, 1500)]);
}

/// RFC 2883 section 4: behind the duplicate comes the block that it is in.
#[test]
fn the_island_of_a_duplicate_is_told_first() {
    let mut case = Case::new();
    case.receive(1000, 500);
    case.receive(2000, 500);
    case.receive(3000, 500);
    assert_eq!(case.receive(1100, 100), Received::Duplicate);
    assert_eq!(case.sack(), [(1000, 1500), (3000, 3500), (2000, 2500)]);
    assert_eq!(case.receive(2000, 500), Received::Duplicate);
    assert_eq!(case.sack(), [(2000, 2500), (1000, 1500), (3000, 3500)]);
}

#[test]
fn hostile_pieces_are_bounded_in_number() {
    // SegmentSmack: one byte in every second place.
    let mut case = Case::new();
    let mut refused = 0;
    for i in 1..1000 {
        refused += usize::from(case.receive(i * 2, 1) == Received::NoRoom);
    }
    assert_eq!(refused, 999 - LIMITS.slices);
    // What is in order is taken all the same, and frees what waited.
    assert!(matches!(case.receive(0, 2), Received::InOrder { .. }));
}

#[test]
fn small_slices_do_not_pin_large_buffers() {
    let mut case = Case::new();
    let small = Limits {
        memory: 32 << 10,
        ..LIMITS
    };
    let local = case.pool.local();
    for at in 0..40 {
        let mut buf = local.acquire().unwrap();
        buf.extend_from_slice(&[at as u8]).unwrap();
        let mut duplicate = None;
        let received = case.queue.receive(
            at,
            0,
            &mut Chain::from(SharedBuf::from(buf)),
            &small,
            &local,
            &mut duplicate,
        );
        assert!(matches!(received, Received::InOrder { bytes: 1, .. }));
    }
    assert!(case.pool.stats().in_use < 8, "{:?}", case.pool.stats());
    let mut out = [0; 64];
    assert_eq!(case.queue.copy_out(&mut out, false), 40);
    assert!(out[..40].iter().enumerate().all(|(i, &b)| b == i as u8));
    assert!(case.queue.is_empty());
    assert_eq!(case.queue.cost(), 0);
    // Out of order they leave their buffers at once.
    for at in 0..20 {
        let mut buf = local.acquire().unwrap();
        buf.extend_from_slice(&[1]).unwrap();
        let mut duplicate = None;
        case.queue.receive(
            0,
            10 + at * 2,
            &mut Chain::from(SharedBuf::from(buf)),
            &small,
            &local,
            &mut duplicate,
        );
    }
    assert_eq!(case.pool.stats().in_use, 0);
}

/// What arrives as the last bytes of a super-frame lies in a buffer of 68 KiB.
#[test]
fn ends_of_super_frames_do_not_keep_their_buffers() {
    const SUPER: usize = 68 << 10;
    const WINDOW: usize = 1 << 20;
    for len in [1, 1_000, 17_000, SUPER / 3 + 1, SUPER / 2 - 1, SUPER / 2] {
        let limits = Limits {
            memory: 2 * WINDOW + 4 * 4_096,
            slices: 4_096,
            buffer_bytes: 4_096,
        };
        let frames = BufferPool::builder().buffer_size(SUPER).count(64);
        let frames = frames.build().unwrap();
        let packed = pool();
        let receive = |queue: &mut ReceiveQueue, next, offset: usize| {
            let mut buf = frames.acquire().expect("buffers come back");
            buf.extend_from_slice(&vec![7; len]).unwrap();
            let mut payload = Chain::from(SharedBuf::from(buf));
            let local = packed.local();
            queue.receive(
                next,
                offset as u32,
                &mut payload,
                &limits,
                &local,
                &mut None,
            )
        };
        // A window's worth, every second piece missing.
        let count = (WINDOW / len).min(2_000);
        let mut queue = ReceiveQueue::default();
        for number in 0..count {
            let received = receive(&mut queue, 0, (2 * number + 1) * len);
            assert_eq!(received, Received::OutOfOrder, "{len} {number}");
        }
        let kept = if len < SUPER / 2 { 0 } else { count };
        assert_eq!(frames.stats().in_use, kept, "{len}");
        assert!(queue.cost() <= limits.memory, "{len}: {}", queue.cost());
        queue.drop_out_of_order();
        // The last byte of each is there already, or the first, or both.
        for (first, last) in [(false, true), (true, false), (true, true)] {
            let mut queue = ReceiveQueue::default();
            for number in 0..count.min(1_000) {
                let at = (2 * number + 1) * len;
                for (wanted, at) in [(first, at), (last, at + len - 1)] {
                    let mut byte = Chain::from(SharedBuf::from_static(&[7]));
                    let local = packed.local();
                    if wanted {
                        queue.receive(0, at as u32, &mut byte, &limits, &local, &mut None);
                    }
                }
                let received = receive(&mut queue, 0, at);
                let known = len == 1 || len == 2 && first && last;
                let expected = match known {
                    true => Received::Duplicate,
                    false => Received::OutOfOrder,
                };
                assert_eq!(received, expected, "{len} {number}");
            }
            let busy = frames.stats().in_use * SUPER;
            assert!(busy <= queue.cost(), "{len}: {busy} of {}", queue.cost());
            queue.drop_out_of_order();
            assert_eq!((frames.stats().in_use, queue.cost()), (0, 0));
        }
        // In order, and nobody reads.
        let mut next = 0;
        for number in 0..count {
            let received = receive(&mut queue, next, 0);
            let bytes = len as u32;
            let expected = Received::InOrder {
                bytes,
                filled: false,
            };
            assert_eq!(received, expected, "{len} {number}");
            next += len as u64;
        }
        let busy = frames.stats().in_use * SUPER + packed.stats().in_use * 4_096;
        assert!(busy <= 2 * limits.memory, "{len}: {busy}");
        assert!(busy <= queue.cost(), "{len}: {busy} of {}", queue.cost());
        assert_eq!(queue.readable(), count * len);
    }
}

/// A peer in the same process sends slices of one large buffer, and keeps it until they are
/// acknowledged: to copy them gives nothing back.
#[test]
fn slices_of_a_buffer_that_others_keep_are_not_copied() {
    let sent = BufferPool::builder().buffer_size(1 << 20).count(1);
    let mut sent = sent.build().unwrap().acquire().unwrap();
    sent.extend_from_slice(&[7; 1 << 20]).unwrap();
    let sent = SharedBuf::from(sent);
    let (mut queue, pool) = (ReceiveQueue::default(), pool());
    let limits = Limits {
        memory: 256 << 10,
        ..LIMITS
    };
    let mut at = 0;
    while at < 256 << 10 {
        for len in [60_000, 5_536] {
            let mut payload = Chain::from(sent.slice(at..at + len));
            let taken = queue.append(&mut payload, &limits, &pool.local());
            assert!(taken, "{at}");
            at += len;
        }
    }
    let mut at = 0;
    while let Some(slice) = queue.take(usize::MAX) {
        assert_eq!(slice.as_ptr(), sent[at..].as_ptr());
        at += slice.len();
    }
    assert!(at >= 256 << 10);
    assert_eq!(pool.stats().in_use, 0);
}

proptest! {
    /// Any segments in any order, overlapping as they like, come out as the stream.
    #[test]
    fn the_stream_comes_out_whatever_the_order(
        pieces in prop::collection::vec((0_u64..4000, 1_usize..400), 1..60),
        take in 1_usize..700,
    ) {
        let mut case = Case::new();
        let mut have = vec![false; 5000];
        let mut out: Vec<u8> = Vec::new();
        for (at, len) in pieces {
            let (mut at, mut len) = (at, len);
            if at < case.next {
                let cut = (case.next - at).min(len as u64);
                at += cut;
                len -= cut as usize;
            }
            if len == 0 {
                continue;
            }
            let received = case.receive(at, len);
            if received != Received::NoRoom {
                have[at as usize..at as usize + len].fill(true);
            }
            let in_order = have.iter().take_while(|&&has| has).count() as u64;
            prop_assert_eq!(case.next, in_order);
            // Blocks are islands of what is there, beyond what is in order.
            for (left, right) in case.sack() {
                prop_assert!(u64::from(left) > case.next && left < right);
                prop_assert!(have[left as usize..right as usize].iter().all(|&has| has));
                prop_assert!(!have[right as usize] && !have[left as usize - 1]);
            }
            let mut part = vec![0; take];
            let count = case.queue.copy_out(&mut part, false);
            out.extend_from_slice(&part[..count]);
        }
        while let Some(slice) = case.queue.take(usize::MAX) {
            out.extend_from_slice(&slice);
        }
        prop_assert_eq!(out.len() as u64, case.next);
        prop_assert!(out.iter().enumerate().all(|(i, &b)| b == (i % 251) as u8));
        case.queue.drop_out_of_order();
        prop_assert!(case.queue.is_empty());
        prop_assert_eq!(case.queue.cost(), 0);
    }
}
