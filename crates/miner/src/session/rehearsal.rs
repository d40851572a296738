//! When a session rehearses, and what.
//!
//! Between two jobs a CPU forgets the way of a job: other code takes its caches and what it has
//! learnt of branches, and in a virtual machine every exit to the host does
//! (`docs/decisions.md`, "A session that spins rehearses").

use std::time::{Duration, Instant};

use zcn_stratum::message::FromPool;

/// Seldom enough to take a twentieth of a core, often enough that the caches keep it.
const EVERY: Duration = Duration::from_micros(50);

/// The line of the last job, and until when it is gone through again.
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

    /// Bytes came, from which a job was taken or not. One whose line came in pieces is passed over:
    /// the one before does as well.
    pub(super) fn heard(&mut self, now: Instant, job: bool, bytes: &[u8]) {
        if self.span.is_zero() {
            return;
        }
        self.until = Some(now + self.span);
        if job && let Some(line) = last_job(bytes) {
            self.script.clear();
            self.script.extend_from_slice(line);
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let due = now + EVERY;
        (!self.script.is_empty() && self.until.is_some_and(|until| due <= until)).then_some(due)
    }

    /// The line to go through.
    pub(super) fn script(&self) -> &[u8] {
        &self.script
    }
}

/// The last line of a job, with its end, that lies whole in `bytes`. What is but a part of one does
/// not parse.
fn last_job(bytes: &[u8]) -> Option<&[u8]> {
    let mut end = memchr::memrchr(b'\n', bytes)?;
    loop {
        let begin = memchr::memrchr(b'\n', &bytes[..end]).map_or(0, |before| before + 1);
        if let Ok((FromPool::Notify(_), _)) = FromPool::parse(&bytes[begin..end]) {
            return Some(&bytes[begin..=end]);
        }
        end = begin.checked_sub(1)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> String {
        format!(
            r#"{{"id":null,"method":"mining.notify","params":["{id}","","","",[],"","","",true]}}"#
        ) + "\n"
    }

    #[test]
    fn the_last_job_is_gone_through_for_a_while() {
        let now = Instant::now();
        let span = Duration::from_millis(1);
        let mut rehearsals = Rehearsals::new(span);
        assert_eq!(rehearsals.next(now), None);
        rehearsals.heard(now, false, b"a difficulty\n");
        assert_eq!(rehearsals.next(now), None, "no job yet");
        rehearsals.heard(now, true, job("one").as_bytes());
        assert_eq!(rehearsals.script(), job("one").as_bytes());
        assert_eq!(rehearsals.next(now), Some(now + EVERY));
        rehearsals.heard(now + span, false, b"pong\n");
        assert_eq!(rehearsals.script(), job("one").as_bytes());
        assert!(rehearsals.next(now + span).is_some());
        assert_eq!(rehearsals.next(now + 2 * span), None);
    }

    /// What comes at once is cut anywhere, and there may be other things in it.
    #[test]
    fn only_a_whole_line_of_a_job_is_gone_through() {
        let now = Instant::now();
        let mut rehearsals = Rehearsals::new(Duration::from_millis(1));
        let (one, two) = (job("one"), job("two"));
        let (head, tail) = two.split_at(40);
        rehearsals.heard(now, true, tail.as_bytes());
        assert_eq!(rehearsals.next(now), None, "nothing to go through");
        let rest = "{\"id\":7,\"result\":true}\r\n\n";
        let all = [tail, &one, rest, head].concat();
        rehearsals.heard(now, true, all.as_bytes());
        assert_eq!(rehearsals.script(), one.as_bytes());
        rehearsals.heard(now, true, [tail, rest].concat().as_bytes());
        assert_eq!(rehearsals.script(), one.as_bytes(), "the last whole one");
        let crlf = two.replace('\n', "\r\n");
        rehearsals.heard(
            now,
            true,
            [&one, &crlf].map(|line| line.as_str()).concat().as_bytes(),
        );
        assert_eq!(rehearsals.script(), crlf.as_bytes());
    }

    #[test]
    fn without_a_span_there_are_none() {
        let now = Instant::now();
        let mut rehearsals = Rehearsals::new(Duration::ZERO);
        rehearsals.heard(now, true, job("one").as_bytes());
        assert_eq!(rehearsals.next(now), None);
    }
}
