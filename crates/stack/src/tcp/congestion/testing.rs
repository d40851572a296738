//! A path of constant round-trip time for tests of the algorithms, without a sender.

use core::time::Duration;

use zcn_wire::SeqNum;

use super::{AckSample, CongestionControl, Window};
use crate::time::Instant;

pub(super) const MSS: u32 = 1_000;

pub(super) struct Rounds {
    pub(super) window: Window,
    pub(super) now: Instant,
    pub(super) rtt: Duration,
    pub(super) limited: bool,
    una: SeqNum,
}

impl Rounds {
    pub(super) fn new(cwnd: u32, ssthresh: u32, rtt_ms: u64) -> Self {
        Self {
            window: Window {
                cwnd: cwnd * MSS,
                ssthresh,
                mss: MSS,
            },
            now: Instant::from_secs(1),
            rtt: Duration::from_millis(rtt_ms),
            limited: true,
            una: SeqNum(u32::MAX - 20_000),
        }
    }

    pub(super) fn sample(&self, acked: u32, snd_nxt: SeqNum) -> AckSample {
        AckSample {
            now: self.now,
            acked,
            delivered: acked,
            lost: 0,
            in_flight: self.window.cwnd,
            snd_una: self.una,
            snd_nxt,
            rtt: Some(self.rtt),
            srtt: self.rtt,
            min_rtt: self.rtt,
            may_grow: true,
            cwnd_limited: self.limited,
            rate: None,
        }
    }

    /// One round: the whole window is acknowledged segment by segment, over a round-trip
    /// time, while a new one leaves.
    pub(super) fn round(&mut self, control: &mut dyn CongestionControl) {
        let segments = self.window.cwnd / MSS;
        for _ in 0..segments {
            self.now += self.rtt / segments;
            self.una += MSS;
            let nxt = self.una + self.window.cwnd;
            let sample = self.sample(MSS, nxt);
            control.on_ack(&mut self.window, &sample);
        }
    }

    /// Window in segments.
    pub(super) fn cwnd(&self) -> f64 {
        f64::from(self.window.cwnd) / f64::from(MSS)
    }
}
