//! Header prediction: what an open connection expects next, and what is done when that comes.

use core::net::{SocketAddr, SocketAddrV4};

use zcn_frame::Chain;
use zcn_wire::{SackBlocks, Tcp4Segment};

use super::ack::Arrival;
use super::connection::{Common, Connection, Flags};
use super::incoming::Incoming;
use super::state::State;
use super::timestamps::older;
use super::{Place, Tcp, Tuple};
use crate::event::Readiness;
use crate::slab::Id;
use crate::time::Instant;

impl Tcp {
    /// The connection that expects this segment next, if there is one.
    #[inline]
    pub(crate) fn predicted(&mut self, segment: &Tcp4Segment) -> Option<Id> {
        let local = SocketAddrV4::new(segment.dst, segment.dst_port);
        let remote = SocketAddrV4::new(segment.src, segment.src_port);
        let tuple = Tuple::v4(local, remote);
        // Where the last one went, the next one mostly goes.
        if let Some(connection) = self.connections.get(self.last)
            && connection.tuple == tuple
            && connection.state == State::Established
        {
            return connection.expects(segment).then_some(self.last);
        }
        let id = self.connection_of(&tuple, local, remote)?;
        self.last = id;
        let connection = self.connections.get(id)?;
        connection.expects(segment).then_some(id)
    }

    /// The connection of these ends, if that is what they lead to.
    fn connection_of(
        &self,
        tuple: &Tuple,
        local: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<Id> {
        let hash = self
            .ends
            .hash(&SocketAddr::V4(local), &SocketAddr::V4(remote));
        match self.find(hash, tuple)? {
            Place::Connection(id) => Some(id),
            _ => None,
        }
    }

    /// Gives a segment to the connection that expects it. Answers as
    /// [`handle_segment`](Self::handle_segment).
    pub(crate) fn handle_predicted(
        &mut self,
        now: Instant,
        id: Id,
        segment: &Tcp4Segment,
        payload: &mut Chain,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let common = &mut self.common;
        common.stats.in_segs += 1;
        let counters = &mut connection.counters;
        counters.segs_in = counters.segs_in.wrapping_add(1);
        if segment.payload_len > 0 {
            counters.data_segs_in = counters.data_segs_in.wrapping_add(1);
        }
        if let Some(stamps) = segment.timestamps {
            let acknowledged = connection.rcv_wup;
            connection
                .timestamps
                .update(now, stamps.val, segment.seq, acknowledged);
        }
        let head = Incoming {
            seq: segment.seq,
            ack: segment.ack,
            has_ack: true,
            syn: false,
            fin: false,
            rst: false,
            psh: segment.push,
            ece: false,
            cwr: false,
            ecn: segment.traffic_class.ecn().bits(),
            window: segment.window,
            window_scaled: true,
            len: segment.payload_len as u32,
            segments: 1,
            timestamps: segment.timestamps,
            sack: SackBlocks::EMPTY,
            ace: None, // no connection with accurate ECN comes this way
            acc_ecn: None,
            later: false,
        };
        let before = connection.standing();
        if connection.acknowledge(now, common, &head) {
            connection.receive_next(now, common, &head, payload);
        }
        let tells = connection.tells_progress(before);
        self.settle(now, id);
        tells
    }
}

impl Connection {
    /// Takes data that [`expects`](Self::expects) has found to be the next: what
    /// [`receive`](Self::receive) comes to when nothing is to be cut off, missing or ended.
    #[inline]
    fn receive_next(
        &mut self,
        now: Instant,
        common: &mut Common,
        head: &Incoming,
        payload: &mut Chain,
    ) {
        if head.len == 0 {
            return;
        }
        if self.has(Flags::ECN) {
            self.note_congestion(common, head);
        }
        let arrival = Arrival {
            now,
            len: head.len,
            segments: head.segments,
            push: head.psh,
            rcv_wnd: self.rcv_wnd(),
            rto: self.sender.rto(),
        };
        self.ack.on_data(&common.config, &arrival);
        let limits = self.receive_limits(common);
        let queue = Self::receive_queue(&mut self.receive_queue, &mut common.spares);
        if queue.append(payload, &limits, &common.pool) {
            let readable = queue.readable();
            self.rcv_nxt += head.len;
            self.received += u64::from(head.len);
            self.measure_rtt(now, head);
            if readable >= self.options.receive_low_water as usize {
                self.signal(Readiness::READABLE);
            }
        } else {
            self.refuse(common);
        }
        self.release_empty_queues(common);
        self.decide_ack(now, common, false, head.psh);
    }

    /// Whether a segment is the next one: all in order, acknowledging what was sent, and no
    /// case for any of the checks of RFC 9293 section 3.10.7.4 and RFC 7323 section 5.
    #[inline]
    fn expects(&self, segment: &Tcp4Segment) -> bool {
        const UNUSUAL: u32 = Flags::FIN_PENDING | Flags::READ_SHUT | Flags::ORPHAN | Flags::ACC_ECN;
        let len = segment.payload_len as u32;
        let una = self.sender.snd_una();
        let stamps = match segment.timestamps {
            Some(stamps) => self.timestamps.enabled && !older(stamps.val, self.timestamps.recent),
            None => !self.timestamps.enabled,
        };
        self.state == State::Established
            && segment.seq == self.rcv_nxt
            && stamps
            && segment.ack.after_eq(una)
            && segment.ack.before_eq(self.sender.snd_nxt())
            && (len > 0 || segment.ack != una)
            && len <= self.rcv_wnd()
            && !self.has(UNUSUAL)
            && !self.has_duplicate()
            && self
                .receive_queue
                .as_ref()
                .is_none_or(|queue| !queue.has_holes())
    }
}
