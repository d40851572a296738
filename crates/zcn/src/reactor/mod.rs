//! The reactor: what the sockets of one core are doing, above either driver.
//!
//! It turns operations into events. Nothing in here calls user code: events are collected and
//! wakers gathered while the reactor is borrowed, and served by the runtime afterwards (rule 16).
//!
//! A connection receives with one operation at a time, started again after the sends of the turn,
//! on a busy ring a turn later still: by then the answer to what was just sent is often there and
//! the receive completes inline, without a wake-up (`docs/decisions.md`, "One receive at a time",
//! "Busy connections"). A waiting receive holds no
//! buffer; the kernel picks one when data is there.

pub(crate) mod accept;
mod batch;
pub(crate) mod connect;
pub(crate) mod datagram;
pub(crate) mod driver;
mod epoll;
mod files;
mod hot;
pub(crate) mod progress;
pub(crate) mod queue;
pub(crate) mod socket;
mod stacks;
pub(crate) mod stream;
pub(crate) mod streams;
pub(crate) mod token;
mod uring;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::Waker;
use std::time::{Duration, Instant};

use zcn_pool::{Buf, BufferPool, LocalPool};
use zcn_sys::eventfd::EventFd;

use self::accept::Listener;
use self::connect::Connecting;
use self::driver::{Attached, Done, Driver, DriverStats, Wait};
use self::socket::Socket;
use self::stacks::Stacks;
use self::stream::{CloseReason, Stream};
use self::token::{Class, Token, Way};
use crate::client::Attempt;
use crate::config::{Config, ReactorKind, Sleep, ZeroCopy};
use crate::error::{Action, Error};
use crate::table::{Key, Table};

/// What the runtime hands to a server.
#[derive(Debug)]
pub(crate) enum Event {
    /// A peer was accepted.
    Accepted { server: Key, socket: Socket },
    /// Bytes arrived.
    Data {
        server: Key,
        stream: Key,
        buf: Buf,
        /// Further bytes may be had at once, by [`Reactor::next_data`].
        more: bool,
    },
    /// The peer has finished sending.
    End { server: Key, stream: Key },
    /// The send queue has fallen to the low-water mark.
    Writable { server: Key, stream: Key },
    /// The kernel has taken bytes, on a stream whose server wants to know.
    Sent { server: Key, stream: Key },
    /// A client's connection was made.
    Connected {
        server: Key,
        stream: Key,
        attempt: Attempt,
    },
    /// A client's connection could not be made.
    ConnectFailed {
        server: Key,
        attempt: Attempt,
        error: Error,
    },
    /// The connection is gone; its key is stale.
    Closed {
        server: Key,
        stream: Key,
        reason: CloseReason,
    },
    /// Something happened on a UDP socket: arrivals, an error, room for sends, or its end.
    Datagrams { server: Key, socket: Key },
    /// The server was asked to shut down.
    Drain { server: Key },
}

impl Event {
    pub(crate) fn server(&self) -> Key {
        match self {
            Self::Accepted { server, .. }
            | Self::Data { server, .. }
            | Self::End { server, .. }
            | Self::Writable { server, .. }
            | Self::Sent { server, .. }
            | Self::Connected { server, .. }
            | Self::ConnectFailed { server, .. }
            | Self::Closed { server, .. }
            | Self::Datagrams { server, .. }
            | Self::Drain { server } => *server,
        }
    }
}

/// Size of the buffers for connections with much data: one receive, one send and one completion
/// for what would be four of each.
const BULK_BYTES: usize = 64 * 1024;
/// How many there are. A connection that finds none uses ordinary ones, so few are enough; and
/// more than the second-level cache holds would be slower than fewer.
const BULK_BUFFERS: usize = 32;
/// How many of them are lent to the kernel.
const BULK_LENT: u16 = 8;

/// How long a runtime that is dropped goes on sending for streams that were closed before.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Completions in one turn from which on receives are postponed.
const LARGE_BATCH: usize = 8;

/// Most postponed receives started in one turn: as many connections as the second-level cache
/// holds the sockets of, from their receive to their send in the turn after.
const ROUND: usize = 32;

/// What a look while spinning finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Nothing,
    /// Events or wakers, from hot connections.
    Events,
    /// Something that needs a turn.
    News,
}

/// Longest sleep while streams wait for buffers that another thread may give back silently.
const STARVED_POLL: Duration = Duration::from_millis(1);
const STARVED_POLL_MS: u32 = 1;

/// The sockets of one core.
#[derive(Debug)]
pub(crate) struct Reactor {
    pub(crate) driver: Driver,
    pub(crate) streams: Table<Stream>,
    pub(crate) listeners: Table<Listener>,
    pub(crate) connecting: Table<Connecting>,
    pub(crate) udp: datagram::Sockets,
    pub(crate) stacks: Stacks,
    /// Streams with something to send.
    dirty: Vec<Key>,
    /// Streams that want to receive.
    listed: Vec<Key>,
    /// Streams of a large batch that want to receive, [`ROUND`] of them a turn.
    postponed: VecDeque<Key>,
    /// Completions of the last turn.
    batch: usize,
    /// Streams asked directly while the loop spins.
    hot: Vec<Key>,
    /// Whether the loop spins, on io_uring.
    spinning: bool,
    /// Streams that found no buffer, first come first served.
    starved: VecDeque<Key>,
    /// When starved receives were last started again, or the first of them starved.
    starved_since_ms: u32,
    /// Most buffers that receives can have.
    receive_buffers: usize,
    /// Dropped streams of tasks that still have something to send, with when to look whether they
    /// get on; the first due first.
    flushing: VecDeque<(u32, Key)>,
    /// Closed streams that wait for their peer's end, with when to stop waiting; the first due
    /// first, as all wait equally long.
    lingering: VecDeque<(u32, Key)>,
    /// For the servers.
    pub(crate) events: VecDeque<Event>,
    /// For the tasks.
    pub(crate) wakers: Vec<Waker>,
    done: Vec<Done>,
    /// Of a send that takes more than one buffer; empty between calls.
    pub(crate) copies: Vec<Buf>,
    wake: EventFd,
    wake_at: Attached,
    pub(crate) pool: BufferPool,
    pub(crate) local: LocalPool,
    /// Buffers for what the application writes itself. Not those of the receives: a sender without
    /// limit would take the last one, and a connection whose peer waits for us to read would then
    /// wait for ever.
    pub(crate) outgoing: LocalPool,
    /// Large buffers for the connections with much data.
    pub(crate) bulk: LocalPool,
    zero_copy: ZeroCopy,
    born: Instant,
    now: Instant,
    now_ms: u32,
    /// Calls made outside the driver: shutdown, close.
    pub(crate) other_calls: u64,
}

fn build_pool(config: &Config, buffer_size: usize, count: usize) -> crate::Result<BufferPool> {
    BufferPool::builder()
        .buffer_size(buffer_size)
        .count(count)
        .huge_pages(config.huge_pages)
        .build()
        .map_err(|error| Error::refused(Action::Start, error.raw_os_error(), error.to_string()))
}

impl Reactor {
    pub(crate) fn new(config: &Config) -> crate::Result<Self> {
        let pool = build_pool(config, config.buffer_size, config.buffers)?;
        let outgoing = build_pool(config, config.buffer_size, config.buffers)?;
        let mut driver = Self::driver(config, &pool)?;
        let bulk = build_pool(config, config.buffer_size.max(BULK_BYTES), BULK_BUFFERS)?;
        let source = driver
            .add_source(&bulk, BULK_LENT)
            .map_err(|error| Error::setting(Action::Start, error.to_string()))?;
        debug_assert_eq!(source, driver::BULK_SOURCE);
        let wake = EventFd::new().map_err(|error| Error::bare(Action::Start, error))?;
        let wake_at = driver
            .attach(wake.as_fd())
            .map_err(|error| Error::bare(Action::Start, error))?;
        let driver_spins = driver.is_uring();
        let mut reactor = Self {
            driver,
            streams: Table::new(),
            listeners: Table::new(),
            connecting: Table::new(),
            udp: datagram::Sockets::new(config.huge_pages),
            stacks: Stacks::default(),
            dirty: Vec::new(),
            listed: Vec::new(),
            postponed: VecDeque::new(),
            batch: 0,
            hot: Vec::new(),
            spinning: matches!(config.sleep, Sleep::Spin(_)) && driver_spins,
            starved: VecDeque::new(),
            starved_since_ms: 0,
            receive_buffers: config.receive_buffers.into(),
            flushing: VecDeque::new(),
            lingering: VecDeque::new(),
            events: VecDeque::new(),
            wakers: Vec::new(),
            done: Vec::new(),
            copies: Vec::new(),
            wake,
            wake_at,
            local: pool.local(),
            outgoing: outgoing.local(),
            bulk: bulk.local(),
            pool,
            zero_copy: config.zero_copy,
            born: Instant::now(),
            now: Instant::now(),
            now_ms: 0,
            other_calls: 0,
        };
        reactor.watch_wake();
        Ok(reactor)
    }

    fn driver(config: &Config, pool: &BufferPool) -> crate::Result<Driver> {
        let epoll = |pool: &BufferPool| {
            epoll::EpollDriver::new(pool)
                .map(Driver::Epoll)
                .map_err(|error| Error::bare(Action::Start, error))
        };
        if config.reactor == ReactorKind::Epoll {
            return epoll(pool);
        }
        match uring::UringDriver::new(config, pool) {
            Ok(driver) => Ok(Driver::Uring(driver)),
            Err(uring::SetupFailure::Ring(error))
                if config.reactor == ReactorKind::Auto && error.wants_fallback() =>
            {
                static ONCE: std::sync::Once = std::sync::Once::new();
                ONCE.call_once(|| tracing::warn!(%error, "running on epoll instead of io_uring"));
                epoll(pool)
            }
            Err(uring::SetupFailure::Ring(error)) => {
                let errno = error.raw_os_error();
                Err(Error::refused(Action::Start, errno, error.to_string()))
            }
            Err(uring::SetupFailure::Pool(error)) => Err(error),
        }
    }

    /// A descriptor that other threads write to end this reactor's sleep.
    pub(crate) fn wake_fd(&self) -> io::Result<OwnedFd> {
        self.wake.as_fd().try_clone_to_owned()
    }

    fn watch_wake(&mut self) {
        let key = Key {
            index: 0,
            generation: 0,
        };
        self.driver
            .poll_in(self.wake_at, Token::new(Class::Wake, Way::In, key).encode());
    }

    pub(crate) fn stats(&self) -> DriverStats {
        let mut stats = self.driver.stats();
        stats.system_calls += self.other_calls;
        stats
    }

    /// Milliseconds since this reactor was made, as of the last turn.
    pub(crate) fn now_ms(&self) -> u32 {
        self.now_ms
    }

    /// When the last turn or hot receive ended.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    fn read_clock(&mut self) {
        self.now = Instant::now();
        self.now_ms = self.now.duration_since(self.born).as_millis() as u32;
    }

    /// Whether the last turn brought something.
    pub(crate) fn was_busy(&self) -> bool {
        self.batch > 0
    }

    /// Whether receives are left for the next turn.
    fn wants_turn(&self) -> bool {
        !self.listed.is_empty() || !self.postponed.is_empty()
    }

    /// What a spinning loop would find now; costs a system call for each hot connection, otherwise
    /// reads of shared memory.
    #[inline]
    pub(crate) fn look(&mut self) -> Look {
        if !self.hot.is_empty() && self.poll_hot() {
            return Look::Events;
        }
        if self.has_events()
            || !self.dirty.is_empty()
            || self.wants_turn()
            || self.udp.has_work()
            || self.driver.has_news()
            || self.stacks.look()
        {
            return Look::News;
        }
        Look::Nothing
    }

    /// Whether there is anything left that could ever happen here.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.len() == 0
            && self.listeners.len() == 0
            && self.connecting.len() == 0
            && self.udp.table.len() == 0
    }

    /// Whether a connection is being closed that still has something to send.
    pub(crate) fn is_flushing(&self) -> bool {
        self.streams
            .iter()
            .any(|(_, stream)| matches!(stream.closing, stream::Closing::Flushing(_)))
    }

    /// One round: start sends, start receives, wait, turn completions into events.
    pub(crate) fn turn(&mut self, wait: Wait) -> io::Result<()> {
        if wait != Wait::No {
            self.cool();
        }
        self.flush();
        let mut wait = self.shortened(wait);
        if !self.stacks.is_empty() {
            self.flush_stacks();
            wait = self.shortened(wait);
            if wait != Wait::No && self.arm_stacks() {
                wait = Wait::No;
            }
        }
        let outcome = self.drive(wait);
        if !self.stacks.is_empty() {
            self.turn_stacks();
        }
        self.retry_listeners();
        if !self.lingering.is_empty() {
            self.end_lingering();
        }
        if !self.flushing.is_empty() {
            self.end_stalled();
        }
        if !self.hot.is_empty() && !self.has_events() {
            self.poll_hot();
        }
        outcome
    }

    /// Waits, and turns completions into events.
    fn drive(&mut self, wait: Wait) -> io::Result<()> {
        let mut done = std::mem::take(&mut self.done);
        let outcome = self.driver.turn(wait, &mut done);
        self.read_clock();
        self.batch = done.len();
        for done in done.drain(..) {
            self.complete(done);
        }
        self.done = done;
        outcome
    }

    /// Starts all that was asked for; whether nothing is left to do but to wait.
    pub(crate) fn settle(&mut self) -> io::Result<bool> {
        self.cool();
        self.driver.before_waiting()?;
        self.turn(Wait::No)?;
        if !self.stacks.is_empty() {
            if self.arm_stacks() {
                return Ok(false);
            }
            self.drive(Wait::No)?;
        }
        Ok(!self.has_events()
            && self.dirty.is_empty()
            && !self.wants_turn()
            && !self.udp.has_work()
            && self.driver.is_settled())
    }

    /// A wait that must end earlier because of something only the reactor knows.
    pub(crate) fn shortened(&self, wait: Wait) -> Wait {
        if !self.events.is_empty() || !self.wakers.is_empty() || self.wants_turn() {
            // Caused by a call from outside the turn, e.g. a close in a callback, or left for the
            // next turn: nothing else would end the sleep.
            return Wait::No;
        }
        if wait == Wait::No {
            return wait;
        }
        let mut limit = wait.timeout();
        let mut shorten = |to: Duration| {
            limit = Some(limit.map_or(to, |limit| limit.min(to)));
        };
        if !self.starved.is_empty() || self.udp.has_starved() {
            shorten(STARVED_POLL);
        }
        for &(at, _) in self
            .lingering
            .front()
            .into_iter()
            .chain(self.flushing.front())
        {
            shorten(Duration::from_millis(
                at.saturating_sub(self.now_ms).max(1).into(),
            ));
        }
        if let Some(pause) = self.listener_pause() {
            shorten(pause);
        }
        if let Some(due) = self.stacks.deadline() {
            shorten(due.saturating_duration_since(Instant::now()));
        }
        match limit {
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::No,
            Some(limit) => Wait::AtMost(limit),
        }
    }

    fn complete(&mut self, done: Done) {
        let Some(token) = Token::decode(done.token) else {
            return;
        };
        match (token.class, token.way) {
            (Class::Stream, Way::In) => self.received(token.key, done),
            (Class::Stream, Way::Out) => self.sent(token.key, done),
            (Class::Listener, _) => self.accepted(token.key, done),
            (Class::Connect, _) => self.connected(token.key, done),
            (Class::Datagram, Way::In) => self.datagram_received(token.key, done),
            (Class::Datagram, Way::Out) => self.datagram_sent(token.key, done),
            (Class::Link, way) => self.stacks.link_ready(token.key, way, done.more),
            (Class::Wake, _) => {
                if !done.more {
                    self.watch_wake();
                }
            }
        }
    }

    /// Starts what has been asked for since the last turn: sends first, receives after them.
    fn flush(&mut self) {
        self.stacks.tick();
        self.flush_directly();
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.dirty = false;
                self.start_send(key);
            }
        }
        // Only a stack takes a send at once, after which there may be more to say.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        let mut listed = std::mem::take(&mut self.listed);
        for key in listed.drain(..) {
            self.start_receive(key);
        }
        // And only a stack has something at once, after which there may be more.
        listed.append(&mut self.listed);
        self.listed = listed;
        let round = self.postponed.len().min(ROUND);
        self.listed.extend(self.postponed.drain(..round));
        self.flush_datagrams();
        if !self.starved.is_empty() {
            self.feed_starved();
        }
    }

    /// Starts the starved receives again when enough buffers are back for them, or half of those
    /// that receives can get. What there is after a while must do: the rest may stay with the
    /// application for as long as it likes.
    fn feed_starved(&mut self) {
        let available = self.driver.available(driver::STREAM_SOURCE);
        let enough = self.starved.len().min(self.receive_buffers / 2).max(1);
        let waited = self.now_ms.wrapping_sub(self.starved_since_ms) > STARVED_POLL_MS;
        if available == 0 || (available < enough && !waited) {
            return;
        }
        self.starved_since_ms = self.now_ms;
        for _ in 0..available {
            let Some(key) = self.starved.pop_front() else {
                return;
            };
            if let Some(stream) = self.streams.get_mut(key)
                && stream.receive == stream::Receive::Starved
            {
                stream.receive = stream::Receive::Listed;
                self.start_receive(key);
            }
        }
    }

    /// Starts the clock of the starved, and whom to serve.
    fn starve(&mut self, key: Key) {
        if self.starved.is_empty() {
            self.starved_since_ms = self.now_ms;
        }
        self.starved.push_back(key);
    }

    pub(crate) fn wake_later(wakers: &mut Vec<Waker>, waker: &mut Option<Waker>) {
        if let Some(waker) = waker.take() {
            wakers.push(waker);
        }
    }

    /// Ends everything: connections are cut, listeners closed, and the driver waits until the
    /// kernel has let go.
    pub(crate) fn shut_down(&mut self) {
        for key in self.listeners.keys() {
            self.close_listener(key);
        }
        for key in self.connecting.keys() {
            self.abandon_connect(key);
        }
        // What tasks have sent before they dropped their streams still leaves.
        let deadline = Instant::now() + FLUSH_LIMIT;
        while (self.is_flushing() || self.udp.is_flushing()) && Instant::now() < deadline {
            if self.turn(Wait::AtMost(Duration::from_millis(20))).is_err() {
                break;
            }
            self.events.clear();
            self.wakers.clear();
        }
        for key in self.streams.keys() {
            // An orderly end would make what was cut off look complete.
            match self.streams.get(key) {
                Some(stream) if stream.unsent > 0 => self.abort_stream(key, CloseReason::Shutdown),
                _ => self.end_stream(key, CloseReason::Shutdown),
            }
        }
        for key in self.udp.table.keys() {
            self.end_datagram_socket(key);
        }
        // What was closed with something queued goes on in the kernel, but here only with us.
        let deadline = Instant::now() + FLUSH_LIMIT;
        while self.stacks.are_sending() && Instant::now() < deadline {
            if self.turn(Wait::AtMost(Duration::from_millis(20))).is_err() {
                break;
            }
            self.events.clear();
            self.wakers.clear();
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.is_idle() && Instant::now() < deadline {
            if self.turn(Wait::AtMost(Duration::from_millis(20))).is_err() {
                break;
            }
            self.events.clear();
            self.wakers.clear();
        }
    }
}
