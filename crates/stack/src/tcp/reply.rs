//! Segments that belong to no connection: resets, SYN-ACKs, answers out of TIME-WAIT.

use core::net::SocketAddr;
use std::collections::VecDeque;

use zcn_wire::{SeqNum, TcpFlags, TcpOptions};

use super::challenge::PerSecond;
use super::incoming::Incoming;
use super::segment::SegmentOut;
use crate::time::Instant;

/// Replies that wait for output at most; further ones are dropped, as a full link would.
const CAPACITY: usize = 4096;

/// A segment without data.
pub(crate) fn bare(
    local: SocketAddr,
    remote: SocketAddr,
    flags: TcpFlags,
    seq: SeqNum,
    ack: SeqNum,
    window: u16,
    options: TcpOptions,
) -> SegmentOut {
    let mut segment = SegmentOut::default();
    segment.begin(local, remote, flags, seq);
    segment.tcp.ack = ack;
    segment.tcp.window = window;
    segment.tcp.options = options;
    segment
}

/// The queue of them.
#[derive(Debug)]
pub(crate) struct Replies {
    queue: VecDeque<SegmentOut>,
    resets: PerSecond,
    resets_limit: u32,
}

impl Replies {
    pub(crate) fn new(resets_limit: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            resets: PerSecond::new(),
            resets_limit,
        }
    }

    /// Queues a segment; false if there is no room.
    pub(crate) fn push(&mut self, segment: SegmentOut) -> bool {
        let room = self.queue.len() < CAPACITY;
        if room {
            self.queue.push_back(segment);
        }
        room
    }

    /// Whether none waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<SegmentOut> {
        self.queue.pop_front()
    }

    /// Answers a segment that nobody expects (RFC 9293 section 3.5.2, group 1): with the
    /// number that it acknowledges, or acknowledging all of it. Never an RST with an RST.
    /// False if it was not answered.
    pub(crate) fn reset(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        segment: &Incoming,
    ) -> bool {
        if segment.rst || !self.resets.take(now, || self.resets_limit) {
            return false;
        }
        let (flags, seq, ack) = if segment.has_ack {
            (TcpFlags::RST, segment.ack, SeqNum(0))
        } else {
            (TcpFlags::RST | TcpFlags::ACK, SeqNum(0), segment.end())
        };
        self.push(bare(local, remote, flags, seq, ack, 0, TcpOptions::NONE))
    }
}
