//! Receiving: one multishot operation, or what a stack has at hand.
//!
//! It pauses when the queue of arrived datagrams is full, or when all buffers are out (rule 8);
//! then the socket buffer below fills up and drops, as UDP does.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use zcn_pool::BufferPool;
use zcn_uring::{OpId, Payload};

use super::{Closing, Datagram, UdpHalf, is_transient, register, token};
use crate::reactor::Reactor;
use crate::reactor::driver::Done;
use crate::reactor::stream::Receive;
use crate::reactor::token::Way;
use crate::stack::datagrams::NoDatagram;
use crate::table::Key;

/// Most buffers of one socket that the kernel has to fill at a time, and about how many bytes
/// these are, unless that would be fewer than [`LENT_LEAST`]. The kernel fills them in turn, so
/// all that are lent pass through the caches, whereas the pool hands out again what was used last.
const LENT_MOST: usize = 64;
const LENT_BYTES: usize = 128 * 1024;
/// Fewer would end the receive too often.
const LENT_LEAST: usize = 8;

/// How many buffers of `pool` its socket lends to the kernel: a power of two, as the ring wants
/// it; those beyond the pool's count stay vacant.
pub(super) fn lent(pool: &BufferPool) -> usize {
    let cached = (LENT_BYTES / pool.buffer_size()).clamp(LENT_LEAST, LENT_MOST);
    pool.count().min(cached).next_power_of_two()
}

impl Reactor {
    pub(super) fn list_datagram_receive(&mut self, key: Key) {
        let Some(socket) = self.udp.table.get_mut(key) else {
            return;
        };
        if socket.receive == Receive::Idle && socket.wants_data() {
            socket.receive = Receive::Listed;
            self.udp.listed.push(key);
        }
    }

    pub(super) fn start_datagram_receive(&mut self, key: Key) {
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
    pub(super) fn feed_starved_datagrams(&mut self) {
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
    pub(in crate::reactor) fn datagram_received(&mut self, key: Key, done: Done) {
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

    /// Takes what a stack has for a socket; an event tells of what comes later.
    pub(super) fn receive_datagrams_from_stack(&mut self, key: Key) {
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
}
