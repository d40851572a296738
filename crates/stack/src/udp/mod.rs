//! UDP (RFC 768, RFC 8085): sockets, connected or not.

mod error;
mod input;
mod output;
mod socket;

pub use error::{UdpBindError, UdpRecvError, UdpSendError, UdpSocketError};
pub use socket::{Datagram, SocketError, UdpOptions};

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

use zcn_frame::Chain;

use crate::demux::{Binding, Demux, Listeners, canonical};
use crate::event::{EventQueue, Readiness};
use crate::interface::is_unicast;
use crate::ip::Ip;
use crate::random::{Random, SecretKey, Seed};
use crate::slab::{Id, Slab};
use crate::stats::{DropReason, UdpStats};
use socket::UdpSocket;

/// Settings of the UDP layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Sockets.
    pub sockets: usize,
    /// Bytes of received datagrams that wait in one socket, overhead included; a socket
    /// can ask for another limit.
    pub receive_buffer: usize,
    /// First and last port of sockets that ask for none.
    pub ports: (u16, u16),
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            sockets: 65_536,
            receive_buffer: 212_992,
            ports: (32_768, 60_999),
        }
    }
}

/// All UDP sockets of a stack.
#[derive(Debug)]
pub(crate) struct Udp {
    config: UdpConfig,
    sockets: Slab<UdpSocket>,
    /// Every socket, by what it is bound to.
    bound: Listeners<Id>,
    /// Connected ones also by both ends.
    connected: Demux<Id>,
    random: Random,
    events: EventQueue<Id>,
    /// Sockets that found the way out full.
    blocked: VecDeque<Id>,
    pub(crate) stats: UdpStats,
}

impl Udp {
    pub(crate) fn new(config: UdpConfig, seed: &Seed) -> Self {
        Self {
            config,
            sockets: Slab::new(),
            bound: Listeners::default(),
            connected: Demux::new(SecretKey::derive(seed, "udp demux")),
            random: Random::new(seed, "udp ports"),
            events: EventQueue::default(),
            blocked: VecDeque::new(),
            stats: UdpStats::default(),
        }
    }

    /// Binds a socket; port 0 means any free one (RFC 6056 section 3.3.1: a random one).
    pub(crate) fn bind(&mut self, ip: &Ip, mut binding: Binding) -> Result<Id, UdpBindError> {
        binding.address = canonical(binding.address);
        let address = binding.address.ip();
        // To groups one listens at the unspecified address.
        let usable = address.is_unspecified() || is_unicast(address) && ip.is_own(address);
        if !usable {
            return Err(UdpBindError::AddressNotLocal(address));
        }
        if self.sockets.len() >= self.config.sockets {
            return Err(UdpBindError::TooMany);
        }
        if binding.address.port() == 0 {
            let port = self.free_port(binding).ok_or(UdpBindError::NoPort)?;
            binding.address.set_port(port);
        }
        if self.bound.conflicts(&binding) {
            return Err(UdpBindError::AddressInUse(binding.address));
        }
        let socket = UdpSocket::new(binding, self.config.receive_buffer);
        let id = self.sockets.insert(socket);
        if self.bound.insert(binding, id).is_err() {
            self.sockets.remove(id);
            return Err(UdpBindError::AddressInUse(binding.address));
        }
        Ok(id)
    }

    fn free_port(&mut self, mut binding: Binding) -> Option<u16> {
        let (first, last) = self.config.ports;
        let count = u32::from(last.saturating_sub(first)) + 1;
        let start = self.random.below(count);
        (0..count).find_map(|step| {
            let port = first + ((start + step) % count) as u16;
            binding.address.set_port(port);
            (port != 0 && !self.bound.conflicts(&binding)).then_some(port)
        })
    }

    /// Fixes the peer of a socket: it sends there, and receives only from there.
    pub(crate) fn connect(
        &mut self,
        ip: &Ip,
        id: Id,
        remote: SocketAddr,
    ) -> Result<(), UdpSendError> {
        let remote = canonical(remote);
        let socket = self.sockets.get(id).ok_or(UdpSendError::NotFound)?;
        let (local, _) = output::local_end(ip, socket, remote)?;
        let hash = self.connected.hash(&local, &remote);
        let sockets = &self.sockets;
        let taken = self.connected.get(hash, |other| {
            other != id
                && sockets
                    .get(other)
                    .is_some_and(|socket| socket.peer == Some((local, remote)))
        });
        if taken.is_some() {
            return Err(UdpSendError::AddressInUse);
        }
        self.disconnect(id)?;
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.peer = Some((local, remote));
        }
        self.connected.insert(hash, id);
        Ok(())
    }

    /// Undoes [`connect`](Self::connect).
    pub(crate) fn disconnect(&mut self, id: Id) -> Result<(), UdpSendError> {
        let socket = self.sockets.get_mut(id).ok_or(UdpSendError::NotFound)?;
        if let Some((local, remote)) = socket.peer.take() {
            let hash = self.connected.hash(&local, &remote);
            self.connected.remove(hash, |other| other == id);
        }
        Ok(())
    }

    /// Ends a socket, with what it has received.
    pub(crate) fn close(&mut self, id: Id) -> Result<(), UdpSocketError> {
        // The one error is that there is no such socket.
        let _ = self.disconnect(id);
        let socket = self.sockets.remove(id).ok_or(UdpSocketError::NotFound)?;
        self.bound.remove(socket.binding.address.port(), id);
        Ok(())
    }

    /// The next datagram.
    pub(crate) fn recv(&mut self, id: Id) -> Result<Datagram, UdpRecvError> {
        let socket = self.sockets.get_mut(id).ok_or(UdpRecvError::NotFound)?;
        socket.pop().ok_or(UdpRecvError::WouldBlock)
    }

    pub(crate) fn get(&self, id: Id) -> Option<&UdpSocket> {
        self.sockets.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut UdpSocket> {
        self.sockets.get_mut(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whose datagrams from `remote` to `local` are.
    fn find(&self, local: &SocketAddr, remote: &SocketAddr) -> Option<Id> {
        if !self.connected.is_empty() {
            let hash = self.connected.hash(local, remote);
            let found = self.connected.get(hash, |id| {
                self.sockets
                    .get(id)
                    .is_some_and(|socket| socket.peer == Some((*local, *remote)))
            });
            if found.is_some() {
                return found;
            }
        }
        let id = self.bound.get(local)?;
        // A connected socket hears its peer only.
        self.sockets.get(id)?.peer.is_none().then_some(id)
    }

    /// Tells the socket that sent a packet from `local` to `remote` what became of it, and
    /// answers whether there is one.
    pub(crate) fn report(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        error: crate::error::NetworkError,
    ) -> bool {
        let Some(id) = self.find(&local, &remote) else {
            return false;
        };
        if let Some(socket) = self.sockets.get_mut(id) {
            let of_interest = match error {
                // Who lets packets be cut need not know.
                crate::error::NetworkError::TooBig { .. } => socket.options.dont_fragment,
                _ => true,
            };
            if of_interest {
                socket.push_error(SocketError { remote, error });
                self.events.raise(id, &mut socket.pending, Readiness::ERROR);
            }
        }
        true
    }

    /// Whether [`poll_event`](Self::poll_event) may have something to tell.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next socket with something to tell.
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

    /// The way out has room again.
    pub(crate) fn unblock(&mut self) {
        while let Some(id) = self.blocked.pop_front() {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.blocked = false;
                self.events
                    .raise(id, &mut socket.pending, Readiness::WRITABLE);
            }
        }
    }

    /// Gives a datagram that keeps `held` bytes of memory to a socket.
    fn deliver(&mut self, ip: &mut Ip, id: Id, datagram: Datagram, held: usize) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let count = datagram.count();
        if socket.push(datagram, held) {
            self.stats.in_datagrams += count;
            self.events
                .raise(id, &mut socket.pending, Readiness::READABLE);
        } else {
            self.stats.in_errors += count;
            self.stats.rcvbuf_errors += count;
            ip.drop(DropReason::UdpQueueFull);
        }
    }
}

/// An endpoint with the scope that a link-local address needs.
pub(crate) fn endpoint(
    address: IpAddr,
    port: u16,
    interface: crate::id::InterfaceId,
) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if crate::demux::is_link_local(&v6) => {
            core::net::SocketAddrV6::new(v6, port, 0, interface.scope_id()).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

/// A payload as a chain, cut off behind `len` bytes.
fn first_bytes(chain: &mut Chain, len: usize) -> Chain {
    chain.split_to(len.min(chain.len()))
}
