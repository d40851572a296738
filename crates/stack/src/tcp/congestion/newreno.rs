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

#[cfg(test)]
mod tests {
    use super::super::testing::{MSS, Rounds};
    use super::*;

    #[test]
    fn a_round_doubles_below_ssthresh_and_adds_a_segment_above() {
        let mut reno = NewReno::default();
        let mut rounds = Rounds::new(10, 40 * MSS, 100);
        for expected in [20, 40, 41, 42, 43] {
            rounds.round(&mut reno);
            assert_eq!(rounds.window.cwnd / MSS, expected);
        }
    }

    #[test]
    fn loss_halves() {
        let mut reno = NewReno::default();
        let rounds = Rounds::new(21, u32::MAX, 100);
        let ssthresh = reno.on_congestion(rounds.now, &rounds.window, CongestionEvent::Loss);
        assert_eq!(ssthresh, 10_500);
    }

    /// One acknowledgment across `ssthresh`: what is left of it counts beyond.
    #[test]
    fn slow_start_stops_at_ssthresh_within_an_acknowledgment() {
        let mut reno = NewReno::default();
        let mut rounds = Rounds::new(10, 12 * MSS, 100);
        let sample = rounds.sample(14 * MSS, zcn_wire::SeqNum(0));
        reno.on_ack(&mut rounds.window, &sample);
        // Two segments of slow start; the other twelve are one window's worth.
        assert_eq!(rounds.window.cwnd, 13 * MSS);
    }

    /// As Linux, and not as RFC 3465, section 2.3: what one acknowledgment delivers counts
    /// whole, also after a timeout.
    #[test]
    fn after_a_timeout_an_acknowledgment_counts_whole() {
        let mut reno = NewReno::default();
        let mut rounds = Rounds::new(3, 7 * MSS, 100);
        let sample = rounds.sample(8 * MSS, zcn_wire::SeqNum(0));
        reno.on_ack(&mut rounds.window, &sample);
        assert_eq!(rounds.window.cwnd, 7 * MSS);
    }
}
