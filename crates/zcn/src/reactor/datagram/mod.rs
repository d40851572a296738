//! UDP sockets of both halves: what they are made of, and how they begin and end.
//!
//! Each receives into a pool of its own (`receive`) and sends from a bounded queue (`send`). Errors
//! that the network reports (ICMP) are told once and end nothing.

mod message;
mod receive;
mod send;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Waker};

use zcn_pool::{BufferPool, HugePages};
use zcn_stack::event::Readiness;
use zcn_uring::{Msg, OpId};

pub use message::Datagram;
pub(crate) use message::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Outgoing, Unsendable};

use self::receive::lent;
use super::driver::{Attached, Source};
use super::stream::{Owner, Receive};
use super::token::{Class, Token, Way};
use super::{Event, Reactor};
use crate::stack::datagrams::StackUdp;
use crate::stack::host::Role;
use crate::table::{Key, Table};

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

    fn report_datagram_error(&mut self, key: Key, errno: i32) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        socket.error = Some(errno);
        self.tell_datagram_reader(key);
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
}

/// Whether trying again is all there is to do.
fn is_transient(errno: i32) -> bool {
    matches!(errno, libc::EAGAIN | libc::EINTR | libc::EBUSY)
}
