//! Congestion control: how large the window may be.
//!
//! The [`Sender`](super::sender::Sender) finds out what was delivered and what was lost, and
//! keeps the [`Window`]. An algorithm behind [`CongestionControl`] says how the window grows
//! and to what it shrinks. Between the two, during a reduction, the sender's proportional rate
//! reduction (RFC 9937) walks the window down to `ssthresh`; no algorithm has to.

mod cubic;
mod hystart;
mod newreno;

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use thiserror::Error;
use zcn_wire::SeqNum;

use crate::time::Instant;

pub use cubic::Cubic;
pub use newreno::NewReno;

/// The largest window kept: what the largest scaled window of RFC 7323 lets a peer offer.
pub const MAX_CWND: u32 = 1 << 30;

/// A congestion control algorithm, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582, `"reno"` as Linux calls it.
    NewReno,
    /// RFC 9438 with HyStart++ (RFC 9406), `"cubic"`.
    #[default]
    Cubic,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 2] = [Self::NewReno, Self::Cubic];

    /// The name that `TCP_CONGESTION` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewReno => "reno",
            Self::Cubic => "cubic",
        }
    }

    /// A fresh state of the algorithm.
    pub(super) fn build(self) -> Box<dyn CongestionControl> {
        match self {
            Self::NewReno => Box::new(NewReno::default()),
            Self::Cubic => Box::new(Cubic::default()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No algorithm has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no congestion control named {0:?}; there are reno and cubic")]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Takes `reno`, `newreno` and `cubic`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "reno" | "newreno" => Ok(Self::NewReno),
            "cubic" => Ok(Self::Cubic),
            _ => Err(UnknownAlgorithm(name.to_owned())),
        }
    }
}

/// The congestion window and the threshold below which it grows exponentially, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How much may be in flight. Never below one `mss`.
    pub cwnd: u32,
    /// Slow start ends here (RFC 5681, section 3.1). `u32::MAX` until the first reduction.
    pub ssthresh: u32,
    /// Payload of a full segment.
    pub mss: u32,
}

impl Window {
    /// Whether `cwnd` is below `ssthresh`.
    #[inline]
    pub const fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Sets `cwnd`, between one segment and [`MAX_CWND`].
    #[inline]
    pub(super) fn set(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(self.mss, MAX_CWND);
    }

    /// Segments are of `mss` bytes from now on; the window stays as many of them.
    pub(super) fn resize(&mut self, mss: u32) {
        let cwnd = resized(self.cwnd, self.mss, mss);
        if self.ssthresh != u32::MAX {
            self.ssthresh = resized(self.ssthresh, self.mss, mss).max(2 * mss);
        }
        self.mss = mss;
        self.set(cwnd);
    }

    /// Grows by `bytes`, not past `ceiling` or [`MAX_CWND`], and tells how much of `bytes`
    /// was not used for it.
    #[inline]
    pub(super) fn grow(&mut self, bytes: u32, ceiling: u32) -> u32 {
        let room = ceiling.min(MAX_CWND).saturating_sub(self.cwnd);
        let growth = bytes.min(room);
        self.cwnd += growth;
        bytes - growth
    }

    /// Slow start of RFC 5681, section 3.1, counting bytes (RFC 3465), so that cutting an
    /// acknowledgment into many gains nothing. Tells how much was acknowledged beyond
    /// `ssthresh`.
    ///
    /// RFC 3465 limits the growth of one acknowledgment to two segments, and to one after a
    /// timeout. Linux does not, neither does this stack: the window still at most doubles in
    /// a round, and peers that coalesce what they receive acknowledge 64 KB at once; a limit
    /// would keep them from ever leaving slow start.
    #[inline]
    pub(super) fn slow_start(&mut self, sample: &AckSample) -> u32 {
        self.grow(sample.delivered, self.ssthresh)
    }

    /// Congestion avoidance of RFC 5681, section 3.1 (3) by byte counting: one `mss` for
    /// each `cwnd` bytes acknowledged. `counted` carries the remainder. As Linux, what was
    /// counted while the window was larger makes one segment at most.
    #[inline]
    pub(super) fn avoid(&mut self, counted: &mut u32, acked: u32) {
        if *counted >= self.cwnd {
            *counted = 0;
            self.grow(self.mss, MAX_CWND);
        }
        *counted = counted.saturating_add(acked);
        let windows = *counted / self.cwnd;
        if windows > 0 {
            *counted -= windows * self.cwnd;
            self.grow(windows.saturating_mul(self.mss), MAX_CWND);
        }
    }
}

/// What `bytes` in segments of `from` are in as many segments of `to` bytes.
pub(super) fn resized(bytes: u32, from: u32, to: u32) -> u32 {
    let bytes = u64::from(bytes) * u64::from(to) / u64::from(from);
    u32::try_from(bytes).unwrap_or(MAX_CWND)
}

/// Why the window shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionEvent {
    /// Segments were lost and recovery or a tail loss probe repairs them.
    Loss,
    /// The network marked segments (RFC 3168).
    Ecn,
    /// The retransmission timer expired.
    Timeout,
}

/// How fast data was delivered up to an acknowledgment (draft-ietf-ccwg-bbr, section 4.1;
/// draft-cheng-iccrg-delivery-rate-estimation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSample {
    /// Bytes delivered within `interval`.
    pub delivered: u32,
    /// The longer of the time in which they were sent and in which they were acknowledged.
    pub interval: Duration,
    /// The connection's count of delivered bytes, modulo 2^32, when the segment that gave
    /// this sample was sent. A round ends when it passes the count at the round's start.
    pub prior_delivered: u32,
    /// The application had too little to send while this was measured: a lower bound only.
    pub app_limited: bool,
}

impl RateSample {
    /// Bytes per second.
    pub fn bytes_per_second(&self) -> u64 {
        let nanos = self.interval.as_nanos().max(1);
        u64::try_from(u128::from(self.delivered) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

/// What one acknowledgment told.
#[derive(Clone, Copy, Debug)]
pub struct AckSample {
    /// When it came.
    pub now: Instant,
    /// Bytes newly acknowledged cumulatively.
    pub acked: u32,
    /// Bytes newly delivered: acknowledged or SACKed for the first time.
    pub delivered: u32,
    /// Bytes newly marked lost.
    pub lost: u32,
    /// Bytes in flight after it.
    pub in_flight: u32,
    /// The oldest unacknowledged number after it.
    pub snd_una: SeqNum,
    /// The next number to be sent.
    pub snd_nxt: SeqNum,
    /// Round-trip time of the newest segment it acknowledged that was sent once.
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time, zero until there is one.
    pub srtt: Duration,
    /// Least round-trip time of the last minutes, zero until there is one.
    pub min_rtt: Duration,
    /// No reduction is going on and new data was acknowledged: the window may grow.
    pub may_grow: bool,
    /// The window, not the application or the peer, limited what was sent (RFC 7661's
    /// concern, judged as Linux does).
    pub cwnd_limited: bool,
    /// Delivery rate, when this acknowledgment gave a sample.
    pub rate: Option<RateSample>,
}

/// A congestion control algorithm: state of one connection.
///
/// Called by the sender for every acknowledgment that delivered something, for every
/// congestion event once, and when a reduction turns out to be wrong. `window.cwnd` may be
/// changed only in [`on_ack`](Self::on_ack) with [`AckSample::may_grow`], and in
/// [`on_undo`](Self::on_undo).
pub trait CongestionControl: fmt::Debug + Send {
    /// Which algorithm this is.
    fn algorithm(&self) -> Algorithm;

    /// Data was delivered.
    fn on_ack(&mut self, window: &mut Window, sample: &AckSample);

    /// A reduction starts. Returns the new `ssthresh`; the sender keeps it at two segments
    /// or more and leads `cwnd` there.
    fn on_congestion(&mut self, now: Instant, window: &Window, event: CongestionEvent) -> u32;

    /// The reduction was wrong: the segments were delayed, not lost. The sender has restored
    /// `cwnd` and `ssthresh`.
    fn on_undo(&mut self, window: &mut Window);

    /// Sending resumes after nothing was in flight since `idle_since`.
    fn on_idle_end(&mut self, now: Instant, idle_since: Instant) {
        let _ = (now, idle_since);
    }

    /// Bytes per second at which data should leave, if the algorithm says so itself.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_have_the_names_of_the_socket_option() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            assert_eq!(algorithm.build().algorithm(), algorithm);
        }
        assert_eq!("newreno".parse(), Ok(Algorithm::NewReno));
        let error = "bbr2".parse::<Algorithm>().expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "no congestion control named \"bbr2\"; there are reno and cubic"
        );
    }

    #[test]
    fn a_window_stops_at_its_largest() {
        let mut window = Window {
            cwnd: MAX_CWND - 10,
            ssthresh: 0,
            mss: 1_000,
        };
        let mut counted = 0;
        window.avoid(&mut counted, u32::MAX);
        assert_eq!(window.cwnd, MAX_CWND);
    }
}
