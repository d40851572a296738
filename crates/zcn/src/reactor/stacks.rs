//! The stacks of a runtime: their links in the same wait as the kernel's sockets, their events for
//! the same streams, listeners and connects.
//!
//! A stack's socket needs no operations: a call finds what is there, or an event tells when there
//! is. So a turn goes: what was queued is given to the stacks, their frames leave in one flush,
//! the loop waits for the ring and the links together, a batch of frames is taken in, and what
//! they brought becomes events and wake-ups.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use zcn_pool::{Buf, SharedBuf};
use zcn_stack::event::Readiness;

use super::Event;
use super::Reactor;
use super::driver::Attached;
use super::socket::Socket;
use super::stream::{Closing, Owner, Receive};
use super::token::{Class, Token, Way};
use crate::stack::host::{Role, StackHost};
use crate::stack::socket::{Received, Sent, StackSocket};
use crate::table::Key;

/// A stack and how its link is waited for.
#[derive(Debug)]
struct Place {
    host: Rc<StackHost>,
    /// The link's descriptor, a duplicate of our own.
    _readiness: OwnedFd,
    at: Attached,
    /// A report of readability is under way.
    watched: bool,
    /// So is one of room to send.
    watched_room: bool,
}

/// The stacks of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    places: Vec<Place>,
}

impl Stacks {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Rc<StackHost>> {
        self.places.iter().map(|place| &place.host)
    }

    /// Reads the stacks' clocks: the last turn may be long ago.
    #[inline]
    pub(super) fn tick(&self) {
        for host in self.hosts() {
            host.tick();
        }
    }

    /// Whether a link has frames, for a loop that spins.
    #[inline]
    pub(super) fn look(&self) -> bool {
        self.hosts().any(|host| host.look())
    }

    /// When the first stack has something to do, if nothing comes before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.hosts().filter_map(|host| host.deadline()).min()
    }

    /// Whether connections are left whose peers have not taken all that was sent to them.
    pub(super) fn are_sending(&self) -> bool {
        self.hosts().any(|host| host.is_sending())
    }

    /// A link is readable, or has room.
    pub(super) fn link_ready(&mut self, key: Key, way: Way, more: bool) {
        if let Some(place) = self.places.get_mut(key.index as usize) {
            match way {
                Way::In => place.watched = more,
                Way::Out => place.watched_room = more,
            }
        }
    }
}

fn token(way: Way, place: u32) -> u64 {
    let key = Key {
        index: place,
        generation: 0,
    };
    Token::new(Class::Link, way, key).encode()
}

fn any(readiness: Readiness, of: &[Readiness]) -> bool {
    of.iter().any(|&one| readiness.contains(one))
}

/// What ends a receive that waits.
const READABLE: [Readiness; 3] = [Readiness::READABLE, Readiness::ERROR, Readiness::CLOSED];
/// What ends a send that waits.
const WRITABLE: [Readiness; 3] = [Readiness::WRITABLE, Readiness::ERROR, Readiness::CLOSED];

impl Reactor {
    /// Takes in a stack for good.
    pub(crate) fn add_stack(&mut self, host: Rc<StackHost>) -> io::Result<()> {
        // The ring may hold on to the descriptor for longer than the stack has its link.
        let readiness = host.with_readiness(|fd| fd.try_clone_to_owned())?;
        let at = self.driver.attach(readiness.as_fd())?;
        self.stacks.places.push(Place {
            host,
            _readiness: readiness,
            at,
            watched: false,
            watched_room: false,
        });
        Ok(())
    }

    fn host(&self, index: usize) -> Option<Rc<StackHost>> {
        Some(self.stacks.places.get(index)?.host.clone())
    }

    /// Lets frames leave, as many as there are or as a turn may.
    pub(super) fn flush_stacks(&mut self) {
        let mut index = 0;
        while let Some(host) = self.host(index) {
            index += 1;
            if host.output() {
                self.cut_off(&host);
            }
            // What a stack sends to itself has arrived by now.
            self.serve_stack(&host);
        }
    }

    /// Gets the links ready for a sleep; whether there is something to do already.
    pub(super) fn arm_stacks(&mut self) -> bool {
        let mut busy = false;
        for (place, index) in self.stacks.places.iter_mut().zip(0..) {
            busy |= place.host.arm();
            if !place.watched {
                place.watched = true;
                self.driver.watch(place.at, token(Way::In, index));
            }
            if !place.watched_room && place.host.is_held_up() {
                place.watched_room = true;
                self.driver.watch_room(place.at, token(Way::Out, index));
            }
        }
        busy
    }

    /// Takes one batch of frames from every link.
    pub(super) fn turn_stacks(&mut self) {
        let mut index = 0;
        while let Some(host) = self.host(index) {
            index += 1;
            if host.input() {
                self.cut_off(&host);
            }
            self.serve_stack(&host);
        }
    }

    fn serve_stack(&mut self, host: &Rc<StackHost>) {
        while let Some((role, readiness)) = host.next_event() {
            match role {
                Role::Stream(key) => self.stream_ready(key, readiness),
                Role::Connecting(key) => {
                    let made = readiness.contains(Readiness::CONNECTED);
                    if made || any(readiness, &[Readiness::ERROR, Readiness::CLOSED]) {
                        self.connect_ended_in_stack(key, made);
                    }
                }
                Role::Listener(key) => self.accept_from_stack(key),
                Role::Datagram(key) => self.datagrams_ready(key, readiness),
            }
        }
    }

    /// The link is gone: nothing that is open on it will get anywhere.
    fn cut_off(&mut self, host: &Rc<StackHost>) {
        let on_it = |socket: &Socket| match socket {
            Socket::Stack(socket) => Rc::ptr_eq(&socket.host, host),
            Socket::Kernel(_) => false,
        };
        let keys: Vec<Key> = self
            .streams
            .iter()
            .filter(|(_, stream)| on_it(&stream.socket))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.fail(key, libc::ENETDOWN);
        }
        self.connects_fail(on_it, libc::ENETDOWN);
        self.wakers.append(&mut host.take_mourners());
    }

    fn stream_ready(&mut self, key: Key, readiness: Readiness) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let sends = stream.sending && any(readiness, &WRITABLE);
        if stream.receive == Receive::Armed && any(readiness, &READABLE) {
            if stream.owner == Owner::Task && stream.closing == Closing::No {
                // Its next call takes what is there.
                stream.receive = Receive::Idle;
                Self::wake_later(&mut self.wakers, &mut stream.read_waker);
            } else {
                self.receive_from_stack(key);
            }
        }
        if sends {
            self.send_to_stack(key);
        }
    }

    /// What a stack's stream has received, once.
    fn take_from_stack(&mut self, key: Key) -> Taken {
        let Some(stream) = self.streams.get_mut(key) else {
            return Taken::Nothing;
        };
        let Socket::Stack(socket) = &stream.socket else {
            return Taken::Nothing;
        };
        stream.receive = Receive::Idle;
        match socket.receive() {
            Received::Data(slice) => match self.lend(slice) {
                Ok((buf, rest)) => {
                    self.put_back(key, rest);
                    Taken::Data(buf)
                }
                Err(slice) => {
                    self.put_back(key, slice);
                    if let Some(stream) = self.streams.get_mut(key) {
                        stream.receive = Receive::Starved;
                    }
                    self.starve(key);
                    Taken::Nothing
                }
            },
            Received::End => Taken::End,
            Received::Nothing => {
                stream.receive = Receive::Armed;
                Taken::Nothing
            }
            Received::Failed(errno) => Taken::Failed(errno),
        }
    }

    fn put_back(&self, key: Key, rest: SharedBuf) {
        if let Some(Socket::Stack(socket)) = self.streams.get(key).map(|stream| &stream.socket) {
            socket.put_back(rest);
        }
    }

    /// A received slice as a buffer to be handed out, and what of it is left. No copy where it is
    /// all that is held of its buffer; a sender in the same process may hold it, too, until it is
    /// acknowledged. It comes back when there is no buffer to copy to.
    pub(super) fn lend(&self, slice: SharedBuf) -> Result<(Buf, SharedBuf), SharedBuf> {
        let mut slice = match slice.try_into_buf() {
            Ok(buf) => return Ok((buf, SharedBuf::new())),
            Err(slice) => slice,
        };
        let large = (slice.len() > self.pool.buffer_size()).then(|| self.bulk.acquire());
        let Some(mut buf) = large.flatten().or_else(|| self.local.acquire()) else {
            return Err(slice);
        };
        let count = slice.len().min(buf.capacity());
        // It fits by construction.
        let _ = buf.extend_from_slice(&slice[..count]);
        slice.advance(count);
        Ok((buf, slice))
    }

    /// Receives for a server, or to throw away what comes to a stream that is being closed.
    pub(super) fn receive_from_stack(&mut self, key: Key) {
        match self.take_from_stack(key) {
            Taken::Data(buf) => self.data_arrived(key, buf, true),
            Taken::End => self.end_arrived(key),
            Taken::Nothing => {}
            Taken::Failed(errno) => {
                // It was told to the send, and a server has heard of it.
                if self
                    .streams
                    .get(key)
                    .is_some_and(|stream| stream.error.is_none())
                {
                    self.fail(key, errno);
                }
            }
        }
    }

    /// A server has been given a data event; whether no other one waits for it, which must come
    /// before what the stack still has.
    pub(crate) fn all_told(&mut self, key: Key) -> bool {
        self.streams.get_mut(key).is_some_and(|stream| {
            stream.untold = stream.untold.saturating_sub(1);
            stream.untold == 0
        })
    }

    /// Further bytes for a server that has just been given some, if it still wants them and they
    /// are there.
    pub(crate) fn next_data(&mut self, key: Key) -> Option<Buf> {
        let stream = self.streams.get_mut(key)?;
        if stream.closing != Closing::No || !stream.wants_data() {
            return None;
        }
        let listed = stream.receive == Receive::Listed;
        match self.take_from_stack(key) {
            Taken::Data(buf) => {
                let stream = self.streams.get_mut(key)?;
                if listed {
                    stream.receive = Receive::Listed;
                }
                Some(buf)
            }
            Taken::Nothing => None,
            // Told by the receive that is listed.
            Taken::End | Taken::Failed(_) => {
                let stream = self.streams.get_mut(key)?;
                stream.receive = Receive::Idle;
                self.list_receive(key);
                None
            }
        }
    }

    /// The next bytes for a task, in the buffer that they came in.
    pub(crate) fn poll_recv_shared(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<SharedBuf>>> {
        let received = match self.streams.get(key) {
            Some(stream) if stream.arrived.is_empty() && !stream.is_over() => {
                match &stream.socket {
                    Socket::Stack(socket) => Some(socket.receive()),
                    Socket::Kernel(_) => None,
                }
            }
            _ => None,
        };
        let now_ms = self.now_ms;
        match (received, self.streams.get_mut(key)) {
            (Some(Received::Data(slice)), Some(stream)) => {
                stream.receive = Receive::Idle;
                stream.last_read_ms = now_ms;
                Poll::Ready(Ok(Some(slice)))
            }
            // All else is the same on either half.
            _ => self
                .poll_recv(key, context)
                .map_ok(|buf| buf.map(SharedBuf::from)),
        }
    }

    /// The next buffer for a task.
    pub(super) fn poll_stack(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Buf>>> {
        let taken = self.take_from_stack(key);
        let now_ms = self.now_ms;
        let Some(stream) = self.streams.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        match taken {
            Taken::Data(buf) => {
                stream.last_read_ms = now_ms;
                Poll::Ready(Ok(Some(buf)))
            }
            Taken::End => {
                stream.eof = true;
                Poll::Ready(Ok(None))
            }
            Taken::Nothing => {
                stream.read_waker = Some(context.waker().clone());
                Poll::Pending
            }
            Taken::Failed(errno) => {
                self.fail(key, errno);
                Poll::Ready(Err(io::Error::from_raw_os_error(errno)))
            }
        }
    }

    /// Gives a stack what is queued, as far as there is room.
    pub(super) fn send_to_stack(&mut self, key: Key) {
        let now_ms = self.now_ms;
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let Socket::Stack(socket) = &stream.socket else {
            return;
        };
        stream.sending = false;
        let mut count = 0;
        let mut failed = None;
        while let Some(slice) = stream.queue.pop_front() {
            let len = slice.len();
            match socket.send(slice, !stream.queue.is_empty()) {
                Sent::All => count += len,
                Sent::Nothing(slice) => {
                    stream.queue.push_front(slice);
                    stream.sending = true;
                    break;
                }
                Sent::Failed(errno) => {
                    failed = Some(errno);
                    break;
                }
            }
        }
        if count > 0 {
            stream.unsent = stream.unsent.saturating_sub(count);
            stream.last_write_ms = now_ms;
        }
        if let Some(errno) = failed {
            return self.fail(key, errno);
        }
        if let (true, Closing::No, Owner::Server(server)) =
            (stream.tell_sent && count > 0, stream.closing, stream.owner)
        {
            self.events.push_back(Event::Sent {
                server,
                stream: key,
            });
        }
        self.after_send(key);
    }

    /// The stack's socket of a stream.
    pub(crate) fn stack_socket(&self, key: Key) -> Option<&StackSocket> {
        match &self.streams.get(key)?.socket {
            Socket::Stack(socket) => Some(socket),
            Socket::Kernel(_) => None,
        }
    }
}

/// What a receive brought.
enum Taken {
    Data(Buf),
    End,
    /// Nothing for now; something tells when there is.
    Nothing,
    Failed(i32),
}
