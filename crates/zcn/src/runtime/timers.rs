//! Deadlines of tasks.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// Wakers by deadline; equal deadlines in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_deadline: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

/// Names one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(Instant, u64);

impl Timers {
    pub(crate) fn set(&mut self, deadline: Instant, waker: Waker) -> TimerId {
        self.next += 1;
        self.by_deadline.insert((deadline, self.next), waker);
        TimerId(deadline, self.next)
    }

    pub(crate) fn clear(&mut self, id: TimerId) {
        self.by_deadline.remove(&(id.0, id.1));
    }

    /// Changes whom a timer wakes.
    pub(crate) fn rewake(&mut self, id: TimerId, waker: &Waker) {
        if let Some(slot) = self.by_deadline.get_mut(&(id.0, id.1)) {
            slot.clone_from(waker);
        }
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_deadline
            .first_key_value()
            .map(|(&(deadline, _), _)| deadline)
    }

    /// Takes out the wakers whose time has come.
    pub(crate) fn expired(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        while let Some(entry) = self.by_deadline.first_entry() {
            if entry.key().0 > now {
                return;
            }
            wakers.push(entry.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_expire_in_order_and_can_be_cleared() {
        let now = Instant::now();
        let mut timers = Timers::default();
        let first = timers.set(now, Waker::noop().clone());
        timers.set(now, Waker::noop().clone());
        timers.set(now + Duration::from_secs(3600), Waker::noop().clone());
        timers.clear(first);
        let mut wakers = Vec::new();
        timers.expired(now, &mut wakers);
        assert_eq!(wakers.len(), 1);
        assert_eq!(timers.next(), Some(now + Duration::from_secs(3600)));
    }
}
