//! Sending: from a bounded queue, datagrams that may travel together as one message.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use zcn_frame::SLICES_MAX;
use zcn_uring::{MAX_SLICES, Msg, Payload};

use super::message::{MAX_PAYLOAD_V4, Outgoing, Unsendable};
use super::{Closing, UdpHalf, is_transient, register, token};
use crate::reactor::Reactor;
use crate::reactor::driver::Done;
use crate::reactor::stream::Owner;
use crate::reactor::token::Way;
use crate::stack::datagrams::DatagramSent;
use crate::table::Key;

/// Most sends of one socket in the driver at a time. They end inline as long as the kernel has
/// room; where it has not, each waits for room on its own, and a crowd of those is expensive.
const SENDS_IN_FLIGHT: usize = 128;

impl Reactor {
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

    pub(super) fn start_datagram_sends(&mut self, key: Key) {
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
    pub(in crate::reactor) fn datagram_sent(&mut self, key: Key, done: Done) {
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
    pub(super) fn after_datagram_send(&mut self, key: Key) {
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
