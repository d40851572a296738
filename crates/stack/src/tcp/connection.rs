//! One connection: the transmission control block.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use zcn_pool::LocalPool;
use zcn_wire::SeqNum;

use super::accurate::{AccurateEcn, RESERVED};
use super::ack::AckPolicy;
use super::challenge::Challenges;
use super::config::TcpConfig;
use super::error::TcpError;
use super::fast_open::FastOpen;
use super::receive_queue::{Limits, ReceiveQueue};
use super::reply::Replies;
use super::send_queue::SendQueue;
use super::sender::Sender;
use super::socket_options::SocketOptions;
use super::stamp::Stamp;
use super::state::State;
use super::timestamps::Timestamps;
use super::tuple::Tuple;
use super::window::ReceiveWindow;
use crate::event::Readiness;
use crate::stats::{DropReason, Drops, TcpStats};
use crate::time::Instant;

/// What all connections of a shard share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) config: TcpConfig,
    pub(crate) pool: LocalPool,
    pub(crate) buffer_bytes: usize,
    pub(crate) stats: TcpStats,
    pub(crate) drops: Drops,
    pub(crate) challenges: Challenges,
    pub(crate) replies: Replies,
    pub(crate) fast_open: FastOpen,
    pub(crate) spares: Spares,
}

/// Queues that connections have given back, with a little room in them.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
pub(crate) struct Spares {
    send: Vec<Box<SendQueue>>,
    receive: Vec<Box<ReceiveQueue>>,
}

/// Empty queues kept for the next connection that needs one.
const SPARE_QUEUES: usize = 64;

impl Common {
    pub(crate) fn new(
        config: TcpConfig,
        pool: LocalPool,
        challenges: Challenges,
        replies: Replies,
        fast_open: FastOpen,
    ) -> Self {
        let buffer_bytes = pool.pool().buffer_size();
        Self {
            config,
            pool,
            buffer_bytes,
            stats: TcpStats::default(),
            drops: Drops::default(),
            challenges,
            replies,
            fast_open,
            spares: Spares::default(),
        }
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops.count(reason);
    }
}

/// Facts about a connection, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// SACK is in use.
    pub(crate) const SACK: u32 = 1;
    /// Window scaling is in use.
    pub(crate) const SCALING: u32 = 1 << 1;
    /// The application has ended its side: FIN follows the data.
    pub(crate) const FIN_QUEUED: u32 = 1 << 2;
    /// FIN was sent at least once.
    pub(crate) const FIN_SENT: u32 = 1 << 3;
    /// The peer's FIN was received in order.
    pub(crate) const FIN_RECEIVED: u32 = 1 << 4;
    /// The peer's FIN is known, but data before it is missing.
    pub(crate) const FIN_PENDING: u32 = 1 << 5;
    /// The application has let go of the connection.
    pub(crate) const ORPHAN: u32 = 1 << 6;
    /// The application does not want to read any more.
    pub(crate) const READ_SHUT: u32 = 1 << 7;
    /// SYN or SYN-ACK is to be sent.
    pub(crate) const SYN_DUE: u32 = 1 << 8;
    /// A probe is to be sent: of a zero window, or for keepalive.
    pub(crate) const PROBE_DUE: u32 = 1 << 9;
    /// What Nagle's algorithm, cork or the window hold back leaves with the next output.
    pub(crate) const FORCE: u32 = 1 << 10;
    /// In the list of connections that may have output.
    pub(crate) const DIRTY: u32 = 1 << 11;
    /// A loss probe is due: what Nagle's algorithm or cork hold back may leave as it.
    pub(crate) const PROBES_LOSS: u32 = 1 << 12;
    /// The application has seen the send buffer full.
    pub(crate) const WANTS_WRITABLE: u32 = 1 << 13;
    /// Accepted from a listener, and the application has not taken it yet.
    pub(crate) const UNACCEPTED: u32 = 1 << 14;
    /// Everything is sent and the socket lingers.
    pub(crate) const LINGERING: u32 = 1 << 15;
    /// The last write said that more follows (MSG_MORE).
    pub(crate) const MORE: u32 = 1 << 16;
    /// An ICMP error came that only counts if nothing better comes.
    pub(crate) const SOFT_UNREACHABLE: u32 = 1 << 17;
    /// The connection became established, and was counted.
    pub(crate) const COUNTED: u32 = 1 << 18;
    /// A segment that was not full has been sent; `small_end` tells where it ended.
    pub(crate) const SMALL_IN_FLIGHT: u32 = 1 << 19;
    /// The application is to be told that a lingering socket has ended.
    pub(crate) const LINGER_OVER: u32 = 1 << 21;
    /// The SYN of a passive open brought a good cookie (RFC 7413).
    pub(crate) const FAST_OPEN: u32 = 1 << 22;
    /// ECN is in use (RFC 3168); in SYN-SENT, our SYN offers it.
    pub(crate) const ECN: u32 = 1 << 23;
    /// The peer marks what it sends as of an ECN-capable transport.
    pub(crate) const ECN_SEEN: u32 = 1 << 24;
    /// Congestion was experienced: acknowledgements say so until the peer has reduced.
    pub(crate) const ECE_DUE: u32 = 1 << 25;
    /// Accurate ECN is in use (RFC 9768), and `ECN` is not.
    pub(crate) const ACC_ECN: u32 = 1 << 26;
    /// Counted among the orphans.
    pub(crate) const COUNTED_ORPHAN: u32 = 1 << 20;
    /// We began, and the peer's SYN has come: with an acknowledgement of ours, or crossing it.
    pub(crate) const ACTIVE: u32 = 1 << 27;
    /// It was told that the connection got on, in the millisecond of `last_ack_in`.
    pub(crate) const PROGRESS_TOLD: u32 = 1 << 28;
    /// The data of a SYN was taken: all of it by the peer, or some by us (RFC 7413).
    pub(crate) const SYN_DATA: u32 = 1 << 29;
    /// In SYN-SENT, where nothing was taken yet: our SYN asks for a cookie in the option of
    /// experiments.
    pub(crate) const ASKS_EXPERIMENTALLY: u32 = Self::SYN_DATA;
    /// What went wrong with the fast open of an active open: the two bits of
    /// `tcpi_fastopen_client_fail`.
    pub(crate) const NO_COOKIE: u32 = 1 << 30;
    pub(crate) const SYN_DATA_NOT_TAKEN: u32 = 1 << 31;
    /// The SYN-ACK of a passive open, which has no use for these bits otherwise, gives a new cookie,
    /// and does so in the option of experiments.
    pub(crate) const GIVES_COOKIE: u32 = Self::NO_COOKIE;
    pub(crate) const GIVES_EXPERIMENTALLY: u32 = Self::SYN_DATA_NOT_TAKEN;

    pub(crate) fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u32, on: bool) {
        if on {
            self.0 |= flag;
        } else {
            self.0 &= !flag;
        }
    }

    /// Clears a flag and tells whether it was set.
    pub(crate) fn take(&mut self, flag: u32) -> bool {
        let was = self.has(flag);
        self.set(flag, false);
        was
    }
}

/// Counters for TCP_INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Bytes that the peer has acknowledged, and the FIN.
    pub(crate) bytes_acked: u64,
    pub(crate) segs_out: u32,
    pub(crate) segs_in: u32,
    pub(crate) data_segs_in: u32,
    /// Segments that came out of order.
    pub(crate) out_of_order: u32,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) tuple: Tuple,
    pub(crate) state: State,
    pub(crate) error: Option<TcpError>,
    pub(crate) flags: Flags,

    // The sending side.
    pub(crate) sender: Sender,
    pub(crate) send_queue: Option<Box<SendQueue>>,
    /// Where the last segment that was not full ended (Nagle's algorithm); in SYN-SENT where
    /// the data of our SYN ended, if it had any.
    pub(crate) small_end: SeqNum,
    /// Where the next byte of the application goes: `SND.UNA` plus what is queued.
    pub(crate) write_end: SeqNum,
    pub(crate) snd_scale: u8,
    /// Segments of the initial window that the route prescribes; 0: none.
    pub(crate) initial_window: u8,
    /// The peer's MSS option, options not subtracted.
    pub(crate) peer_mss: u16,
    /// Payload of a full segment: what path, peer and our own options leave.
    pub(crate) mss: u16,
    /// The MSS option that we sent.
    pub(crate) advertised_mss: u16,
    /// Path MTU in bytes.
    pub(crate) mtu: u32,
    pub(crate) gso_max_size: u32,
    /// Bytes that this connection may send before the next one's turn.
    pub(crate) deficit: i32,

    // The receiving side.
    pub(crate) receive_queue: Option<Box<ReceiveQueue>>,
    pub(crate) rcv_nxt: SeqNum,
    /// `RCV.NXT` when it was last acknowledged: the window counts from here.
    pub(crate) rcv_wup: SeqNum,
    /// Position of `rcv_nxt` in the stream: bytes received in order.
    pub(crate) received: u64,
    pub(crate) window: ReceiveWindow,
    pub(crate) ack: AckPolicy,
    pub(crate) timestamps: Timestamps,
    /// A duplicate to report, once (RFC 2883); empty if there is none.
    pub(crate) dsack: (SeqNum, SeqNum),
    /// Where the peer's FIN stands, when it is known and not in order yet.
    pub(crate) fin_at: SeqNum,

    // Time.
    /// SYN, SYN-ACK: sent again. Zero window: probed.
    pub(crate) probe_deadline: Instant,
    /// Keepalive, FIN-WAIT-2 of an orphan, linger.
    pub(crate) long_deadline: Instant,
    /// Since when nothing was acknowledged, or the zero window was not opened.
    pub(crate) stalled_since: Instant,
    pub(crate) last_ack_in: Stamp,
    /// Times SYN or probe were sent without success.
    pub(crate) probes: u8,
    pub(crate) backoff: u8,

    /// Accurate ECN, if it is in use, or offered by our SYN.
    pub(crate) accurate: Option<Box<AccurateEcn>>,

    // The application.
    /// What arose since the layer last looked.
    pub(crate) signals: Readiness,
    /// What the application has not been told yet.
    pub(crate) pending: Readiness,
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) counters: Counters,
}

const _: () = assert!(size_of::<Connection>() <= 512);

/// Header and payload of a segment that is not made smaller for a small window: what is left of the
/// least MTU (RFC 791) beside the header of IP.
const SMALLEST_SEGMENT: u32 = 68 - 20;

/// The part of the largest window that the peer has offered which one segment takes at most, as on
/// Linux: half of it, so that one is on its way while another is acknowledged, or all of it if that
/// is no more than the default MSS (RFC 9293 section 3.7.1).
fn window_share(largest: u32) -> u32 {
    const DEFAULT_MSS: u32 = 536;
    if largest > DEFAULT_MSS {
        largest / 2
    } else {
        largest
    }
}

impl Connection {
    pub(crate) fn local(&self) -> SocketAddr {
        self.tuple.local()
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.tuple.remote()
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags.has(flag)
    }

    /// Bytes of data that the application has sent and the peer has not acknowledged.
    #[inline]
    pub(crate) fn queued(&self) -> u32 {
        self.write_end.distance(self.data_una())
    }

    /// `SND.UNA`, not beyond the data: an acknowledged FIN does not count.
    #[inline]
    pub(crate) fn data_una(&self) -> SeqNum {
        self.sender.snd_una().min(self.write_end)
    }

    /// Bytes, and the FIN, that were never sent.
    #[inline]
    pub(crate) fn unsent(&self) -> u32 {
        let end = self.write_end + u32::from(self.has(Flags::FIN_QUEUED));
        let next = self.sender.snd_nxt();
        if end.after(next) {
            end.distance(next)
        } else {
            0
        }
    }

    /// Sequence numbers that the peer has acknowledged; our SYN counts if it came first, as in
    /// Linux.
    pub(crate) fn bytes_acked(&self) -> u64 {
        self.counters.bytes_acked + u64::from(self.has(Flags::ACTIVE))
    }

    /// Bytes of data that were sent, each time that they were.
    pub(crate) fn bytes_sent(&self) -> u64 {
        let first = self.counters.bytes_acked + u64::from(self.sender.flight_size());
        first.saturating_sub(self.has(Flags::FIN_SENT).into()) + self.sender.bytes_retrans()
    }

    /// Whether our FIN has been acknowledged.
    pub(crate) fn fin_acked(&self) -> bool {
        self.has(Flags::FIN_SENT) && self.sender.snd_una().after(self.write_end)
    }

    /// Bytes in order that the application has not read.
    #[inline]
    pub(crate) fn readable(&self) -> usize {
        self.receive_queue
            .as_ref()
            .map_or(0, |queue| queue.readable())
    }

    /// Bytes that take room in the receive buffer.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        self.receive_queue.as_ref().map_or(0, |queue| {
            // Memory counts, too: what is received in small pieces of large buffers closes
            // the window when it holds twice what it should.
            let bytes = queue.readable();
            bytes.max(queue.cost() / 2).min(u32::MAX as usize) as u32
        })
    }

    /// Bytes received since the last acknowledgement left.
    #[inline]
    pub(crate) fn unacked_in(&self) -> u32 {
        self.rcv_nxt.distance(self.rcv_wup)
    }

    /// `RCV.WND`: what is left of the window offered last.
    #[inline]
    pub(crate) fn rcv_wnd(&self) -> u32 {
        self.window.left(self.unacked_in())
    }

    #[inline]
    pub(crate) fn receive_limits(&self, common: &Common) -> Limits {
        Limits {
            memory: 2 * self.window.buffer() as usize + 4 * common.buffer_bytes,
            slices: common.config.out_of_order_slices,
            buffer_bytes: common.buffer_bytes,
        }
    }

    /// The receive queue, made if there is none.
    #[inline]
    pub(crate) fn receive_queue<'a>(
        slot: &'a mut Option<Box<ReceiveQueue>>,
        spares: &mut Spares,
    ) -> &'a mut ReceiveQueue {
        slot.get_or_insert_with(|| spares.receive.pop().unwrap_or_default())
    }

    /// The send queue, made if there is none.
    #[inline]
    pub(crate) fn send_queue<'a>(
        slot: &'a mut Option<Box<SendQueue>>,
        spares: &mut Spares,
    ) -> &'a mut SendQueue {
        slot.get_or_insert_with(|| spares.send.pop().unwrap_or_default())
    }

    /// Gives queues back that hold nothing.
    #[inline]
    pub(crate) fn release_empty_queues(&mut self, common: &mut Common) {
        if self
            .send_queue
            .as_ref()
            .is_some_and(|queue| queue.is_empty())
        {
            self.drop_send_queue(common);
        }
        if self
            .receive_queue
            .as_ref()
            .is_some_and(|queue| queue.is_empty())
        {
            self.drop_receive_queue(common);
        }
    }

    pub(crate) fn drop_send_queue(&mut self, common: &mut Common) {
        if let Some(mut queue) = self.send_queue.take()
            && common.spares.send.len() < SPARE_QUEUES
        {
            queue.recycle();
            common.spares.send.push(queue);
        }
    }

    pub(crate) fn drop_receive_queue(&mut self, common: &mut Common) {
        if let Some(mut queue) = self.receive_queue.take()
            && common.spares.receive.len() < SPARE_QUEUES
        {
            queue.recycle();
            common.spares.receive.push(queue);
        }
    }

    /// Payload of a full segment (RFC 9293 section 3.7.1, RFC 6691): the least of what the
    /// peer takes, the path carries and the application wants, less our options, and no more than
    /// a part of the peer's window.
    pub(crate) fn effective_mss(&self, config: &TcpConfig) -> u16 {
        let path = self.mtu.saturating_sub(self.tuple.header_bytes());
        let wanted = self.options.max_segment.unwrap_or(u16::MAX);
        let mss = u32::from(self.peer_mss).min(path).min(u32::from(wanted));
        let mut options = if self.timestamps.enabled { 12 } else { 0 };
        if self.accurate.as_ref().is_some_and(|a| a.reserves) {
            options += RESERVED;
        }
        let least = u32::from(config.min_mss).max(options + 8);
        let mss = mss.max(least) - options;
        let share = match self.sender.max_window() {
            0 => u32::MAX, // not known yet
            largest => window_share(largest).max(SMALLEST_SEGMENT - options),
        };
        mss.min(share).min(u32::from(u16::MAX)) as u16
    }

    /// Whether a largest window of so many bytes bounds the size of our segments.
    pub(crate) fn is_bounded_by(&self, largest: u32) -> bool {
        window_share(largest) < u32::from(self.peer_mss)
    }

    /// Tells the application something.
    #[inline]
    pub(crate) fn signal(&mut self, readiness: Readiness) {
        self.signals |= readiness;
    }

    /// The connection is over. What came in order stays readable, also after a reset, as in Linux:
    /// the application hears of that when it has read it.
    pub(crate) fn finish(&mut self, error: Option<TcpError>, common: &mut Common) {
        if self.state == State::Closed {
            return;
        }
        if self.flags.take(Flags::COUNTED) {
            common.stats.curr_estab = common.stats.curr_estab.saturating_sub(1);
        }
        if matches!(self.state, State::SynSent | State::SynReceived) && error.is_some() {
            common.stats.attempt_fails += 1;
        } else if matches!(self.state, State::Established | State::CloseWait) && error.is_some() {
            common.stats.estab_resets += 1;
        }
        if self.state == State::SynSent {
            // Nothing was agreed on.
            self.flags
                .set(Flags::SACK | Flags::SCALING | Flags::ECN, false);
            self.timestamps.enabled = false;
        }
        self.state = State::Closed;
        self.error = error;
        self.write_end = self.data_una();
        self.drop_send_queue(common);
        if error == Some(TcpError::Aborted) {
            self.drop_receive_queue(common);
        } else if let Some(queue) = &mut self.receive_queue {
            queue.drop_out_of_order();
        }
        self.probe_deadline = Instant::MAX;
        self.long_deadline = Instant::MAX;
        self.ack.on_sent();
        let mut readiness = Readiness::CLOSED | Readiness::READABLE | Readiness::WRITABLE;
        if error.is_some() {
            readiness |= Readiness::ERROR;
        }
        self.signal(readiness);
    }

    /// The connection is established, from either side.
    pub(crate) fn establish(&mut self, now: Instant, common: &mut Common) {
        self.state = State::Established;
        self.flags.set(Flags::COUNTED, true);
        self.flags.set(Flags::SYN_DUE, false);
        common.stats.curr_estab += 1;
        self.probe_deadline = Instant::MAX;
        self.probes = 0;
        self.backoff = 0;
        self.stalled_since = Instant::MAX;
        self.last_ack_in = Stamp::of(now);
        self.restart_keepalive(now);
        self.signal(Readiness::CONNECTED | Readiness::WRITABLE);
    }

    /// When the connection wants to be asked again.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.state == State::Closed {
            return None;
        }
        let sender = if self.state.transmits() || self.state == State::FinWait2 {
            self.sender.next_timeout()
        } else {
            None
        };
        let next = self
            .ack
            .deadline
            .min(self.probe_deadline)
            .min(self.long_deadline)
            .min(sender.unwrap_or(Instant::MAX));
        (next < Instant::MAX).then_some(next)
    }

    /// How far the peer has acknowledged, and how far it was received.
    #[inline]
    pub(crate) fn standing(&self) -> (SeqNum, SeqNum) {
        (self.sender.snd_una(), self.rcv_nxt)
    }

    /// Whether it is to be told that the connection has got on since it stood so: once in a
    /// millisecond, as neighbours need not hear more often that they are there.
    #[inline]
    pub(super) fn tells_progress(&mut self, before: (SeqNum, SeqNum)) -> bool {
        if self.standing() == before || self.has(Flags::PROGRESS_TOLD) {
            return false;
        }
        self.flags.set(Flags::PROGRESS_TOLD, true);
        true
    }

    /// The smoothed round-trip time, zero if there is none.
    pub(crate) fn srtt(&self) -> Duration {
        self.sender.srtt().unwrap_or(Duration::ZERO)
    }
}
