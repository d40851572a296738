//! NewReno (RFC 5681, RFC 6582).

use super::{AckSample, Algorithm, CongestionControl, CongestionEvent, Window};
use crate::time::Instant;

/// Slow start, one segment a round beyond it, halving on loss.
#[derive(Clone, Debug, Default)]
pub struct NewReno {
    /// Bytes acknowledged in congestion avoidance and not yet turned into growth.
    counted: u32,
}

impl CongestionControl for NewReno {
    fn algorithm(&self) -> Algorithm {
        Algorithm::NewReno
    }

    fn on_ack(&mut self, window: &mut Window, sample: &AckSample) {
        if !sample.may_grow || !sample.cwnd_limited {
            return;
        }
        let mut acked = sample.delivered;
        if window.in_slow_start() {
            acked = window.slow_start(sample);
            if window.in_slow_start() || acked == 0 {
                return;
            }
        }
        window.avoid(&mut self.counted, acked);
    }

    /// Half of `cwnd`. RFC 5681 halves FlightSize, for windows that grew while the
    /// application did not use them; here such windows do not grow (`cwnd_limited`), and
    /// like Linux a flight that is short for a moment does not cost the window.
    fn on_congestion(&mut self, _now: Instant, window: &Window, _event: CongestionEvent) -> u32 {
        self.counted = 0;
        window.cwnd / 2
    }

    fn on_undo(&mut self, _window: &mut Window) {}
}
