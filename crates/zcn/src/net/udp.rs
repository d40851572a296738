//! UDP sockets for tasks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use socket2::{SockAddr, SockRef};
use zcn_pool::{BufferPool, SharedBuf};

use super::half::{Half, Net};
use super::socket::local_address;
use super::sockopt;
use super::udp_options::{Letter, UdpOptions};
use crate::error::{Action, Error, Result};
use crate::reactor::datagram::{Datagram, UdpHalf, UdpStats, Unsendable};
use crate::reactor::stream::Owner;
use crate::runtime::Inner;
use crate::stack::datagrams::StackUdp;
use crate::stack::errno::kernel_only;
use crate::table::Key;

/// A UDP socket of the current runtime, connected or not.
///
/// All methods take `&self`: several tasks may receive and send at a time (put it into an [`Rc`]).
/// Dropping it sends what is queued, then closes.
///
/// Receiving begins with the first call that asks for a datagram and goes on from there: what
/// arrives waits in a queue bounded by [`UdpOptions`]; when that is full the kernel's socket buffer
/// fills up, and then drops, as UDP does ([`kernel_drops`](Self::kernel_drops)).
///
/// Sends are queued, too, and leave together at the end of the turn. A call that finds the queue
/// full waits. What the network reports later (an ICMP error such as `ECONNREFUSED` on a connected
/// socket) is the error of the next receive, send or flush; it ends nothing. A datagram is sent
/// again if the kernel answered such an error in place of taking it.
///
/// Futures may be dropped at any point: what has arrived stays for the next receive, and what was
/// not accepted for sending was not sent.
///
/// ```
/// # let mut runtime = zcn::Runtime::new()?;
/// # runtime.block_on(async {
/// use zcn::{SharedBuf, UdpSocket};
///
/// let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
/// let server = UdpSocket::bind(any)?;
/// let client = UdpSocket::bind(any)?;
/// client.connect(server.local_addr())?;
/// client.send(SharedBuf::from_static(b"ping")).await?;
/// let ping = server.recv().await?;
/// assert_eq!(&ping.data[..], b"ping");
/// server.send_to(ping.data, ping.peer).await?;
/// assert_eq!(&client.recv().await?.data[..], b"ping");
/// # Ok::<(), zcn::Error>(()) })?
/// # ;
/// # Ok::<(), zcn::Error>(())
/// ```
pub struct UdpSocket {
    inner: Rc<Inner>,
    key: Key,
    local: SocketAddr,
}

impl std::fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpSocket")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.inner
            .reactor
            .borrow_mut()
            .close_datagram_socket(self.key);
    }
}

impl UdpSocket {
    /// Binds to an address of the runtime's default [`Net`]; port 0 picks a free one.
    ///
    /// # Errors
    /// Outside of a runtime, the address is in use or not this machine's, memory, descriptors or
    /// buffer groups are short: on a ring, 254 UDP sockets can be open at a time.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        Self::bind_with(address, &UdpOptions::default())
    }

    /// Binds with options.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and a setting out of range, with its name.
    pub fn bind_with(address: SocketAddr, options: &UdpOptions) -> Result<Self> {
        Self::open(&Net::current()?, address, options)
    }

    pub(super) fn open(net: &Net, address: SocketAddr, options: &UdpOptions) -> Result<Self> {
        let (key, local) = open(net, address, options, Owner::Task)?;
        let inner = net.inner.clone();
        Ok(Self { inner, key, local })
    }

    /// Makes `peer` the one to send to and the only one to receive from, and has the network's
    /// errors reported. What had arrived before stays in the queue.
    ///
    /// # Errors
    /// There is no route, or the peer is of the other address family.
    pub fn connect(&self, peer: SocketAddr) -> Result<()> {
        connect(&self.inner, self.key, peer)
    }

    fn receive_error(&self, source: io::Error) -> Error {
        self.error(Action::Receive, source)
    }

    fn error(&self, action: Action, source: io::Error) -> Error {
        match self.peer_addr() {
            Some(peer) => Error::new(action, format_args!("{} with {peer}", self.local), source),
            None => Error::new(action, self.local, source),
        }
    }

    /// The next datagram, in a buffer on loan.
    ///
    /// # Errors
    /// What the network or the kernel reported; the socket goes on.
    pub async fn recv(&self) -> Result<Datagram> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Poll form of [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Result<Datagram>> {
        let polled = self
            .inner
            .reactor
            .borrow_mut()
            .poll_recv_datagram(self.key, context);
        polled.map_err(|source| self.receive_error(source))
    }

    /// A datagram that has arrived already; `None` when there is none. Starts receiving, so that a
    /// later call finds one; the task must let the runtime turn in between.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Option<Datagram>> {
        let found = self.inner.reactor.borrow_mut().try_recv_datagram(self.key);
        found
            .transpose()
            .map_err(|source| self.receive_error(source))
    }

    /// Waits for a datagram and takes all that have arrived. Returns how many it appended.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); with datagrams before the error, those come first.
    pub async fn recv_batch(&self, into: &mut Vec<Datagram>) -> Result<usize> {
        let first = self.recv().await?;
        into.push(first);
        let mut reactor = self.inner.reactor.borrow_mut();
        let mut count = 1;
        while reactor.has_arrived_datagram(self.key) {
            let Some(Ok(datagram)) = reactor.try_recv_datagram(self.key) else {
                break;
            };
            into.push(datagram);
            count += 1;
        }
        Ok(count)
    }

    /// Copies the next datagram into `into` and tells its length and sender; what does not fit is
    /// lost. Coalesced datagrams come one by one.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_from(&self, into: &mut [u8]) -> Result<(usize, SocketAddr)> {
        let datagram = self.recv().await?;
        Ok(self.take_first(datagram, into))
    }

    /// Copies the first of what may be several coalesced datagrams; the others stay.
    pub(crate) fn take_first(
        &self,
        mut datagram: Datagram,
        into: &mut [u8],
    ) -> (usize, SocketAddr) {
        let count = datagram.copy_first(into);
        let peer = datagram.peer;
        if !datagram.data.is_empty() {
            self.inner
                .reactor
                .borrow_mut()
                .unread_datagram(self.key, datagram);
        }
        (count, peer)
    }

    /// Waits until [`recv`](Self::recv) would answer at once.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self
            .inner
            .reactor
            .borrow_mut()
            .poll_datagram_readable(self.key, context);
        polled.map_err(|source| self.receive_error(source))
    }

    /// Waits until [`send`](Self::send) would answer at once.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self
            .inner
            .reactor
            .borrow_mut()
            .poll_datagram_room(self.key, context, false);
        polled.map_err(|source| self.error(Action::Send, source))
    }

    /// Sends a datagram to `peer` without copying it in user space: a pool
    /// [`Buf`](crate::Buf), a [`SharedBuf`], or `bytes::Bytes`. Waits while the queue is full; ends
    /// when the datagram is accepted.
    ///
    /// # Errors
    /// It is too long, the peer is unspecified or of the other address family; or what the network
    /// reported for an earlier datagram: then this one was not sent.
    pub async fn send_to(&self, data: impl Into<SharedBuf>, peer: SocketAddr) -> Result<()> {
        self.send_letter(data.into(), Some(peer), None).await
    }

    /// Sends a datagram to the connected peer; otherwise as [`send_to`](Self::send_to).
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to), and `EDESTADDRREQ` on a socket that is not connected.
    pub async fn send(&self, data: impl Into<SharedBuf>) -> Result<()> {
        self.send_letter(data.into(), None, None).await
    }

    /// Sends `data` as datagrams of `segment_size` bytes, the last one possibly shorter, to `peer`
    /// or the connected one: the kernel cuts them (`UDP_SEGMENT`), in one go where they are at most
    /// 64 and within 65,507 bytes, else in several. Each datagram must fit the path's MTU.
    ///
    /// When the future is dropped before it ends, the first part may have been accepted.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to), and a segment size of 0 or above the length of `data`.
    pub async fn send_segments(
        &self,
        data: impl Into<SharedBuf>,
        segment_size: usize,
        peer: impl Into<Option<SocketAddr>>,
    ) -> Result<()> {
        self.send_letter(data.into(), peer.into(), Some(segment_size))
            .await
    }

    /// Copies `data` and sends it to `peer` or the connected one. The copy goes to a buffer of the
    /// runtime's pool, or to the heap when it is longer than one or the pool is empty.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to).
    pub async fn send_copy(&self, data: &[u8], peer: impl Into<Option<SocketAddr>>) -> Result<()> {
        let data = copied(&self.inner, data);
        self.send_letter(data, peer.into(), None).await
    }

    async fn send_letter(
        &self,
        data: SharedBuf,
        peer: Option<SocketAddr>,
        segment: Option<usize>,
    ) -> Result<()> {
        let letter = Letter { peer, segment };
        let connected = self.peer_addr();
        letter.check(data.len(), self.local, connected)?;
        let mut data = data;
        loop {
            let mut message = Some(letter.next_message(&mut data));
            std::future::poll_fn(|context| {
                let mut reactor = self.inner.reactor.borrow_mut();
                loop {
                    let Some(next) = message.take() else {
                        return Poll::Ready(Ok(()));
                    };
                    match reactor.send_datagram(self.key, next) {
                        Ok(()) => return Poll::Ready(Ok(())),
                        Err(Unsendable::Full(next)) => message = Some(next),
                        Err(Unsendable::Error(_, errno)) => {
                            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
                        }
                    }
                    ready!(reactor.poll_datagram_room(self.key, context, false))?;
                }
            })
            .await
            .map_err(|source| match peer.or(connected) {
                Some(peer) => Error::new(Action::Send, peer, source),
                None => Error::bare(Action::Send, source),
            })?;
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits until the kernel has taken everything sent so far.
    ///
    /// # Errors
    /// What the kernel or the network reported.
    pub async fn flush(&self) -> Result<()> {
        std::future::poll_fn(|context| {
            self.inner
                .reactor
                .borrow_mut()
                .poll_datagram_room(self.key, context, true)
        })
        .await
        .map_err(|source| self.error(Action::Send, source))
    }

    /// Address of this end, with the port the kernel picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The peer it is connected to.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.inner.reactor.borrow().udp.table.get(self.key)?.peer
    }

    /// What it did so far.
    pub fn stats(&self) -> UdpStats {
        stats(&self.inner, self.key)
    }

    /// The pool it receives into.
    pub fn pool(&self) -> Option<BufferPool> {
        let reactor = self.inner.reactor.borrow();
        Some(reactor.udp.table.get(self.key)?.pool.clone())
    }

    /// Datagrams that the kernel dropped because the socket's buffer was full.
    ///
    /// # Errors
    /// The kernel does not tell (before 4.12).
    pub fn kernel_drops(&self) -> Result<u32> {
        self.with_fd(sockopt::kernel_drops)
    }

    fn with_fd<T>(&self, call: impl FnOnce(&OwnedFd) -> io::Result<T>) -> Result<T> {
        let reactor = self.inner.reactor.borrow();
        let socket = reactor.udp.table.get(self.key).ok_or_else(|| {
            Error::bare(Action::Option, io::Error::from(io::ErrorKind::NotConnected))
        })?;
        match &socket.half {
            UdpHalf::Kernel { fd, .. } => {
                call(fd).map_err(|error| Error::bare(Action::Option, error))
            }
            UdpHalf::Stack(_) => Err(kernel_only("this option")),
        }
    }

    /// A call on the socket of either half.
    fn with_half(
        &self,
        kernel: impl FnOnce(SockRef<'_>) -> io::Result<()>,
        stack: impl FnOnce(&StackUdp) -> Result<()>,
    ) -> Result<()> {
        let reactor = self.inner.reactor.borrow();
        match reactor.udp.table.get(self.key).map(|socket| &socket.half) {
            Some(UdpHalf::Stack(socket)) => stack(socket),
            _ => self.with_socket(kernel),
        }
    }

    /// The kernel's socket, for options that have no method here. Its descriptor stays this
    /// socket's.
    ///
    /// # Errors
    /// The socket is a stack's; or what `call` answers.
    pub fn with_socket<T>(&self, call: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> Result<T> {
        self.with_fd(|fd| call(SockRef::from(&fd.as_fd())))
    }

    /// Receives what is sent to an IPv4 multicast group on the interface that has the address
    /// `interface` (`0.0.0.0` lets the kernel choose).
    ///
    /// # Errors
    /// `group` is no multicast address, or there is no such interface.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<()> {
        check_multicast(group.into())?;
        self.with_socket(|socket| socket.join_multicast_v4(&group, &interface))
            .map_err(|error| multicast_error(group.into(), error))
    }

    /// Leaves a group joined with the same arguments.
    ///
    /// # Errors
    /// It was not joined.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<()> {
        self.with_socket(|socket| socket.leave_multicast_v4(&group, &interface))
            .map_err(|error| multicast_error(group.into(), error))
    }

    /// Receives what is sent to an IPv6 multicast group on the interface with this index
    /// (0 lets the kernel choose).
    ///
    /// # Errors
    /// As [`join_multicast_v4`](Self::join_multicast_v4).
    pub fn join_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> Result<()> {
        check_multicast(group.into())?;
        self.with_socket(|socket| socket.join_multicast_v6(&group, interface))
            .map_err(|error| multicast_error(group.into(), error))
    }

    /// Leaves a group joined with the same arguments.
    ///
    /// # Errors
    /// It was not joined.
    pub fn leave_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> Result<()> {
        self.with_socket(|socket| socket.leave_multicast_v6(&group, interface))
            .map_err(|error| multicast_error(group.into(), error))
    }

    /// Sends multicast through the interface that has this IPv4 address.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn set_multicast_interface_v4(&self, interface: Ipv4Addr) -> Result<()> {
        self.with_socket(|socket| socket.set_multicast_if_v4(&interface))
    }

    /// Sends multicast through the interface with this index.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn set_multicast_interface_v6(&self, interface: u32) -> Result<()> {
        self.with_socket(|socket| socket.set_multicast_if_v6(interface))
    }

    /// Whether this machine's own members of a group receive what this socket sends to it.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn set_multicast_loop(&self, yes: bool) -> Result<()> {
        self.with_socket(|socket| match self.local {
            SocketAddr::V4(_) => socket.set_multicast_loop_v4(yes),
            SocketAddr::V6(_) => socket.set_multicast_loop_v6(yes),
        })
    }

    /// How many routers multicast may pass, 0 to 255.
    ///
    /// # Errors
    /// The number is out of range.
    pub fn set_multicast_ttl(&self, ttl: u32) -> Result<()> {
        self.with_socket(|socket| match self.local {
            SocketAddr::V4(_) => socket.set_multicast_ttl_v4(ttl),
            SocketAddr::V6(_) => socket.set_multicast_hops_v6(ttl),
        })
    }

    /// TTL, or hop limit, of what is sent, 1 to 255.
    ///
    /// # Errors
    /// The number is out of range.
    pub fn set_ttl(&self, ttl: u32) -> Result<()> {
        self.with_half(
            |socket| match self.local {
                SocketAddr::V4(_) => socket.set_ttl_v4(ttl),
                SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl),
            },
            |socket| {
                let limit = u8::try_from(ttl).ok().filter(|&limit| limit > 0);
                let limit = limit.ok_or_else(|| Error::errno(Action::Option, "", libc::EINVAL))?;
                socket.change(|own| own.hop_limit = Some(limit))
            },
        )
    }

    /// Allows or forbids sending to broadcast addresses.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn set_broadcast(&self, yes: bool) -> Result<()> {
        self.with_half(
            |socket| socket.set_broadcast(yes),
            |socket| socket.change(|own| own.broadcast = yes),
        )
    }
}

fn check_multicast(group: IpAddr) -> Result<()> {
    if group.is_multicast() {
        return Ok(());
    }
    Err(Error::setting(
        Action::Option,
        format!("{group} is no multicast address: 224.0.0.0/4 or ff00::/8"),
    ))
}

fn multicast_error(group: IpAddr, error: Error) -> Error {
    Error::new(
        Action::Option,
        format_args!("of multicast group {group}"),
        error.into(),
    )
    .hinted("`ip maddr` lists the groups, `ip link` the interfaces and which have MULTICAST")
}

/// Opens a socket and hands it to the reactor.
pub(crate) fn open(
    net: &Net,
    address: SocketAddr,
    options: &UdpOptions,
    owner: Owner,
) -> Result<(Key, SocketAddr)> {
    let inner = &net.inner;
    let huge_pages = inner.reactor.borrow().udp.huge_pages;
    let pool = options.pool(huge_pages)?;
    if let Half::Stack(host) = &net.half {
        let socket = StackUdp::bind(host, address, options, &pool)?;
        let local = socket.local().unwrap_or(address);
        let mut reactor = inner.reactor.borrow_mut();
        let key = reactor.add_stack_datagram_socket(socket, pool, owner, options.limits());
        return Ok((key, local));
    }
    let fd = options.open(address)?;
    let local = local_address(&fd)?.ip().unwrap_or(address);
    let key = inner
        .reactor
        .borrow_mut()
        .add_datagram_socket(fd, pool, owner, options.limits())
        .map_err(|error| Error::new(Action::Socket, address, error))?;
    Ok((key, local))
}

/// Connects a socket to one peer.
pub(crate) fn connect(inner: &Rc<Inner>, key: Key, peer: SocketAddr) -> Result<()> {
    let mut reactor = inner.reactor.borrow_mut();
    let fail = |error: io::Error| Error::new(Action::Connect, peer, error);
    let Some(socket) = reactor.udp.table.get_mut(key) else {
        return Err(fail(io::ErrorKind::NotConnected.into()));
    };
    match &socket.half {
        UdpHalf::Kernel { fd, .. } => SockRef::from(fd)
            .connect(&SockAddr::from(peer))
            .map_err(fail)?,
        UdpHalf::Stack(socket) => socket.connect(peer)?,
    }
    socket.peer = Some(peer);
    Ok(())
}

/// Bytes copied for a send: into a pool buffer where they fit one.
pub(crate) fn copied(inner: &Rc<Inner>, data: &[u8]) -> SharedBuf {
    if let Some(mut buf) = inner.buffer()
        && buf.extend_from_slice(data).is_ok()
    {
        return buf.into();
    }
    Bytes::copy_from_slice(data).into()
}

pub(crate) fn stats(inner: &Rc<Inner>, key: Key) -> UdpStats {
    inner
        .reactor
        .borrow()
        .udp
        .table
        .get(key)
        .map_or_else(UdpStats::default, |socket| socket.stats())
}
