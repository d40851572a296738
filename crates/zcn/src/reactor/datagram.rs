//! What UDP sockets do: receive into a pool of their own, send from a bounded queue, close.
//!
//! Receiving is one multishot operation. It pauses when the queue of arrived datagrams is full, or
//! when all buffers are out (rule 8); then the kernel's socket buffer fills up and drops, as UDP
//! does. Errors that the network reports (ICMP) are told once and end nothing.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zcn_frame::SLICES_MAX;
use zcn_pool::{Buf, BufferPool, HugePages, SharedBuf};
use zcn_stack::event::Readiness;
use zcn_uring::{MAX_SLICES, Msg, OpId, Payload, recv_msg};

use super::driver::{Attached, Done, Source};
use super::stream::{Owner, Receive};
use super::token::{Class, Token, Way};
use super::{Event, Reactor};
use crate::stack::datagrams::{DatagramSent, NoDatagram, StackUdp};
use crate::stack::host::Role;
use crate::table::{Key, Table};

/// Most sends of one socket in the driver at a time. They end inline as long as the kernel has
/// room; where it has not, each waits for room on its own, and a crowd of those is expensive.
const SENDS_IN_FLIGHT: usize = 128;

/// Most buffers of one socket that the kernel has to fill at a time, and about how many bytes
/// these are, unless that would be fewer than [`LENT_LEAST`]. The kernel fills them in turn, so
/// all that are lent pass through the caches, whereas the pool hands out again what was used last.
const LENT_MOST: usize = 64;
const LENT_BYTES: usize = 128 * 1024;
/// Fewer would end the receive too often.
const LENT_LEAST: usize = 8;

/// How many buffers of `pool` its socket lends to the kernel: a power of two, as the ring wants
/// it; those beyond the pool's count stay vacant.
fn lent(pool: &BufferPool) -> usize {
    let cached = (LENT_BYTES / pool.buffer_size()).clamp(LENT_LEAST, LENT_MOST);
    pool.count().min(cached).next_power_of_two()
}

/// Most bytes in one datagram over IPv4: 65,535 less the IP and UDP headers.
pub(crate) const MAX_PAYLOAD_V4: usize = 65_507;
/// Most bytes in one datagram over IPv6, whose length does not count the IP header.
pub(crate) const MAX_PAYLOAD_V6: usize = 65_527;

/// One datagram, or several of one size that the kernel coalesced (`UDP_GRO`), as it arrived.
///
/// `data` is a pool buffer on loan: dropping it gives it back, sending it moves it on without a
/// copy.
#[derive(Debug)]
#[non_exhaustive]
pub struct Datagram {
    /// The bytes.
    pub data: Buf,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Size of each datagram in `data`, of which the last may be shorter, when the kernel
    /// coalesced several; only with [`UdpOptions::gro`](crate::UdpOptions::gro).
    pub segment_size: Option<u16>,
    /// When the kernel received it (`CLOCK_REALTIME`), with
    /// [`UdpOptions::timestamps`](crate::UdpOptions::timestamps).
    pub timestamp: Option<SystemTime>,
    /// The datagram was longer than the buffer; the rest of it is lost.
    pub truncated: bool,
}

impl Datagram {
    /// The datagrams in it, one unless it was coalesced, without a copy. An empty datagram is one
    /// empty slice.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let size = self.segment_len();
        let empty = self.data.is_empty().then_some(&self.data[..]);
        empty.into_iter().chain(self.data.chunks(size))
    }

    /// The datagrams in it as slices that share the buffer: each may be kept or sent by itself.
    pub fn into_segments(self) -> impl Iterator<Item = SharedBuf> {
        let size = self.segment_len();
        let mut rest = Some(SharedBuf::from(self.data));
        std::iter::from_fn(move || {
            let mut data = rest.take()?;
            if data.len() > size {
                let first = data.split_to(size);
                rest = Some(data);
                return Some(first);
            }
            Some(data)
        })
    }

    /// How many datagrams are in it.
    pub fn segment_count(&self) -> usize {
        self.data.len().div_ceil(self.segment_len()).max(1)
    }

    fn segment_len(&self) -> usize {
        self.segment_size
            .map_or(self.data.len(), usize::from)
            .max(1)
    }

    /// Takes the first datagram off for a reader who wants them one by one; the rest stays.
    /// Returns how many bytes it copied.
    pub(crate) fn copy_first(&mut self, into: &mut [u8]) -> usize {
        let size = self.segment_len().min(self.data.len());
        let count = size.min(into.len());
        into[..count].copy_from_slice(&self.data[..count]);
        self.data.advance(size);
        count
    }

    /// What a buffer filled by `recvmsg` holds; `None` if it does not hold together.
    fn parse(mut data: Buf) -> Option<Self> {
        let parsed = recv_msg::parse(&data)?;
        data.advance(parsed.offset);
        data.truncate(parsed.len);
        Some(Self {
            peer: parsed.peer?,
            segment_size: match parsed.gro_size {
                0 => None,
                size => Some(size).filter(|&size| usize::from(size) < data.len()),
            },
            timestamp: parsed
                .timestamp
                .map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos)),
            truncated: parsed.truncated,
            data,
        })
    }
}

/// What a UDP socket did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpStats {
    /// Datagrams received; coalesced ones count one by one.
    pub received: u64,
    /// Buffers they came in: fewer than `received` when the kernel coalesced.
    pub buffers_received: u64,
    /// Datagrams that were longer than a buffer.
    pub truncated: u64,
    /// Datagrams accepted for sending and taken by the kernel; segments count one by one.
    pub sent: u64,
    /// Messages they were sent in: fewer than `sent` with segments or coalescing.
    pub messages_sent: u64,
    /// Datagrams that the kernel refused to send.
    pub send_failures: u64,
    /// Errors that the network reported for earlier datagrams (ICMP).
    pub network_errors: u64,
    /// Times receiving paused because the queue of arrived datagrams was full.
    pub pauses: u64,
    /// Times receiving paused because all buffers were out.
    pub starvations: u64,
    /// Datagrams now waiting to be taken by the application.
    pub arrived: usize,
    /// Messages now waiting to be taken by the kernel.
    pub unsent: usize,
}

/// A message waiting to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) data: SharedBuf,
    /// `None` on a connected socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The kernel cuts it into datagrams of this size; 0 = it is one datagram.
    pub(crate) segment: u16,
}

/// Why a message was not taken for sending; it comes back with the answer.
#[derive(Debug)]
pub(crate) enum Unsendable {
    /// The queue is full.
    Full(Outgoing),
    /// The socket is closed, or the kernel reported this errno for something sent earlier.
    Error(Outgoing, i32),
}

/// What a new socket needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Datagrams that may wait for the application.
    pub(crate) arrived: usize,
    /// Messages that may wait for the kernel.
    pub(crate) unsent: usize,
    /// Whether equal datagrams to one peer are sent as one message.
    pub(crate) coalesce: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// Sending what is queued first.
    Flushing,
    /// Waiting for the final completions before the descriptor is closed.
    Ending,
}

/// A UDP socket of either half.
#[derive(Debug)]
pub(crate) enum UdpHalf {
    Kernel {
        fd: OwnedFd,
        at: Attached,
        source: Source,
    },
    Stack(StackUdp),
}

/// One UDP socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) half: UdpHalf,
    owner: Owner,
    limits: Limits,
    pub(crate) pool: BufferPool,

    receive: Receive,
    /// The receive in flight, to be cancelled.
    receive_op: OpId,
    /// A cancel of it is on its way.
    pausing: bool,
    arrived: VecDeque<Datagram>,
    read_wakers: Vec<Waker>,
    /// The server has been told and has not looked yet.
    told: bool,

    queue: VecDeque<Outgoing>,
    /// Messages accepted and not yet taken by the kernel.
    unsent: usize,
    /// Sends in the driver.
    sending: usize,
    /// In the list of sockets with something to send.
    dirty: bool,
    /// Above the limit and not yet down to half of it.
    full: bool,
    /// The server wants to hear when there is room again.
    wants_room: bool,
    write_wakers: Vec<Waker>,

    /// The peer it is connected to.
    pub(crate) peer: Option<SocketAddr>,
    /// Reported by the kernel for something sent earlier, not told to the application yet.
    error: Option<i32>,
    closing: Closing,
    /// Operations that use the descriptor and have not ended.
    ops: u32,
    stats: UdpStats,
}

impl Socket {
    /// Counts a datagram that has arrived, and keeps it for the application.
    fn keep(&mut self, datagram: Datagram) {
        self.stats.received += datagram.segment_count() as u64;
        self.stats.buffers_received += 1;
        self.stats.truncated += u64::from(datagram.truncated);
        self.arrived.push_back(datagram);
    }

    fn wants_data(&self) -> bool {
        self.closing == Closing::No && self.arrived.len() < self.limits.arrived
    }

    /// Whether receiving, once paused, goes on: not for every datagram taken.
    fn has_room_again(&self) -> bool {
        self.arrived.len() <= self.limits.arrived / 2
    }

    /// Buffers from which on a receive that had found none is worth starting again: half of what
    /// the kernel could have.
    fn enough_buffers(&self) -> usize {
        lent(&self.pool).min(self.pool.count()).div_ceil(2)
    }

    pub(crate) fn stats(&self) -> UdpStats {
        UdpStats {
            arrived: self.arrived.len(),
            unsent: self.unsent,
            ..self.stats
        }
    }
}

/// All UDP sockets of a reactor and what they wait for.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Whether their pools want huge pages.
    pub(crate) huge_pages: HugePages,
    pub(crate) table: Table<Socket>,
    /// With something to send.
    dirty: Vec<Key>,
    /// That want to receive.
    listed: Vec<Key>,
    /// That found no buffer.
    starved: Vec<Key>,
    /// Messages on their way to the driver; empty between calls.
    batch: VecDeque<Box<Msg>>,
}

impl Sockets {
    pub(crate) const fn new(huge_pages: HugePages) -> Self {
        Self {
            huge_pages,
            table: Table::new(),
            dirty: Vec::new(),
            listed: Vec::new(),
            starved: Vec::new(),
            batch: VecDeque::new(),
        }
    }

    /// Whether the next flush has something to do.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        !self.dirty.is_empty() || !self.listed.is_empty()
    }

    /// Whether some closed socket still sends what was queued.
    pub(crate) fn is_flushing(&self) -> bool {
        self.table
            .iter()
            .any(|(_, socket)| socket.closing == Closing::Flushing)
    }

    /// Whether some receive waits for buffers that may come home without a sign.
    pub(crate) fn has_starved(&self) -> bool {
        self.starved.iter().any(|&key| {
            self.table
                .get(key)
                .is_some_and(|socket| socket.arrived.len() <= socket.pool.count() / 2)
        })
    }
}

fn token(way: Way, key: Key) -> u64 {
    Token::new(Class::Datagram, way, key).encode()
}

/// Keeps the waker unless it is there already.
fn register(wakers: &mut Vec<Waker>, context: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
        wakers.push(context.waker().clone());
    }
}

/// UDP sockets of one ring: each has a buffer group, of which there are 256, and streams have two.
const RING_SOCKETS: usize = 254;

impl Reactor {
    /// Takes over a bound socket whose receives fill buffers of `pool`.
    pub(crate) fn add_datagram_socket(
        &mut self,
        fd: OwnedFd,
        pool: BufferPool,
        owner: Owner,
        limits: Limits,
    ) -> io::Result<Key> {
        if self.driver.is_uring() && self.udp.table.len() >= RING_SOCKETS {
            let text = format!(
                "a ring has room for {RING_SOCKETS} UDP sockets: close some, or spread them over \
                 several runtimes"
            );
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        // At most `LENT_MOST`.
        let entries = lent(&pool) as u16;
        let source = self
            .driver
            .add_source(&pool, entries)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let at = match self.driver.attach(fd.as_fd()) {
            Ok(at) => at,
            Err(error) => {
                self.driver.remove_source(source);
                return Err(error);
            }
        };
        let half = UdpHalf::Kernel { fd, at, source };
        Ok(self.insert_datagram_socket(half, pool, owner, limits))
    }

    /// Takes over a socket of a stack; datagrams that need copying go to buffers of `pool`.
    pub(crate) fn add_stack_datagram_socket(
        &mut self,
        socket: StackUdp,
        pool: BufferPool,
        owner: Owner,
        limits: Limits,
    ) -> Key {
        self.insert_datagram_socket(UdpHalf::Stack(socket), pool, owner, limits)
    }

    fn insert_datagram_socket(
        &mut self,
        half: UdpHalf,
        pool: BufferPool,
        owner: Owner,
        limits: Limits,
    ) -> Key {
        let key = self.udp.table.insert(Socket {
            half,
            owner,
            limits,
            pool,
            receive: Receive::Idle,
            receive_op: OpId::NONE,
            pausing: false,
            arrived: VecDeque::new(),
            read_wakers: Vec::new(),
            told: false,
            queue: VecDeque::new(),
            unsent: 0,
            sending: 0,
            dirty: false,
            full: false,
            wants_room: false,
            write_wakers: Vec::new(),
            peer: None,
            error: None,
            closing: Closing::No,
            ops: 0,
            stats: UdpStats::default(),
        });
        if let Some(UdpHalf::Stack(socket)) = self.udp.table.get(key).map(|socket| &socket.half) {
            socket.set_role(Role::Datagram(key));
        }
        if let Owner::Server(_) = owner {
            self.list_datagram_receive(key);
        }
        key
    }

    fn list_datagram_receive(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        if socket.receive == Receive::Idle && socket.wants_data() {
            socket.receive = Receive::Listed;
            self.udp.listed.push(key);
        }
    }

    /// Starts what UDP sockets have asked for since the last turn: sends first.
    pub(super) fn flush_datagrams(&mut self) {
        while let Some(key) = self.udp.dirty.pop() {
            self.start_datagram_sends(key);
        }
        while let Some(key) = self.udp.listed.pop() {
            self.start_datagram_receive(key);
        }
        if !self.udp.starved.is_empty() {
            self.feed_starved_datagrams();
        }
    }

    fn start_datagram_receive(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        if socket.receive != Receive::Listed {
            return;
        }
        if !socket.wants_data() {
            socket.receive = Receive::Idle;
            return;
        }
        let UdpHalf::Kernel { at, source, .. } = socket.half else {
            return self.receive_datagrams_from_stack(key);
        };
        socket.receive = Receive::Armed;
        socket.pausing = false;
        socket.ops += 1;
        socket.receive_op = self.driver.recvmsg(at, source, token(Way::In, key));
    }

    /// Starts receives that had found no buffer, once half of the pool is back.
    fn feed_starved_datagrams(&mut self) {
        let mut index = 0;
        while let Some(&key) = self.udp.starved.get(index) {
            let Some(socket) = self.udp.table.get_mut(key) else {
                self.udp.starved.swap_remove(index);
                continue;
            };
            let enough = match &socket.half {
                UdpHalf::Kernel { source, .. } => {
                    self.driver.available(*source) >= socket.enough_buffers()
                }
                UdpHalf::Stack(stack) => stack.has_buffer(),
            };
            if !enough {
                index += 1;
                continue;
            }
            self.udp.starved.swap_remove(index);
            socket.receive = Receive::Idle;
            self.list_datagram_receive(key);
        }
        while let Some(key) = self.udp.listed.pop() {
            self.start_datagram_receive(key);
        }
    }

    /// A datagram has arrived, or the receive has ended.
    #[inline]
    pub(super) fn datagram_received(&mut self, key: Key, done: Done) {
        let Done {
            result,
            more,
            payload,
            ..
        } = done;
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        match payload {
            Some(Payload::Buf(buf)) if result >= 0 && socket.closing == Closing::No => {
                let Some(datagram) = Datagram::parse(buf) else {
                    tracing::debug!("a datagram that does not hold together was dropped");
                    return self.datagram_receive_ended(key, result, more);
                };
                socket.keep(datagram);
                self.tell_datagram_reader(key);
            }
            // The template of a receive that has ended.
            Some(Payload::Msg(msg)) => self.driver.give_msg(msg),
            _ => {}
        }
        self.datagram_receive_ended(key, result, more);
    }

    fn tell_datagram_reader(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        match socket.owner {
            Owner::Server(server) if !socket.told => {
                socket.told = true;
                self.events.push_back(Event::Datagrams {
                    server,
                    socket: key,
                });
            }
            Owner::Server(_) => {}
            Owner::Task => self.wakers.append(&mut socket.read_wakers),
        }
    }

    /// What follows from the end of a receive, or from a queue that is now full.
    #[inline]
    fn datagram_receive_ended(&mut self, key: Key, result: i32, more: bool) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        let UdpHalf::Kernel { at, source, .. } = socket.half else {
            return;
        };
        if more {
            if socket.arrived.len() >= socket.limits.arrived && !socket.pausing {
                socket.pausing = true;
                socket.stats.pauses += 1;
                self.driver.cancel_recvmsg(at, socket.receive_op);
            }
            return;
        }
        socket.ops -= 1;
        socket.receive = Receive::Idle;
        socket.receive_op = OpId::NONE;
        if socket.closing == Closing::Ending {
            return self.finish_datagram_close(key);
        }
        match -result {
            // The kernel has used up what it was lent; the pool may have more.
            libc::ENOBUFS if self.driver.available(source) >= socket.enough_buffers() => {}
            libc::ENOBUFS => {
                socket.receive = Receive::Starved;
                socket.stats.starvations += 1;
                self.udp.starved.push(key);
                return;
            }
            // A pause, the end of the queue's room, a busy ring: no error of the socket's.
            errno @ 1.. if !is_transient(errno) && errno != libc::ECANCELED => {
                socket.stats.network_errors += 1;
                self.report_datagram_error(key, errno);
            }
            _ => {}
        }
        let wanted = self
            .udp
            .table
            .get(key)
            .is_some_and(|socket| !socket.pausing || socket.has_room_again());
        if wanted {
            self.list_datagram_receive(key);
        }
    }

    fn report_datagram_error(&mut self, key: Key, errno: i32) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        socket.error = Some(errno);
        self.tell_datagram_reader(key);
    }

    /// Accepts a message for sending; it leaves in the next flush with what else is queued.
    // The error carries what the caller wants back.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub(crate) fn send_datagram(&mut self, key: Key, message: Outgoing) -> Result<(), Unsendable> {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return Err(Unsendable::Error(message, libc::ENOTCONN));
        };
        if socket.closing != Closing::No {
            return Err(Unsendable::Error(message, libc::ENOTCONN));
        }
        if let (Some(errno), Owner::Task) = (socket.error, socket.owner) {
            socket.error = None;
            return Err(Unsendable::Error(message, errno));
        }
        if socket.full {
            socket.wants_room = true;
            return Err(Unsendable::Full(message));
        }
        socket.unsent += 1;
        socket.full = socket.unsent >= socket.limits.unsent;
        socket.queue.push_back(message);
        if !socket.dirty && socket.sending < SENDS_IN_FLIGHT {
            socket.dirty = true;
            self.udp.dirty.push(key);
        }
        Ok(())
    }

    fn start_datagram_sends(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        socket.dirty = false;
        if socket.closing == Closing::Ending {
            return;
        }
        let UdpHalf::Kernel { at, .. } = socket.half else {
            return self.send_datagrams_to_stack(key);
        };
        while socket.sending < SENDS_IN_FLIGHT {
            let Some(first) = socket.queue.pop_front() else {
                break;
            };
            let mut msg = self.driver.take_msg();
            if let Some(peer) = first.peer {
                msg.set_peer(peer);
            }
            let size = first.data.len();
            // An empty message takes `MAX_SLICES`.
            let _ = msg.push(first.data);
            if first.segment != 0 {
                msg.set_udp_segment(first.segment);
            } else if socket.limits.coalesce && size > 0 {
                coalesce(&mut msg, &mut socket.queue, first.peer, size);
            }
            socket.sending += 1;
            socket.ops += 1;
            match socket.peer {
                None => self.udp.batch.push_back(msg),
                Some(_) => self.driver.sendmsg(at, msg, false, token(Way::Out, key)),
            }
        }
        if !self.udp.batch.is_empty() {
            let token = token(Way::Out, key);
            self.driver.send_datagrams(at, &mut self.udp.batch, token);
        }
    }

    /// Takes what a stack has for a socket; an event tells of what comes later.
    fn receive_datagrams_from_stack(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        let before = socket.arrived.len();
        socket.receive = loop {
            if !socket.wants_data() {
                socket.stats.pauses += 1;
                break Receive::Idle;
            }
            let UdpHalf::Stack(stack) = &mut socket.half else {
                return;
            };
            match stack.receive() {
                Ok(datagram) => socket.keep(datagram),
                Err(NoDatagram::Nothing) => break Receive::Armed,
                Err(NoDatagram::NoBuffer) => {
                    socket.stats.starvations += 1;
                    self.udp.starved.push(key);
                    break Receive::Starved;
                }
            }
        };
        if socket.arrived.len() > before {
            self.tell_datagram_reader(key);
        }
    }

    /// A stack has something for a socket, or room.
    pub(super) fn datagrams_ready(&mut self, key: Key, readiness: Readiness) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        let UdpHalf::Stack(stack) = &socket.half else {
            return;
        };
        if readiness.contains(Readiness::ERROR) {
            let mut last = None;
            while let Some(errno) = stack.take_error() {
                last = Some(errno);
                socket.stats.network_errors += 1;
            }
            // As by the kernel, only a connected socket hears of them.
            if let (Some(errno), true) = (last, socket.peer.is_some()) {
                self.report_datagram_error(key, errno);
            }
        }
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        if readiness.contains(Readiness::WRITABLE) && socket.sending > 0 {
            socket.sending = 0;
            self.after_datagram_send(key);
        }
        let armed = |socket: &Socket| socket.receive == Receive::Armed;
        if readiness.contains(Readiness::READABLE) && self.udp.table.get(key).is_some_and(armed) {
            self.receive_datagrams_from_stack(key);
        }
    }

    /// Gives a stack what is queued, as far as there is room.
    fn send_datagrams_to_stack(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        let UdpHalf::Stack(stack) = &socket.half else {
            return;
        };
        let mut failed = None;
        while let Some(first) = socket.queue.front() {
            // Together with those behind it that may travel with it.
            let alone = first.segment != 0 || !socket.limits.coalesce;
            let count = if alone { 1 } else { together(&socket.queue) };
            let size = match (first.segment, count) {
                (0, 1) => None,
                (0, _) => u16::try_from(first.data.len()).ok(),
                (segment, _) => Some(segment),
            };
            let bytes = first.data.len();
            let slices = socket.queue.iter().take(count).map(|message| &message.data);
            match stack.send(first.peer, slices, size) {
                DatagramSent::All => {
                    socket.stats.messages_sent += 1;
                    socket.stats.sent += match (count, size) {
                        (1, Some(size)) => bytes.div_ceil(size.into()) as u64,
                        _ => count as u64,
                    };
                }
                DatagramSent::Nothing => {
                    // No further one is tried until there is room.
                    socket.sending = SENDS_IN_FLIGHT;
                    break;
                }
                // The path takes no segments of this size: one by one, then.
                DatagramSent::Failed(libc::EMSGSIZE) if count > 1 => {
                    socket.limits.coalesce = false;
                    continue;
                }
                DatagramSent::Failed(errno) => {
                    socket.stats.send_failures += count as u64;
                    failed = Some(errno);
                }
            }
            socket.queue.drain(..count);
            socket.unsent -= count;
        }
        if let Some(errno) = failed {
            self.report_datagram_error(key, errno);
        }
        self.after_datagram_send(key);
    }

    /// A send has ended.
    #[inline]
    pub(super) fn datagram_sent(&mut self, key: Key, done: Done) {
        let Some(Payload::Msg(mut msg)) = done.payload else {
            return;
        };
        let Some(socket) = self.udp.table.get_mut(key) else {
            self.driver.give_msg(msg);
            return;
        };
        socket.ops -= 1;
        socket.sending -= 1;
        let slices = msg.slice_count();
        let mut errno = -done.result.min(0);
        let again = match errno {
            0 => false,
            // Told for an earlier datagram in place of taking this one.
            libc::ECONNREFUSED => true,
            // The device or the path takes no segments of this size: one by one, then.
            libc::EINVAL | libc::EIO | libc::EMSGSIZE if slices > 1 => {
                socket.limits.coalesce = false;
                errno = 0;
                true
            }
            errno => is_transient(errno),
        };
        if again && socket.closing != Closing::Ending {
            let peer = msg.peer();
            let segment = match slices {
                1 => msg.udp_segment().unwrap_or(0),
                _ => 0,
            };
            for data in msg.take_slices().rev() {
                socket.queue.push_front(Outgoing {
                    data,
                    peer,
                    segment,
                });
            }
        } else {
            socket.unsent -= slices;
            if errno == 0 {
                socket.stats.messages_sent += 1;
                socket.stats.sent += match (slices, msg.udp_segment()) {
                    (1, Some(segment)) => msg.bytes().div_ceil(segment.into()) as u64,
                    _ => slices as u64,
                };
            } else {
                socket.stats.send_failures += slices as u64;
            }
        }
        self.driver.give_msg(msg);
        match errno {
            0 | libc::ECANCELED => {}
            errno if is_transient(errno) => {}
            errno => {
                if again {
                    socket.stats.network_errors += 1;
                }
                self.report_datagram_error(key, errno);
            }
        }
        self.after_datagram_send(key);
    }

    #[inline]
    fn after_datagram_send(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        if socket.closing == Closing::Ending {
            return self.finish_datagram_close(key);
        }
        let room = socket.sending < SENDS_IN_FLIGHT;
        if !socket.queue.is_empty() && !socket.dirty && room {
            socket.dirty = true;
            self.udp.dirty.push(key);
        }
        if socket.full && socket.unsent <= socket.limits.unsent / 2 {
            socket.full = false;
            self.wakers.append(&mut socket.write_wakers);
            if let (Owner::Server(_), true) = (socket.owner, socket.wants_room) {
                self.tell_datagram_reader(key);
            }
        } else if socket.unsent == 0 {
            self.wakers.append(&mut socket.write_wakers);
            if socket.closing == Closing::Flushing {
                self.end_datagram_socket(key);
            }
        }
    }

    /// Sends what is queued, then closes.
    pub(crate) fn close_datagram_socket(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        if socket.closing != Closing::No {
            return;
        }
        socket.arrived.clear();
        if socket.unsent == 0 {
            return self.end_datagram_socket(key);
        }
        socket.closing = Closing::Flushing;
    }

    /// Closes: cancel, await the final completions, close.
    pub(crate) fn end_datagram_socket(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        if socket.closing == Closing::Ending {
            return;
        }
        socket.closing = Closing::Ending;
        socket.arrived.clear();
        socket.queue.clear();
        self.wakers.append(&mut socket.read_wakers);
        self.wakers.append(&mut socket.write_wakers);
        if let (1.., UdpHalf::Kernel { at, .. }) = (socket.ops, &socket.half) {
            self.driver.cancel(*at);
            return;
        }
        self.finish_datagram_close(key);
    }

    fn finish_datagram_close(&mut self, key: Key) {
        if self.udp.table.get(key).is_none_or(|socket| socket.ops > 0) {
            return;
        }
        let Some(socket) = self.udp.table.remove(key) else {
            return;
        };
        if let UdpHalf::Kernel { at, source, .. } = socket.half {
            self.driver.detach(at);
            self.driver.remove_source(source);
            self.other_calls += 1;
        }
        if let Owner::Server(server) = socket.owner {
            self.events.push_back(Event::Datagrams {
                server,
                socket: key,
            });
        }
        drop(socket);
    }

    /// What has arrived, taken by a server all at once: swapped for its empty queue. Also what
    /// the network reported, and whether a send that was refused would find room now.
    pub(crate) fn take_datagrams(
        &mut self,
        key: Key,
        into: &mut VecDeque<Datagram>,
    ) -> Option<(Option<i32>, bool)> {
        let socket = self.udp.table.get_mut(key)?;
        socket.told = false;
        std::mem::swap(&mut socket.arrived, into);
        let room = socket.wants_room && !socket.full;
        socket.wants_room &= !room;
        let news = (socket.error.take(), room);
        self.list_datagram_receive(key);
        Some(news)
    }

    /// The next datagram that has arrived; starts receiving where that had not begun or had
    /// paused.
    pub(crate) fn try_recv_datagram(&mut self, key: Key) -> Option<io::Result<Datagram>> {
        let Some(socket) = self.udp.table.get(key) else {
            return Some(Err(io::ErrorKind::NotConnected.into()));
        };
        if let (true, UdpHalf::Stack(_)) = (socket.arrived.is_empty(), &socket.half) {
            self.receive_datagrams_from_stack(key);
        }
        let socket = self.udp.table.get_mut(key)?;
        let first = socket.arrived.pop_front();
        let found = match first {
            Some(datagram) => Some(Ok(datagram)),
            None => socket
                .error
                .take()
                .map(|errno| Err(io::Error::from_raw_os_error(errno))),
        };
        if socket.receive == Receive::Idle && socket.has_room_again() {
            self.list_datagram_receive(key);
        }
        found
    }

    /// Whether the next [`Self::try_recv_datagram`] gives a datagram.
    pub(crate) fn has_arrived_datagram(&self, key: Key) -> bool {
        let socket = self.udp.table.get(key);
        socket.is_some_and(|socket| !socket.arrived.is_empty())
    }

    /// Puts what is left of a coalesced datagram back in front of the next one.
    pub(crate) fn unread_datagram(&mut self, key: Key, datagram: Datagram) {
        if let Some(socket) = self.udp.table.get_mut(key) {
            socket.arrived.push_front(datagram);
        }
    }

    pub(crate) fn poll_recv_datagram(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Datagram>> {
        if let Some(found) = self.try_recv_datagram(key) {
            return Poll::Ready(found);
        }
        if let Some(socket) = self.udp.table.get_mut(key) {
            register(&mut socket.read_wakers, context);
        }
        Poll::Pending
    }

    /// Waits until there is a datagram, or an error to be told.
    pub(crate) fn poll_datagram_readable(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(socket) = self.udp.table.get(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let (true, UdpHalf::Stack(_)) = (socket.arrived.is_empty(), &socket.half) {
            self.receive_datagrams_from_stack(key);
        }
        let Some(socket) = self.udp.table.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if !socket.arrived.is_empty() || socket.error.is_some() {
            return Poll::Ready(Ok(()));
        }
        register(&mut socket.read_wakers, context);
        self.list_datagram_receive(key);
        Poll::Pending
    }

    /// Waits for room in the send queue, or until it is empty.
    pub(crate) fn poll_datagram_room(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
        empty: bool,
    ) -> Poll<io::Result<()>> {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let ready = match empty {
            true => socket.unsent == 0,
            false => !socket.full,
        };
        if !ready {
            register(&mut socket.write_wakers, context);
            return Poll::Pending;
        }
        match socket.error.take_if(|_| empty) {
            Some(errno) => Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Gathers the datagrams behind one of `size` bytes that may travel with it: to the same peer and
/// of the same size, the last one possibly shorter.
fn coalesce(msg: &mut Msg, queue: &mut VecDeque<Outgoing>, peer: Option<SocketAddr>, size: usize) {
    let Ok(segment) = u16::try_from(size) else {
        return;
    };
    while msg.slice_count() < MAX_SLICES {
        let bytes = msg.bytes();
        let fits = |next: &mut Outgoing| {
            next.peer == peer
                && next.segment == 0
                && !next.data.is_empty()
                && next.data.len() <= size
                && bytes + next.data.len() <= MAX_PAYLOAD_V4
        };
        let Some(next) = queue.pop_front_if(fits) else {
            break;
        };
        let last = next.data.len() < size;
        // Below `MAX_SLICES` it is taken.
        let _ = msg.push(next.data);
        if last {
            break;
        }
    }
    if msg.slice_count() > 1 {
        msg.set_udp_segment(segment);
    }
}

/// How many datagrams at the front of a queue may travel as one: to one peer and of one size, the
/// last one possibly shorter.
fn together(queue: &VecDeque<Outgoing>) -> usize {
    let Some(first) = queue.front() else {
        return 0;
    };
    let size = first.data.len();
    let (mut count, mut bytes) = (1, size);
    for next in queue.iter().skip(1).take(SLICES_MAX - 1) {
        let len = next.data.len();
        let fits = next.peer == first.peer && next.segment == 0 && (1..=size).contains(&len);
        if !fits || bytes + len > MAX_PAYLOAD_V4 {
            break;
        }
        count += 1;
        bytes += len;
        if len < size {
            break;
        }
    }
    count
}

/// Whether trying again is all there is to do.
fn is_transient(errno: i32) -> bool {
    matches!(errno, libc::EAGAIN | libc::EINTR | libc::EBUSY)
}
