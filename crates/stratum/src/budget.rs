//! How many messages the other side may send.

use std::time::{Duration, Instant};

/// Span over which messages are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Messages of the running span of ten seconds.
#[derive(Debug)]
pub(crate) struct Budget {
    since: Instant,
    count: u32,
    max: u32,
}

impl Budget {
    pub(crate) fn new(max: u32, now: Instant) -> Self {
        let (since, count) = (now, 0);
        Self { since, count, max }
    }

    /// Counts one; whether it was within bounds.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= self.max
    }
}
