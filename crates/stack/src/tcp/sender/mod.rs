//! The sending half of a connection: what may leave, what must leave again, and when.
//!
//! A [`Sender`] holds no bytes. It counts in sequence numbers: the connection keeps the data,
//! asks what to send and tells what it did.
//!
//! 1. A segment came: [`Sender::handle_ack`], and data up to `snd_una` may be freed.
//! 2. The deadline of [`Sender::next_timeout`] has passed: [`Sender::handle_timeout`].
//! 3. After either, or after new data was queued: [`Sender::next_transmission`] until it
//!    answers `None`. Each answer that really left goes back through
//!    [`Sender::on_transmitted`] before the next question; one that could not leave is simply
//!    asked for again later.
//!
//! Inside are the retransmission timer (RFC 6298), SACK (RFC 2018, 2883, 6675), RACK-TLP (RFC
//! 8985), NewReno for peers without SACK (RFC 6582), proportional rate reduction (RFC 9937),
//! limited transmit (RFC 3042), undo of wrong reductions by timestamps (Eifel, RFC 3522 and
//! 4015), by D-SACK and by F-RTO (RFC 5682), delivery rate samples, and a
//! [congestion control](super::congestion).
//!
//! Where the RFCs leave freedom this behaves like Linux. The connection's business are the
//! handshake, Nagle and cork, zero-window probes, keepalive, and giving up.

mod ack;
mod chronograph;
mod info;
mod marks;
mod plain_ack;
mod prr;
mod rack;
mod rate;
mod records;
mod recovery;
mod rtt;
mod timeout;
mod tlp;
mod transmit;
mod undo;
mod validation;

#[cfg(test)]
mod tests;

use core::time::Duration;

use zcn_wire::SeqNum;

use super::congestion::{Algorithm, CongestionControl, MAX_CWND, Window};
use crate::time::Instant;

pub use ack::{Ack, AckError, AckOutcome};
pub use info::SenderInfo;
pub(crate) use marks::{ACE_FAIL_RECV, CEP_BEGINS, ECT_BYTES_BEGIN};
pub use marks::{Feedback, Marks};
pub use recovery::CaState;
pub use rtt::{FALLBACK_RTO, INITIAL_RTO, MAX_RTO, MIN_RTO, backed_off};
pub use timeout::TimeoutOutcome;
pub use transmit::{Transmission, TransmissionKind};

use rack::Rack;
use records::Records;
use recovery::Episode;
use rtt::RttEstimator;
use timeout::Timer;
use tlp::Probe;
use transmit::Demand;
use validation::Usage;

/// Segments of the initial window (RFC 6928).
pub const INITIAL_WINDOW: u32 = 10;
/// Smallest segment size reckoned with, as in Linux. A smaller one that a peer asks for costs
/// it rounding errors in its own favour, not this side memory.
pub const MIN_MSS: u16 = 48;

/// The clock of the timestamp option (RFC 7323): milliseconds, modulo 2^32. The connection
/// adds its own secret offset to what it sends and takes it off what comes back.
#[inline]
pub const fn timestamp_clock(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// How a [`Sender`] starts, once the handshake is over.
#[derive(Clone, Copy, Debug)]
pub struct SenderConfig {
    /// First number of data: the one after the SYN's.
    pub snd_una: SeqNum,
    /// Payload of a full segment: the MSS less the options that every segment carries.
    pub mss: u16,
    /// The peer's window, scaled, from the segment that completed the handshake.
    pub snd_wnd: u32,
    /// Sequence number of that segment (SND.WL1).
    pub snd_wl1: SeqNum,
    /// Initial window in segments; [`INITIAL_WINDOW`] when the route says nothing.
    pub initial_window: u32,
    /// Congestion control.
    pub congestion: Algorithm,
    /// Both sides permit SACK.
    pub sack: bool,
    /// Both sides send timestamps.
    pub timestamps: bool,
    /// Whether a congestion window that is not used shrinks (RFC 5681 section 4.1, RFC 2861).
    pub slow_start_after_idle: bool,
    /// Whether tail loss probes are sent (RFC 8985 section 7).
    pub loss_probes: bool,
    /// Whether the link takes super-frames.
    pub super_frames: bool,
    /// Least retransmission timeout over the round-trip time.
    pub min_rto: Duration,
    /// Round-trip time of the SYN, if it was sent once or timestamps tell.
    pub handshake_rtt: Option<Duration>,
    /// How often the SYN or SYN-ACK had to be sent again. Without a round-trip time the first
    /// timeout is then [`FALLBACK_RTO`] (RFC 6298, section 5.7), and after more than one the
    /// initial window is one segment (RFC 5681, section 3.1; one loss is forgiven as in
    /// RFC 6928).
    pub syn_retransmissions: u8,
}

impl SenderConfig {
    /// The defaults: SACK and timestamps, CUBIC, a full window, nothing measured.
    pub fn new(snd_una: SeqNum, mss: u16) -> Self {
        Self {
            snd_una,
            mss,
            snd_wnd: 65_535,
            snd_wl1: SeqNum(0),
            initial_window: INITIAL_WINDOW,
            congestion: Algorithm::default(),
            sack: true,
            timestamps: true,
            slow_start_after_idle: true,
            loss_probes: true,
            super_frames: true,
            min_rto: MIN_RTO,
            handshake_rtt: None,
            syn_retransmissions: 0,
        }
    }
}

/// The sending half of one connection, from the end of the handshake to its end. The module's
/// documentation tells the order of calls.
#[derive(Debug)]
pub struct Sender {
    snd_una: SeqNum,
    snd_nxt: SeqNum,
    snd_wnd: u32,
    /// Largest window the peer ever offered (RFC 9293, section 3.8.6.2.1; RFC 5961).
    max_window: u32,
    snd_wl1: SeqNum,
    window: Window,
    records: Records,
    rtt: RttEstimator,
    rack: Rack,
    usage: Usage,
    timer: Timer,
    last_sent_at: Instant,
    probe: Probe,
    demand: Demand,
    state: CaState,
    sack: bool,
    timestamps: bool,
    slow_start_after_idle: bool,
    loss_probes: bool,
    /// The window was reduced and the peer was not told by CWR.
    cwr: bool,
    /// Timeouts in a row without an acknowledgment that advances.
    retransmits: u8,
    episode: Box<Episode>,
    congestion: Box<dyn CongestionControl>,
}

impl Sender {
    /// Starts after the handshake, with nothing in flight.
    pub fn new(config: &SenderConfig, now: Instant) -> Self {
        let mss = config.mss.max(MIN_MSS);
        let segments = match config.syn_retransmissions {
            0 | 1 => config.initial_window.max(1),
            _ => 1,
        };
        let cwnd = segments.saturating_mul(u32::from(mss)).min(MAX_CWND);
        let initial_rto = match config.syn_retransmissions {
            0 => INITIAL_RTO,
            _ => FALLBACK_RTO,
        };
        let snd_una = config.snd_una;
        let mut rtt = RttEstimator::new(initial_rto, config.min_rto, snd_una);
        if let Some(sample) = config.handshake_rtt {
            rtt.sample(sample, snd_una, snd_una);
            rtt.note_min(sample, now);
        }
        Self {
            snd_una,
            snd_nxt: snd_una,
            snd_wnd: config.snd_wnd.min(MAX_CWND),
            max_window: config.snd_wnd.min(MAX_CWND),
            snd_wl1: config.snd_wl1,
            window: Window {
                cwnd,
                ssthresh: u32::MAX,
                mss: u32::from(mss),
            },
            records: Records::default(),
            rtt,
            rack: Rack::new(snd_una),
            usage: Usage::new(snd_una, now),
            timer: Timer::default(),
            last_sent_at: now,
            probe: Probe::None,
            demand: Demand::None,
            state: CaState::Open,
            sack: config.sack,
            timestamps: config.timestamps,
            slow_start_after_idle: config.slow_start_after_idle,
            loss_probes: config.loss_probes,
            cwr: false,
            retransmits: 0,
            episode: Box::new(Episode::new(config, cwnd, now)),
            congestion: config.congestion.build(),
        }
    }

    /// Oldest number not acknowledged.
    #[inline]
    pub fn snd_una(&self) -> SeqNum {
        self.snd_una
    }

    /// Next number to be sent. It never goes back: what is sent again is below it.
    #[inline]
    pub fn snd_nxt(&self) -> SeqNum {
        self.snd_nxt
    }

    /// The peer's window, scaled.
    #[inline]
    pub fn snd_wnd(&self) -> u32 {
        self.snd_wnd
    }

    /// The largest window that the peer has offered.
    #[inline]
    pub fn max_window(&self) -> u32 {
        self.max_window
    }

    /// How much more the peer's window takes beyond `snd_nxt`. Zero too when the peer has
    /// taken window back.
    #[inline]
    pub fn usable_window(&self) -> u32 {
        self.snd_wnd.saturating_sub(self.records.outstanding())
    }

    /// Bytes of full segments that congestion window and peer take at once.
    pub(crate) fn sendable_now(&self) -> u32 {
        let room = self.window.cwnd.saturating_sub(self.records.pipe());
        let room = room.min(self.usable_window());
        room - room % self.window.mss.max(1)
    }

    /// Numbers sent and not acknowledged: `snd_nxt - snd_una`.
    #[inline]
    pub fn flight_size(&self) -> u32 {
        self.records.outstanding()
    }

    /// Whether something waits to be sent again.
    #[inline]
    pub(crate) fn has_lost(&self) -> bool {
        self.records.lost() > 0
    }

    /// Payload of a full segment.
    #[inline]
    pub fn mss(&self) -> u16 {
        self.window.mss as u16 // From a u16.
    }

    /// The path takes segments of `mss` bytes from now on (path MTU discovery).
    ///
    /// Segments in flight that are larger are on their way to nowhere: they are marked lost
    /// and sent again in the new size, without a reduction of the window, because it was not
    /// congestion that dropped them (RFC 1191, section 6.5). The window stays as many segments as
    /// it was, as on Linux.
    pub fn set_mss(&mut self, mss: u16) {
        let mss = mss.max(MIN_MSS);
        self.usage.resize(self.window.mss, u32::from(mss));
        self.window.resize(u32::from(mss));
        let mut lost = 0;
        for index in 0.. {
            let Some(record) = self.records.get(index) else {
                break;
            };
            if record.mss() > mss && record.len > u32::from(mss) && !record.is_sacked() {
                lost += self.records.mark_lost(index);
            }
        }
        if lost > 0 {
            self.episode.lost_bytes += u64::from(lost);
            if !self.sack {
                self.records.reset_duplicates();
            }
            self.enter_loss_without_reduction();
        }
        self.check();
    }

    /// The controller's pacing rate, or what Linux reports without one: the window a round,
    /// twice that in slow start and 1.2 times beyond. Bytes per second.
    fn pacing_rate(&self) -> Option<u64> {
        if let Some(rate) = self.congestion.pacing_rate() {
            return Some(rate);
        }
        let srtt = self.rtt.srtt().as_nanos();
        if srtt == 0 {
            return None;
        }
        let percent = if self.window.cwnd < self.window.ssthresh / 2 {
            200
        } else {
            120
        };
        let window = u128::from(self.window.cwnd.max(self.records.outstanding()));
        u64::try_from(window * percent * 10_000_000 / srtt).ok()
    }

    /// Bytes of a super-frame as Linux sizes them: what leaves in a millisecond at the pacing
    /// rate, and more where the round trip is short. `u32::MAX` before there is a pace.
    pub(crate) fn autosized(&self) -> u32 {
        let Some(rate) = self.pacing_rate() else {
            return u32::MAX;
        };
        let near = self.rtt.min_rtt().as_micros() >> 9;
        let near =
            u32::try_from(near).map_or(0, |shift| 65_536_u32.checked_shr(shift).unwrap_or(0));
        u32::try_from(rate >> 10)
            .unwrap_or(u32::MAX)
            .saturating_add(near)
    }

    /// Whether Linux would wait for the next acknowledgment to send a super-frame instead of a
    /// part of one, which is all that `sendable` bytes would leave as: if something left in
    /// the last millisecond, the acknowledgment is due within another (Linux 6.18), and what may
    /// leave is neither a super-frame of `whole` bytes nor a third of the window.
    pub(crate) fn defers(&mut self, now: Instant, sendable: u32, whole: u32) -> bool {
        const RECENT: Duration = Duration::from_millis(1);
        const SOON: Duration = Duration::from_millis(1);
        /// `tcp_tso_win_divisor`.
        const WINDOW_PART: u32 = 3;
        let Some(front) = self.records.front() else {
            return false;
        };
        let since = |at| now.saturating_duration_since(at);
        let room = self.window.cwnd.saturating_sub(self.records.pipe());
        let limit = room.min(self.usable_window());
        let srtt = self.rtt.srtt();
        let part = self.snd_wnd.min(self.window.cwnd) / WINDOW_PART;
        let defers = self.state < CaState::Recovery
            && sendable > self.window.mss
            && limit < sendable.min(whole).min(part)
            && since(self.last_sent_at) <= RECENT
            && since(front.sent_at) + SOON.min(srtt / 2) >= srtt;
        if defers && room < self.usable_window() {
            self.usage.on_deferred();
        }
        defers
    }

    /// Whether [`take_cwr`](Self::take_cwr) would say so.
    #[inline]
    pub(crate) fn owes_cwr(&self) -> bool {
        self.cwr
    }

    /// Whether the window was reduced since the last call. On a connection that agreed on ECN
    /// the next new segment then carries CWR (RFC 3168, section 6.1.2).
    pub fn take_cwr(&mut self) -> bool {
        core::mem::take(&mut self.cwr)
    }

    /// Asserts what must always hold.
    #[inline]
    fn check(&self) {
        #[cfg(debug_assertions)]
        {
            self.records.check(self.sack);
            assert_eq!(
                self.snd_nxt.distance(self.snd_una),
                self.records.outstanding()
            );
            assert!(
                self.window.cwnd >= self.window.mss,
                "a window below one segment"
            );
            assert!(
                self.records.is_empty() || self.timer.is_armed(),
                "unacknowledged data without a timer"
            );
            assert!(self.snd_wnd <= self.max_window);
        }
    }
}
