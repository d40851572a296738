//! Sockets for ICMP echo: what `ping` needs.

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

use zcn_frame::{Chain, Frame, Head};
use zcn_wire::Protocol;

use crate::error::{NetworkError, RouteError};
use crate::event::{EventQueue, Readiness};
use crate::icmp::EchoReply;
use crate::id::InterfaceId;
use crate::interface::{LOOPBACK, is_unicast};
use crate::ip::{Ip, SendError};
use crate::packet::{HEADROOM, Outgoing, copied};
use crate::random::{Random, Seed};
use crate::slab::{Id, Slab};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::udp::{SocketError, endpoint};

/// Sockets at most.
const SOCKETS_MAX: usize = 1_024;
/// Bytes of replies that wait in one socket, overhead included.
const QUEUE_BYTES: usize = 1 << 20;
const OVERHEAD: usize = 768;
/// Errors that wait in one socket.
const ERRORS: usize = 64;
/// Requests to which errors are matched: the last ones of a socket.
const REMEMBERED: usize = 64;
const HEADER_LEN: usize = zcn_wire::icmpv4::HEADER_LEN;
/// Largest payload: 65,535 bytes without the headers of IPv4 and ICMP.
pub const PAYLOAD_MAX: usize = 65_535 - 20 - HEADER_LEN;

/// An answer to an echo request.
#[derive(Debug)]
pub struct Echo {
    /// Who answered.
    pub remote: IpAddr,
    /// Which request it answers.
    pub sequence: u16,
    /// What came back.
    pub payload: Chain,
    /// Hop limit that was left.
    pub hop_limit: u8,
}

/// A request to send.
#[derive(Debug)]
pub struct EchoRequest {
    /// To whom; the scope of a link-local address says by which interface. The port does
    /// not count.
    pub remote: SocketAddr,
    /// Its number.
    pub sequence: u16,
    /// What is to come back.
    pub payload: Chain,
    /// `None`: the stack's.
    pub hop_limit: Option<u8>,
    /// Not to be fragmented, to find out what the path takes.
    pub dont_fragment: bool,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EchoError {
    /// No way there.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// More than 65,507 bytes, or more than the link takes without fragments.
    #[error("the request is too long; the largest possible here carries {max} bytes")]
    MessageTooLong {
        /// Payload that would have been possible.
        max: usize,
    },
    /// The way out is full.
    #[error("the queue of the interface is full")]
    WouldBlock,
    /// Nothing has come back yet.
    #[error("nothing to receive yet")]
    NothingYet,
    /// There are too many echo sockets.
    #[error("too many echo sockets: at most {SOCKETS_MAX}")]
    TooMany,
    /// There is no such socket.
    #[error("no such socket")]
    NotFound,
}

#[derive(Debug)]
struct Socket {
    identifier: u16,
    replies: VecDeque<Echo>,
    queued: usize,
    errors: VecDeque<SocketError>,
    /// Whom the last requests went to, with their numbers: what an error may quote, and a
    /// reply may answer.
    asked: VecDeque<(IpAddr, u16)>,
    pending: Readiness,
}

/// All echo sockets of a stack.
#[derive(Debug)]
pub(crate) struct EchoSockets {
    sockets: Slab<Socket>,
    by_identifier: BTreeMap<u16, Id>,
    random: Random,
    events: EventQueue<Id>,
}

impl EchoSockets {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            sockets: Slab::new(),
            by_identifier: BTreeMap::new(),
            random: Random::new(seed, "echo identifiers"),
            events: EventQueue::default(),
        }
    }

    pub(crate) fn open(&mut self) -> Result<Id, EchoError> {
        if self.sockets.len() >= SOCKETS_MAX {
            return Err(EchoError::TooMany);
        }
        // There are many more identifiers than sockets.
        let mut identifier = self.random.next_u32() as u16;
        while self.by_identifier.contains_key(&identifier) {
            identifier = self.random.next_u32() as u16;
        }
        let id = self.sockets.insert(Socket {
            identifier,
            replies: VecDeque::new(),
            queued: 0,
            errors: VecDeque::new(),
            asked: VecDeque::new(),
            pending: Readiness::NONE,
        });
        self.by_identifier.insert(identifier, id);
        Ok(id)
    }

    pub(crate) fn close(&mut self, id: Id) -> Result<(), EchoError> {
        let socket = self.sockets.remove(id).ok_or(EchoError::NotFound)?;
        self.by_identifier.remove(&socket.identifier);
        Ok(())
    }

    pub(crate) fn send(
        &mut self,
        ip: &mut Ip,
        now: Instant,
        id: Id,
        request: EchoRequest,
    ) -> Result<(), EchoError> {
        let socket = self.sockets.get_mut(id).ok_or(EchoError::NotFound)?;
        if request.payload.len() > PAYLOAD_MAX {
            return Err(EchoError::MessageTooLong { max: PAYLOAD_MAX });
        }
        let remote = request.remote.ip();
        let scope = match request.remote {
            SocketAddr::V6(v6) => InterfaceId::from_scope_id(v6.scope_id()),
            SocketAddr::V4(_) => None,
        };
        let (source, interface) = ip.source_for(remote, scope)?;
        if !ip.has_room(interface) {
            return Err(EchoError::WouldBlock);
        }
        let v6 = remote.is_ipv6();
        let (kind, protocol) = if v6 {
            (128, Protocol::ICMPV6)
        } else {
            (8, Protocol::ICMP)
        };
        let [i, j] = socket.identifier.to_be_bytes();
        let [s, t] = request.sequence.to_be_bytes();
        let mut head = Head::with_room(HEADROOM);
        let too_long = EchoError::MessageTooLong { max: PAYLOAD_MAX };
        head.extend_from_slice(&[kind, 0, 0, 0, i, j, s, t])
            .map_err(|_| too_long)?;
        if socket.asked.len() >= REMEMBERED {
            socket.asked.pop_front();
        }
        socket.asked.push_back((remote, request.sequence));
        let stats = ip.icmp_stats(v6);
        stats.out_msgs += 1;
        stats.out_echos += 1;
        let sent = ip.send(
            now,
            &Outgoing {
                interface: Some(interface).filter(|&id| id != LOOPBACK),
                hop_limit: request.hop_limit,
                dont_fragment: request.dont_fragment,
                checksum_at: Some(2),
                ..Outgoing::new(source, remote, protocol)
            },
            &mut Frame::of(head, request.payload),
        );
        match sent {
            Ok(()) => Ok(()),
            Err(SendError::NoRoute) => Err(RouteError::NoRoute.into()),
            Err(SendError::QueueFull) => Err(EchoError::WouldBlock),
            Err(SendError::TooBig { mtu }) => Err(EchoError::MessageTooLong {
                max: (mtu as usize).saturating_sub(crate::ip::header_len(remote) + HEADER_LEN),
            }),
        }
    }

    pub(crate) fn recv(&mut self, id: Id) -> Result<Echo, EchoError> {
        let socket = self.sockets.get_mut(id).ok_or(EchoError::NotFound)?;
        let echo = socket.replies.pop_front().ok_or(EchoError::NothingYet)?;
        socket.queued -= echo.payload.len() + OVERHEAD;
        Ok(echo)
    }

    pub(crate) fn take_error(&mut self, id: Id) -> Option<SocketError> {
        self.sockets.get_mut(id)?.errors.pop_front()
    }

    /// A reply came: for the socket whose request it answers.
    pub(crate) fn input(&mut self, ip: &mut Ip, remote: IpAddr, hop_limit: u8, reply: EchoReply) {
        let id = self.by_identifier.get(&reply.identifier);
        let Some((&id, socket)) = id.and_then(|id| Some((id, self.sockets.get_mut(*id)?))) else {
            ip.drop(DropReason::IcmpUnmatched);
            return;
        };
        // Whoever answers in the place of a group is somebody else.
        let asked = socket
            .asked
            .iter()
            .any(|&(to, number)| number == reply.sequence && (to == remote || !is_unicast(to)));
        let cost = reply.payload.len() + OVERHEAD;
        if !asked || socket.queued + cost > QUEUE_BYTES {
            ip.drop(DropReason::IcmpUnmatched);
            return;
        }
        socket.queued += cost;
        socket.replies.push_back(Echo {
            remote,
            sequence: reply.sequence,
            // It may wait for long, and is charged for no more than its bytes.
            payload: copied(&reply.payload),
            hop_limit,
        });
        self.events
            .raise(id, &mut socket.pending, Readiness::READABLE);
    }

    /// Whether a request quoted by an error is one of ours.
    pub(crate) fn knows(&self, remote: IpAddr, identifier: u16, sequence: u16) -> bool {
        self.by_identifier
            .get(&identifier)
            .and_then(|&id| self.sockets.get(id))
            .is_some_and(|socket| socket.asked.contains(&(remote, sequence)))
    }

    /// Tells the socket what became of a request. The port of the error's `remote` is the
    /// number of the request.
    pub(crate) fn report(
        &mut self,
        remote: IpAddr,
        interface: InterfaceId,
        identifier: u16,
        sequence: u16,
        error: NetworkError,
    ) {
        if let Some(&id) = self.by_identifier.get(&identifier)
            && let Some(socket) = self.sockets.get_mut(id)
        {
            if socket.errors.len() >= ERRORS {
                socket.errors.pop_front();
            }
            let remote = endpoint(remote, sequence, interface);
            socket.errors.push_back(SocketError { remote, error });
            self.events.raise(id, &mut socket.pending, Readiness::ERROR);
        }
    }

    /// Whether [`poll_event`](Self::poll_event) may have something to tell.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn poll_event(&mut self) -> Option<(Id, Readiness)> {
        while let Some(id) = self.events.pop() {
            if let Some(socket) = self.sockets.get_mut(id) {
                let readiness = core::mem::take(&mut socket.pending);
                if !readiness.is_empty() {
                    return Some((id, readiness));
                }
            }
        }
        None
    }
}
