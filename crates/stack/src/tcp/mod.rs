//! TCP (RFC 9293): knows IP only through values.
//!
//! [`Tcp`] is the whole layer of one shard. Segments go in with
//! [`handle_segment`](Tcp::handle_segment) and come out of
//! [`poll_segment`](Tcp::poll_segment); time passes with
//! [`handle_timeout`](Tcp::handle_timeout), at the latest at
//! [`poll_timeout`](Tcp::poll_timeout); sockets are told of by
//! [`poll_event`](Tcp::poll_event). After a batch of segments or calls ask for output until
//! there is none: acknowledgements are made there, one for all that the batch brought, and an
//! answer of the application in the same turn carries them.
//!
//! A super-segment is the native one: output is cut late, input was put together early.

mod accurate;
mod ack;
mod calls;
mod challenge;
mod config;
pub mod congestion;
mod connection;
mod cookies;
mod ecn;
mod error;
mod fast_open;
mod icmp;
mod incoming;
mod info;
mod input;
mod isn;
mod keepalive;
mod linger;
mod listener;
mod open;
mod output;
mod passive;
mod path;
mod persist;
mod plain_output;
mod ports;
mod prediction;
mod receive_queue;
mod reply;
mod segment;
mod send_queue;
pub mod sender;
mod socket_options;
mod sockets;
mod stamp;
mod state;
mod syncache;
mod time_wait;
mod timer;
mod timestamps;
mod tuple;
mod window;

use core::net::SocketAddr;
use std::collections::VecDeque;

use zcn_pool::LocalPool;

use crate::demux::{Demux, Listeners};
use crate::event::{Event, EventQueue, Readiness};
use crate::id::SocketId;
use crate::random::{SecretKey, Seed};
use crate::slab::{Id, Slab};
use crate::stats::{DropReason, Drops, TcpStats};
use crate::time::{Instant, earlier};
use crate::wheel::Wheel;

use challenge::Challenges;
use connection::{Common, Connection, Flags};
use cookies::Cookies;
use fast_open::FastOpen;
use incoming::Incoming;
use isn::Isn;
use listener::Listener;
use ports::Ports;
use reply::Replies;
use syncache::{Expired, SynCache};
use time_wait::{TimeWait, TimeWaits};
use tuple::Tuple;

pub use config::{AccEcnOption, Ecn, PushAck, SynCookies, TcpConfig, UnknownEcn};
pub use error::{
    AcceptError, CloseError, ConnectError, ListenError, OptionError, RecvError, SendBufError,
    SendError, TcpError,
};
pub use info::{
    TCPI_OPT_ECN, TCPI_OPT_ECN_SEEN, TCPI_OPT_SACK, TCPI_OPT_SYN_DATA, TCPI_OPT_TFO_CHILD,
    TCPI_OPT_TIMESTAMPS, TCPI_OPT_WSCALE, TcpInfo,
};
pub use path::{Path, Paths};
pub use segment::{IcmpError, SegmentIn, SegmentOut};
pub use socket_options::{FastOpenKeys, SocketOption, SocketOptions};
pub use state::State;

/// How long an application waits that found the pool of buffers empty.
const STARVED_WAIT: core::time::Duration = core::time::Duration::from_millis(5);

/// What a pair of ends leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Connection(Id),
    HalfOpen(Id),
    TimeWait(Id),
}

/// What is known of a pair of ends.
fn find(
    ends: &Demux<Place>,
    connections: &Slab<Connection>,
    half_open: &SynCache,
    time_waits: &TimeWaits,
    hash: u64,
    tuple: &Tuple,
) -> Option<Place> {
    ends.get(hash, |place| {
        let other = match place {
            Place::Connection(id) => connections.get(id).map(|c| &c.tuple),
            Place::HalfOpen(id) => half_open.get(id).map(|entry| &entry.tuple),
            Place::TimeWait(id) => time_waits.get(id).map(|entry| &entry.tuple),
        };
        other == Some(tuple)
    })
}

/// The TCP layer of one shard.
#[derive(Debug)]
pub struct Tcp {
    common: Common,
    connections: Slab<Connection>,
    listeners: Slab<Listener>,
    bindings: Listeners<Id>,
    ends: Demux<Place>,
    /// The connection that a predicted segment came to last.
    last: Id,
    half_open: SynCache,
    /// Half-open connections whose SYN-ACK is to leave.
    syn_acks: VecDeque<Id>,
    time_waits: TimeWaits,
    wheel: Wheel,
    /// Connections that may have something to send, each once.
    dirty: VecDeque<Id>,
    events: EventQueue<SocketId>,
    isn: Isn,
    cookies: Cookies,
    ports: Ports,
    orphans: usize,
    /// Connections whose application found the pool empty, and when to wake it.
    starved: Vec<Id>,
    starved_until: Instant,
}

impl Tcp {
    /// An empty layer. Data that the application sends by copying, and what has to be packed
    /// on arrival, goes to buffers of `pool`; all secrets derive from `seed`.
    pub fn new(config: TcpConfig, pool: LocalPool, seed: &Seed, now: Instant) -> Self {
        let challenges = Challenges::new(seed, config.challenge_acks);
        let replies = Replies::new(config.resets);
        let fast_open = FastOpen::new(seed, config.fast_open_key, config.fast_open_servers);
        let half_open = SynCache::new(config.half_open, config.syn_ack_retries, config.syn_timeout);
        let time_waits = TimeWaits::new(config.time_wait, config.time_waits);
        let ports = Ports::new(seed, config.ports);
        let nobody = Id {
            index: 0,
            generation: 0,
        };
        Self {
            common: Common::new(config, pool, challenges, replies, fast_open),
            connections: Slab::new(),
            listeners: Slab::new(),
            bindings: Listeners::default(),
            ends: Demux::new(SecretKey::derive(seed, "tcp ends")),
            last: nobody,
            half_open,
            syn_acks: VecDeque::new(),
            time_waits,
            wheel: Wheel::new(now),
            dirty: VecDeque::new(),
            events: EventQueue::default(),
            isn: Isn::new(seed),
            cookies: Cookies::new(seed),
            ports,
            orphans: 0,
            starved: Vec::new(),
            starved_until: Instant::MAX,
        }
    }

    /// Counters in the names of RFC 4022.
    pub fn stats(&self) -> &TcpStats {
        &self.common.stats
    }

    /// Counters of what was dropped, by reason.
    pub fn drops(&self) -> &Drops {
        &self.common.drops
    }

    /// How many connections there are, half-open ones and those in TIME-WAIT not counted.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many half-open connections of passive opens there are.
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// How many connections are in TIME-WAIT.
    pub fn time_waits(&self) -> usize {
        self.time_waits.len()
    }

    fn find(&self, hash: u64, tuple: &Tuple) -> Option<Place> {
        find(
            &self.ends,
            &self.connections,
            &self.half_open,
            &self.time_waits,
            hash,
            tuple,
        )
    }

    /// A segment arrived: parsed, its checksum good, neither address multicast or broadcast.
    /// Answers whether the way to the peer is known to work in both directions: it acknowledged
    /// something new, or brought the next data (RFC 4861 section 7.3.1). Of one connection this
    /// is told once in a millisecond. The payload is taken out of the segment.
    pub fn handle_segment(
        &mut self,
        now: Instant,
        segment: &mut SegmentIn,
        paths: &mut dyn Paths,
    ) -> bool {
        self.common.stats.in_segs += u64::from(segment.segments.max(1));
        let hash = self.ends.hash(&segment.local, &segment.remote);
        let tuple = Tuple::new(segment.local, segment.remote);
        match self.find(hash, &tuple) {
            Some(Place::Connection(id)) => return self.handle_for(now, id, segment),
            Some(Place::HalfOpen(id)) => self.handle_half_open(now, hash, id, segment, paths),
            Some(Place::TimeWait(id)) => self.handle_time_wait(now, hash, id, segment, paths),
            None => self.handle_unknown(now, hash, segment, None, paths),
        }
        false
    }

    fn handle_for(&mut self, now: Instant, id: Id, segment: &mut SegmentIn) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        let before = connection.standing();
        connection.handle_segment(now, &mut self.common, segment);
        let tells = connection.tells_progress(before);
        self.settle(now, id);
        tells
    }

    /// An ICMP error about a segment of ours came; the IP layer found out which. It counts
    /// only if it quotes a number that is in flight (RFC 5927 section 4); answers whether it
    /// does.
    pub fn handle_icmp(&mut self, now: Instant, error: &IcmpError) -> bool {
        let hash = self.ends.hash(&error.local, &error.remote);
        let tuple = Tuple::new(error.local, error.remote);
        let counts = match self.find(hash, &tuple) {
            Some(Place::Connection(id)) => {
                let connection = self.connections.get_mut(id);
                let counts = connection
                    .is_some_and(|connection| connection.handle_icmp(&mut self.common, error));
                if counts {
                    self.settle(now, id);
                }
                counts
            }
            _ => false,
        };
        if !counts {
            self.common.drop(DropReason::IcmpUnmatched);
        }
        counts
    }

    /// Sees to everything that follows from a change of a connection: events, output, the
    /// next deadline, TIME-WAIT, the end.
    #[inline]
    fn settle(&mut self, now: Instant, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let signals = core::mem::take(&mut connection.signals);
        if connection.flags.take(Flags::LINGER_OVER)
            || !connection.has(Flags::ORPHAN | Flags::UNACCEPTED)
        {
            let key = SocketId::Tcp(id);
            self.events.raise(key, &mut connection.pending, signals);
        }
        if connection.state == State::TimeWait {
            self.enter_time_wait(now, id);
            return;
        }
        if connection.state == State::Closed {
            self.wheel.cancel(id.index);
            self.forget_ends(id);
            let released = self
                .connections
                .get(id)
                .is_some_and(|connection| connection.has(Flags::ORPHAN));
            if released {
                self.release(id);
            }
            return;
        }
        // Its deadline is looked at when it leaves this list: output moves it anyway.
        if !connection.has(Flags::DIRTY) {
            connection.flags.set(Flags::DIRTY, true);
            self.dirty.push_back(id);
        }
    }

    /// Takes a connection out of the table of ends: its ends are free again.
    fn forget_ends(&mut self, id: Id) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let (local, remote) = (connection.local(), connection.remote());
        let hash = self.ends.hash(&local, &remote);
        self.ends
            .remove(hash, |place| place == Place::Connection(id));
        self.ports.release(|| (local, remote));
    }

    /// The last step of a connection: its place is free.
    fn release(&mut self, id: Id) {
        self.wheel.cancel(id.index);
        if let Some(mut connection) = self.connections.remove(id) {
            connection.drop_send_queue(&mut self.common);
            connection.drop_receive_queue(&mut self.common);
            if connection.has(Flags::COUNTED_ORPHAN) {
                self.orphans -= 1;
            }
        }
    }

    /// A lingering socket whose connection is over goes when its last event has been told.
    fn release_lingering(&mut self, id: Id) {
        let over = self.connections.get(id).is_some_and(|connection| {
            connection.state == State::Closed && connection.has(Flags::LINGERING)
        });
        if over {
            self.release(id);
        }
    }

    /// A connection leaves its ends to an entry of the TIME-WAIT table. Whoever still holds
    /// the connection can read what it has received.
    fn enter_time_wait(&mut self, now: Instant, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        // The acknowledgement of the peer's FIN leaves the connection with its last breath.
        if connection.ack.is_due() {
            let mut segment = SegmentOut::default();
            if connection.poll(now, &mut self.common, &mut segment) {
                self.common.replies.push(segment);
            }
        }
        let entry = TimeWait::new(
            connection.tuple,
            connection.rcv_nxt,
            connection.sender.snd_nxt(),
            connection.window.field(false),
            connection.ace(),
            &connection.timestamps,
        );
        let (local, remote) = (connection.local(), connection.remote());
        connection.finish(None, &mut self.common);
        let signals = core::mem::take(&mut connection.signals);
        let released = connection.has(Flags::ORPHAN);
        if !connection.has(Flags::ORPHAN | Flags::UNACCEPTED) {
            let key = SocketId::Tcp(id);
            self.events.raise(key, &mut connection.pending, signals);
        }
        self.wheel.cancel(id.index);
        self.forget_ends(id);
        if released {
            self.release(id);
        }
        while self.time_waits.is_full() {
            match self.time_waits.pop_oldest() {
                Some(oldest) => self.forget_time_wait(&oldest),
                None => return, // a table without places
            }
        }
        self.common.stats.time_wait += 1;
        let id = self.time_waits.insert(now, entry);
        let hash = self.ends.hash(&local, &remote);
        self.ends.insert(hash, Place::TimeWait(id));
    }

    /// Takes an entry that has left the TIME-WAIT table out of the table of ends.
    fn forget_time_wait(&mut self, entry: &TimeWait) {
        let hash = self.ends.hash(&entry.tuple.local(), &entry.tuple.remote());
        let time_waits = &self.time_waits;
        self.ends.remove(hash, |place| match place {
            // The entry is gone, so its id finds nothing; a live one is somebody else's.
            Place::TimeWait(id) => time_waits.get(id).is_none(),
            _ => false,
        });
        self.ports
            .release(|| (entry.tuple.local(), entry.tuple.remote()));
    }

    /// Takes an entry that has left the table of half-open connections out of the others.
    fn forget_half_open(&mut self, id: Id, local: &SocketAddr, remote: &SocketAddr) {
        let hash = self.ends.hash(local, remote);
        self.ends.remove(hash, |place| place == Place::HalfOpen(id));
    }

    /// Writes the next segment to send into `segment`, whatever was in there, and answers
    /// whether there is one.
    ///
    /// Connections take turns, each for as many bytes as the configuration's `quantum` says
    /// (deficit round robin).
    pub fn poll_segment(
        &mut self,
        now: Instant,
        paths: &mut dyn Paths,
        segment: &mut SegmentOut,
    ) -> bool {
        let there = self.next_segment(now, paths, segment);
        if there {
            self.common.stats.out_segs += segment.segments();
        }
        there
    }

    fn next_segment(
        &mut self,
        now: Instant,
        paths: &mut dyn Paths,
        segment: &mut SegmentOut,
    ) -> bool {
        if let Some(reply) = self.common.replies.pop() {
            *segment = reply;
            return true;
        }
        while let Some(id) = self.syn_acks.pop_front() {
            if let Some(syn_ack) = self.syn_ack(now, id, paths) {
                *segment = syn_ack;
                return true;
            }
        }
        while let Some(&id) = self.dirty.front() {
            let Some(connection) = self.connections.get_mut(id) else {
                self.dirty.pop_front();
                continue;
            };
            if connection.deficit <= 0 {
                connection.deficit += self.common.config.quantum.max(1) as i32;
                if self.dirty.len() > 1 {
                    self.dirty.rotate_left(1);
                    continue;
                }
            }
            let sent = connection.poll(now, &mut self.common, segment);
            if sent && !connection.is_done_sending() {
                connection.charge(segment.payload.len() as u32);
                return true;
            }
            self.set_down(id);
            if sent {
                return true;
            }
        }
        false
    }

    /// The connection at the front of those that may have output has sent all it could: it
    /// leaves the list, and its deadline is looked at.
    #[inline]
    fn set_down(&mut self, id: Id) {
        self.dirty.pop_front();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.flags.set(Flags::DIRTY, false);
        if !connection.signals.is_empty() && !connection.has(Flags::ORPHAN) {
            // What left made room.
            let signals = core::mem::take(&mut connection.signals);
            let key = SocketId::Tcp(id);
            self.events.raise(key, &mut connection.pending, signals);
        }
        connection.deficit = self.common.config.quantum as i32;
        match connection.next_deadline() {
            Some(at) => self.wheel.schedule(id.index, at),
            None => self.wheel.cancel(id.index),
        }
    }

    /// Whether [`poll_segment`](Self::poll_segment) may have something.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        !self.dirty.is_empty() || !self.common.replies.is_empty() || !self.syn_acks.is_empty()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if nothing happens
    /// before. Rounded up to the milliseconds of the timing wheel.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let starved = (self.starved_until < Instant::MAX).then_some(self.starved_until);
        let next = earlier(self.wheel.next_deadline(), self.half_open.next_deadline());
        earlier(next, earlier(self.time_waits.next_deadline(), starved))
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(index) = self.wheel.pop_expired(now) {
            if let Some(id) = self.connections.id_at(index)
                && let Some(connection) = self.connections.get_mut(id)
            {
                connection.handle_timeout(now, &mut self.common);
                self.settle_orphan(now, id);
                self.settle(now, id);
            }
        }
        while let Some(expired) = self.half_open.pop_expired(now) {
            self.on_half_open_timeout(expired);
        }
        while let Some(entry) = self.time_waits.pop_expired(now) {
            self.forget_time_wait(&entry);
        }
        if self.starved_until <= now {
            self.starved_until = Instant::MAX;
            for id in core::mem::take(&mut self.starved) {
                if let Some(connection) = self.connections.get_mut(id)
                    && connection.flags.take(Flags::WANTS_WRITABLE)
                {
                    connection.signal(Readiness::WRITABLE);
                    self.settle(now, id);
                }
            }
        }
    }

    /// Whether the peer of a half-open connection has acknowledged, and need not do so again
    /// before its data comes (TCP_DEFER_ACCEPT).
    fn waits_for_data(&self, id: Id) -> bool {
        self.half_open.get(id).is_some_and(|entry| {
            let listener = self.listeners.id_at(entry.listener_index());
            let listener = listener.and_then(|id| self.listeners.get(id));
            let deferrals = listener.map_or(0, |l| l.deferrals(&self.common.config));
            entry.has(syncache::ACKED) && entry.retries() < deferrals
        })
    }

    fn on_half_open_timeout(&mut self, expired: Expired) {
        match expired {
            Expired::Retransmit(id) if self.waits_for_data(id) => {}
            Expired::Retransmit(id) => {
                self.common.stats.retrans_segs += 1;
                self.send_syn_ack(id);
            }
            Expired::Forgotten(entry) => {
                self.common.stats.attempt_fails += 1;
                self.leave_listener(&entry);
                let hash = self.ends.hash(&entry.tuple.local(), &entry.tuple.remote());
                let half_open = &self.half_open;
                self.ends.remove(hash, |place| match place {
                    Place::HalfOpen(id) => half_open.get(id).is_none(),
                    _ => false,
                });
            }
        }
    }

    /// Whether [`poll_event`](Self::poll_event) may have something to tell.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next socket that became ready for something. A socket that is gone is not told
    /// of.
    pub fn poll_event(&mut self) -> Option<Event> {
        while let Some(socket) = self.events.pop() {
            let pending = match socket {
                SocketId::Tcp(id) => self.connections.get_mut(id).map(|c| &mut c.pending),
                SocketId::TcpListener(id) => self.listeners.get_mut(id).map(|l| &mut l.pending),
                _ => None,
            };
            let Some(pending) = pending else { continue };
            let readiness = core::mem::take(pending);
            if let SocketId::Tcp(id) = socket {
                self.release_lingering(id);
            }
            if !readiness.is_empty() {
                return Some(Event { socket, readiness });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
