//! Settings of a UDP socket, and what can be sent on one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use zcn_pool::{BufferPool, HugePages, SharedBuf};
use zcn_uring::recv_msg::PREFIX_BYTES;

use super::sockopt;
use crate::error::{Action, Error, Result};
use crate::reactor::datagram::{Limits, MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Outgoing};

/// Most datagrams in one message with segments; kernels before 6.9 take no more.
const MAX_SEGMENTS: usize = 64;

/// Settings of a [`UdpSocket`](crate::UdpSocket) or [`UdpServer`](crate::UdpServer).
///
/// Each socket has a pool of its own to receive into: [`buffers`](Self::buffers) of
/// [`max_datagram`](Self::max_datagram) and 108 bytes for the sender's address, rounded up to
/// pages. With the defaults that is 64 buffers of 68 KiB, 4.25 MiB of address space; memory is
/// taken page by page when a datagram first needs it (two megabytes at a time where the kernel
/// gives huge pages). With a `max_datagram` of 1,500 it is 256 KiB.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpOptions {
    /// Longest datagram that arrives whole, 1 to 65,535 bytes \[65,535\]. Longer ones are cut and
    /// marked. With [`gro`](Self::gro) it is always 65,535.
    pub max_datagram: usize,
    /// Buffers to receive into, 1 to 32,768 \[64\]. When all are out, in the queue or in the
    /// application's hands, receiving pauses until half of them are back.
    pub buffers: usize,
    /// Datagrams that may wait for the application \[1,024; never more than `buffers`\]. Beyond
    /// that receiving pauses, and the kernel's socket buffer fills up and drops.
    pub receive_queue: usize,
    /// Messages that may wait for the kernel \[1,024\]; beyond that sends wait, or are refused.
    pub send_queue: usize,
    /// `UDP_GRO`: the kernel may hand over several datagrams of one sender and size in one buffer
    /// ([`Datagram::segments`](crate::Datagram::segments)) \[off\].
    pub gro: bool,
    /// Sends consecutive datagrams of equal size to one peer as one message with segments
    /// (`UDP_SEGMENT`): the same datagrams, for a fraction of the work \[off\]. Given up on a
    /// socket whose device or path does not take it.
    pub coalesce: bool,
    /// Each datagram carries the time at which the kernel received it (`SO_TIMESTAMPNS`) \[off\].
    pub timestamps: bool,
    /// `SO_RCVBUF` in bytes; capped by sysctl `net.core.rmem_max`.
    pub receive_buffer: Option<usize>,
    /// `SO_SNDBUF` in bytes; capped by sysctl `net.core.wmem_max`.
    pub send_buffer: Option<usize>,
    /// Several sockets, one per core, share the address and the kernel spreads the peers.
    pub reuse_port: bool,
    /// Several sockets may receive the same multicast (`SO_REUSEADDR`).
    pub reuse_address: bool,
    /// Allows sending to broadcast addresses.
    pub broadcast: bool,
    /// TTL, or hop limit, of what is sent, 1 to 255; the system's default when absent.
    pub ttl: Option<u32>,
    /// Whether an IPv6 wildcard takes IPv6 only; the system's default when absent.
    pub only_v6: Option<bool>,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            max_datagram: 65_535,
            buffers: 64,
            receive_queue: 1024,
            send_queue: 1024,
            gro: false,
            coalesce: false,
            timestamps: false,
            receive_buffer: None,
            send_buffer: None,
            reuse_port: false,
            reuse_address: false,
            broadcast: false,
            ttl: None,
            only_v6: None,
        }
    }
}

fn within(name: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::setting(
        Action::Socket,
        format!("{name} = {value} is out of range: {low} to {high}"),
    ))
}

impl UdpOptions {
    fn check(&self) -> Result<()> {
        within("max_datagram", self.max_datagram, 1, 65_535)?;
        within("buffers", self.buffers, 1, 32_768)?;
        within("receive_queue", self.receive_queue, 1, usize::MAX)?;
        within("send_queue", self.send_queue, 1, usize::MAX)?;
        if let Some(ttl) = self.ttl {
            within("ttl", ttl as usize, 1, 255)?;
        }
        Ok(())
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            arrived: self.receive_queue,
            unsent: self.send_queue,
            coalesce: self.coalesce,
        }
    }

    /// The longest datagram, or several of them together, that arrives whole.
    pub(crate) fn longest(&self) -> usize {
        match self.gro {
            true => 65_535,
            false => self.max_datagram,
        }
    }

    /// A bound socket.
    pub(crate) fn open(&self, address: SocketAddr) -> Result<OwnedFd> {
        self.bind(address).map(OwnedFd::from)
    }

    /// The pool that a socket receives into.
    pub(crate) fn pool(&self, huge_pages: HugePages) -> Result<BufferPool> {
        self.check()?;
        BufferPool::builder()
            .buffer_size(
                (PREFIX_BYTES + self.longest()).next_multiple_of(rustix::param::page_size()),
            )
            .count(self.buffers)
            .huge_pages(huge_pages)
            .build()
            .map_err(|error| {
                Error::refused(Action::Socket, error.raw_os_error(), error.to_string())
            })
    }

    fn bind(&self, address: SocketAddr) -> Result<Socket> {
        let fail = |action: Action| move |error: io::Error| Error::new(action, address, error);
        let option = fail(Action::Option);
        let domain = Domain::for_address(address);
        let socket =
            Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(fail(Action::Socket))?;
        if self.reuse_address {
            socket.set_reuse_address(true).map_err(option)?;
        }
        if self.reuse_port {
            socket.set_reuse_port(true).map_err(option)?;
        }
        if self.broadcast {
            socket.set_broadcast(true).map_err(option)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).map_err(option)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes).map_err(option)?;
        }
        if let (Some(only), true) = (self.only_v6, address.is_ipv6()) {
            socket.set_only_v6(only).map_err(option)?;
        }
        if let Some(ttl) = self.ttl {
            match address {
                SocketAddr::V4(_) => socket.set_ttl_v4(ttl),
                SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl),
            }
            .map_err(option)?;
        }
        if self.timestamps {
            sockopt::set_timestamps(&socket).map_err(option)?;
        }
        if self.gro {
            sockopt::set_gro(&socket, true).map_err(|error| {
                option(error).hinted("UDP_GRO came with Linux 5.0; switch gro off")
            })?;
        }
        socket
            .bind(&SockAddr::from(address))
            .map_err(fail(Action::Bind))?;
        Ok(socket)
    }
}

/// What a send names: where to, and how the bytes are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter {
    pub(crate) peer: Option<SocketAddr>,
    /// Size of the datagrams, when it is several.
    pub(crate) segment: Option<usize>,
}

impl Letter {
    /// Whether a socket at `local`, connected to `connected`, can send `bytes` this way.
    pub(crate) fn check(
        &self,
        bytes: usize,
        local: SocketAddr,
        connected: Option<SocketAddr>,
    ) -> Result<()> {
        let to = match self.peer.or(connected) {
            Some(peer) => peer,
            None => {
                return Err(Error::bare(
                    Action::Send,
                    io::Error::from_raw_os_error(libc::EDESTADDRREQ),
                )
                .hinted("the socket is not connected: name the peer (send_to), or connect first"));
            }
        };
        if to.ip().is_unspecified() || to.port() == 0 {
            return Err(
                Error::new(Action::Send, to, io::ErrorKind::InvalidInput.into())
                    .hinted("a peer has an address and a port, neither of them all zeroes"),
            );
        }
        if to.is_ipv6() && local.is_ipv4() {
            return Err(Error::errno(Action::Send, to, libc::EAFNOSUPPORT)
                .hinted("this socket is an IPv4 one: bind another to an IPv6 address"));
        }
        let most = most_bytes(to);
        match self.segment {
            None if bytes > most => Err(Error::errno(
                Action::Send,
                format_args!("{bytes} bytes to {to}"),
                libc::EMSGSIZE,
            )
            .hinted(format!("a datagram has at most {most} bytes"))),
            Some(size) if size == 0 || size > bytes || size > most => Err(Error::setting(
                Action::Send,
                format!(
                    "segment_size = {size} is out of range: 1 to {}, the bytes to send and what \
                     a datagram holds",
                    bytes.min(most).max(1)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Cuts off what one message can carry; the rest stays in `data`. Once `data` is empty it was
    /// the last.
    pub(crate) fn next_message(&self, data: &mut SharedBuf) -> Outgoing {
        let Some(size) = self.segment.filter(|&size| size < data.len()) else {
            return Outgoing {
                data: std::mem::take(data),
                peer: self.peer,
                segment: 0,
            };
        };
        let most = (MAX_PAYLOAD_V4 / size).clamp(1, MAX_SEGMENTS) * size;
        let data = data.split_to(most.min(data.len()));
        let segment = match data.len() > size {
            // Below the payload limit, so it fits.
            true => u16::try_from(size).unwrap_or(0),
            false => 0,
        };
        Outgoing {
            data,
            peer: self.peer,
            segment,
        }
    }
}

fn most_bytes(to: SocketAddr) -> usize {
    match to {
        SocketAddr::V4(_) => MAX_PAYLOAD_V4,
        SocketAddr::V6(_) => MAX_PAYLOAD_V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_cut_into_messages_the_kernel_takes() {
        let cut = |bytes: usize, size: usize| {
            let letter = Letter {
                peer: None,
                segment: Some(size),
            };
            let mut data = SharedBuf::from(bytes::Bytes::from(vec![0; bytes]));
            let mut messages = Vec::new();
            while !data.is_empty() {
                let message = letter.next_message(&mut data);
                messages.push((message.data.len(), message.segment));
            }
            messages
        };
        assert_eq!(cut(3000, 1000), [(3000, 1000)]);
        assert_eq!(cut(1000, 1000), [(1000, 0)]);
        assert_eq!(cut(100, 1), [(64, 1), (36, 1)]);
        assert_eq!(cut(65, 1), [(64, 1), (1, 0)]);
        assert_eq!(cut(90_000, 30_000), [(60_000, 30_000), (30_000, 0)]);
        assert_eq!(cut(130_000, 65_000), [(65_000, 0), (65_000, 0)]);
    }
}
