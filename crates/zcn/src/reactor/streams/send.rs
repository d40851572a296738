//! Sending: one send at a time of what is queued, and the end of the write side behind it.

use zcn_pool::SharedBuf;
use zcn_uring::{MAX_SLICES, Payload};

use super::token;
use crate::config::{ZERO_COPY_MIN, ZeroCopy};
use crate::reactor::driver::Done;
use crate::reactor::socket::Socket;
use crate::reactor::stream::{Closing, Owner, Shut};
use crate::reactor::token::Way;
use crate::reactor::{Event, Reactor};
use crate::table::Key;

impl Reactor {
    /// Starts one send of what is queued, gathered where there is more than one slice.
    #[inline]
    pub(in crate::reactor) fn start_send(&mut self, key: Key) {
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
    pub(in crate::reactor) fn sent(&mut self, key: Key, done: Done) {
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
    pub(in crate::reactor) fn after_send(&mut self, key: Key) {
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
}

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
