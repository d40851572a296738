//! Segments for no connection: SYNs to listeners, the handshakes of half-open connections,
//! cookies, TIME-WAIT, and RST for the rest.

use std::sync::Arc;

use zcn_wire::tcp::MAX_OPTIONS_LEN;
use zcn_wire::{SeqNum, TcpFlags, TcpOptions, TcpTimestamps};

use super::accurate::{AccurateOffer, fit};
use super::config::{AccEcnOption, SynCookies};
use super::connection::Connection;
use super::cookies::Cookies;
use super::fast_open::FastSyn;
use super::open::{Opening, advertised_mss, first_window, offered_scale};
use super::path::Paths;
use super::reply::bare;
use super::syncache::{
    ACKED, ECN, EXPERIMENTAL_COOKIE, FAST_OPEN_COOKIE, HalfOpen, SACK, SYN_ACK_DUE, TIMESTAMPS,
    WINDOW_SCALE,
};
use super::timestamps::{clock, older};
use super::{Incoming, Place, SegmentIn, SegmentOut, Tcp, Tuple};
use crate::event::Readiness;
use crate::id::SocketId;
use crate::slab::Id;
use crate::stats::DropReason;
use crate::time::Instant;

/// How long after a cookie was sent an acknowledgement may still be one.
const COOKIE_LIFETIME: core::time::Duration = core::time::Duration::from_secs(192);

/// What both ends will use of a SYN.
struct Agreed {
    flags: u8,
    scale: u8,
    ts_recent: u32,
    accurate: AccurateOffer,
}

impl Tcp {
    /// Answers with RST, or drops.
    fn refuse(&mut self, now: Instant, segment: &SegmentIn, reason: DropReason) {
        self.common.drop(reason);
        let head = Incoming::of(segment);
        if head.rst {
            return;
        }
        let replies = &mut self.common.replies;
        if replies.reset(now, segment.local, segment.remote, &head) {
            self.common.stats.out_rsts += 1;
        } else {
            self.common.drop(DropReason::TcpReplyLimit);
        }
    }

    /// A segment of ends that nothing is known of (RFC 9293 section 3.10.7.1 and .2). `iss`:
    /// what a new connection begins with, if an old one in TIME-WAIT says so.
    pub(super) fn handle_unknown(
        &mut self,
        now: Instant,
        hash: u64,
        segment: &mut SegmentIn,
        iss: Option<SeqNum>,
        paths: &mut dyn Paths,
    ) {
        let Some(listener) = self.bindings.get(&segment.local) else {
            self.refuse(now, segment, DropReason::TcpNoConnection);
            return;
        };
        let flags = segment.tcp.flags;
        if flags.rst() {
            self.common.drop(DropReason::TcpNoConnection);
        } else if flags.ack() {
            if flags.syn() || !self.take_cookie(now, hash, listener, None, segment, paths) {
                if self.may_follow_a_cookie(now, listener, segment) {
                    self.common.drop(DropReason::TcpBadAck);
                } else {
                    self.refuse(now, segment, DropReason::TcpNoConnection);
                }
                return;
            }
            self.handle_place(now, hash, segment);
        } else if !flags.syn() || flags.fin() {
            self.common.drop(DropReason::TcpBadFlags);
        } else if segment.local == segment.remote {
            self.common.drop(DropReason::MartianSource);
        } else {
            self.handle_syn(now, hash, listener, segment, iss, paths);
        }
    }

    /// Handles the segment that took a cookie: it may carry data, and is the first one of the
    /// connection.
    fn handle_place(&mut self, now: Instant, hash: u64, segment: &mut SegmentIn) {
        if let Some(Place::Connection(id)) =
            self.find(hash, &Tuple::new(segment.local, segment.remote))
        {
            self.handle_for(now, id, segment);
        }
    }

    /// What both ends will use of the options of a SYN.
    fn agreed(&self, segment: &SegmentIn) -> Agreed {
        let config = &self.common.config;
        let options = &segment.tcp.options;
        let mut flags = 0;
        let (classic_ecn, accurate) = super::ecn::offered(config, segment);
        if classic_ecn {
            flags |= ECN;
        }
        let scale = options.window_scale.filter(|_| config.window_scaling);
        if scale.is_some() {
            flags |= WINDOW_SCALE;
        }
        if options.sack_permitted && config.sack {
            flags |= SACK;
        }
        let stamps = options.timestamps.filter(|_| config.timestamps);
        if stamps.is_some() {
            flags |= TIMESTAMPS;
        }
        Agreed {
            flags,
            scale: scale.unwrap_or(0),
            ts_recent: stamps.map_or(0, |s| s.val),
            accurate,
        }
    }

    /// A SYN for a listener.
    fn handle_syn(
        &mut self,
        now: Instant,
        hash: u64,
        listener_id: Id,
        segment: &mut SegmentIn,
        iss: Option<SeqNum>,
        paths: &mut dyn Paths,
    ) {
        let Some(listener) = self.listeners.get_mut(listener_id) else {
            return;
        };
        if listener.is_full() {
            self.common.stats.listen_overflows += 1;
            self.common.stats.listen_drops += 1;
            self.common.drop(DropReason::TcpAcceptQueueFull);
            return;
        }
        let full = listener.has_too_many_half_open() || self.half_open.is_full();
        let cookies = match self.common.config.syn_cookies {
            SynCookies::Always => true,
            SynCookies::WhenFull => full,
            SynCookies::Never => false,
        };
        if full && !cookies {
            self.common.stats.listen_drops += 1;
            self.common.drop(DropReason::TcpSynTableFull);
            return;
        }
        let Agreed {
            flags,
            scale,
            ts_recent,
            accurate,
        } = self.agreed(segment);
        let default = if segment.remote.is_ipv6() { 1220 } else { 536 };
        let mss = segment.tcp.options.mss.unwrap_or(default);
        let irs = segment.tcp.seq;
        let (local, remote) = (segment.local, segment.remote);
        let tuple = Tuple::new(local, remote);
        if cookies {
            let mss = mss.max(self.common.config.min_mss);
            let iss = self.cookies.make(now, &local, &remote, irs, mss);
            if let Some(listener) = self.listeners.get_mut(listener_id) {
                listener.last_cookie = now.max(Instant::from_nanos(1));
            }
            // There is no bit left to remember it in.
            let flags = flags & !ECN;
            let entry = HalfOpen::new(listener_id, tuple, irs, iss, mss, scale, ts_recent, flags);
            if let Some(mut syn_ack) = self.syn_ack_of(now, &entry, paths) {
                if let Some(stamps) = &mut syn_ack.tcp.options.timestamps {
                    stamps.val = Cookies::stamp(stamps.val, flags, scale);
                } else {
                    // Without timestamps there is no place to remember them in.
                    syn_ack.tcp.options.window_scale = None;
                    syn_ack.tcp.options.sack_permitted = false;
                }
                self.common.stats.syncookies_sent += 1;
                if !self.common.replies.push(syn_ack) {
                    self.common.drop(DropReason::TcpReplyLimit);
                }
            }
            return;
        }
        let iss = iss.unwrap_or_else(|| self.isn.number(now, &local, &remote));
        let fast = self.fast_open(listener_id, segment);
        let flags = match fast {
            FastSyn::GiveCookie(false) => flags | FAST_OPEN_COOKIE,
            FastSyn::GiveCookie(true) => flags | FAST_OPEN_COOKIE | EXPERIMENTAL_COOKIE,
            _ => flags,
        };
        let mut entry = HalfOpen::new(listener_id, tuple, irs, iss, mss, scale, ts_recent, flags);
        entry.accurate = accurate;
        let renew = match fast {
            FastSyn::OpenAndRenew(experimental) => Some(experimental),
            _ => None,
        };
        if matches!(fast, FastSyn::Open | FastSyn::OpenAndRenew(_)) {
            entry.sent_at = clock(now);
            let mss = mss.max(self.common.config.min_mss);
            entry.mss = mss;
            let opened = self.open_passive(now, hash, &entry, None, listener_id, paths);
            if let Some(id) = opened {
                self.begin_fast(now, id, listener_id, segment, renew);
            }
            return;
        }
        let id = self.half_open.insert(now, entry);
        if let Some(listener) = self.listeners.get_mut(listener_id) {
            listener.half_open += 1;
        }
        self.ends.insert(hash, Place::HalfOpen(id));
        self.send_syn_ack(id);
    }

    /// Puts the SYN-ACK of a half-open connection on the way, once however often it is asked
    /// for.
    pub(super) fn send_syn_ack(&mut self, id: Id) {
        if let Some(entry) = self.half_open.get_mut(id)
            && !entry.has(SYN_ACK_DUE)
        {
            entry.flags |= SYN_ACK_DUE;
            self.syn_acks.push_back(id);
        }
    }

    /// The SYN-ACK of a half-open connection, if it still is one.
    pub(super) fn syn_ack(
        &mut self,
        now: Instant,
        id: Id,
        paths: &mut dyn Paths,
    ) -> Option<SegmentOut> {
        let entry = self.half_open.get_mut(id)?;
        entry.flags &= !SYN_ACK_DUE;
        entry.accurate.note_syn_ack(entry.retries());
        let said = *entry;
        // A cookie is given once, as by Linux.
        entry.flags &= !FAST_OPEN_COOKIE;
        self.syn_ack_of(now, &said, paths)
    }

    fn syn_ack_of(
        &self,
        now: Instant,
        entry: &HalfOpen,
        paths: &mut dyn Paths,
    ) -> Option<SegmentOut> {
        let config = &self.common.config;
        let (local, remote) = (entry.tuple.local(), entry.tuple.remote());
        let path = paths.path(now, Some(local.ip()), remote.ip()).ok()?;
        let listener = self.listeners.id_at(entry.listener_index())?;
        let socket = &self.listeners.get(listener)?.options;
        let mss = advertised_mss(&path, entry.tuple.is_ipv6(), socket);
        let scale = offered_scale(config, socket);
        let stamps = entry.has(TIMESTAMPS);
        let window = first_window(now, config, socket, scale, mss, stamps);
        let mut options = TcpOptions {
            mss: Some(mss),
            sack_permitted: entry.has(SACK),
            window_scale: entry.has(WINDOW_SCALE).then_some(scale),
            timestamps: stamps.then(|| TcpTimestamps {
                val: clock(now).wrapping_add(self.isn.timestamp_offset(&local, &remote)),
                ecr: entry.ts_recent,
            }),
            fast_open: entry.has(FAST_OPEN_COOKIE).then(|| {
                let keys = socket.fast_open_keys.as_ref();
                let fast_open = &self.common.fast_open;
                let cookie = fast_open.cookie(keys, remote.ip(), local.ip());
                cookie.in_experiment(entry.has(EXPERIMENTAL_COOKIE))
            }),
            ..TcpOptions::NONE
        };
        let mut flags = TcpFlags::SYN | TcpFlags::ACK;
        if entry.has(ECN) {
            flags |= TcpFlags::ECE;
        }
        let (accurate, with_option) = entry.accurate.syn_ack(entry.retries());
        flags |= accurate;
        if with_option && config.acc_ecn_option > AccEcnOption::Never {
            fit(&mut options, [0; 3], 0, MAX_OPTIONS_LEN);
        }
        let mut segment = bare(
            local,
            remote,
            flags,
            entry.iss,
            entry.irs + 1_u32,
            window.field(true),
            options,
        );
        segment.hop_limit = socket.hop_limit;
        segment.traffic_class = socket.traffic_class;
        Some(segment)
    }

    /// One half-open connection less for a listener.
    pub(super) fn leave_listener(&mut self, entry: &HalfOpen) {
        if let Some(id) = self.listeners.id_at(entry.listener_index())
            && entry.is_of(id)
            && let Some(listener) = self.listeners.get_mut(id)
        {
            listener.half_open = listener.half_open.saturating_sub(1);
        }
    }

    /// A segment for a half-open connection: SYN-RECEIVED of RFC 9293 section 3.10.7.4.
    pub(super) fn handle_half_open(
        &mut self,
        now: Instant,
        hash: u64,
        id: Id,
        segment: &mut SegmentIn,
        paths: &mut dyn Paths,
    ) {
        let Some(entry) = self.half_open.get(id).copied() else {
            return;
        };
        let head = Incoming::of(segment);
        let rcv_nxt = entry.irs + 1_u32;
        if head.syn && !head.rst && !head.has_ack && head.seq == entry.irs {
            // The SYN again: our SYN-ACK was lost, or is on its way.
            let same = self
                .half_open
                .get_mut(id)
                .is_none_or(|entry| entry.accurate.take_again(segment.tcp.flags, segment.ecn));
            if same {
                self.send_syn_ack(id);
            } else {
                // Nobody asks for both kinds of ECN in one handshake (RFC 9768 section 3.1.5).
                self.drop_half_open(id, &entry);
                self.common.stats.attempt_fails += 1;
                self.refuse(now, segment, DropReason::TcpBadFlags);
            }
            return;
        }
        let old = entry.has(TIMESTAMPS)
            && head
                .timestamps
                .is_some_and(|stamps| older(stamps.val, entry.ts_recent));
        let Some(listener) = self.listeners.id_at(entry.listener_index()) else {
            return;
        };
        if head.has_ack && head.ack != entry.iss + 1_u32 {
            // Before all else (RFC 9293 section 3.5.2, group 1). The peer may have taken a cookie
            // that answered its SYN while the table was full; the entry is of the same SYN, sent
            // again.
            if !head.rst && self.take_cookie(now, hash, listener, Some(id), segment, paths) {
                self.handle_place(now, hash, segment);
            } else if self.may_follow_a_cookie(now, listener, segment) {
                self.common.drop(DropReason::TcpBadAck);
            } else {
                self.refuse(now, segment, DropReason::TcpBadAck);
            }
            return;
        }
        let foreign = self.echoes_nothing_of(now, &entry, &head);
        if old
            || foreign
            || !(head.seq == rcv_nxt || self.overlaps_first_window(now, &entry, &head, paths))
        {
            self.common.drop(if old {
                DropReason::TcpPaws
            } else if foreign {
                DropReason::TcpBadAck
            } else {
                DropReason::TcpOutOfWindow
            });
            if !head.rst {
                self.challenge_half_open(now, &entry, paths);
            }
            return;
        }
        if head.rst && head.seq != rcv_nxt {
            self.common.drop(DropReason::TcpBlindReset);
            self.challenge_half_open(now, &entry, paths);
            return;
        }
        // A SYN with the number of the first one, and what was sent behind it, is known.
        if head.rst || head.syn && head.seq != entry.irs {
            // Back to LISTEN (RFC 9293 section 3.10.7.4, second and fourth).
            self.drop_half_open(id, &entry);
            self.common.stats.attempt_fails += 1;
            if head.syn {
                self.refuse(now, segment, DropReason::TcpUnexpectedSyn);
            }
            return;
        }
        if !head.has_ack {
            self.common.drop(DropReason::TcpNoAck);
            return;
        }
        let deferrals = self
            .listeners
            .get(listener)
            .map_or(0, |listener| listener.deferrals(&self.common.config));
        if entry.retries() < deferrals && head.end() == rcv_nxt {
            // TCP_DEFER_ACCEPT: the application wants to hear of it when there is data.
            self.common.drop(DropReason::TcpDeferred);
            if let Some(entry) = self.half_open.get_mut(id) {
                entry.flags |= ACKED;
            }
            return;
        }
        if self.listeners.get(listener).is_none_or(|l| l.is_full()) {
            self.common.stats.listen_overflows += 1;
            if self.common.config.abort_on_overflow {
                self.drop_half_open(id, &entry);
                self.refuse(now, segment, DropReason::TcpAcceptQueueFull);
                return;
            }
            self.common.drop(DropReason::TcpAcceptQueueFull);
            if let Some(entry) = self.half_open.get_mut(id) {
                entry.flags |= ACKED;
            }
            return;
        }
        if let Some(child) = self.open_passive(now, hash, &entry, Some(id), listener, paths) {
            self.handle_for(now, child, segment);
        }
    }

    /// Whether a segment echoes a timestamp that none of our SYN-ACKs had: whoever sent it has not seen
    /// them, as Linux 6.18 has it. No echo, 0, says nothing.
    fn echoes_nothing_of(&self, now: Instant, entry: &HalfOpen, head: &Incoming) -> bool {
        let echo = head.timestamps.map_or(0, |stamps| stamps.ecr);
        if echo == 0 || !entry.has(TIMESTAMPS) {
            return false;
        }
        let (local, remote) = (entry.tuple.local(), entry.tuple.remote());
        let offset = self.isn.timestamp_offset(&local, &remote);
        // Waits double, and timers may be late: of an entry whose SYN-ACK went again only so much is
        // known of when the first one left.
        let waits = (1_u32 << entry.retries()) - 1 + u32::from(entry.retries());
        let longest = self.common.config.syn_timeout * waits;
        let first = entry.sent_at.wrapping_sub(longest.as_millis() as u32);
        older(echo, first.wrapping_add(offset)) || older(clock(now).wrapping_add(offset), echo)
    }

    /// Whether a segment has something in the window that the SYN-ACK offered.
    fn overlaps_first_window(
        &self,
        now: Instant,
        entry: &HalfOpen,
        head: &Incoming,
        paths: &mut dyn Paths,
    ) -> bool {
        let Some(syn_ack) = self.syn_ack_of(now, entry, paths) else {
            return false;
        };
        let left = entry.irs + 1_u32;
        let right = left + u32::from(syn_ack.tcp.window);
        head.end().after(left) && head.seq.before(right) || head.seq == right && head.seq_len() == 0
    }

    /// An ACK with what a half-open connection expects, within the limit: the SYN-ACK, but
    /// behind the SYN, and with its window in the scale that it announced.
    fn challenge_half_open(&mut self, now: Instant, entry: &HalfOpen, paths: &mut dyn Paths) {
        if !self.common.challenges.take(now) {
            self.common.stats.challenge_ack_limited += 1;
            return;
        }
        let Some(mut segment) = self.syn_ack_of(now, entry, paths) else {
            return;
        };
        self.common.stats.challenge_acks += 1;
        let tcp = &mut segment.tcp;
        let shift = tcp.options.window_scale.unwrap_or(0);
        tcp.window = tcp.window.div_ceil(1 << shift);
        tcp.flags = TcpFlags::ACK | entry.accurate.ack();
        tcp.seq += 1_u32;
        tcp.options = TcpOptions {
            timestamps: tcp.options.timestamps,
            ..TcpOptions::NONE
        };
        self.common.replies.push(segment);
    }

    fn drop_half_open(&mut self, id: Id, entry: &HalfOpen) {
        self.half_open.remove(id);
        self.leave_listener(entry);
        self.forget_half_open(id, &entry.tuple.local(), &entry.tuple.remote());
    }

    /// The handshake is complete: a connection takes the place of the entry. The segment
    /// that completed it is still to be handled.
    fn open_passive(
        &mut self,
        now: Instant,
        hash: u64,
        entry: &HalfOpen,
        half_open: Option<Id>,
        listener_id: Id,
        paths: &mut dyn Paths,
    ) -> Option<Id> {
        if self.connections.len() >= self.common.config.connections {
            self.common.stats.listen_drops += 1;
            self.common.drop(DropReason::TcpConnectionLimit);
            return None;
        }
        let (local, remote) = (entry.tuple.local(), entry.tuple.remote());
        let path = paths.path(now, Some(local.ip()), remote.ip()).ok()?;
        let options = Arc::clone(&self.listeners.get(listener_id)?.options);
        let opening = Opening {
            now,
            tuple: entry.tuple,
            path: &path,
            options,
            iss: entry.iss,
            offset: self.isn.timestamp_offset(&local, &remote),
        };
        let connection = Connection::passive(&self.common, opening, entry);
        if let Some(id) = half_open {
            self.drop_half_open(id, entry);
        }
        let id = self.connections.insert(connection);
        self.ends.insert(hash, Place::Connection(id));
        self.common.stats.passive_opens += 1;
        let listener = self.listeners.get_mut(listener_id)?;
        listener.ready.push_back(id);
        self.events.raise(
            SocketId::TcpListener(listener_id),
            &mut listener.pending,
            Readiness::ACCEPTABLE,
        );
        Some(id)
    }

    /// Whether a segment may be the second of a connection whose first one, with the cookie,
    /// was lost: an RST would end what the first one, sent again, will begin.
    fn may_follow_a_cookie(&self, now: Instant, listener: Id, segment: &SegmentIn) -> bool {
        let recent = self.listeners.get(listener).is_some_and(|listener| {
            let sent = listener.last_cookie;
            sent != Instant::ZERO && now.saturating_duration_since(sent) <= COOKIE_LIFETIME
        });
        recent && !segment.tcp.flags.syn() && Cookies::is_plausible(now, segment.tcp.ack - 1_u32)
    }

    /// An ACK out of nowhere, or of none that the half-open entry expects: does it acknowledge
    /// a cookie? Then there is a connection now, in the place of the entry.
    fn take_cookie(
        &mut self,
        now: Instant,
        hash: u64,
        listener_id: Id,
        half_open: Option<Id>,
        segment: &SegmentIn,
        paths: &mut dyn Paths,
    ) -> bool {
        let Some(listener) = self.listeners.get(listener_id) else {
            return false;
        };
        let sent = listener.last_cookie;
        if sent == Instant::ZERO || now.saturating_duration_since(sent) > COOKIE_LIFETIME {
            return false;
        }
        let (local, remote) = (segment.local, segment.remote);
        let stamps = segment
            .tcp
            .options
            .timestamps
            .filter(|_| self.common.config.timestamps);
        let offset = self.isn.timestamp_offset(&local, &remote);
        // The offset was added before the options took the low bits.
        let echo = stamps.map(|stamps| stamps.ecr);
        let irs = segment.tcp.seq - 1_u32;
        let iss = segment.tcp.ack - 1_u32;
        let Some(cookie) = self.cookies.check(now, &local, &remote, irs, iss, echo) else {
            self.common.stats.syncookies_failed += 1;
            return false;
        };
        if listener.is_full() {
            self.common.stats.listen_overflows += 1;
            self.common.drop(DropReason::TcpAcceptQueueFull);
            return false;
        }
        let mut entry = HalfOpen::new(
            listener_id,
            Tuple::new(local, remote),
            irs,
            iss,
            cookie.mss,
            cookie.scale,
            stamps.map_or(0, |stamps| stamps.val),
            cookie.flags,
        );
        // When the SYN-ACK left is only known from its timestamp.
        entry.sent_at = echo.map_or(clock(now), |echo| echo.wrapping_sub(offset));
        self.common.stats.syncookies_recv += 1;
        self.open_passive(now, hash, &entry, half_open, listener_id, paths)
            .is_some()
    }

    /// A segment for a connection in TIME-WAIT (RFC 9293 section 3.10.7.4, RFC 6191,
    /// RFC 1337).
    pub(super) fn handle_time_wait(
        &mut self,
        now: Instant,
        hash: u64,
        id: Id,
        segment: &mut SegmentIn,
        paths: &mut dyn Paths,
    ) {
        let Some(entry) = self.time_waits.get(id).copied() else {
            return;
        };
        let head = Incoming::of(segment);
        let offset = self.isn.timestamp_offset(&segment.local, &segment.remote);
        let stamps = entry.timestamps(offset);
        let old = head
            .timestamps
            .is_some_and(|value| stamps.refuses(now, value.val));
        if head.rst {
            if !self.common.config.rfc1337 && !old && head.seq == entry.rcv_nxt {
                self.time_waits.remove(id);
                self.ends.remove(hash, |place| place == Place::TimeWait(id));
                return;
            }
            // An old duplicate of an RST must not end TIME-WAIT early.
            self.common.drop(DropReason::TcpTimeWaitReset);
            return;
        }
        let newer_stamp = entry.ts_enabled
            && head
                .timestamps
                .is_some_and(|value| super::timestamps::older(entry.ts_recent, value.val));
        if head.syn && !head.has_ack && !old && (head.seq.after(entry.rcv_nxt) || newer_stamp) {
            // A new connection, told from old duplicates by number or timestamp.
            self.time_waits.remove(id);
            self.ends.remove(hash, |place| place == Place::TimeWait(id));
            self.common.stats.time_wait_recycled += 1;
            let iss = entry.snd_nxt + (65_535 + 2_u32);
            self.handle_unknown(now, hash, segment, Some(iss), paths);
            return;
        }
        if old {
            self.common.stats.paws_estab += 1;
            self.common.drop(DropReason::TcpPaws);
        } else if head.seq == entry.rcv_nxt && head.seq_len() == 0 {
            // An acknowledgement, nothing to say.
            self.time_waits.restart(now, id);
            if let (Some(entry), Some(value)) = (self.time_waits.get_mut(id), head.timestamps)
                && entry.ts_enabled
            {
                entry.ts_recent = value.val;
                entry.ts_recent_at = clock(now);
            }
            return;
        }
        if old || head.has_ack {
            self.time_waits.restart(now, id);
        }
        let bare_segment = head.len == 0 && !head.fin;
        if bare_segment && !self.common.challenges.take(now) {
            self.common.stats.challenge_ack_limited += 1;
            return;
        }
        let mut options = TcpOptions::NONE;
        if entry.ts_enabled {
            options.timestamps = Some(TcpTimestamps {
                val: stamps.value(now),
                ecr: entry.ts_recent,
            });
        }
        self.common.replies.push(bare(
            segment.local,
            segment.remote,
            TcpFlags::ACK | entry.ace,
            entry.snd_nxt,
            entry.rcv_nxt,
            entry.window,
            options,
        ));
    }
}
