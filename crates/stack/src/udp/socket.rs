//! One socket.

use core::net::SocketAddr;
use std::collections::VecDeque;

use zcn_frame::Chain;

use crate::demux::Binding;
use crate::error::NetworkError;
use crate::event::Readiness;
use crate::id::InterfaceId;
use crate::packet::copied;

/// What a datagram that waits costs beside the memory that its bytes keep.
const OVERHEAD: usize = 768;
/// Bytes of datagrams that are received at once.
const COALESCED_MAX: usize = 65_507;
/// Errors that wait in one socket; the oldest goes when one more comes.
const ERRORS: usize = 8;

/// A received datagram, or several of one size that came together.
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it.
    pub remote: SocketAddr,
    /// Where it was sent to: for a socket bound to every address, which of ours, or which
    /// group.
    pub local: SocketAddr,
    /// Where it came in.
    pub interface: InterfaceId,
    /// The bytes, as they arrived.
    pub payload: Chain,
    /// Several datagrams of this size, the last one maybe shorter (only for sockets with
    /// [`UdpOptions::coalesce`]).
    pub segment_size: Option<u16>,
    /// Hop limit that was left.
    pub hop_limit: u8,
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
}

impl Datagram {
    /// How many datagrams of the wire it is.
    pub fn count(&self) -> u64 {
        match self.segment_size {
            Some(size) => self.payload.len().div_ceil(usize::from(size.max(1))).max(1) as u64,
            None => 1,
        }
    }

    /// Takes the bytes of the datagram that came next, if both are of one flow and their
    /// boundaries can still be told (UDP_GRO): all of one size, only the last one shorter.
    fn join(&mut self, next: &mut Self) -> bool {
        let len = self.payload.len();
        let unit = self.segment_size.map_or(len, usize::from);
        let next_unit = next.segment_size.map(usize::from);
        let one_flow = self.remote == next.remote
            && self.local == next.local
            && self.interface == next.interface
            && self.hop_limit == next.hop_limit
            && self.traffic_class == next.traffic_class;
        let fits = unit > 0
            && len.is_multiple_of(unit)
            && !next.payload.is_empty()
            && next_unit.map_or(next.payload.len() <= unit, |next| next == unit)
            && len + next.payload.len() <= COALESCED_MAX;
        let (true, Ok(unit)) = (one_flow && fits, u16::try_from(unit)) else {
            return false;
        };
        let joined = self.payload.append(&mut next.payload);
        if joined {
            self.segment_size = Some(unit);
        }
        joined
    }
}

/// A datagram that waits.
#[derive(Debug)]
struct Queued {
    datagram: Datagram,
    /// What it is charged.
    cost: usize,
}

/// An error that concerns a socket: what the network said of a datagram to `remote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketError {
    /// Where the datagram was to go.
    pub remote: SocketAddr,
    /// What became of it.
    pub error: NetworkError,
}

/// What an application can set on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpOptions {
    /// Hop limit of what is sent (IP_TTL); `None`: the stack's.
    pub hop_limit: Option<u8>,
    /// Traffic class of what is sent (IP_TOS).
    pub traffic_class: u8,
    /// Whether datagrams may go to broadcast addresses (SO_BROADCAST).
    pub broadcast: bool,
    /// Whether datagrams must not be fragmented (IP_MTU_DISCOVER, IP_PMTUDISC_DO). If they
    /// may be, those within the path MTU still go with DF, to find that out.
    pub dont_fragment: bool,
    /// Whether several datagrams of one sender may be received at once (UDP_GRO).
    pub coalesce: bool,
    /// Bytes of memory that received datagrams may keep while they wait, whole buffers and
    /// overhead included (SO_RCVBUF). From half of it on, small ones are copied out of their
    /// buffers.
    pub receive_buffer: usize,
    /// By which interface to send to groups and broadcast addresses (IP_MULTICAST_IF).
    pub group_interface: Option<InterfaceId>,
}

/// A socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    pub(super) binding: Binding,
    /// Both ends, if it is connected.
    pub(super) peer: Option<(SocketAddr, SocketAddr)>,
    pub(super) options: UdpOptions,
    queue: VecDeque<Queued>,
    queued: usize,
    errors: VecDeque<SocketError>,
    pub(super) pending: Readiness,
    pub(super) blocked: bool,
}

impl UdpSocket {
    pub(super) fn new(binding: Binding, receive_buffer: usize) -> Self {
        Self {
            binding,
            peer: None,
            options: UdpOptions {
                hop_limit: None,
                traffic_class: 0,
                broadcast: false,
                dont_fragment: false,
                coalesce: false,
                receive_buffer,
                group_interface: None,
            },
            queue: VecDeque::new(),
            queued: 0,
            errors: VecDeque::new(),
            pending: Readiness::NONE,
            blocked: false,
        }
    }

    /// Our end: of the connection, or what it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.peer.map_or(self.binding.address, |(local, _)| local)
    }

    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.peer.map(|(_, remote)| remote)
    }

    pub(crate) fn options(&self) -> UdpOptions {
        self.options
    }

    pub(crate) fn set_options(&mut self, options: UdpOptions) {
        self.options = options;
    }

    /// Adds a datagram that keeps `held` bytes of memory, if there is room: to the last one, if
    /// the application takes several at once and they fit together. One always has room.
    pub(super) fn push(&mut self, mut datagram: Datagram, held: usize) -> bool {
        let len = datagram.payload.len();
        let limit = self.options.receive_buffer;
        let least = len + OVERHEAD;
        let mut cost = held.max(len) + OVERHEAD;
        if !self.queue.is_empty() {
            if self.queued + least > limit {
                return false;
            }
            if len < held / 2 && self.queued + cost > limit / 2 {
                datagram.payload = copied(&datagram.payload);
                cost = least;
            }
            if self.queued + cost > limit {
                return false;
            }
        }
        if self.options.coalesce
            && let Some(last) = self.queue.back_mut()
            && last.datagram.join(&mut datagram)
        {
            last.cost += cost - OVERHEAD;
            self.queued += cost - OVERHEAD;
            return true;
        }
        self.queued += cost;
        self.queue.push_back(Queued { datagram, cost });
        true
    }

    pub(super) fn pop(&mut self) -> Option<Datagram> {
        let Queued { datagram, cost } = self.queue.pop_front()?;
        self.queued -= cost;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(datagram)
    }

    /// Length of the next datagram.
    pub(crate) fn readable(&self) -> Option<usize> {
        Some(self.queue.front()?.datagram.payload.len())
    }

    pub(super) fn push_error(&mut self, error: SocketError) {
        if self.errors.len() >= ERRORS {
            self.errors.pop_front();
        }
        self.errors.push_back(error);
    }

    pub(crate) fn take_error(&mut self) -> Option<SocketError> {
        self.errors.pop_front()
    }
}
