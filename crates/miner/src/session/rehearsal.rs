//! When a session rehearses, and what.
//!
//! Between two jobs a CPU forgets the way of a job: other code takes its caches and what it has
//! learnt of branches, and in a virtual machine every exit to the host does
//! (`docs/decisions.md`, "A session that spins rehearses").

use std::time::{Duration, Instant};

/// Seldom enough to take a twentieth of a core, often enough that the caches keep it.
const EVERY: Duration = Duration::from_micros(50);

/// The last bytes that brought a job, and until when they are gone through again.
#[derive(Debug)]
pub(super) struct Rehearsals {
    /// How long after news.
    span: Duration,
    until: Option<Instant>,
    script: Vec<u8>,
}

impl Rehearsals {
    /// None when `span` is zero.
    pub(super) fn new(span: Duration) -> Self {
        Self {
            span,
            until: None,
            script: Vec::new(),
        }
    }

    /// Bytes came, with a job in them or not.
    pub(super) fn heard(&mut self, now: Instant, job: bool, bytes: &[u8]) {
        if self.span.is_zero() {
            return;
        }
        self.until = Some(now + self.span);
        if job {
            // A line that is not whole yet has not been read.
            let end = memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1);
            self.script.clear();
            self.script.extend_from_slice(&bytes[..end]);
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let due = now + EVERY;
        (!self.script.is_empty() && self.until.is_some_and(|until| due <= until)).then_some(due)
    }

    /// The lines to go through.
    pub(super) fn script(&self) -> &[u8] {
        &self.script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_job_is_gone_through_for_a_while() {
        let now = Instant::now();
        let span = Duration::from_millis(1);
        let mut rehearsals = Rehearsals::new(span);
        assert_eq!(rehearsals.next(now), None);
        rehearsals.heard(now, false, b"a difficulty\n");
        assert_eq!(rehearsals.next(now), None, "no job yet");
        rehearsals.heard(now, true, b"one\ntwo\nthr");
        assert_eq!(rehearsals.script(), b"one\ntwo\n");
        assert_eq!(rehearsals.next(now), Some(now + EVERY));
        rehearsals.heard(now + span, false, b"pong\n");
        assert_eq!(rehearsals.script(), b"one\ntwo\n");
        assert!(rehearsals.next(now + span).is_some());
        assert_eq!(rehearsals.next(now + 2 * span), None);
    }

    #[test]
    fn without_a_span_there_are_none() {
        let now = Instant::now();
        let mut rehearsals = Rehearsals::new(Duration::ZERO);
        rehearsals.heard(now, true, b"one\n");
        assert_eq!(rehearsals.next(now), None);
    }
}
