//! Receiving and sending while the runtime spins.
//!
//! A spinning loop needs no wake-up, so for the connections that were active a moment ago the
//! kernel's machinery of poll entries and task work is pure cost. One or two of them are asked
//! directly, by a receive that does not wait, and a single answer is sent directly. One that stays
//! silent goes back to an ordinary receive, which waits; before the loop sleeps all of them do.
//!
//! More than that does not pay: asking many connections whether they have something costs more
//! than being told (`docs/decisions.md`, "Hot connections").

use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use zcn_uring::Payload;

use super::Reactor;
use super::driver::Done;
use super::stream::{Receive, Shut};
use crate::config::ZERO_COPY_MIN;
use crate::table::Key;

/// Connections asked directly. Each costs a system call a look.
const HOT_MAX: usize = 2;

/// Looks that may find a connection silent before it makes room for another: a few hundred
/// microseconds.
const MISSES_MAX: u16 = 2048;

impl Reactor {
    /// Makes a stream one of the hot ones; `false` when there are enough of them, or the loop does
    /// not spin.
    #[inline]
    pub(super) fn heat(&mut self, key: Key) -> bool {
        if !self.spinning || self.hot.len() >= HOT_MAX {
            return false;
        }
        self.hot.push(key);
        true
    }

    /// Asks the hot streams for data; whether anything has come of it.
    pub(super) fn poll_hot(&mut self) -> bool {
        let mut news = false;
        // A stream that is given data is listed again at once, but asked again only when its
        // handler has run: it may have had enough.
        let mut asked = [None; HOT_MAX];
        for (place, key) in asked.iter_mut().zip(self.hot.drain(..)) {
            *place = Some(key);
        }
        for key in asked.into_iter().flatten() {
            let Some(stream) = self
                .streams
                .get_mut(key)
                .filter(|s| s.receive == Receive::Hot)
            else {
                continue;
            };
            if !stream.wants_data() {
                stream.receive = Receive::Idle;
                continue;
            }
            let Some(fd) = stream.socket.fd() else {
                continue;
            };
            let source = if stream.bulk { &self.bulk } else { &self.local };
            let Some(mut buf) = source.acquire() else {
                // The ordinary way knows how to wait for buffers.
                self.cool_one(key);
                continue;
            };
            self.other_calls += 1;
            let outcome = rustix::net::recv(fd, buf.spare_capacity(), RecvFlags::DONTWAIT);
            let (result, payload) = match outcome {
                Err(Errno::AGAIN | Errno::INTR) => {
                    stream.misses += 1;
                    if stream.misses >= MISSES_MAX || !self.heat(key) {
                        self.cool_one(key);
                    }
                    continue;
                }
                Ok((0, _)) => (0, None),
                Ok((count, _)) => {
                    buf.set_len(count);
                    (count as i32, Some(Payload::Buf(buf)))
                }
                Err(errno) => (-errno.raw_os_error(), None),
            };
            // From here on as if the driver had done it, in a turn of its own.
            self.now = Instant::now();
            stream.ops += 1;
            stream.receive = Receive::Armed;
            self.received(key, Done::new(0, result, payload));
            news = true;
        }
        news
    }

    fn cool_one(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.receive == Receive::Hot
        {
            stream.receive = Receive::Listed;
            stream.misses = 0;
            self.listed.push(key);
        }
    }

    /// Gives every hot stream an ordinary receive, before the loop sleeps.
    pub(super) fn cool(&mut self) {
        while let Some(key) = self.hot.pop() {
            self.cool_one(key);
        }
    }

    /// Sends the only answer there is directly, if the loop spins.
    #[inline]
    pub(crate) fn flush_directly(&mut self) {
        let (&[key], true) = (&self.dirty[..], self.spinning) else {
            return;
        };
        if let Some(stream) = self.streams.get_mut(key) {
            self.dirty.clear();
            // What is left over or refused puts it back into the list.
            stream.dirty = false;
            if !self.send_directly(key)
                && let Some(stream) = self.streams.get_mut(key)
            {
                stream.mark_dirty(&mut self.dirty, key);
            }
        }
    }

    /// Sends a single small answer directly; `false` when it is left to the driver.
    #[inline]
    pub(super) fn send_directly(&mut self, key: Key) -> bool {
        let Some(stream) = self.streams.get_mut(key) else {
            return false;
        };
        if stream.sending || stream.queue.len() != 1 || stream.shut == Shut::Done {
            return false;
        }
        let (Some(fd), Some(slice)) = (
            stream.socket.fd(),
            stream
                .queue
                .front()
                .filter(|slice| slice.len() < ZERO_COPY_MIN),
        ) else {
            return false;
        };
        self.other_calls += 1;
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let Ok(count) = rustix::net::send(fd, slice, flags) else {
            // Full or broken: the ordinary way waits or reports.
            return false;
        };
        let Some(slice) = stream.queue.pop_front() else {
            return false;
        };
        stream.sending = true;
        stream.ops += 1;
        self.sent(
            key,
            Done::new(0, count as i32, Some(Payload::Shared(slice))),
        );
        true
    }

    /// Whether the servers have something to handle.
    #[inline]
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty() || !self.wakers.is_empty()
    }
}
