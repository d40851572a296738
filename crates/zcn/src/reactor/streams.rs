//! What streams do: receive, send, shut down, close.
//!
//! Rules kept here: one send in flight per stream and short sends continued (rule 10), close is
//! shutdown, cancel, await the final completions, close (rule 6), receives that found no buffer
//! wait for the pool (rule 8).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use zcn_pool::{Buf, SharedBuf};
use zcn_uring::{MAX_SLICES, Payload};

use super::driver::{Attached, BULK_SOURCE, Done, STREAM_SOURCE};
use super::socket::{Socket, not_connected};
use super::stream::{BUSY, CloseReason, Closing, Owner, Receive, Shut, Stream, WaterMarks};
use super::token::{Class, Token, Way};
use super::{Event, LARGE_BATCH, Reactor};
use crate::config::{ZERO_COPY_MIN, ZeroCopy};
use crate::error::{Action, Error};
use crate::stack::host::Role;
use crate::table::Key;

/// Errors after which a receive is simply started again: a signal, a full queue.
const RETRY: [i32; 3] = [libc::EAGAIN, libc::EINTR, libc::EBUSY];

fn token(way: Way, key: Key) -> u64 {
    Token::new(Class::Stream, way, key).encode()
}

impl Reactor {
    /// Takes over a connected socket.
    pub(crate) fn add_stream(
        &mut self,
        socket: Socket,
        owner: Owner,
        marks: WaterMarks,
    ) -> io::Result<Key> {
        let at = match &socket {
            Socket::Kernel(fd) => self.driver.attach(fd.as_fd())?,
            Socket::Stack(_) => Attached::NOWHERE,
        };
        Ok(self.adopt_stream(socket, at, owner, marks))
    }

    /// [`Self::add_stream`] for a descriptor that is attached already.
    pub(crate) fn adopt_stream(
        &mut self,
        socket: Socket,
        at: Attached,
        owner: Owner,
        marks: WaterMarks,
    ) -> Key {
        let zero_copy = match (self.zero_copy, &socket) {
            (ZeroCopy::Never, _) | (_, Socket::Stack(_)) => false,
            (ZeroCopy::Always, _) => true,
            (ZeroCopy::Auto, Socket::Kernel(fd)) => {
                self.driver.is_uring() && leaves_the_machine(fd)
            }
        };
        let mut stream = Stream::new(socket, at, owner, marks);
        stream.zero_copy = zero_copy;
        stream.last_read_ms = self.now_ms;
        stream.last_write_ms = self.now_ms;
        let key = self.streams.insert(stream);
        if let Some(Socket::Stack(socket)) = self.streams.get(key).map(|stream| &stream.socket) {
            socket.set_role(Role::Stream(key));
        }
        if let Owner::Server(_) = owner {
            self.list_receive(key);
        }
        key
    }

    /// Puts a stream into the list of receives to start, if it wants one.
    pub(crate) fn list_receive(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.receive == Receive::Idle && stream.wants_data() {
            stream.receive = Receive::Listed;
            match stream.socket {
                Socket::Kernel(_) => self.list(key),
                Socket::Stack(_) => self.listed.push(key),
            }
        }
    }

    /// Notes that a receive is to be started, now or a turn later, or keeps the stream hot.
    #[inline]
    fn list(&mut self, key: Key) {
        if self.heat(key) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.receive = Receive::Hot;
            }
            return;
        }
        if self.batch >= LARGE_BATCH
            && self.driver.is_uring()
            && let Some(stream) = self.streams.get_mut(key)
        {
            // Meanwhile the kernel and the peer do something else.
            stream.likely = true;
            self.postponed.push_back(key);
            return;
        }
        self.listed.push(key);
    }

    #[inline]
    pub(super) fn start_receive(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.receive != Receive::Listed {
            return;
        }
        if !stream.wants_data() {
            stream.receive = Receive::Idle;
            return;
        }
        if let Socket::Stack(_) = stream.socket {
            return self.receive_from_stack(key);
        }
        stream.receive = Receive::Armed;
        stream.ops += 1;
        let source = if stream.bulk {
            BULK_SOURCE
        } else {
            STREAM_SOURCE
        };
        self.driver
            .recv(stream.at, source, stream.likely, token(Way::In, key));
    }

    /// A receive has ended.
    #[inline]
    pub(super) fn received(&mut self, key: Key, done: Done) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.ops -= 1;
        stream.receive = Receive::Idle;
        if let Closing::Ending(_) = stream.closing {
            return self.finish_close(key);
        }
        match (done.result, done.payload) {
            (1.., Some(Payload::Buf(buf))) => {
                stream.misses = 0;
                stream.weigh(buf.len(), self.pool.buffer_size());
                stream.likely = done.nonempty || stream.bulk;
                if stream.receives < BUSY {
                    stream.receives += 1;
                    if let (BUSY, Some(fd)) = (stream.receives, stream.socket.fd()) {
                        self.driver.favour(fd.as_fd(), &mut stream.at);
                    }
                }
                self.data_arrived(key, buf, false);
            }
            // The error was reported to the send, and once it is, a receive finds a mere end.
            (0, _) if stream.error.is_some() => {}
            // Or the reset ended a send that had made some progress: it reported that, and nobody
            // the error. A connection that only one side has finished still has a peer.
            (0, _) if stream.unsent > 0 && stream.socket.peer_address().is_err() => {
                self.fail(key, libc::ECONNRESET);
            }
            (0, _) => self.end_arrived(key),
            (errno, _) if errno == -libc::ENOBUFS && stream.bulk => {
                stream.bulk = false;
                stream.receive = Receive::Listed;
                self.listed.push(key);
            }
            (errno, _) if errno == -libc::ENOBUFS => {
                stream.receive = Receive::Starved;
                self.starve(key);
            }
            (errno, _) if RETRY.contains(&-errno) => {
                stream.receive = Receive::Listed;
                self.listed.push(key);
            }
            (errno, _) if errno == -libc::ECANCELED => {}
            (errno, _) => self.fail(key, -errno),
        }
    }

    /// Bytes have arrived; `more` may be there to be had at once.
    #[inline]
    pub(super) fn data_arrived(&mut self, key: Key, buf: Buf, more: bool) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.last_read_ms = self.now_ms;
        match stream.owner {
            _ if stream.closing != Closing::No => self.list_receive(key),
            Owner::Server(server) => {
                stream.untold += u32::from(more);
                self.events.push_back(Event::Data {
                    server,
                    stream: key,
                    buf,
                    more,
                });
                // Started after the sends that the handler is about to make.
                self.list_receive(key);
            }
            Owner::Task => {
                stream.arrived.push_back(buf);
                Self::wake_later(&mut self.wakers, &mut stream.read_waker);
            }
        }
    }

    /// The peer has finished sending.
    pub(super) fn end_arrived(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.eof = true;
        if let Closing::Lingering(reason) = stream.closing {
            return self.end_stream(key, reason);
        }
        match stream.owner {
            Owner::Server(server) if stream.closing == Closing::No => {
                self.events.push_back(Event::End {
                    server,
                    stream: key,
                });
            }
            Owner::Server(_) => {}
            Owner::Task => Self::wake_later(&mut self.wakers, &mut stream.read_waker),
        }
    }

    /// The connection is broken: nothing more is sent or received.
    pub(super) fn fail(&mut self, key: Key, errno: i32) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.error.get_or_insert(errno);
        stream.queue.clear();
        stream.unsent = 0;
        stream.full = false;
        Self::wake_later(&mut self.wakers, &mut stream.read_waker);
        self.wakers.append(&mut stream.write_wakers);
        let reason = match stream.closing {
            Closing::Flushing(reason) | Closing::Lingering(reason) => Some(reason),
            _ => matches!(stream.owner, Owner::Server(_)).then_some(CloseReason::Error(errno)),
        };
        if let Some(reason) = reason {
            self.end_stream(key, reason);
        }
    }

    /// Hands a connected stream of a task over to a server.
    pub(crate) fn give_stream(&mut self, key: Key, server: Key) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.owner = Owner::Server(server);
            self.list_receive(key);
        }
    }

    /// Puts received bytes back in front of the next ones.
    pub(crate) fn unread(&mut self, key: Key, buf: Buf) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.arrived.push_front(buf);
        }
    }

    /// Starts one send of what is queued, gathered where there is more than one slice.
    #[inline]
    pub(super) fn start_send(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.sending || matches!(stream.closing, Closing::Ending(_)) {
            return;
        }
        let Some(first) = stream.queue.pop_front() else {
            return;
        };
        if let Socket::Stack(_) = stream.socket {
            stream.queue.push_front(first);
            return self.send_to_stack(key);
        }
        stream.sending = true;
        stream.ops += 1;
        let at = stream.at;
        let zero_copy = stream.zero_copy && first.len() >= ZERO_COPY_MIN;
        if zero_copy || stream.queue.is_empty() {
            if zero_copy {
                stream.in_flight = Some(first.clone());
            }
            self.driver.send(at, first, zero_copy, token(Way::Out, key));
            return;
        }
        let mut msg = self.driver.take_msg();
        // An empty message takes `MAX_SLICES`.
        let _ = msg.push(first);
        while msg.slice_count() < MAX_SLICES {
            let Some(next) = stream.queue.pop_front() else {
                break;
            };
            let _ = msg.push(next);
        }
        self.driver.sendmsg(at, msg, false, token(Way::Out, key));
    }

    /// A send has ended, or a zero-copy send has released its slice.
    #[inline]
    pub(super) fn sent(&mut self, key: Key, done: Done) {
        let Done {
            result,
            notification,
            copied,
            payload,
            ..
        } = done;
        let Some(stream) = self.streams.get_mut(key) else {
            if let Some(Payload::Msg(msg)) = payload {
                self.driver.give_msg(msg);
            }
            return;
        };
        if notification {
            // The slice went home with it; the ring alone waited for that, so a stream may be long
            // closed by now.
            if copied && self.zero_copy == ZeroCopy::Auto {
                // The device copies: the plain send is cheaper.
                stream.zero_copy = false;
            }
            return;
        }
        stream.ops -= 1;
        // What the kernel was not ready to take goes back to the queue like the rest of a short
        // send.
        let again = matches!(-result, libc::EINTR | libc::EAGAIN | libc::EBUSY);
        let goes_on = result >= 0 || again;
        let mut count = usize::try_from(result).unwrap_or(0);
        let count_taken = count > 0;
        stream.unsent = stream.unsent.saturating_sub(count);
        stream.last_write_ms = self.now_ms;
        let zero_copy_slice = stream.in_flight.take();
        match payload {
            Some(Payload::Msg(mut msg)) => {
                if goes_on && count < msg.bytes() {
                    for mut slice in msg.take_slices().rev() {
                        // Back to front: what was not sent returns to the head of the queue.
                        stream.queue.push_front(std::mem::take(&mut slice));
                    }
                    drop_front(&mut stream.queue, &mut count);
                }
                self.driver.give_msg(msg);
            }
            Some(Payload::Shared(mut slice)) => {
                if goes_on && count < slice.len() {
                    slice.advance(count);
                    stream.queue.push_front(slice);
                }
            }
            _ => {
                if let Some(mut slice) = zero_copy_slice
                    && goes_on
                    && count < slice.len()
                {
                    slice.advance(count);
                    stream.queue.push_front(slice);
                }
            }
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.sending = false;
        if let Closing::Ending(_) = stream.closing {
            return self.finish_close(key);
        }
        if !goes_on {
            return self.fail(key, -result);
        }
        if let (true, Closing::No, Owner::Server(server)) = (
            stream.tell_sent && count_taken,
            stream.closing,
            stream.owner,
        ) {
            self.events.push_back(Event::Sent {
                server,
                stream: key,
            });
        }
        self.after_send(key);
    }

    /// Goes on with the queue, or does what waited for it to empty.
    #[inline]
    pub(super) fn after_send(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.queue.is_empty() && !stream.sending {
            stream.mark_dirty(&mut self.dirty, key);
        }
        if stream.full && stream.unsent <= stream.low_water as usize {
            stream.full = false;
            match stream.owner {
                Owner::Server(server) => {
                    if stream.closing == Closing::No {
                        self.events.push_back(Event::Writable {
                            server,
                            stream: key,
                        });
                    }
                    self.list_receive(key);
                }
                Owner::Task => self.wakers.append(&mut stream.write_wakers),
            }
        } else if stream.unsent == 0 {
            self.wakers.append(&mut stream.write_wakers);
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.unsent == 0 {
            if stream.shut == Shut::Wanted {
                stream.shut = Shut::Done;
                self.other_calls += 1;
                // Not connected any more, then, which the next receive tells.
                let _ = stream.socket.shut_down_write();
            }
            if let Closing::Flushing(reason) = stream.closing {
                self.linger(key, reason);
            }
        }
    }

    /// Ends the write side and waits for the peer's end for a while.
    fn linger(&mut self, key: Key, reason: CloseReason) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.eof || stream.error.is_some() {
            return self.end_stream(key, reason);
        }
        stream.closing = Closing::Lingering(reason);
        if stream.shut != Shut::Done {
            stream.shut = Shut::Done;
            self.other_calls += 1;
            if !stream.socket.shut_down_write() {
                // Not connected any more.
                return self.end_stream(key, reason);
            }
        }
        self.lingering
            .push_back((self.now_ms.wrapping_add(LINGER_MS), key));
        self.list_receive(key);
    }

    /// Resets the dropped streams whose peers have taken nothing for too long.
    pub(super) fn end_stalled(&mut self) {
        while let Some(&(at, key)) = self.flushing.front() {
            let Some((Closing::Flushing(_), last_write_ms)) = self
                .streams
                .get(key)
                .map(|stream| (stream.closing, stream.last_write_ms))
            else {
                self.flushing.pop_front();
                continue;
            };
            if at > self.now_ms {
                return;
            }
            self.flushing.pop_front();
            if self.now_ms.wrapping_sub(last_write_ms) >= STALL_MS {
                self.abort_stream(key, CloseReason::WriteTimeout);
            } else {
                // It goes on, if slowly.
                let at = self.now_ms.wrapping_add(STALL_MS);
                self.flushing.push_back((at, key));
            }
        }
    }

    /// Ends the streams whose peers have not ended in time.
    pub(super) fn end_lingering(&mut self) {
        while let Some(&(at, key)) = self.lingering.front() {
            let Some(Closing::Lingering(reason)) =
                self.streams.get(key).map(|stream| stream.closing)
            else {
                self.lingering.pop_front();
                continue;
            };
            if at > self.now_ms {
                return;
            }
            self.lingering.pop_front();
            self.end_stream(key, reason);
        }
    }

    /// The write side ends once everything queued has been sent; the read side goes on.
    pub(crate) fn shutdown_write(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.shut == Shut::Open {
            stream.shut = Shut::Wanted;
            self.after_send(key);
        }
    }

    /// Sends what is queued, then ends the connection: at once when the peer has ended already, else
    /// when it does, but after [`LINGER_MS`] at the latest.
    pub(crate) fn close_stream(&mut self, key: Key, reason: CloseReason) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.closing != Closing::No {
            return;
        }
        // Whoever answers the peer's end with his own did not start it.
        let reason = match reason {
            CloseReason::Local if stream.eof => CloseReason::Peer,
            reason => reason,
        };
        stream.arrived.clear();
        if stream.unsent > 0 && stream.error.is_none() {
            stream.closing = Closing::Flushing(reason);
            if stream.owner == Owner::Task {
                // Nobody is left who could give up on a peer that takes nothing.
                let at = self.now_ms.wrapping_add(STALL_MS);
                self.flushing.push_back((at, key));
            }
            // A peer that wants to finish writing before it reads must not be kept from it.
            self.list_receive(key);
            return;
        }
        self.linger(key, reason);
    }

    /// Ends the connection with a reset: the peer sees `ECONNRESET`, queued data is dropped.
    pub(crate) fn abort_stream(&mut self, key: Key, reason: CloseReason) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !matches!(stream.closing, Closing::Ending(_)) {
            self.other_calls += 1;
            stream.socket.abort();
            self.end_stream_how(key, reason, false);
        }
    }

    /// Ends the connection: shutdown, cancel, await the final completions, close.
    pub(crate) fn end_stream(&mut self, key: Key, reason: CloseReason) {
        self.end_stream_how(key, reason, true);
    }

    fn end_stream_how(&mut self, key: Key, reason: CloseReason, orderly: bool) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if let Closing::Ending(_) = stream.closing {
            return;
        }
        stream.closing = Closing::Ending(reason);
        Self::wake_later(&mut self.wakers, &mut stream.read_waker);
        self.wakers.append(&mut stream.write_wakers);
        stream.queue.clear();
        stream.arrived.clear();
        stream.unsent = 0;
        if orderly {
            self.other_calls += 1;
            stream.socket.shut_down();
        }
        if stream.ops > 0 {
            self.driver.cancel(stream.at);
            return;
        }
        self.finish_close(key);
    }

    /// Closes the descriptor once no operation is left that could use its number.
    fn finish_close(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        if stream.ops > 0 {
            return;
        }
        let Some(stream) = self.streams.remove(key) else {
            return;
        };
        if let Socket::Kernel(_) = stream.socket {
            self.driver.detach(stream.at);
            self.other_calls += 1;
        }
        if let (Owner::Server(server), Closing::Ending(reason)) = (stream.owner, stream.closing) {
            self.events.push_back(Event::Closed {
                server,
                stream: key,
                reason,
            });
        }
        drop(stream);
    }

    /// A second descriptor of the stream's socket, for user code that runs with nothing borrowed
    /// and may close the stream meanwhile (rule 16).
    pub(crate) fn duplicate(&self, key: Key) -> crate::Result<OwnedFd> {
        let stream = self.streams.get(key).ok_or_else(not_connected)?;
        let fd = stream.socket.kernel("the descriptor")?;
        fd.try_clone()
            .map_err(|error| Error::bare(Action::Option, error))
    }

    /// Stops or resumes receiving; what has arrived already is still delivered.
    pub(crate) fn pause(&mut self, key: Key, paused: bool) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.paused = paused;
        if !paused {
            self.list_receive(key);
        }
    }

    /// The next buffer for a task, the end of the stream (`None`), or the error it died of.
    pub(crate) fn poll_recv(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Buf>>> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(buf) = stream.arrived.pop_front() {
            return Poll::Ready(Ok(Some(buf)));
        }
        if stream.eof {
            return Poll::Ready(Ok(None));
        }
        if let Some(errno) = stream.error {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if stream.closing != Closing::No {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if let Socket::Stack(_) = stream.socket {
            return self.poll_stack(key, context);
        }
        stream.read_waker = Some(context.waker().clone());
        if stream.receive == Receive::Idle {
            stream.receive = Receive::Listed;
            self.list(key);
        }
        Poll::Pending
    }

    /// Waits until there is something to receive, the end included.
    pub(crate) fn poll_readable(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if !stream.arrived.is_empty() || stream.eof {
            return Poll::Ready(Ok(()));
        }
        if let Some(errno) = stream.error {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if stream.closing != Closing::No {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        stream.read_waker = Some(context.waker().clone());
        match &stream.socket {
            Socket::Stack(socket) if socket.is_readable() => return Poll::Ready(Ok(())),
            Socket::Stack(_) => stream.receive = Receive::Armed,
            Socket::Kernel(_) if stream.receive == Receive::Idle => {
                stream.receive = Receive::Listed;
                self.list(key);
            }
            Socket::Kernel(_) => {}
        }
        Poll::Pending
    }

    /// Room in the send queue for a task, or the error the stream died of.
    pub(crate) fn poll_writable(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_queue(key, context, |stream| !stream.full)
    }

    /// Waits until the kernel has taken everything queued.
    pub(crate) fn poll_flushed(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_queue(key, context, |stream| {
            stream.unsent == 0 && stream.shut != Shut::Wanted
        })
    }

    fn poll_queue(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
        ready: fn(&Stream) -> bool,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(errno) = stream.error {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if stream.closing != Closing::No {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if ready(stream) {
            return Poll::Ready(Ok(()));
        }
        let wakers = &mut stream.write_wakers;
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            if wakers.len() >= WRITERS_MAX {
                // Those of futures long dropped, most likely; a live one registers again.
                self.wakers.append(wakers);
            }
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// How long a dropped stream's peer may take nothing before the stream is reset.
const STALL_MS: u32 = 60_000;

/// How long a closed connection waits for the peer's end.
const LINGER_MS: u32 = 2000;

/// Wakers kept for one stream's queue before they are all woken to make room.
const WRITERS_MAX: usize = 32;

/// Drops `count` bytes from the front of a queue of slices.
fn drop_front(queue: &mut std::collections::VecDeque<SharedBuf>, count: &mut usize) {
    while *count > 0 {
        let Some(front) = queue.front_mut() else {
            return;
        };
        if front.len() > *count {
            front.advance(*count);
            *count = 0;
        } else {
            *count -= front.len();
            queue.pop_front();
        }
    }
}

/// Whether the peer is on another machine, as far as the address tells; only there can a send do
/// without the copy.
fn leaves_the_machine(fd: &OwnedFd) -> bool {
    let Ok(peer) = socket2::SockRef::from(fd).peer_addr() else {
        return false;
    };
    let Ok(local) = socket2::SockRef::from(fd).local_addr() else {
        return false;
    };
    match (peer.as_socket(), local.as_socket()) {
        (Some(peer), Some(local)) => !peer.ip().is_loopback() && peer.ip() != local.ip(),
        _ => false,
    }
}
