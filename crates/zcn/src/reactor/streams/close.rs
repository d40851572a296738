//! The end of a stream: asked for, or because the connection broke or the peer stalls.

use crate::reactor::socket::Socket;
use crate::reactor::stream::{CloseReason, Closing, Owner, Shut};
use crate::reactor::{Event, Reactor};
use crate::table::Key;

/// How long a dropped stream's peer may take nothing before the stream is reset.
const STALL_MS: u32 = 60_000;

/// How long a closed connection waits for the peer's end.
const LINGER_MS: u32 = 2000;

impl Reactor {
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

    /// Ends the write side and waits for the peer's end for a while.
    pub(super) fn linger(&mut self, key: Key, reason: CloseReason) {
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

    /// The connection is broken: nothing more is sent or received.
    pub(in crate::reactor) fn fail(&mut self, key: Key, errno: i32) {
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

    /// Resets the dropped streams whose peers have taken nothing for too long.
    pub(in crate::reactor) fn end_stalled(&mut self) {
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
    pub(in crate::reactor) fn end_lingering(&mut self) {
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
    pub(super) fn finish_close(&mut self, key: Key) {
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
}
