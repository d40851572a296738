//! What differs between the stack and the kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::subject::Subject;
use super::{Case, Outcome, exceptions, play};
use crate::driver::Tool;

/// Cases that are played side by side.
const BATCH: usize = 400;
/// Least cases in a batch on a machine that is too slow for more.
const BATCH_MIN: usize = 25;
/// The kernel sends a SYN again after a second: what took longer shows nothing.
const BATCH_TIME_MAX: Duration = Duration::from_millis(900);
/// How long acknowledgements are delayed, and some more; in the kernel the time is real.
pub const PAUSE_MICROS: u32 = 90_000;
pub const KERNEL_PAUSE_MICROS: u32 = 130_000;
/// The stack is as the kernel that it is compared with.
pub const FLAGS: &str = "tcp_invalid_ratelimit=0 tcp_early_retrans=0";
/// Cases of a difference that are named.
const NAMED: usize = 4;

#[derive(Debug, Default)]
pub struct Findings {
    /// Cases that were compared.
    pub played: usize,
    /// Cases that the machine was too busy for.
    pub skipped: usize,
    /// What differs and is not meant to, and in which cases.
    pub differences: BTreeMap<String, Vec<String>>,
    /// How often each exception was needed.
    excepted: [usize; exceptions::ALL.len()],
}

impl Findings {
    /// Plays the cases by the kernel and by a stack.
    pub fn compare(&mut self, kernel: &Tool, cases: &[Case]) {
        let mut subject = Subject::new(kernel, KERNEL_PAUSE_MICROS);
        for batch in cases.chunks(BATCH) {
            self.compare_batch(&mut subject, batch);
        }
    }

    fn compare_batch(&mut self, kernel: &mut Subject<'_>, batch: &[Case]) {
        for _ in 0..2 {
            let began = Instant::now();
            let theirs = play(kernel, batch);
            if began.elapsed() < BATCH_TIME_MAX {
                let tool = Tool::new(FLAGS);
                let ours = play(&mut Subject::new(&tool, PAUSE_MICROS), batch);
                return self.note(batch, &ours, &theirs);
            }
        }
        if batch.len() <= BATCH_MIN {
            self.skipped += batch.len();
            return;
        }
        let (first, second) = batch.split_at(batch.len() / 2);
        self.compare_batch(kernel, first);
        self.compare_batch(kernel, second);
    }

    fn note(&mut self, cases: &[Case], ours: &[Outcome], theirs: &[Outcome]) {
        self.played += cases.len();
        for (case, (ours, theirs)) in cases.iter().zip(ours.iter().zip(theirs)) {
            if ours == theirs {
                continue;
            }
            match exceptions::ALL.iter().position(|one| (one.covers)(case)) {
                Some(at) => self.excepted[at] += 1,
                None => {
                    let difference = format!("  ours   {ours:?}\n  kernel {theirs:?}");
                    let found = self.differences.entry(difference).or_default();
                    found.push(case.to_string());
                }
            }
        }
    }

    /// The exceptions that no case needed.
    pub fn stale(&self) -> Vec<&'static str> {
        let all = exceptions::ALL.iter().zip(self.excepted);
        let stale = all.filter(|(_, count)| *count == 0);
        stale.map(|(exception, _)| exception.reason).collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cases", self.played)?;
        if self.skipped > 0 {
            let why = "the machine is too busy for the kernel's timers";
            writeln!(f, "SKIPPED: {} cases, {why}", self.skipped)?;
        }
        for (exception, count) in exceptions::ALL.iter().zip(self.excepted) {
            writeln!(f, "{count:5} differ: {}", exception.reason)?;
        }
        for (difference, cases) in &self.differences {
            let first = &cases[..cases.len().min(NAMED)];
            writeln!(f, "{} times, {first:?}\n{difference}", cases.len())?;
        }
        Ok(())
    }
}
