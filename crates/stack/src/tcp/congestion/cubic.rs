//! CUBIC (RFC 9438) with HyStart++ (RFC 9406) as its first slow start.

use super::hystart::{Growth, HyStart};
use super::{AckSample, Algorithm, CongestionControl, CongestionEvent, MAX_CWND, Window};
use crate::time::Instant;

/// How much of the window is left after a loss (section 4.6).
pub(super) const BETA: f64 = 0.7;
/// How steep the cubic is, in segments per second cubed (section 5.1).
pub(super) const C: f64 = 0.4;
/// Growth of the Reno-friendly estimate, in segments a round, until it has caught up with
/// the window before the reduction (section 4.3).
pub(super) const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The curve of one congestion avoidance stage. Windows are in segments.
#[derive(Clone, Copy, Debug, Default)]
struct Curve {
    /// Where the curve is flat: the window before the last reduction.
    w_max: f64,
    /// `cwnd` just before the last reduction, without fast convergence (cwnd_prior).
    cwnd_prior: f64,
    /// When the curve reaches `w_max`, in seconds from the start of the stage.
    k: f64,
    /// What Reno would have reached (W_est).
    w_est: f64,
    /// Start of the stage; none before the first acknowledgment of it.
    epoch_start: Option<Instant>,
    /// The stage follows a timeout: it starts on the plateau (section 4.8).
    after_timeout: bool,
}

impl Curve {
    /// W_cubic(t), in segments (section 4.2, figure 1).
    fn at(&self, t: f64) -> f64 {
        C * (t - self.k).powi(3) + self.w_max
    }

    /// Starts a stage at `cwnd` (section 4.2, figure 2).
    fn begin(&mut self, now: Instant, cwnd: f64) {
        self.epoch_start = Some(now);
        self.w_est = cwnd;
        if cwnd < self.w_max && !self.after_timeout {
            self.k = ((self.w_max - cwnd) / C).cbrt();
        } else {
            self.k = 0.0;
            self.w_max = cwnd;
        }
        self.after_timeout = false;
    }
}

/// CUBIC of one connection.
#[derive(Clone, Debug, Default)]
pub struct Cubic {
    curve: Curve,
    /// The curve before the last reduction, for a reduction that proves wrong (section 4.9).
    before_reduction: Curve,
    /// Growth smaller than a byte, carried to the next acknowledgment.
    fraction: f64,
    /// Since when the window has not limited the sender; that time does not count on the
    /// curve (section 5.8).
    unlimited_since: Option<Instant>,
    hystart: HyStart,
}

impl Cubic {
    /// First slow start, that which HyStart++ governs.
    fn slow_start(&mut self, window: &mut Window, sample: &AckSample) -> u32 {
        if window.ssthresh != u32::MAX {
            return window.slow_start(sample);
        }
        match self.hystart.on_ack(sample) {
            Growth::By(bytes) => {
                if sample.cwnd_limited {
                    window.grow(bytes, MAX_CWND);
                }
                0
            }
            Growth::Over => {
                window.ssthresh = window.cwnd;
                sample.delivered
            }
        }
    }

    /// One acknowledgment of `acked` bytes in congestion avoidance (sections 4.2 to 4.5).
    fn avoid(&mut self, window: &mut Window, sample: &AckSample, acked: u32) {
        let mss = f64::from(window.mss);
        let cwnd = f64::from(window.cwnd) / mss;
        let segments = f64::from(acked) / mss;
        let curve = &mut self.curve;
        if curve.epoch_start.is_none() {
            curve.begin(sample.now, cwnd);
        }
        let epoch_start = curve.epoch_start.unwrap_or(sample.now);
        let t = sample
            .now
            .saturating_duration_since(epoch_start)
            .as_secs_f64();

        let alpha = if curve.w_est >= curve.cwnd_prior {
            1.0
        } else {
            ALPHA
        };
        curve.w_est += alpha * segments / cwnd;

        let next = if curve.at(t) < curve.w_est {
            // Reno-friendly region (section 4.3).
            curve.w_est.max(cwnd)
        } else {
            // Concave and convex regions (sections 4.4 and 4.5).
            let target = curve
                .at(t + sample.srtt.as_secs_f64())
                .clamp(cwnd, 1.5 * cwnd);
            cwnd + (target - cwnd) / cwnd * segments
        };
        let growth = ((next - cwnd) * mss + self.fraction).max(0.0);
        // At most half the window: far within u32. The cast drops what `fraction` keeps.
        let whole = growth.trunc();
        self.fraction = growth - whole;
        window.grow(whole as u32, MAX_CWND);
    }
}

impl CongestionControl for Cubic {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Cubic
    }

    fn on_ack(&mut self, window: &mut Window, sample: &AckSample) {
        if !sample.may_grow {
            return;
        }
        let mut acked = sample.delivered;
        if window.in_slow_start() {
            acked = self.slow_start(window, sample);
            if acked == 0 {
                return;
            }
        }
        if !sample.cwnd_limited {
            self.unlimited_since.get_or_insert(sample.now);
            return;
        }
        if let (Some(since), Some(start)) =
            (self.unlimited_since.take(), &mut self.curve.epoch_start)
        {
            *start += sample.now.saturating_duration_since(since.max(*start));
        }
        self.avoid(window, sample, acked);
    }

    /// 0.7 of `cwnd` (section 4.6; of `cwnd` and not of the flight for the reason at
    /// [`NewReno`](super::NewReno)), remembering where the loss happened (section 4.7).
    fn on_congestion(&mut self, _now: Instant, window: &Window, event: CongestionEvent) -> u32 {
        self.before_reduction = self.curve;
        let cwnd = f64::from(window.cwnd) / f64::from(window.mss);
        let curve = &mut self.curve;
        curve.cwnd_prior = cwnd;
        // Fast convergence: a flow that did not get back to its last maximum gives way.
        curve.w_max = if cwnd < curve.w_max {
            cwnd * (1.0 + BETA) / 2.0
        } else {
            cwnd
        };
        curve.epoch_start = None;
        curve.after_timeout = event == CongestionEvent::Timeout;
        self.fraction = 0.0;
        self.unlimited_since = None;
        (f64::from(window.cwnd) * BETA) as u32
    }

    fn on_undo(&mut self, _window: &mut Window) {
        self.curve = self.before_reduction;
    }

    fn on_idle_end(&mut self, _now: Instant, idle_since: Instant) {
        self.unlimited_since.get_or_insert(idle_since);
    }
}
