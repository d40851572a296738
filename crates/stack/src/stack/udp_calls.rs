//! Calls on UDP sockets.

use core::net::SocketAddr;

use zcn_frame::Chain;
use zcn_pool::SharedBuf;

use super::Stack;
use crate::demux::Binding;
use crate::slab::Id;
use crate::time::Instant;
use crate::udp::{
    Datagram, SocketError, UdpBindError, UdpOptions, UdpRecvError, UdpSendError, UdpSocketError,
};

impl Stack {
    /// Makes a socket bound to an address and port; port 0 means any free one. `::` takes
    /// both families unless the binding says otherwise.
    ///
    /// # Errors
    /// If they are taken, or not ours.
    pub fn udp_bind(&mut self, binding: Binding) -> Result<Id, UdpBindError> {
        self.udp.bind(&self.ip, binding)
    }

    /// Fixes the peer of a socket: it sends there if nothing else is said, and receives
    /// only from there.
    ///
    /// # Errors
    /// If there is no way to it.
    pub fn udp_connect(&mut self, socket: Id, remote: SocketAddr) -> Result<(), UdpSendError> {
        self.udp.connect(&self.ip, socket, remote)
    }

    /// Undoes [`udp_connect`](Self::udp_connect).
    ///
    /// # Errors
    /// If there is no such socket.
    pub fn udp_disconnect(&mut self, socket: Id) -> Result<(), UdpSendError> {
        self.udp.disconnect(socket)
    }

    /// Sends a copy of `bytes` as one datagram: to `remote`, or to the peer.
    ///
    /// # Errors
    /// If it does not leave. [`UdpSendError::WouldBlock`] also if the pool is empty.
    pub fn udp_send(
        &mut self,
        now: Instant,
        socket: Id,
        remote: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Result<(), UdpSendError> {
        let payload = self.copy(bytes).ok_or(UdpSendError::WouldBlock)?;
        self.udp_send_buf(now, socket, remote, payload, None)
    }

    /// Sends a chain of buffers without copying them: as one datagram, or with
    /// `segment_size` as several of that size, the last one maybe shorter (UDP_SEGMENT).
    ///
    /// # Errors
    /// If it does not leave.
    pub fn udp_send_buf(
        &mut self,
        now: Instant,
        socket: Id,
        remote: Option<SocketAddr>,
        payload: Chain,
        segment_size: Option<u16>,
    ) -> Result<(), UdpSendError> {
        self.udp
            .send(&mut self.ip, now, socket, remote, payload, segment_size)
    }

    /// The next datagram that came, without copying it.
    ///
    /// # Errors
    /// If nothing is there.
    pub fn udp_recv(&mut self, socket: Id) -> Result<Datagram, UdpRecvError> {
        self.udp.recv(socket)
    }

    /// Length of the next datagram (FIONREAD); `None` if there is none.
    pub fn udp_readable(&self, socket: Id) -> Option<usize> {
        self.udp.get(socket)?.readable()
    }

    /// What the network said of a datagram that was sent; the oldest of at most 8.
    pub fn udp_take_error(&mut self, socket: Id) -> Option<SocketError> {
        self.udp.get_mut(socket)?.take_error()
    }

    /// What a socket is bound to, or our end if it is connected.
    pub fn udp_local(&self, socket: Id) -> Option<SocketAddr> {
        Some(self.udp.get(socket)?.local())
    }

    /// The peer of a connected socket.
    pub fn udp_remote(&self, socket: Id) -> Option<SocketAddr> {
        self.udp.get(socket)?.remote()
    }

    /// The options of a socket.
    pub fn udp_options(&self, socket: Id) -> Option<UdpOptions> {
        Some(self.udp.get(socket)?.options())
    }

    /// Sets the options of a socket.
    ///
    /// # Errors
    /// If there is no such socket.
    pub fn udp_set_options(
        &mut self,
        socket: Id,
        options: UdpOptions,
    ) -> Result<(), UdpSocketError> {
        let socket = self.udp.get_mut(socket).ok_or(UdpSocketError::NotFound)?;
        socket.set_options(options);
        Ok(())
    }

    /// Ends a socket, with what it has received.
    ///
    /// # Errors
    /// If there is no such socket.
    pub fn udp_close(&mut self, socket: Id) -> Result<(), UdpSocketError> {
        self.udp.close(socket)
    }

    /// How many UDP sockets there are.
    pub fn udp_sockets(&self) -> usize {
        self.udp.len()
    }

    /// A copy of `bytes` in buffers of the pool, or `None` if it has too few. Buffers are
    /// pages at least, so that a chain takes the largest datagram.
    fn copy(&self, mut bytes: &[u8]) -> Option<Chain> {
        let mut chain = Chain::new();
        while !bytes.is_empty() {
            let mut buf = self.pool.acquire()?;
            let (part, rest) = bytes.split_at(buf.capacity().min(bytes.len()));
            buf.extend_from_slice(part).ok()?;
            chain.push(SharedBuf::from(buf)).ok()?;
            bytes = rest;
        }
        Some(chain)
    }
}
