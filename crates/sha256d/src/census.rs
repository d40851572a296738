//! How many vector instructions a hash takes.
//!
//! The kernel is run over words that count instead of computing, so that the figure
//! cannot differ from the code. With the rates at which a CPU issues such instructions it
//! gives the bound that no order of them can beat.

use std::cell::Cell;

use crate::job::Job;
use crate::kernel::{OwnWords, Schedule, last_word};
use crate::rolled::VERSIONS;
use crate::search::Watch;
use crate::target::Target;
use crate::word::{Streams, Word};

/// Instructions of the AVX-512 engine for one vector of sixteen hashes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Census {
    /// Additions.
    pub sums: f64,
    /// Ternary logic.
    pub logic: f64,
    /// Rotations and shifts, for which CPUs have fewer units.
    pub shifts: f64,
}

impl Census {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.sums + self.logic + self.shifts
    }

    fn map(self, by: impl Fn(f64) -> f64) -> Self {
        Self {
            sums: by(self.sums),
            logic: by(self.logic),
            shifts: by(self.shifts),
        }
    }
}

#[derive(Default)]
struct Tally {
    sums: Cell<u32>,
    logic: Cell<u32>,
    shifts: Cell<u32>,
}

impl Tally {
    fn count(&self) -> Census {
        Census {
            sums: self.sums.get().into(),
            logic: self.logic.get().into(),
            shifts: self.shifts.get().into(),
        }
    }
}

/// A word without a value.
#[derive(Clone, Copy)]
struct Counted<'a>(&'a Tally);

impl Counted<'_> {
    fn more(self, kind: impl Fn(&Tally) -> &Cell<u32>, count: u32) -> Self {
        let cell = kind(self.0);
        cell.set(cell.get() + count);
        self
    }

    /// Three shifted copies, combined.
    fn sigma(self) -> Self {
        self.more(|tally| &tally.shifts, 3)
            .more(|tally| &tally.logic, 1)
    }
}

impl Word for Counted<'_> {
    const LANES: usize = 1;

    fn splat(self, _: u32) -> Self {
        // Read from memory by the instruction that uses it, or kept in a register.
        self
    }

    fn count_from(self, _: u32) -> Self {
        self.more(|tally| &tally.sums, 1)
    }

    fn add(self, _: Self) -> Self {
        self.more(|tally| &tally.sums, 1)
    }

    fn swap_bytes(self) -> Self {
        self.more(|tally| &tally.shifts, 2)
            .more(|tally| &tally.logic, 1)
    }

    fn upper_sigma0(self) -> Self {
        self.sigma()
    }

    fn upper_sigma1(self) -> Self {
        self.sigma()
    }

    fn sigma0(self) -> Self {
        self.sigma()
    }

    fn sigma1(self) -> Self {
        self.sigma()
    }

    fn ch(e: Self, _: Self, _: Self) -> Self {
        e.more(|tally| &tally.logic, 1)
    }

    fn maj(a: Self, _: Self, _: Self) -> Self {
        a.more(|tally| &tally.logic, 1)
    }

    fn clear_of(self, _: u32) -> u64 {
        self.more(|tally| &tally.logic, 1);
        0
    }
}

impl Streams for Counted<'_> {
    type One = Self;
    const STREAMS: usize = 1;

    fn stream(self, _: usize) -> Self {
        self
    }

    fn set_stream(&mut self, _: usize, _: Self) {}
}

/// Instructions of [`Engine::search`](crate::Engine::search) with AVX-512.
pub fn census() -> Census {
    let tally = Tally::default();
    let kind = Counted(&tally);
    let job = Job::new(&[0; 80], Target::MAX);
    let mut schedule = Schedule::new(kind);
    schedule.prepare(&job, kind);
    let nonce = kind.count_from(0).swap_bytes();
    let last = last_word(&job, &mut schedule, nonce, Watch::never());
    last.map(|last| last.clear_of(job.reject));
    tally.count()
}

/// Instructions of [`Engine::search_rolled`](crate::Engine::search_rolled).
pub fn rolled_census() -> Census {
    let tally = Tally::default();
    let kind = Counted(&tally);
    let job = Job::new(&[0; 80], Target::MAX);
    let mut schedule = Schedule::new(kind);
    schedule.prepare(&job, kind);
    let nonce = kind.count_from(0).swap_bytes();
    schedule.expand_first(&job, nonce);
    // One schedule serves a vector for each nonce in it.
    let shared = tally.count().map(|count| count / VERSIONS as f64);
    let before = tally.count();
    // The nonce joins two variables, and the midstate eight.
    let hash = schedule.first_rounds([kind; 8], OwnWords);
    let last = schedule.last_word(hash, Watch::never());
    last.map(|last| last.clear_of(job.reject));
    let after = tally.count();
    Census {
        sums: after.sums - before.sums + 10.0 + shared.sums,
        logic: after.logic - before.logic + shared.logic,
        shifts: after.shifts - before.shifts + shared.shifts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_schedules_save_a_sixth() {
        let (own, shared) = (census(), rolled_census());
        // 116 whole rounds and four half ones, of 16 and ten instructions.
        assert!(own.total() > 116.0 * 16.0 + 40.0, "{own:?}");
        assert!(own.total() < 2900.0, "{own:?}");
        let ratio = own.total() / shared.total();
        assert!((1.15..1.25).contains(&ratio), "{own:?} {shared:?}");
    }
}
