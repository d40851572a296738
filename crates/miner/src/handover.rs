//! The latest work of one worker, written by one thread and read by another.
//!
//! A sequence lock over atomic words. The writer never waits. The reader takes what is
//! newest; when the writer comes in between, it reads again, which it would have to do
//! anyway: what it was reading is stale. The sequence number is also what a running search
//! watches, so that the first store of a new work ends the batch.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of a work.
pub(crate) const WORDS: usize = if cfg!(loom) { 2 } else { 19 };

pub(crate) type Words = [u64; WORDS];

pub(crate) struct Handover {
    /// Odd while words are announced or being written; two more with each work.
    ///
    /// Written with release after the words and read with acquire before them, so that a
    /// reader who sees an even number sees the words of that number or newer ones; a
    /// fence on each side makes it notice the newer ones.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Handover {
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Tells the reader to leave what it does: [`publish`](Self::publish) has to follow. Only
    /// the thread that publishes may do so.
    pub(crate) fn announce(&self) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence | 1, Ordering::Relaxed);
    }

    /// Replaces the words. Only one thread may do so.
    pub(crate) fn publish(&self, words: &Words) {
        self.announce();
        // Whoever reads one of the new words sees the odd number, or a later one.
        fence(Ordering::Release);
        for (place, word) in self.words.iter().zip(words) {
            place.store(*word, Ordering::Relaxed);
        }
        let odd = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(odd.wrapping_add(1), Ordering::Release);
    }

    /// The words and their number, unless that is `seen` or the words are being written.
    pub(crate) fn take(&self, seen: u64) -> Option<(u64, Words)> {
        let sequence = self.sequence.load(Ordering::Acquire);
        if sequence == seen || sequence % 2 == 1 {
            return None;
        }
        let words = std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        (self.sequence.load(Ordering::Relaxed) == sequence).then_some((sequence, words))
    }

    /// Whether there is something else than `seen`, or about to be.
    pub(crate) fn is_newer(&self, seen: u64) -> bool {
        self.sequence.load(Ordering::Acquire) != seen
    }

    /// What a search watches.
    #[cfg(not(loom))]
    pub(crate) fn sequence(&self) -> &AtomicU64 {
        &self.sequence
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn words_are_taken_whole_and_the_last_ones_in_the_end() {
        loom::model(|| {
            let shared = Arc::new(Handover::new());
            let writer = Arc::clone(&shared);
            let thread = thread::spawn(move || {
                writer.publish(&[1, 1]);
                writer.announce();
                writer.publish(&[2, 2]);
            });
            let mut seen = 0;
            let mut latest = 0;
            for _ in 0..2 {
                if let Some((sequence, words)) = shared.take(seen) {
                    assert_eq!(words[0], words[1], "torn");
                    assert_eq!(sequence, 2 * words[0]);
                    assert!(words[0] > latest, "older than before");
                    (seen, latest) = (sequence, words[0]);
                }
            }
            thread.join().unwrap();
            if shared.is_newer(seen) {
                assert_eq!(shared.take(seen), Some((4, [2, 2])));
            } else {
                assert_eq!(latest, 2);
            }
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_announced_is_newer_and_not_there_yet() {
        let shared = Handover::new();
        shared.publish(&[1; WORDS]);
        let (seen, _) = shared.take(0).expect("words");
        for _ in 0..2 {
            shared.announce();
            assert!(shared.is_newer(seen));
            assert_eq!(shared.take(seen), None);
        }
        shared.publish(&[2; WORDS]);
        assert_eq!(shared.take(seen), Some((seen + 2, [2; WORDS])));
    }

    #[test]
    fn words_are_taken_whole() {
        const LAST: u64 = 20_000;
        let shared = Arc::new(Handover::new());
        let writer = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for value in 1..=LAST {
                writer.publish(&[value; WORDS]);
            }
        });
        let (mut seen, mut latest) = (0, 0);
        while latest < LAST {
            if let Some((sequence, words)) = shared.take(seen) {
                assert_eq!(words, [words[0]; WORDS], "torn");
                assert_eq!(sequence, 2 * words[0]);
                assert!(words[0] > latest);
                (seen, latest) = (sequence, words[0]);
            }
        }
        thread.join().unwrap();
        assert!(!shared.is_newer(seen));
        assert_eq!(shared.take(seen), None);
    }
}
