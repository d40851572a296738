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
