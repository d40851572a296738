//! What a connection waits for while it has something to send, in time: `tcpi_busy_time`,
//! `tcpi_rwnd_limited`, `tcpi_sndbuf_limited`.

use core::time::Duration;

use super::Sender;
use crate::tcp::stamp::Stamp;
use crate::time::Instant;

/// What a sender is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Activity {
    /// There is nothing to send, and nothing unacknowledged.
    #[default]
    Idle,
    /// Data is in flight, or waits for the congestion window or our own rules.
    Busy,
    /// The peer's window holds data back.
    WindowLimited,
    /// The application has more, and the send buffer takes no more.
    BufferLimited,
}

/// The time spent in each activity, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chronograph {
    activity: Activity,
    since: Stamp,
    spent: [u32; 3],
}

/// Times of a connection with something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// All of it.
    pub(super) busy: Duration,
    /// Limited by the peer's window.
    pub(super) window_limited: Duration,
    /// Limited by the send buffer.
    pub(super) buffer_limited: Duration,
}

impl Chronograph {
    fn elapsed_ms(&self, now: Instant) -> u32 {
        if self.since == Stamp::NEVER {
            return 0;
        }
        self.since.elapsed_ms(now)
    }

    fn set(&mut self, now: Instant, activity: Activity) {
        let elapsed = self.elapsed_ms(now);
        if let Some(spent) = self.slot() {
            *spent = spent.saturating_add(elapsed);
        }
        self.activity = activity;
        self.since = Stamp::of(now);
    }

    fn slot(&mut self) -> Option<&mut u32> {
        match self.activity {
            Activity::Idle => None,
            activity => self.spent.get_mut(activity as usize - 1),
        }
    }

    /// What was spent up to now.
    pub(super) fn times(&self, now: Instant) -> Times {
        let mut at = *self;
        at.set(now, Activity::Idle);
        let [busy, window, buffer] = at.spent.map(|ms| Duration::from_millis(ms.into()));
        Times {
            busy: busy + window + buffer,
            window_limited: window,
            buffer_limited: buffer,
        }
    }
}

impl Sender {
    /// Everything was sent that could be, or acknowledged: for what is waited now? `unsent` is
    /// all that the connection holds beyond `snd_nxt`; `starved`: the application has more, and
    /// waits for room in the send buffer.
    #[inline]
    pub fn note_activity(&mut self, now: Instant, unsent: u32, starved: bool) {
        let before = self.episode.chronograph.activity;
        let activity = self.activity(before, unsent, starved);
        if activity != before {
            self.episode.chronograph.set(now, activity);
        }
    }

    fn activity(&self, before: Activity, unsent: u32, starved: bool) -> Activity {
        if unsent == 0 && self.records.is_empty() {
            return Activity::Idle;
        }
        if starved && (before == Activity::BufferLimited || unsent == 0 && self.has_room()) {
            return Activity::BufferLimited;
        }
        let least = unsent.min(self.window.mss);
        if least > 0 && self.usable_window() < least && self.has_room() {
            return Activity::WindowLimited;
        }
        Activity::Busy
    }

    /// Whether the congestion window has room for a segment.
    fn has_room(&self) -> bool {
        self.window.cwnd.saturating_sub(self.records.pipe()) >= self.window.mss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_activity_has_its_time_and_all_are_busy() {
        let at = Instant::from_millis;
        let mut chronograph = Chronograph::default();
        for (ms, activity) in [
            (1_000, Activity::Busy),
            (1_100, Activity::WindowLimited),
            (1_300, Activity::Busy),
            (1_350, Activity::BufferLimited),
            (1_400, Activity::Idle),
            (9_000, Activity::Busy),
        ] {
            chronograph.set(at(ms), activity);
        }
        let ms = Duration::from_millis;
        let times = chronograph.times(at(9_001));
        assert_eq!(times.busy, ms(401));
        assert_eq!(times.window_limited, ms(200));
        assert_eq!(times.buffer_limited, ms(50));
    }
}
