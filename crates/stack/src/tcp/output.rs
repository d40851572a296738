//! Segments leave (RFC 9293 section 3.10): SYN, data in super-frames, FIN, probes and
//! acknowledgements.

use zcn_frame::SEGMENTS_MAX;
use zcn_wire::{SackBlock, SackBlocks, SeqNum, TcpFlags, TcpOptions, TcpTimestamps};

use super::config::TcpConfig;
use super::connection::{Common, Connection, Flags};
use super::open::offered_scale;
use super::segment::SegmentOut;
use super::sender::Transmission;
use super::state::State;
use crate::time::Instant;

/// Segments of a super-frame that is sized after the pace, at least (`tcp_min_tso_segs`).
const AUTOSIZE_MIN_SEGMENTS: u32 = 2;
/// Most payload of one super-frame: the length field of IPv4 with room for headers.
const SUPER_FRAME_MAX: u32 = 65_535 - 120;

impl Connection {
    /// Writes the next segment to send now into `segment`, and answers whether there is one.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        common: &mut Common,
        segment: &mut SegmentOut,
    ) -> bool {
        if self.state == State::Closed {
            return false;
        }
        segment.payload.clear();
        if self.flags.take(Flags::SYN_DUE) {
            self.syn(now, &common.config, segment);
            self.offer_fast_open(now, common, segment);
            return true;
        }
        if self.state.transmits() || self.is_open_fast() {
            // What SACK has to tell goes by itself: in a segment of data it would cost the
            // data its place.
            // So does what accurate ECN tells in pure acknowledgements only.
            if self.ack.is_due() && (self.has_sack_news() || self.has_ecn_news(&common.config)) {
                self.pure_ack(now, &common.config, segment);
                return true;
            }
            if self.data(now, common, segment) {
                return true;
            }
            self.arm_probe(now);
            self.note_activity(now);
        }
        if self.flags.take(Flags::PROBE_DUE) {
            self.probe(now, &common.config, segment);
            return true;
        }
        if self.ack.is_due() && self.state != State::SynSent {
            self.pure_ack(now, &common.config, segment);
            return true;
        }
        false
    }

    /// Whether [`poll`](Self::poll), which has just written a segment, would find nothing more:
    /// known without asking for the usual connection, which has sent all it had.
    pub(crate) fn is_done_sending(&mut self) -> bool {
        !self.ack.is_due()
            && !self.has(Flags::SYN_DUE | Flags::PROBE_DUE | Flags::FORCE)
            && self.unsent() == 0
            && self.state.transmits()
            && self.sender.note_all_sent()
    }

    /// Charges what left to this connection's turn: payload, and what stands for its headers.
    #[inline]
    pub(super) fn charge(&mut self, payload: u32) {
        const HEADERS: i32 = 60;
        self.deficit -= payload as i32 + HEADERS;
    }

    pub(super) fn has_sack_news(&self) -> bool {
        self.has(Flags::SACK)
            && (self.has_duplicate()
                || self.has(Flags::FIN_PENDING)
                || self
                    .receive_queue
                    .as_ref()
                    .is_some_and(|queue| queue.has_holes()))
    }

    /// Begins a segment without data; the acknowledgement is filled in later.
    pub(crate) fn begin_segment(&mut self, flags: TcpFlags, seq: SeqNum, segment: &mut SegmentOut) {
        segment.begin(self.local(), self.remote(), flags, seq);
        segment.hop_limit = self.options.hop_limit;
        segment.traffic_class = self.options.traffic_class;
        self.counters.segs_out = self.counters.segs_out.wrapping_add(1);
    }

    /// Our timestamp and the echo of the peer's, after the handshake.
    pub(crate) fn stamp_segment(&self, now: Instant, segment: &mut SegmentOut) {
        let timestamps = self.next_timestamps(now);
        if timestamps.is_some() {
            segment.tcp.options.timestamps = timestamps;
        }
    }

    /// What the next segment carries as timestamps.
    #[inline]
    pub(super) fn next_timestamps(&self, now: Instant) -> Option<TcpTimestamps> {
        self.timestamps.enabled.then(|| TcpTimestamps {
            val: self.timestamps.value(now),
            ecr: self.timestamps.recent,
        })
    }

    /// What to report: a duplicate first (RFC 2883), then the islands, the one that grew
    /// last first (RFC 2018 section 4).
    pub(crate) fn sack_blocks(&mut self) -> SackBlocks {
        let mut blocks = SackBlocks::EMPTY;
        let room = if self.timestamps.enabled { 3 } else { 4 };
        if self.has_duplicate() {
            let (left, right) = self.dsack;
            blocks.push(SackBlock::new(left, right));
            self.dsack.0 = right;
        }
        // The FIN has a number of its own, behind the last byte.
        let fin = self.has(Flags::FIN_PENDING).then_some(self.fin_at);
        let queue = self.receive_queue.as_ref();
        let islands = || {
            let blocks = queue.map(|queue| queue.sack_blocks(self.received, self.rcv_nxt));
            blocks.into_iter().flatten()
        };
        let covers = |(left, right): (SeqNum, SeqNum)| {
            fin.is_some_and(|fin| left.before_eq(fin) && right.after_eq(fin))
        };
        if let Some(fin) = fin.filter(|_| !islands().any(covers)) {
            blocks.push(SackBlock::new(fin, fin + 1_u32));
        }
        for (left, right) in islands() {
            let fin_length = u32::from(fin == Some(right));
            blocks.push(SackBlock::new(left, right + fin_length));
        }
        blocks.truncate(room);
        blocks
    }

    /// As many blocks as a segment with `len` bytes of data has room for.
    fn sack_beside_data(&mut self, len: u32, segment: &mut SegmentOut) {
        let room = u32::from(self.mss).saturating_sub(len);
        let count = room.saturating_sub(4) / 8;
        if count > 0 {
            let mut blocks = self.sack_blocks();
            blocks.truncate(count as usize);
            segment.tcp.options.sack = blocks;
        }
    }

    /// Fills in acknowledgement and window, and notes that they leave. `duplicate`: what its
    /// first SACK block reports, if that is one (RFC 2883).
    fn fill_ack(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        duplicate: Option<SeqNum>,
        segment: &mut SegmentOut,
    ) {
        segment.tcp.flags |= TcpFlags::ACK;
        if self.has(Flags::ECE_DUE | Flags::ACC_ECN) {
            self.tell_marks(now, config, duplicate, segment);
        }
        (segment.tcp.ack, segment.tcp.window) = self.next_ack();
    }

    /// Acknowledgement and window of the next segment, which leaves now.
    #[inline]
    pub(super) fn next_ack(&mut self) -> (SeqNum, u16) {
        let mss = u32::from(self.ack.rcv_mss);
        self.window.wnd = self.window.select(self.waiting(), self.unacked_in(), mss);
        self.rcv_wup = self.rcv_nxt;
        self.ack.on_sent();
        (self.rcv_nxt, self.window.field(false))
    }

    /// SYN or SYN-ACK. After a simultaneous open that is our SYN again, with all that it has
    /// offered already, whatever the peer's offers (as Linux); else an answer has only what the
    /// peer's SYN offered (RFC 7323, RFC 2018).
    fn syn(&mut self, now: Instant, config: &TcpConfig, segment: &mut SegmentOut) {
        let answer = self.state == State::SynReceived;
        let crossed = answer && self.has(Flags::ACTIVE);
        let mut options = TcpOptions {
            mss: Some(self.advertised_mss),
            ..TcpOptions::NONE
        };
        let stamps = self.timestamps.enabled;
        if stamps || crossed && config.timestamps {
            options.timestamps = Some(TcpTimestamps {
                val: self.timestamps.value(now),
                ecr: if answer && stamps {
                    self.timestamps.recent
                } else {
                    0
                },
            });
        }
        options.sack_permitted = self.has(Flags::SACK) || crossed && config.sack;
        options.window_scale = if self.has(Flags::SCALING) {
            // What was offered first, whatever the receive buffer has become since.
            Some(self.window.scale)
        } else {
            (crossed && config.window_scaling).then(|| offered_scale(config, &self.options))
        };
        self.begin_segment(TcpFlags::SYN, self.first_data() - 1_u32, segment);
        segment.tcp.options = options;
        segment.tcp.window = self.window.field(true);
        self.offer_ecn(config, answer, segment);
        if answer {
            segment.tcp.flags |= TcpFlags::ACK;
            segment.tcp.ack = self.rcv_nxt;
            self.rcv_wup = self.rcv_nxt;
            self.ack.on_sent();
        }
        if self.stalled_since == Instant::MAX {
            self.stalled_since = now;
        }
    }

    /// An acknowledgement by itself.
    fn pure_ack(&mut self, now: Instant, config: &TcpConfig, segment: &mut SegmentOut) {
        let duplicate = self.has_duplicate().then_some(self.dsack.0);
        self.begin_segment(TcpFlags::ACK, self.sender.snd_nxt(), segment);
        self.stamp_segment(now, segment);
        if self.has(Flags::SACK) {
            segment.tcp.options.sack = self.sack_blocks();
        }
        self.point_at_urgent(segment);
        self.fill_ack(now, config, duplicate, segment);
    }

    /// Where urgent data ends, if it is not before `seq`.
    fn urgent_end(&self, seq: SeqNum) -> Option<SeqNum> {
        self.send_queue.as_ref()?.urgent_end(seq)
    }

    /// The urgent pointer, behind the last urgent byte as everybody has it (RFC 6093 section
    /// 2.1), or as far as the field goes.
    fn point_at_urgent(&self, segment: &mut SegmentOut) {
        if let Some(end) = self.urgent_end(segment.tcp.seq) {
            let ahead = end.distance(segment.tcp.seq);
            segment.tcp.urgent = ahead.min(u32::from(u16::MAX)) as u16;
            segment.tcp.flags |= TcpFlags::URG;
        }
    }

    /// A probe of a silent peer or a closed window: a number that the peer has acknowledged
    /// already, so that it must answer and has nothing to take.
    fn probe(&mut self, now: Instant, config: &TcpConfig, segment: &mut SegmentOut) {
        self.begin_segment(TcpFlags::ACK, self.sender.snd_una() - 1_u32, segment);
        self.stamp_segment(now, segment);
        self.fill_ack(now, config, None, segment);
    }

    /// What of the unsent data may leave now, as far as Nagle's algorithm and cork decide;
    /// congestion and the peer's window are the sender's to mind.
    fn sendable(&self) -> u32 {
        let unsent = self.unsent();
        if unsent == 0 || self.has(Flags::FIN_QUEUED) {
            return unsent;
        }
        let corked = self.options.cork || self.has(Flags::MORE);
        // Minshall's variant of Nagle's algorithm, as Linux has it: only another small
        // segment in flight holds one back.
        let nagle = !self.options.nodelay
            && self.has(Flags::SMALL_IN_FLIGHT)
            && self.small_end.after(self.sender.snd_una())
            && self.urgent_end(self.sender.snd_una()).is_none();
        if !corked && !nagle {
            return unsent;
        }
        let queue = self.send_queue.as_ref();
        // Records before the last one wait for nothing.
        let last = queue.and_then(|queue| queue.record_start(self.sender.snd_nxt()));
        let last = last.map_or(unsent, |start| self.write_end.distance(start));
        unsent - last % u32::from(self.mss)
    }

    /// Most payload of the next segment: one MSS, or as many as the link cuts itself.
    fn burst(&self, common: &Common) -> u32 {
        let mss = u32::from(self.mss);
        if self.gso_max_size <= self.mtu {
            return mss; // the link cuts nothing
        }
        let headers = self.tuple.header_bytes() + 40;
        let room = self
            .gso_max_size
            .saturating_sub(headers)
            .min(SUPER_FRAME_MAX)
            .min(mss * SEGMENTS_MAX as u32);
        if !common.config.tso_autosize {
            return room.max(mss);
        }
        let segments = self.autosized() / mss;
        // At least two in a window, so that acknowledgements keep coming.
        let half = (self.sender.cwnd() / mss / 2).max(1);
        (segments.min(half) * mss).min(room.max(mss))
    }

    /// Bytes of the largest super-frame: half of what the peer takes at once, as Linux has it.
    pub(super) fn size_goal(&self) -> u32 {
        let mss = u32::from(self.mss);
        let most = match self.sender.max_window() {
            0 => SUPER_FRAME_MAX,
            window if window > 536 => SUPER_FRAME_MAX.min(window / 2),
            window => window,
        };
        (most / mss).max(1) * mss
    }

    /// Bytes of a super-frame that is sized after the pace.
    fn autosized(&self) -> u32 {
        let mss = u32::from(self.mss);
        let segments = self.sender.autosized() / mss;
        // Of the largest segments not even two fit.
        let most = (SUPER_FRAME_MAX / mss).max(1);
        segments.clamp(AUTOSIZE_MIN_SEGMENTS.min(most), most) * mss
    }

    /// What the sender wants to leave next.
    fn transmission(&mut self, now: Instant, common: &Common) -> Option<Transmission> {
        if self.flags.take(Flags::FORCE) {
            let forced = self.sender.window_probe(self.unsent());
            if forced.is_some() {
                return forced;
            }
        }
        // A probe prefers data that was not sent yet (RFC 8985 section 7.3).
        let mut sendable = if self.flags.take(Flags::PROBES_LOSS) {
            self.unsent()
        } else {
            self.sendable()
        };
        if common.config.tso_autosize && self.sender.defers(now, sendable, self.autosized()) {
            sendable = 0;
        }
        let mss = u32::from(self.mss);
        if sendable <= mss && !self.sender.has_lost() {
            // One segment at most: how many would fit a super-frame need not be known.
            return self.sender.next_transmission(sendable, mss);
        }
        let next = self.sender.snd_nxt();
        let mut burst = self.burst(common);
        if burst > mss && (self.tells_cwr() || self.urgent_end(self.sender.snd_una()).is_some()) {
            // CWR is told once, and the urgent pointer counts from each segment: who cuts a
            // super-frame copies both.
            burst = mss;
        }
        if sendable > 0
            && let Some(queue) = &self.send_queue
            && self.write_end.after(next)
        {
            // A chain takes only so many slices.
            let wanted = burst.min(self.write_end.distance(next));
            let span = queue.span(next, wanted);
            if span < wanted {
                burst = span;
            }
        }
        self.sender.next_transmission(sendable, burst)
    }

    /// Data, new or again, with FIN where it ends. Answers whether there is any.
    fn data(&mut self, now: Instant, common: &mut Common, segment: &mut SegmentOut) -> bool {
        let forced = self.has(Flags::FORCE);
        let Some(mut transmission) = self.transmission(now, common) else {
            return false;
        };
        let seq = transmission.seq;
        let end = seq + transmission.len;
        let wanted = if seq.before(self.write_end) {
            end.min(self.write_end).distance(seq)
        } else {
            0
        };
        let mut push = match &mut self.send_queue {
            Some(queue) if wanted > 0 => queue.slices(seq, wanted, &mut segment.payload),
            _ => false,
        };
        let len = segment.payload.len() as u32;
        let mut fin = self.has(Flags::FIN_QUEUED) && end.after(self.write_end);
        if len < wanted {
            transmission.len = len;
            fin = false;
        }
        if transmission.len == 0 {
            debug_assert!(false, "a transmission of nothing");
            return false;
        }
        push |= fin && len > 0;
        // Whoever coalesces what arrives need not wait for more behind a super-frame; Linux
        // marks those, too.
        let new = seq == self.sender.snd_nxt();
        push |= forced || new && len > u32::from(self.mss);
        push |= !new && self.sender.was_pushed(&transmission);
        self.sender.on_transmitted(now, &transmission, fin);
        if push && new {
            self.sender.note_pushed();
        }

        self.begin_segment(TcpFlags::ACK, seq, segment);
        self.stamp_segment(now, segment);
        if push {
            segment.tcp.flags |= TcpFlags::PSH;
        }
        if fin {
            segment.tcp.flags |= TcpFlags::FIN;
            self.flags.set(Flags::FIN_SENT, true);
        }
        if self.has_sack_news() {
            self.sack_beside_data(len, segment);
        }
        self.point_at_urgent(segment);
        self.fill_ack(now, &common.config, None, segment);
        if len > u32::from(self.mss) {
            segment.gso_size = Some(self.mss);
        }
        if self.has(Flags::ECN) && new && len > 0 {
            self.mark_capable(segment);
        }
        let segments = segment.segments() as u32;
        self.counters.segs_out = self.counters.segs_out.wrapping_add(segments - 1);
        let payload = Transmission {
            len,
            ..transmission
        };
        self.after_data(now, common, &payload, segments, new, forced);
        true
    }

    /// Notes that data left: the payload of so many segments, new or again.
    #[inline]
    pub(super) fn after_data(
        &mut self,
        now: Instant,
        common: &mut Common,
        payload: &Transmission,
        segments: u32,
        new: bool,
        forced: bool,
    ) {
        let len = payload.len;
        self.sender.count_data_segments(segments);
        if new {
            self.note_activity(now);
            if self.options.unsent_low_water.is_some() {
                // Less is unsent now.
                self.wake_writer(common);
            }
            // What was forced out waited for long enough: Nagle's algorithm does not hold more
            // back for it.
            let mss = u32::from(self.mss);
            let small = if len < mss {
                len > 0
            } else {
                !len.is_multiple_of(mss)
            };
            // What went with the SYN already does not count.
            let beyond_syn = (payload.seq + len).after(self.small_end);
            if !forced && small && beyond_syn {
                self.flags.set(Flags::SMALL_IN_FLIGHT, true);
                self.small_end = payload.seq + len;
            }
        } else {
            common.stats.retrans_segs += u64::from(segments);
        }
        if len > 0 {
            self.ack.on_data_sent(now);
        }
        self.flags.set(Flags::PROBE_DUE, false);
        if self.state != State::SynReceived {
            self.probe_deadline = Instant::MAX;
        }
    }
}
