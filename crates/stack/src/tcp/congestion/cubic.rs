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

/// On the plateau the window grows by a segment in so many rounds, as on Linux.
const SLOWEST: f64 = 100.0;

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

    /// The window to aim at. As Linux, what lies between it and the plateau is whole segments, no
    /// more than the curve says.
    fn target(&self, t: f64) -> f64 {
        self.w_max + (self.at(t) - self.w_max).trunc()
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
    /// Segments acknowledged that have not made the window grow yet.
    counted: f64,
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

    /// One acknowledgment of `acked` bytes in congestion avoidance (sections 4.2 to 4.5). As Linux,
    /// the window grows by whole segments: by one for each of so many segments acknowledged.
    fn avoid(&mut self, window: &mut Window, sample: &AckSample, acked: u32) {
        let cwnd = f64::from(window.cwnd / window.mss);
        let segments = f64::from(acked) / f64::from(window.mss);
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

        // Concave and convex regions (sections 4.4 and 4.5), and the Reno-friendly one (section
        // 4.3); as Linux, never slower than the curve.
        let mut target = curve.target(t + sample.srtt.as_secs_f64());
        if curve.at(t) < curve.w_est {
            target = target.max(curve.w_est.trunc());
        }
        // No faster than by half of the window in a round.
        let each = if target > cwnd {
            (cwnd / (target - cwnd)).trunc().max(2.0)
        } else {
            SLOWEST * cwnd
        };
        if self.counted >= each {
            self.counted = 0.0;
            window.grow(window.mss, MAX_CWND);
        }
        self.counted += segments;
        let more = (self.counted / each).trunc();
        self.counted -= more * each;
        // At most half of what was acknowledged: far within u32.
        window.grow(more as u32 * window.mss, MAX_CWND);
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
        self.counted = 0.0;
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

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::super::testing::{MSS, Rounds};
    use super::*;

    /// W_cubic of RFC 9438, figure 1, for the test itself.
    fn w_cubic(t: f64, w_max: f64, cwnd_epoch: f64) -> f64 {
        let k = ((w_max - cwnd_epoch) / 0.4).cbrt();
        0.4 * (t - k).powi(3) + w_max
    }

    /// A flow that lost at `cwnd` and stands at the start of congestion avoidance.
    fn after_loss(cwnd: u32, rtt_ms: u64, event: CongestionEvent) -> (Cubic, Rounds) {
        let mut cubic = Cubic::default();
        let mut path = Rounds::new(cwnd, u32::MAX, rtt_ms);
        path.window.ssthresh = cubic.on_congestion(path.now, &path.window, event);
        path.window.cwnd = path.window.ssthresh;
        (cubic, path)
    }

    #[test]
    fn a_loss_leaves_seven_tenths() {
        for event in [
            CongestionEvent::Loss,
            CongestionEvent::Ecn,
            CongestionEvent::Timeout,
        ] {
            let (_, path) = after_loss(100, 100, event);
            assert_eq!(path.window.ssthresh, 70 * MSS);
        }
    }

    /// Sections 4.4 and 4.5: concave up to the old maximum, a plateau, then convex.
    #[test]
    fn the_window_follows_the_curve() {
        let (mut cubic, mut path) = after_loss(1_000, 100, CongestionEvent::Loss);
        let start = path.now;
        let k = (300.0_f64 / 0.4).cbrt();
        assert!((9.0..9.2).contains(&k));
        for round in 1..=150 {
            path.round(&mut cubic);
            let t = path.now.saturating_duration_since(start).as_secs_f64();
            let expected = w_cubic(t, 1_000.0, 700.0);
            let off = (path.cwnd() - expected).abs() / expected;
            assert!(
                off < 0.01,
                "round {round}: {} instead of {expected}",
                path.cwnd()
            );
        }
        assert!(path.cwnd() > 1_080.0, "past the plateau");
    }

    /// Section 4.3: on short paths Reno would be faster, and CUBIC keeps up with it: 0.53
    /// segments a round until the old maximum, then one.
    #[test]
    fn on_short_paths_it_grows_like_reno() {
        let (mut cubic, mut path) = after_loss(20, 10, CongestionEvent::Loss);
        assert_eq!(path.cwnd(), 14.0);
        for _ in 0..10 {
            path.round(&mut cubic);
        }
        let expected = 14.0 + 10.0 * 9.0 / 17.0;
        assert!(
            (path.cwnd() - expected).abs() < 0.5,
            "{} {expected}",
            path.cwnd()
        );
        for _ in 0..2 {
            path.round(&mut cubic);
        }
        let there = path.cwnd();
        assert!(there >= 20.0, "{there}");
        for _ in 0..10 {
            path.round(&mut cubic);
        }
        let rate = (path.cwnd() - there) / 10.0;
        assert!((0.9..1.05).contains(&rate), "{rate} a round");
    }

    /// Section 4.7.
    #[test]
    fn fast_convergence_gives_way() {
        let (mut cubic, mut path) = after_loss(100, 100, CongestionEvent::Loss);
        path.window.cwnd = 80 * MSS;
        cubic.on_congestion(path.now, &path.window, CongestionEvent::Loss);
        assert!((cubic.curve.w_max - 80.0 * 0.85).abs() < 1e-9);
        assert_eq!(cubic.curve.cwnd_prior, 80.0);
        path.window.cwnd = 90 * MSS;
        cubic.on_congestion(path.now, &path.window, CongestionEvent::Loss);
        assert_eq!(cubic.curve.w_max, 90.0);
    }

    /// Section 4.8: after a timeout the stage starts on the plateau.
    #[test]
    fn after_a_timeout_the_curve_starts_flat() {
        let (mut cubic, mut path) = after_loss(100, 100, CongestionEvent::Timeout);
        path.round(&mut cubic);
        assert_eq!((cubic.curve.k, cubic.curve.w_max), (0.0, 70.0));
        for _ in 0..10 {
            path.round(&mut cubic);
        }
        // 0.4 t^3 has hardly grown; Reno's line is above.
        assert!((74.0..78.0).contains(&path.cwnd()), "{}", path.cwnd());
    }

    /// Section 4.9: all of the state comes back.
    #[test]
    fn an_undone_reduction_leaves_no_trace() {
        let (mut cubic, mut path) = after_loss(1_000, 100, CongestionEvent::Loss);
        for _ in 0..20 {
            path.round(&mut cubic);
        }
        let (before, window) = (cubic.curve, path.window);
        cubic.on_congestion(path.now, &path.window, CongestionEvent::Loss);
        assert!(cubic.curve.w_max < before.w_max);
        cubic.on_undo(&mut path.window);
        assert_eq!(format!("{:?}", cubic.curve), format!("{before:?}"));
        assert_eq!(path.window, window);
    }

    /// Section 5.8: the curve does not run on while the application sends little, so that the
    /// window does not jump when it sends much again.
    #[test]
    fn time_that_does_not_use_the_window_does_not_count() {
        let grown = |idle: bool| {
            let (mut cubic, mut path) = after_loss(1_000, 100, CongestionEvent::Loss);
            for round in 0..20 {
                if idle && round == 10 {
                    path.limited = false;
                    for _ in 0..100 {
                        path.round(&mut cubic);
                    }
                    cubic.on_idle_end(path.now + Duration::from_secs(60), path.now);
                    path.now += Duration::from_secs(60);
                    path.limited = true;
                }
                path.round(&mut cubic);
            }
            path.cwnd()
        };
        let (steady, interrupted) = (grown(false), grown(true));
        assert!((steady - interrupted).abs() < 5.0, "{steady} {interrupted}");
    }

    /// An acknowledgment for many segments grows the window as many for one would.
    #[test]
    fn stretched_acknowledgments_grow_the_same() {
        let (mut one, mut singly) = after_loss(500, 50, CongestionEvent::Loss);
        let (mut many, mut at_once) = after_loss(500, 50, CongestionEvent::Loss);
        for _ in 0..40 {
            singly.round(&mut one);
            at_once.now += at_once.rtt;
            let sample = at_once.sample(at_once.window.cwnd, zcn_wire::SeqNum(0));
            many.on_ack(&mut at_once.window, &sample);
        }
        let off = (singly.cwnd() - at_once.cwnd()).abs() / singly.cwnd();
        assert!(off < 0.02, "{} {}", singly.cwnd(), at_once.cwnd());
    }
}
