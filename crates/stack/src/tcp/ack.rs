//! When what arrived is acknowledged (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2).

use core::time::Duration;

use super::config::{PushAck, TcpConfig};
use super::stamp::Stamp;
use crate::time::Instant;
use zcn_wire::SeqNum;

/// Segments acknowledged at once when a connection starts, at most.
const QUICK_MAX: u32 = 16;
/// The peer's segment size before it has shown one (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u32 = 536;
/// Duplicate acknowledgements that are never compressed: what RFC 5681 counts to.
const DUPLICATES_AT_ONCE: u8 = 3;
/// Duplicate acknowledgements that one may stand for (`tcp_comp_sack_nr`).
const COMPRESSED_MAX: u8 = 44;
/// How long it may wait (`tcp_comp_sack_delay_ns`).
const COMPRESSION_TIME: Duration = Duration::from_millis(1);
/// Half the smallest MSS on any path, as Linux.
const FLOOR_MSS: u32 = 88;

/// Delayed acknowledgements, after Linux's rules: at once for every second full segment,
/// out of order, while a connection starts, after a long silence, and for PSH (see
/// [`PushAck`]); otherwise after a time that follows the pace of arrivals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckPolicy {
    /// When the delayed one is due; `MAX`: none is.
    pub(crate) deadline: Instant,
    last_data: Stamp,
    /// When a segment that was not acceptable was answered last.
    pub(crate) last_invalid: Stamp,
    /// Size of the peer's full segments, as far as they show.
    pub(crate) rcv_mss: u16,
    /// The pace of arrivals, in milliseconds; 0: nothing arrived yet.
    ato_ms: u16,
    /// Segments that are still acknowledged at once.
    quick: u8,
    /// The application answers what it reads: the answer carries the acknowledgement.
    interactive: bool,
    /// The last segments ended a write of the peer's.
    pushed: bool,
    /// One must leave at the next output.
    now: bool,
    /// Something is there to be acknowledged.
    owed: bool,
    /// The deadline is that of a compressed acknowledgement, not of a delayed one.
    compressing: bool,
    /// Duplicate acknowledgements that left at once since the hole moved last.
    duplicates: u8,
    /// Duplicate acknowledgements that one will stand for.
    compressed: u8,
    /// Where the hole was then.
    hole_at: SeqNum,
}

/// Data that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    /// Bytes.
    pub(crate) len: u32,
    /// Segments of the wire.
    pub(crate) segments: u16,
    pub(crate) push: bool,
    pub(crate) rcv_wnd: u32,
    pub(crate) rto: Duration,
}

/// Where the connection stands after data arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) now: Instant,
    /// Bytes in order since the last acknowledgement.
    pub(crate) unacked: u32,
    /// Whether the application reads what comes.
    pub(crate) reading: bool,
    /// A hole was filled, something came twice, or the window is small.
    pub(crate) at_once: bool,
    /// Where the first byte is missing, if something behind it is there.
    pub(crate) hole: Option<SeqNum>,
    /// SACK is in use.
    pub(crate) sack: bool,
    pub(crate) push: bool,
    pub(crate) srtt: Duration,
}

impl AckPolicy {
    pub(crate) fn new() -> Self {
        Self {
            deadline: Instant::MAX,
            last_data: Stamp::NEVER,
            last_invalid: Stamp::NEVER,
            rcv_mss: DEFAULT_MSS as u16,
            ato_ms: 0,
            quick: 0,
            interactive: false,
            pushed: false,
            now: false,
            owed: false,
            compressing: false,
            duplicates: 0,
            compressed: 0,
            hole_at: SeqNum(0),
        }
    }

    /// The first guess at the peer's segment size.
    pub(crate) fn set_initial_mss(&mut self, mss: u32, rcv_wnd: u32) {
        let hint = mss.min(rcv_wnd / 2).clamp(FLOOR_MSS, DEFAULT_MSS);
        self.rcv_mss = hint as u16;
    }

    /// An acknowledgement must leave with the next output.
    #[inline]
    pub(crate) fn send_now(&mut self) {
        self.owed = true;
        self.now = true;
    }

    /// Whether one must leave.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.now
    }

    /// Whether something is there to be acknowledged, now or later.
    #[cfg(test)]
    pub(crate) fn is_owed(&self) -> bool {
        self.owed
    }

    /// The next segments are acknowledged at once: a connection starts, or the peer starts
    /// again after silence or loss and needs ACKs to grow its window.
    pub(crate) fn start_quick(&mut self, config: &TcpConfig, rcv_wnd: u32) {
        self.start_quick_for(config, rcv_wnd, QUICK_MAX);
    }

    fn start_quick_for(&mut self, config: &TcpConfig, rcv_wnd: u32, max: u32) {
        if config.quick_ack {
            let count = (rcv_wnd / (2 * u32::from(self.rcv_mss))).clamp(2, max);
            self.quick = self.quick.max(count as u8);
        }
    }

    /// Leaves the interactive mode and starts quick acknowledgements: something is wrong.
    pub(crate) fn enter_quick(&mut self, config: &TcpConfig, rcv_wnd: u32) {
        self.enter_quick_for(config, rcv_wnd, QUICK_MAX);
    }

    /// The same, for at most `max` segments.
    pub(crate) fn enter_quick_for(&mut self, config: &TcpConfig, rcv_wnd: u32, max: u32) {
        self.start_quick_for(config, rcv_wnd, max);
        self.interactive = false;
        self.ato_ms = config.delayed_ack_min.as_millis() as u16;
    }

    fn is_quick(&self) -> bool {
        self.quick > 0 && !self.interactive
    }

    /// Data arrived, in order or not.
    #[inline]
    pub(crate) fn on_data(&mut self, config: &TcpConfig, arrival: &Arrival) {
        let &Arrival {
            now,
            len,
            segments,
            push,
            rcv_wnd,
            rto,
        } = arrival;
        self.owed = true;
        let segment = if segments > 1 {
            len / u32::from(segments)
        } else {
            len
        };
        let segment = segment.min(u32::from(u16::MAX)) as u16;
        if segment >= self.rcv_mss {
            self.rcv_mss = segment;
        }
        self.pushed |= push;
        let min = config.delayed_ack_min.as_millis() as u16;
        if self.ato_ms == 0 {
            self.start_quick(config, rcv_wnd);
            self.ato_ms = min;
        } else {
            let gap = self.last_data.elapsed_ms(now);
            let gap_ms = gap.min(u32::from(u16::MAX)) as u16;
            if gap_ms <= min / 2 {
                self.ato_ms = self.ato_ms / 2 + min / 2;
            } else if gap_ms < self.ato_ms {
                let rto_ms = rto.as_millis().min(u128::from(u16::MAX)) as u16;
                self.ato_ms = (self.ato_ms / 2 + gap_ms).min(rto_ms);
            } else if self.last_data.elapsed(now) > rto {
                self.start_quick(config, rcv_wnd);
            }
        }
        self.last_data = Stamp::of(now);
    }

    /// Data arrived behind a hole: that tells nothing of its pace.
    pub(crate) fn on_out_of_order(&mut self, now: Instant) {
        self.owed = true;
        self.last_data = Stamp::of(now);
    }

    /// Decides about what arrived.
    #[inline]
    pub(crate) fn decide(&mut self, config: &TcpConfig, standing: &Standing) {
        let &Standing {
            now,
            unacked,
            reading,
            at_once,
            hole,
            sack,
            push,
            srtt,
        } = standing;
        if !self.owed {
            return;
        }
        let linux = config.push_ack == PushAck::UnlessInteractive;
        let push = push && !linux;
        // Linux acknowledges every second segment while the window moves on with it.
        let every_second = reading || !linux || !config.quick_ack;
        let second_segment = unacked > u32::from(self.rcv_mss) && every_second;
        if second_segment || self.is_quick() || at_once || push {
            self.now = true;
        } else if let Some(hole) = hole {
            if config.sack_compression && sack {
                self.compress(now, hole, srtt);
            } else {
                self.now = true;
            }
        }
        if !self.now && !self.compressing {
            self.delay(now, config, srtt);
        }
    }

    /// The peer needs three duplicate acknowledgements to see a loss; one stands for what
    /// follows within a twentieth of a round trip.
    fn compress(&mut self, now: Instant, hole: SeqNum, srtt: Duration) {
        if hole != self.hole_at {
            (self.hole_at, self.duplicates) = (hole, 0);
        }
        if self.duplicates < DUPLICATES_AT_ONCE || self.compressed >= COMPRESSED_MAX {
            self.duplicates = self.duplicates.saturating_add(1);
            self.now = true;
            return;
        }
        self.compressed += 1;
        if !self.compressing {
            self.compressing = true;
            let wait = (srtt / 20).min(COMPRESSION_TIME);
            self.deadline = self.deadline.min(now + wait);
        }
    }

    #[inline]
    fn delay(&mut self, now: Instant, config: &TcpConfig, srtt: Duration) {
        let min = config.delayed_ack_min;
        let mut wait = Duration::from_millis(u64::from(self.ato_ms));
        if wait > min {
            let mut max = if self.interactive || self.pushed {
                config.delayed_ack_max
            } else {
                Duration::from_millis(500)
            };
            if srtt > Duration::ZERO {
                max = max.min(srtt.max(min));
            }
            wait = wait.min(max);
        }
        let at = now + wait.min(config.delayed_ack_max);
        if self.deadline != Instant::MAX && self.deadline <= now + wait / 4 {
            self.now = true; // the one that is due soon takes this with it
            return;
        }
        self.deadline = self.deadline.min(at);
    }

    /// The timer struck: the guess at the pace was wrong.
    pub(crate) fn on_timeout(&mut self, config: &TcpConfig, rto: Duration) {
        self.deadline = Instant::MAX;
        if !self.owed {
            return;
        }
        if self.compressing {
            self.now = true;
            return;
        }
        if self.interactive {
            self.interactive = false;
            self.ato_ms = config.delayed_ack_min.as_millis() as u16;
        } else {
            let rto_ms = rto.as_millis().min(u128::from(u16::MAX)) as u16;
            self.ato_ms = self.ato_ms.saturating_mul(2).min(rto_ms);
        }
        self.now = true;
    }

    /// The application read all there was: a sender that waits after its PSH gets its ACK.
    #[inline]
    pub(crate) fn on_read(&mut self, unacked: u32, drained: bool) {
        if self.owed
            && (unacked > u32::from(self.rcv_mss) || (self.pushed && drained && !self.interactive))
        {
            self.now = true;
        }
    }

    /// Our data left: an answer, if it came soon after the peer's.
    #[inline]
    pub(crate) fn on_data_sent(&mut self, now: Instant) {
        // Of nothing yet there is no pace.
        if self.last_data.elapsed_ms(now) < u32::from(self.ato_ms) {
            self.interactive = true;
        }
    }

    /// The peer ended its side: Linux lets our FIN carry the acknowledgement.
    pub(crate) fn on_fin(&mut self, config: &TcpConfig) {
        self.owed = true;
        match config.push_ack {
            PushAck::AtOnce => self.now = true,
            PushAck::UnlessInteractive => {
                // Before any data there is no pace to wait for.
                self.interactive = true;
            }
        }
    }

    /// A segment with an acknowledgement left.
    #[inline]
    pub(crate) fn on_sent(&mut self) {
        self.deadline = Instant::MAX;
        self.owed = false;
        self.now = false;
        self.pushed = false;
        self.compressing = false;
        self.compressed = 0;
        self.quick = self.quick.saturating_sub(1);
    }

    /// TCP_QUICKACK: on or off, until the traffic decides otherwise.
    pub(crate) fn set_quick(&mut self, on: bool) {
        self.interactive = !on;
        if on && self.owed {
            self.now = true;
        }
    }

    /// What [`set_quick`](Self::set_quick) chose, or the traffic since.
    pub(crate) fn may_be_quick(&self) -> bool {
        !self.interactive
    }

    /// When data last came, for TCP_INFO.
    pub(crate) fn last_data(&self) -> Stamp {
        self.last_data
    }

    /// The current delay, for TCP_INFO.
    pub(crate) fn ato(&self) -> Duration {
        Duration::from_millis(u64::from(self.ato_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTO: Duration = Duration::from_millis(200);
    const SRTT: Duration = Duration::from_millis(10);

    struct Case {
        policy: AckPolicy,
        config: TcpConfig,
        now: Instant,
        unacked: u32,
    }

    impl Case {
        fn new(quick_ack: bool, push_ack: PushAck) -> Self {
            let config = TcpConfig {
                quick_ack,
                push_ack,
                ..TcpConfig::default()
            };
            let mut policy = AckPolicy::new();
            policy.set_initial_mss(1448, 65_535);
            Self {
                policy,
                config,
                now: Instant::from_secs(1),
                unacked: 0,
            }
        }

        /// One segment in order; whether an ACK is due.
        fn segment(&mut self, len: u32, push: bool, hole: bool) -> bool {
            self.unacked += len;
            let now = self.now;
            self.policy.on_data(
                &self.config,
                &Arrival {
                    now,
                    len,
                    segments: 1,
                    push,
                    rcv_wnd: 65_535,
                    rto: RTO,
                },
            );
            self.policy.decide(
                &self.config,
                &Standing {
                    now,
                    unacked: self.unacked,
                    reading: true,
                    at_once: hole,
                    hole: None,
                    sack: true,
                    push,
                    srtt: SRTT,
                },
            );
            let due = self.policy.is_due();
            if due {
                self.sent();
            }
            due
        }

        fn sent(&mut self) {
            self.policy.on_sent();
            self.unacked = 0;
        }
    }

    #[test]
    fn the_first_sixteen_are_quick_then_every_second_one() {
        let mut case = Case::new(true, PushAck::UnlessInteractive);
        let due: Vec<bool> = (0..20).map(|_| case.segment(1448, false, false)).collect();
        assert!(due[..16].iter().all(|&due| due), "{due:?}");
        assert_eq!(due[16..], [false, true, false, true]);
    }

    #[test]
    fn quick_acks_can_be_switched_off() {
        let mut case = Case::new(false, PushAck::UnlessInteractive);
        let due: Vec<bool> = (0..4).map(|_| case.segment(1448, false, false)).collect();
        assert_eq!(due, [false, true, false, true]);
    }

    #[test]
    fn a_lone_segment_waits_forty_milliseconds() {
        let mut case = Case::new(false, PushAck::UnlessInteractive);
        assert!(!case.segment(100, true, false));
        assert_eq!(case.policy.deadline, case.now + Duration::from_millis(40));
        case.policy.on_timeout(&case.config, RTO);
        assert!(case.policy.is_due());
    }

    #[test]
    fn push_and_holes_are_answered_at_once() {
        let mut case = Case::new(false, PushAck::AtOnce);
        assert!(case.segment(100, true, false));
        assert!(!case.segment(100, false, false));
        assert!(case.segment(100, false, true));
    }

    #[test]
    fn reading_what_was_pushed_acknowledges_it() {
        let mut case = Case::new(false, PushAck::UnlessInteractive);
        assert!(!case.segment(100, true, false));
        case.policy.on_read(100, true);
        assert!(case.policy.is_due());
    }

    #[test]
    fn three_duplicates_leave_at_once_and_one_for_the_rest() {
        let mut case = Case::new(false, PushAck::UnlessInteractive);
        case.config.sack_compression = true;
        let hole = |case: &mut Case, at: u32| {
            let now = case.now;
            case.policy.on_out_of_order(now);
            let standing = Standing {
                now,
                unacked: 0,
                reading: true,
                at_once: false,
                hole: Some(SeqNum(at)),
                sack: true,
                push: false,
                srtt: SRTT,
            };
            case.policy.decide(&case.config, &standing);
            let due = case.policy.is_due();
            if due {
                case.sent();
            }
            due
        };
        let due: Vec<bool> = (0..6).map(|_| hole(&mut case, 1)).collect();
        assert_eq!(due, [true, true, true, false, false, false]);
        let at = case.now + Duration::from_micros(500);
        assert_eq!(case.policy.deadline, at);
        let ato = case.policy.ato();
        case.policy.on_timeout(&case.config, RTO);
        assert!(case.policy.is_due());
        assert_eq!(case.policy.ato(), ato, "it was no guess at a pace");
        case.sent();
        assert!(hole(&mut case, 1000), "another hole");
    }

    #[test]
    fn the_delay_is_bounded_by_a_round_trip() {
        let mut case = Case::new(false, PushAck::UnlessInteractive);
        for _ in 0..3 {
            case.now += Duration::from_millis(60);
            assert!(!case.segment(100, false, false));
            case.policy.on_timeout(&case.config, RTO);
            case.sent();
        }
        // The guess has grown beyond; with a round trip of 10 ms it does not count.
        case.now += Duration::from_millis(60);
        assert!(!case.segment(100, false, false));
        assert_eq!(case.policy.deadline, case.now + Duration::from_millis(40));
    }

    #[test]
    fn a_fin_before_any_data_is_acknowledged_at_once() {
        let mut case = Case::new(true, PushAck::UnlessInteractive);
        case.policy.on_fin(&case.config);
        let standing = Standing {
            now: case.now,
            unacked: 1,
            reading: true,
            at_once: false,
            hole: None,
            sack: true,
            push: false,
            srtt: SRTT,
        };
        case.policy.decide(&case.config, &standing);
        assert_eq!(case.policy.deadline, case.now);
    }

    #[test]
    fn an_answer_makes_the_exchange_interactive() {
        let mut case = Case::new(true, PushAck::UnlessInteractive);
        assert!(case.segment(100, true, false));
        case.policy
            .on_data_sent(case.now + Duration::from_millis(1));
        case.sent();
        case.now += Duration::from_millis(5);
        assert!(!case.segment(100, true, false));
        assert!(case.policy.is_owed());
    }
}
