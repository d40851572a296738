//! The loop around the kernels: nonces in batches, until a batch may hold a hit, the range
//! ends, or the caller's word changes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::job::{Job, message_word};
use crate::kernel::{Schedule, last_word};
use crate::word::Streams;

/// Consecutive nonces; they wrap from the greatest to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonces {
    /// The first one.
    pub first: u32,
    /// How many; at most 2³², which is all of them. What is above counts as that.
    pub count: u64,
}

impl Nonces {
    /// All 2³² of them.
    pub const ALL: Self = Self {
        first: 0,
        count: 1 << 32,
    };

    pub(crate) fn limited(self) -> u64 {
        self.count.min(Self::ALL.count)
    }
}

/// When to leave off early: a search goes on as long as a word has the value that it had
/// when the job was taken up.
///
/// The word is read (relaxed) once in each batch, and three times in the batches of the
/// engines with vectors, which are the longest: some hundred nanoseconds apart. The batch is
/// then given up.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    word: &'a AtomicU64,
    value: u64,
}

impl<'a> Watch<'a> {
    /// Goes on while `word` has `value`.
    pub const fn new(word: &'a AtomicU64, value: u64) -> Self {
        Self { word, value }
    }

    /// Never leaves off.
    pub const fn never() -> Watch<'static> {
        static STILL: AtomicU64 = AtomicU64::new(0);
        Watch {
            word: &STILL,
            value: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn goes_on(&self) -> bool {
        self.word.load(Ordering::Relaxed) == self.value
    }
}

/// What a search did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched {
    /// How many nonces of the range were tried, from its first.
    pub nonces: u64,
    /// Whether it left off because the watched word changed.
    pub interrupted: bool,
}

/// Tries batch after batch.
///
/// `found` is told each nonce of the range that meets the target, in order.
#[inline(always)]
pub(crate) fn search<W: Streams>(
    kind: W,
    job: &Job,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32),
) -> Searched {
    let count = nonces.limited();
    let lanes = W::LANES as u64;
    let mut schedule = Schedule::new(kind);
    schedule.prepare(job, kind);
    let mut done = 0;
    while done < count {
        let first = nonces.first.wrapping_add(done as u32);
        let words = kind.count_from(first).swap_bytes();
        let Some(last) = last_word(job, &mut schedule, words, watch) else {
            return Searched {
                nonces: done,
                interrupted: true,
            };
        };
        let mut candidates = last.clear_of(job.reject);
        let left = count - done;
        if candidates != 0 {
            if left < lanes {
                candidates &= (1 << left) - 1;
            }
            report(job, first, candidates, found);
        }
        done += left.min(lanes);
    }
    Searched {
        nonces: done,
        interrupted: false,
    }
}

/// Looks at the whole hash of the lanes whose last word may meet the target.
#[cold]
#[inline(never)]
pub(crate) fn report(job: &Job, first: u32, mut candidates: u64, found: &mut dyn FnMut(u32)) {
    while candidates != 0 {
        let nonce = first.wrapping_add(candidates.trailing_zeros());
        if job.is_met_by(nonce) {
            found(nonce);
        }
        candidates &= candidates - 1;
    }
}

const _: () = assert!(message_word(1) == 1 << 24);
