//! The short way out: data that leaves as one segment of IPv4 with nothing unusual about it.

use core::net::SocketAddrV4;

use zcn_frame::Chain;
use zcn_wire::{Tcp4Segment, TrafficClass, tcp4};

use super::Tcp;
use super::connection::{Common, Connection, Flags};
use super::sender::{Transmission, TransmissionKind};
use super::state::State;
use crate::slab::Id;
use crate::time::Instant;

/// A segment that may leave the short way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainOutput {
    connection: Id,
    local: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    /// Bytes of payload.
    len: u32,
    /// It is all that is to be sent.
    last: bool,
    /// Bytes of the whole packet.
    pub(crate) packet_len: usize,
    /// Slices of the payload.
    pub(crate) slices: usize,
}

impl Tcp {
    /// What the connection whose turn it is would send next, if that is a plain segment: all it
    /// has to send, or, where the link cuts nothing, a full one with more behind it.
    /// Until [`send_plain`](Self::send_plain) takes it nothing has changed.
    #[inline]
    pub(crate) fn next_plain(&mut self) -> Option<PlainOutput> {
        if !self.common.replies.is_empty() || !self.syn_acks.is_empty() {
            return None;
        }
        let &id = self.dirty.front()?;
        let connection = self.connections.get_mut(id)?;
        let (len, slices, last) = connection.plain_len(&self.common)?;
        let (local, remote) = connection.tuple.as_v4()?;
        let headers = if connection.timestamps.enabled {
            tcp4::TIMESTAMPS_HEADER_LEN
        } else {
            tcp4::HEADER_LEN
        };
        Some(PlainOutput {
            connection: id,
            local,
            remote,
            len,
            last,
            packet_len: headers + len as usize,
            slices,
        })
    }

    /// Takes the segment that [`next_plain`](Self::next_plain) has just told of, as
    /// [`poll_segment`](Self::poll_segment) would: its headers, and its payload in `payload`,
    /// which is empty. `hop_limit` is for who chose none.
    #[inline]
    pub(crate) fn send_plain(
        &mut self,
        now: Instant,
        plain: &PlainOutput,
        hop_limit: u8,
        payload: &mut Chain,
    ) -> Option<Tcp4Segment> {
        let id = plain.connection;
        let connection = self.connections.get_mut(id)?;
        let header = connection.send_plain(now, &mut self.common, plain, hop_limit, payload)?;
        self.common.stats.out_segs += 1;
        if plain.last {
            connection.sender.note_all_sent();
            self.set_down(id);
        } else {
            connection.charge(plain.len);
        }
        Some(header)
    }
}

impl Connection {
    /// Bytes and slices of the next segment, and whether it is all that is to be sent; if it may
    /// leave at once and is no case for any of the rules of [`poll`](Self::poll).
    #[inline]
    fn plain_len(&mut self, common: &Common) -> Option<(u32, usize, bool)> {
        const UNUSUAL: u32 = Flags::SYN_DUE
            | Flags::PROBE_DUE
            | Flags::FORCE
            | Flags::PROBES_LOSS
            | Flags::FIN_QUEUED
            | Flags::MORE
            | Flags::ECN
            | Flags::ACC_ECN
            | Flags::ECE_DUE;
        let unsent = self.unsent();
        let len = unsent.min(u32::from(self.mss));
        let last = len == unsent;
        let plain = self.state == State::Established
            && len > 0
            && (last || self.sends_single_segments(common))
            && self.deficit > 0
            && !self.has(UNUSUAL)
            && self.options.nodelay
            && !self.options.cork
            // Data says it, too.
            && !self.has_sack_news();
        if !plain {
            return None;
        }
        let slices = self
            .send_queue
            .as_ref()?
            .plain_slices(self.sender.snd_nxt(), len)?;
        self.sender.admits_plain(len).then_some((len, slices, last))
    }

    /// Whether full segments leave one by one: the link does not cut them, and nothing holds one
    /// back so that more go together.
    #[inline]
    fn sends_single_segments(&self, common: &Common) -> bool {
        self.gso_max_size <= self.mtu
            && !common.config.tso_autosize
            && self.sender.mss() == self.mss // not below the least that the sender counts with
    }

    #[inline]
    fn send_plain(
        &mut self,
        now: Instant,
        common: &mut Common,
        plain: &PlainOutput,
        hop_limit: u8,
        payload: &mut Chain,
    ) -> Option<Tcp4Segment> {
        let &PlainOutput {
            local, remote, len, ..
        } = plain;
        let seq = self.sender.snd_nxt();
        let push = self.send_queue.as_mut()?.slices(seq, len, payload);
        let transmission = Transmission {
            seq,
            len,
            kind: TransmissionKind::New,
        };
        self.sender.on_transmitted(now, &transmission, false);
        if push {
            self.sender.note_pushed();
        }
        self.counters.segs_out = self.counters.segs_out.wrapping_add(1);
        let timestamps = self.next_timestamps(now);
        let (ack, window) = self.next_ack();
        self.after_data(now, common, &transmission, 1, true, false);
        Some(Tcp4Segment {
            src: *local.ip(),
            dst: *remote.ip(),
            ttl: self.options.hop_limit.unwrap_or(hop_limit),
            traffic_class: TrafficClass(self.options.traffic_class),
            src_port: local.port(),
            dst_port: remote.port(),
            seq,
            ack,
            push,
            window,
            timestamps,
            payload_len: len as usize,
        })
    }
}
