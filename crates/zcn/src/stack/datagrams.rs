//! A UDP socket of a stack.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;

use zcn_frame::Chain;
use zcn_pool::{BufferPool, LocalPool, SharedBuf};
use zcn_stack::SocketId;
use zcn_stack::demux::Binding;
use zcn_stack::slab::Id;
use zcn_stack::udp::{self, UdpSendError};

use super::errno;
use super::host::{Role, StackHost};
use super::socket::up;
use crate::error::{Action, Error, Result};
use crate::net::udp_options::UdpOptions;
use crate::reactor::datagram::Datagram;

/// A UDP socket of a stack; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct StackUdp {
    host: Rc<StackHost>,
    id: Id,
    /// Where datagrams go that come in several pieces, or that somebody else holds, too.
    local: LocalPool,
    /// Longest datagram that arrives whole.
    longest: usize,
    timestamps: bool,
    /// Taken from the stack when there was no buffer for it.
    stash: Option<Box<udp::Datagram>>,
}

impl Drop for StackUdp {
    fn drop(&mut self) {
        self.host.clear_role(SocketId::Udp(self.id));
        // It is ours, so it is there.
        let _ = self.host.borrow().stack.udp_close(self.id);
    }
}

/// Why there is no datagram.
#[derive(Debug)]
pub(crate) enum NoDatagram {
    /// Nothing is there; an event tells when there is.
    Nothing,
    /// There is no buffer for it; it stays.
    NoBuffer,
}

/// What became of a send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DatagramSent {
    All,
    /// No room; an event tells when there is some.
    Nothing,
    Failed(i32),
}

impl StackUdp {
    /// Binds.
    ///
    /// # Errors
    /// The address is taken or not the stack's, or an option is not to be had.
    pub(crate) fn bind(
        host: &Rc<StackHost>,
        address: SocketAddr,
        options: &UdpOptions,
        pool: &BufferPool,
    ) -> Result<Self> {
        if options.reuse_port {
            return Err(errno::no_reuse_port(address));
        }
        up(host, Action::Bind, address)?;
        let mut binding = Binding::new(address);
        binding.v6_only = options.only_v6.unwrap_or(false);
        binding.reuse_address = options.reuse_address;
        let bound = host.borrow().stack.udp_bind(binding);
        let socket = Self {
            host: host.clone(),
            id: bound.map_err(|error| errno::bind(address, &error))?,
            local: pool.local(),
            longest: options.longest(),
            timestamps: options.timestamps,
            stash: None,
        };
        socket.change(|own| {
            own.hop_limit = options.ttl.and_then(|ttl| u8::try_from(ttl).ok());
            own.broadcast = options.broadcast;
            own.coalesce = options.gro;
            if let Some(bytes) = options.receive_buffer {
                own.receive_buffer = bytes;
            }
        })?;
        Ok(socket)
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.host.set_role(SocketId::Udp(self.id), role);
    }

    /// The address, with the port it was given.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.host.borrow().stack.udp_local(self.id)
    }

    /// Fixes the peer.
    ///
    /// # Errors
    /// There is no way to it.
    pub(crate) fn connect(&self, peer: SocketAddr) -> Result<()> {
        let connected = self.host.borrow().stack.udp_connect(self.id, peer);
        connected.map_err(|error| {
            Error::errno(Action::Connect, peer, errno::datagram(error)).hinted(error.to_string())
        })
    }

    /// Changes the options.
    ///
    /// # Errors
    /// There is no such socket.
    pub(crate) fn change(&self, change: impl FnOnce(&mut udp::UdpOptions)) -> Result<()> {
        let mut hosted = self.host.borrow();
        let Some(mut options) = hosted.stack.udp_options(self.id) else {
            return Err(Error::errno(Action::Option, "", libc::ENOTCONN));
        };
        change(&mut options);
        hosted
            .stack
            .udp_set_options(self.id, options)
            .map_err(|_| Error::errno(Action::Option, "", libc::ENOTCONN))
    }

    /// The oldest thing that the network said of what was sent.
    pub(crate) fn take_error(&self) -> Option<i32> {
        let error = self.host.borrow().stack.udp_take_error(self.id)?;
        Some(error.error.errno())
    }

    /// Whether there is a buffer again for what was put aside.
    pub(crate) fn has_buffer(&self) -> bool {
        self.local.acquire().is_some()
    }

    /// The next datagram.
    pub(crate) fn receive(&mut self) -> std::result::Result<Datagram, NoDatagram> {
        let next = match self.stash.take() {
            Some(datagram) => Some(*datagram),
            None => self.host.borrow().stack.udp_recv(self.id).ok(),
        };
        let datagram = next.ok_or(NoDatagram::Nothing)?;
        self.lend(datagram).map_err(|datagram| {
            self.stash = Some(Box::new(datagram));
            NoDatagram::NoBuffer
        })
    }

    /// A datagram with its bytes in one buffer that nobody else has: that in which they came, if
    /// it is such a one. Comes back when there is no buffer to copy it to.
    // The error carries what the caller keeps.
    #[allow(clippy::result_large_err)]
    fn lend(&self, mut datagram: udp::Datagram) -> std::result::Result<Datagram, udp::Datagram> {
        let whole = datagram.payload.len();
        datagram.payload.truncate(self.longest);
        let first = match datagram.payload.slices() {
            [_] => datagram.payload.pop_front(),
            _ => None,
        };
        let data = match first.map(|slice| slice.try_into_buf()) {
            Some(Ok(buf)) => buf,
            rest => {
                if let Some(Err(slice)) = rest {
                    // It was the only one.
                    let _ = datagram.payload.push(slice);
                }
                let Some(mut buf) = self.local.acquire() else {
                    return Err(datagram);
                };
                for slice in datagram.payload.slices() {
                    // The buffers are as large as the longest datagram.
                    let _ = buf.extend_from_slice(slice);
                }
                buf
            }
        };
        Ok(Datagram {
            peer: datagram.remote,
            segment_size: datagram
                .segment_size
                .filter(|&size| usize::from(size) < data.len()),
            timestamp: self.timestamps.then(SystemTime::now),
            truncated: whole > data.len(),
            data,
        })
    }

    /// Sends `data` to `peer` or the connected one: as one datagram, or as several of `segment`
    /// bytes, the last one maybe shorter. Without a copy; the caller keeps its shares.
    pub(crate) fn send<'a>(
        &self,
        peer: Option<SocketAddr>,
        data: impl Iterator<Item = &'a SharedBuf>,
        segment: Option<u16>,
    ) -> DatagramSent {
        let mut payload = Chain::new();
        for slice in data {
            if payload.push(slice.clone()).is_err() {
                return DatagramSent::Failed(libc::EMSGSIZE);
            }
        }
        let mut hosted = self.host.borrow();
        let now = hosted.now;
        let sent = hosted
            .stack
            .udp_send_buf(now, self.id, peer, payload, segment);
        match sent {
            Ok(()) => DatagramSent::All,
            Err(UdpSendError::WouldBlock) => DatagramSent::Nothing,
            Err(error) => DatagramSent::Failed(errno::datagram(error)),
        }
    }
}
