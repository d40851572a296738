//! Timestamps of a connection (RFC 7323 sections 3 to 5).

use zcn_wire::SeqNum;

use crate::time::Instant;

/// After so many milliseconds without a segment `TS.Recent` says nothing any more
/// (RFC 7323 section 5.5): 24 days.
const RECENT_LIFETIME_MS: u32 = 24 * 24 * 3600 * 1000;

/// The clock that timestamps count: milliseconds, wrapped.
pub(crate) fn clock(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// Whether timestamp `a` is older than `b`.
pub(crate) fn older(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Timestamps of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timestamps {
    /// Both ends use the option.
    pub(crate) enabled: bool,
    /// Added to our clock.
    pub(crate) offset: u32,
    /// `TS.Recent`: what is echoed.
    pub(crate) recent: u32,
    /// When `recent` was taken, by our clock.
    pub(crate) recent_at: u32,
}

impl Timestamps {
    /// What our next segment carries as TSval.
    pub(crate) fn value(&self, now: Instant) -> u32 {
        clock(now).wrapping_add(self.offset)
    }

    /// Whether PAWS refuses a segment with this TSval (RFC 7323 section 5.2).
    pub(crate) fn refuses(&self, now: Instant, value: u32) -> bool {
        self.enabled
            && older(value, self.recent)
            && clock(now).wrapping_sub(self.recent_at) < RECENT_LIFETIME_MS
    }

    /// Takes a TSval over as `TS.Recent`, if the segment begins at or before what was
    /// acknowledged last (RFC 7323 section 4.3, rule 2) and the value is not older.
    pub(crate) fn update(&mut self, now: Instant, value: u32, seq: SeqNum, last_ack: SeqNum) {
        if self.enabled && seq.before_eq(last_ack) && !self.refuses(now, value) {
            self.recent = value;
            self.recent_at = clock(now);
        }
    }

    /// Milliseconds since our segment with the echoed timestamp left. Nonsense if the peer
    /// echoes what we never sent; the caller bounds it.
    pub(crate) fn elapsed_ms(&self, now: Instant, echo: u32) -> u32 {
        self.value(now).wrapping_sub(echo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn paws_refuses_older_values_across_the_wrap_for_24_days() {
        let now = Instant::from_secs(100);
        let mut stamps = Timestamps {
            enabled: true,
            recent: 5,
            recent_at: clock(now),
            ..Timestamps::default()
        };
        assert!(stamps.refuses(now, 4));
        assert!(stamps.refuses(now, u32::MAX));
        assert!(!stamps.refuses(now, 5));
        let later = now + Duration::from_secs(24 * 24 * 3600);
        assert!(!stamps.refuses(later, 4));
        stamps.enabled = false;
        assert!(!stamps.refuses(now, 4));
    }

    #[test]
    fn recent_follows_only_what_was_acknowledged() {
        let now = Instant::from_secs(1);
        let mut stamps = Timestamps {
            enabled: true,
            recent: 10,
            ..Timestamps::default()
        };
        stamps.update(now, 20, SeqNum(101), SeqNum(100));
        assert_eq!(stamps.recent, 10);
        stamps.update(now, 20, SeqNum(100), SeqNum(100));
        assert_eq!(stamps.recent, 20);
        stamps.update(now, 19, SeqNum(100), SeqNum(100));
        assert_eq!(stamps.recent, 20);
    }
}
