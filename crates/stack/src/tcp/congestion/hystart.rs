//! HyStart++ (RFC 9406): leaves the first slow start when the round-trip time rises.

use core::time::Duration;

use zcn_wire::SeqNum;

use super::AckSample;

/// Least rise that counts (MIN_RTT_THRESH).
const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
/// A rise that always counts (MAX_RTT_THRESH).
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
/// The threshold is the last round's least RTT divided by this (MIN_RTT_DIVISOR).
const MIN_RTT_DIVISOR: u32 = 8;
/// Samples needed in a round before it is judged (N_RTT_SAMPLE).
const N_RTT_SAMPLE: u8 = 8;
/// Conservative slow start grows by this part of slow start (CSS_GROWTH_DIVISOR).
const CSS_GROWTH_DIVISOR: u32 = 4;
/// Rounds of conservative slow start before congestion avoidance (CSS_ROUNDS).
const CSS_ROUNDS: u8 = 5;

/// Stands for the infinite RTT of a round without samples.
const NO_RTT: Duration = Duration::MAX;

/// What slow start is to do with one acknowledgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Grow by this many bytes.
    By(u32),
    /// Slow start is over: `ssthresh` becomes `cwnd`.
    Over,
}

/// State of one slow start.
#[derive(Clone, Debug)]
pub(super) struct HyStart {
    /// The round ends when this number is acknowledged.
    window_end: Option<SeqNum>,
    last_round_min_rtt: Duration,
    current_round_min_rtt: Duration,
    /// Set in conservative slow start: the RTT that made slow start suspicious.
    css_baseline_min_rtt: Option<Duration>,
    rtt_samples: u8,
    css_rounds: u8,
}

impl Default for HyStart {
    fn default() -> Self {
        Self {
            window_end: None,
            last_round_min_rtt: NO_RTT,
            current_round_min_rtt: NO_RTT,
            css_baseline_min_rtt: None,
            rtt_samples: 0,
            css_rounds: 0,
        }
    }
}

impl HyStart {
    /// Takes the sample in and says how far `sample.delivered` lets the window grow.
    ///
    /// RFC 9406, section 4.2. Its limit L of eight segments an acknowledgment is not applied,
    /// for the reason at [`Window::slow_start`](super::Window::slow_start).
    #[inline]
    pub(super) fn on_ack(&mut self, sample: &AckSample) -> Growth {
        self.advance_round(sample);
        if self.css_rounds >= CSS_ROUNDS {
            return Growth::Over;
        }
        if let Some(rtt) = sample.rtt {
            self.current_round_min_rtt = self.current_round_min_rtt.min(rtt);
            self.rtt_samples = self.rtt_samples.saturating_add(1);
        }
        if self.rtt_samples >= N_RTT_SAMPLE {
            self.judge();
        }
        Growth::By(match self.css_baseline_min_rtt {
            None => sample.delivered,
            Some(_) => sample.delivered / CSS_GROWTH_DIVISOR,
        })
    }

    /// Starts a new round when the window that was open at the start of this one has been
    /// acknowledged.
    #[inline]
    fn advance_round(&mut self, sample: &AckSample) {
        if let Some(end) = self.window_end {
            if !sample.snd_una.after_eq(end) {
                return;
            }
            // A round in the middle of which conservative slow start began counts as one
            // (section 4.2).
            if self.css_baseline_min_rtt.is_some() {
                self.css_rounds += 1;
            }
        }
        self.window_end = Some(sample.snd_nxt);
        self.last_round_min_rtt = self.current_round_min_rtt;
        self.current_round_min_rtt = NO_RTT;
        self.rtt_samples = 0;
    }

    fn judge(&mut self) {
        match self.css_baseline_min_rtt {
            None if self.last_round_min_rtt != NO_RTT => {
                let threshold = (self.last_round_min_rtt / MIN_RTT_DIVISOR)
                    .clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
                if self.current_round_min_rtt >= self.last_round_min_rtt + threshold {
                    self.css_baseline_min_rtt = Some(self.current_round_min_rtt);
                    self.css_rounds = 0;
                }
            }
            // The rise was jitter: slow start goes on.
            Some(baseline) if self.current_round_min_rtt < baseline => {
                self.css_baseline_min_rtt = None;
            }
            None | Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MSS, Rounds};
    use super::super::{CongestionControl, Cubic};

    fn rounds(control: &mut Cubic, path: &mut Rounds, rtt_ms: u64, count: u32) -> Vec<u32> {
        path.rtt = core::time::Duration::from_millis(rtt_ms);
        (0..count)
            .map(|_| {
                path.round(control);
                path.window.cwnd / MSS
            })
            .collect()
    }

    #[test]
    fn a_steady_round_trip_time_doubles_for_ever() {
        let (control, path) = (&mut Cubic::default(), &mut Rounds::new(10, u32::MAX, 50));
        assert_eq!(rounds(control, path, 50, 5), [20, 40, 80, 160, 320]);
        assert_eq!(path.window.ssthresh, u32::MAX);
    }

    /// RFC 9406, section 4.2: a rise by an eighth of 50 ms, seen by eight samples, makes slow
    /// start conservative, a quarter as fast; five such rounds end it.
    #[test]
    fn a_rise_of_the_round_trip_time_ends_slow_start_after_five_rounds() {
        let (control, path) = (&mut Cubic::default(), &mut Rounds::new(16, u32::MAX, 50));
        rounds(control, path, 50, 2);
        assert_eq!(path.window.cwnd / MSS, 64);
        let risen = rounds(control, path, 57, 1)[0];
        // The first eight segments of the round still count whole.
        assert!((64 + 14..=64 + 8 + 15).contains(&risen), "{risen}");
        let css = rounds(control, path, 57, 3);
        for pair in css.windows(2) {
            let growth = f64::from(pair[1]) / f64::from(pair[0]);
            assert!((1.2..1.3).contains(&growth), "{css:?}");
        }
        assert_eq!(path.window.ssthresh, u32::MAX);
        rounds(control, path, 57, 2);
        let over = path.window.ssthresh;
        assert!(
            over < 400 * MSS,
            "slow start goes on at {}",
            path.window.cwnd
        );
        assert!(path.window.cwnd >= over);
    }

    #[test]
    fn a_rise_below_the_threshold_is_noise() {
        // An eighth of 50 ms is 6.25 ms; of 8 ms one, but four are the least that counts.
        for (base, risen) in [(50, 56), (8, 11), (200, 215)] {
            let (control, path) = (&mut Cubic::default(), &mut Rounds::new(10, u32::MAX, base));
            rounds(control, path, base, 2);
            assert_eq!(rounds(control, path, risen, 2), [80, 160], "{base} ms");
        }
    }

    /// RFC 9406, section 4.2: the rise was jitter, and slow start resumes.
    #[test]
    fn a_fall_within_conservative_slow_start_resumes_slow_start() {
        let (control, path) = (&mut Cubic::default(), &mut Rounds::new(16, u32::MAX, 50));
        rounds(control, path, 50, 2);
        rounds(control, path, 60, 2);
        let before = path.window.cwnd / MSS;
        let after = rounds(control, path, 50, 2);
        assert!(
            after[1] * 10 > after[0] * 19,
            "doubles again: {before} {after:?}"
        );
        assert_eq!(path.window.ssthresh, u32::MAX);
    }

    /// A later slow start is a plain one (RFC 9406, section 4.2).
    #[test]
    fn only_the_first_slow_start_is_governed() {
        let (control, path) = (&mut Cubic::default(), &mut Rounds::new(10, 1_000 * MSS, 50));
        rounds(control, path, 50, 2);
        assert_eq!(rounds(control, path, 90, 2), [80, 160]);
        assert_eq!(control.algorithm().name(), "cubic");
    }
}
