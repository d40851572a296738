//! Receiving: when a receive is started, and what its end means.

use std::os::fd::AsFd;

use zcn_pool::Buf;
use zcn_uring::Payload;

use super::token;
use crate::reactor::driver::{BULK_SOURCE, Done, STREAM_SOURCE};
use crate::reactor::socket::Socket;
use crate::reactor::stream::{BUSY, Closing, Owner, Receive};
use crate::reactor::token::Way;
use crate::reactor::{Event, LARGE_BATCH, Reactor};
use crate::table::Key;

/// Errors after which a receive is simply started again: a signal, a full queue.
const RETRY: [i32; 3] = [libc::EAGAIN, libc::EINTR, libc::EBUSY];

impl Reactor {
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
    pub(super) fn list(&mut self, key: Key) {
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
    pub(in crate::reactor) fn start_receive(&mut self, key: Key) {
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
    pub(in crate::reactor) fn received(&mut self, key: Key, done: Done) {
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
    pub(in crate::reactor) fn data_arrived(&mut self, key: Key, buf: Buf, more: bool) {
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
    pub(in crate::reactor) fn end_arrived(&mut self, key: Key) {
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

    /// Puts received bytes back in front of the next ones.
    pub(crate) fn unread(&mut self, key: Key, buf: Buf) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.arrived.push_front(buf);
        }
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
}
