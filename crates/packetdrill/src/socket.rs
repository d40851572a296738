//! Sockets as Linux's applications know them, over those of the stack.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libc::c_int;
use zcn_stack::SocketId;
use zcn_stack::demux::Binding;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{RecvError, SocketOptions, State};

use crate::address;
use crate::core::Core;
use crate::descriptor;
use crate::epoll::Edges;
use crate::errno::{Errno, Result, WOULD_BLOCK};
use crate::notices::{Notice, Notices};
use crate::worker::Patience;

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP, neither listening nor connected.
    Idle,
    Listener {
        id: Id,
        backlog: u32,
    },
    /// A connection, maybe over by now.
    Connection(Id),
    /// UDP, not bound yet.
    IdleUdp,
    Udp(Id),
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) kind: Kind,
    /// AF_INET6.
    pub(crate) v6: bool,
    pub(crate) nonblocking: bool,
    pub(crate) bound: Option<SocketAddr>,
    pub(crate) options: SocketOptions,
    /// Where a connect leads that waits for data to send with its SYN (TCP_FASTOPEN_CONNECT).
    pub(crate) deferred: Option<Vec<u8>>,
    /// What became of a connection that it had, until that is told.
    pub(crate) failed: Option<c_int>,
    /// A connect began whose end was not told.
    pub(crate) connecting: bool,
    /// Our side was shut, and the peer has not acknowledged that.
    pub(crate) ending: bool,
    /// SHUT_RD: what is there and what still comes can be read, then the end.
    pub(crate) read_shut: bool,
    /// SO_OOBINLINE: urgent data is in line whatever it says (RFC 6093).
    pub(crate) urgent_in_line: bool,
    /// SO_REUSEPORT, SO_PRIORITY: kept, and without effect here.
    pub(crate) reuse_port: bool,
    pub(crate) priority: c_int,
    /// SO_PEEK_OFF: where the next peek begins, in bytes from the first that can be read.
    pub(crate) peek_offset: Option<usize>,
    /// TCP_INQ: recvmsg tells how much is left to be read.
    pub(crate) tell_readable: bool,
    /// TCP_NOTSENT_LOWAT as the socket was told; 0 is that of the sysctl, which its options have.
    pub(crate) unsent_low_water: u32,
    /// TCP_SAVE_SYN, of a listener, and what a connection has of it. 1 is from the IP header on
    /// and 2 from that of the link, which has none here: they are told apart by name only.
    pub(crate) saves_syns: c_int,
    pub(crate) saved_syn: Option<Vec<u8>>,
    /// How often something happened, for edges.
    pub(crate) edges: Edges,
    /// Bytes of the stream that the application wrote.
    pub(crate) written: u64,
    pub(crate) notices: Notices,
    pub(crate) receive_timeout: Option<Duration>,
    pub(crate) send_timeout: Option<Duration>,
}

impl Socket {
    fn new(kind: Kind, v6: bool) -> Self {
        let mut options = SocketOptions::default();
        // As Linux: Nagle's algorithm, and an address is not shared.
        options.nodelay = false;
        options.reuse_address = false;
        Self {
            kind,
            v6,
            nonblocking: false,
            bound: None,
            options,
            deferred: None,
            failed: None,
            connecting: false,
            ending: false,
            read_shut: false,
            urgent_in_line: false,
            reuse_port: false,
            priority: 0,
            peek_offset: None,
            tell_readable: false,
            unsent_low_water: 0,
            saves_syns: 0,
            saved_syn: None,
            edges: Edges::default(),
            written: 0,
            notices: Notices::default(),
            receive_timeout: None,
            send_timeout: None,
        }
    }

    /// The socket of a connection that this one accepts: with its options, as on Linux.
    fn accepted(&self, id: Id) -> Self {
        let mut options = self.options.clone();
        // Of listeners.
        (options.fast_open, options.fast_open_keys) = (None, None);
        Self {
            options,
            urgent_in_line: self.urgent_in_line,
            reuse_port: self.reuse_port,
            tell_readable: self.tell_readable,
            unsent_low_water: self.unsent_low_water,
            saves_syns: self.saves_syns,
            receive_timeout: self.receive_timeout,
            send_timeout: self.send_timeout,
            notices: self.notices.inherited(),
            ..Self::new(Kind::Connection(id), self.v6)
        }
    }

    pub(crate) fn is_udp(&self) -> bool {
        matches!(self.kind, Kind::IdleUdp | Kind::Udp(_))
    }
}

/// Which of a socket's time limits holds for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Receive,
    Send,
}

impl Core {
    pub(crate) fn socket(&self, fd: c_int) -> Result<&Socket> {
        self.sockets.get(&fd).ok_or(Errno(libc::EBADF))
    }

    pub(crate) fn socket_mut(&mut self, fd: c_int) -> Result<&mut Socket> {
        self.sockets.get_mut(&fd).ok_or(Errno(libc::EBADF))
    }

    /// How long a call on a socket may wait.
    pub(crate) fn patience(&self, fd: c_int, dont_wait: bool, limit: Limit) -> Patience {
        match self.sockets.get(&fd) {
            Some(socket) if !socket.nonblocking && !dont_wait => {
                let time = match limit {
                    Limit::Receive => socket.receive_timeout,
                    Limit::Send => socket.send_timeout,
                };
                time.map_or(Patience::Forever, |time| Patience::Until(self.now + time))
            }
            _ => Patience::Never,
        }
    }

    fn insert(&mut self, socket: Socket) -> Result<c_int> {
        let fd = descriptor::open()?;
        if let Some(id) = socket_id(socket.kind) {
            self.owners.insert(id, fd);
        }
        // The number was ours before and closed behind our back.
        if let Some(old) = self.sockets.insert(fd, socket) {
            self.release(old);
        }
        self.forget(fd);
        Ok(fd)
    }

    /// socket(2)
    pub(crate) fn open(&mut self, domain: c_int, kind: c_int, protocol: c_int) -> Result<c_int> {
        self.begin().map_err(|_| Errno(libc::ENOMEM))?;
        let v6 = match domain {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return Err(Errno(libc::EAFNOSUPPORT)),
        };
        let base = match (kind & 0xff, protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Kind::Idle,
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Kind::IdleUdp,
            _ => return Err(Errno(libc::EPROTONOSUPPORT)),
        };
        let mut socket = Socket::new(base, v6);
        socket.nonblocking = kind & libc::SOCK_NONBLOCK != 0;
        socket.options.congestion = self.settings.congestion;
        self.settings.sysctls.prepare(&mut socket.options);
        self.insert(socket)
    }

    /// bind(2)
    pub(crate) fn bind(&mut self, fd: c_int, bytes: &[u8]) -> Result<()> {
        let socket = self.socket(fd)?;
        let local = address::read(bytes, socket.v6)?;
        if socket.bound.is_some() {
            return Err(Errno(libc::EINVAL));
        }
        if socket.kind == Kind::IdleUdp {
            return self.bind_udp(fd, local);
        }
        if socket.kind != Kind::Idle {
            return Err(Errno(libc::EINVAL));
        }
        let ip = local.ip();
        if !ip.is_unspecified() && !self.is_own(ip) {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        let reuse = socket.options.reuse_address;
        let taken = local.port() != 0
            && self.sockets.values().any(|other| {
                !other.is_udp()
                    && other.bound.is_some_and(|at| overlap(at, local))
                    && !(reuse
                        && other.options.reuse_address
                        && !matches!(other.kind, Kind::Listener { .. }))
            });
        if taken {
            return Err(Errno(libc::EADDRINUSE));
        }
        self.socket_mut(fd)?.bound = Some(local);
        Ok(())
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        let interface = zcn_stack::InterfaceId(0);
        let canonical = ip.to_canonical();
        canonical.is_loopback()
            || self
                .stack
                .addresses(interface)
                .any(|(own, _)| own.address() == canonical)
    }

    fn bind_udp(&mut self, fd: c_int, local: SocketAddr) -> Result<()> {
        let mut binding = Binding::new(local);
        binding.reuse_address = self.socket(fd)?.options.reuse_address;
        binding.v6_only = self.socket(fd)?.options.v6_only;
        let id = self.stack.udp_bind(binding)?;
        let bound = self.stack.udp_local(id);
        self.owners.insert(SocketId::Udp(id), fd);
        let socket = self.socket_mut(fd)?;
        socket.kind = Kind::Udp(id);
        socket.bound = bound;
        Ok(())
    }

    /// The stack's socket of a UDP one, bound to some port if it was not.
    pub(crate) fn udp(&mut self, fd: c_int) -> Result<Id> {
        let socket = self.socket(fd)?;
        if socket.kind == Kind::IdleUdp {
            let any = if socket.v6 { "[::]:0" } else { "0.0.0.0:0" };
            let any = any.parse().map_err(|_| Errno(libc::EINVAL))?;
            self.bind_udp(fd, any)?;
        }
        match self.socket(fd)?.kind {
            Kind::Udp(id) => Ok(id),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    /// listen(2)
    pub(crate) fn listen(&mut self, fd: c_int, backlog: c_int) -> Result<()> {
        let socket = self.socket(fd)?;
        match socket.kind {
            Kind::Idle => {}
            Kind::Listener { .. } => return Ok(()),
            Kind::Connection(_) => return Err(Errno(libc::EINVAL)),
            _ => return Err(Errno(libc::EOPNOTSUPP)),
        }
        let any = if socket.v6 { "[::]:0" } else { "0.0.0.0:0" };
        let any: SocketAddr = any.parse().map_err(|_| Errno(libc::EINVAL))?;
        let local = socket.bound.unwrap_or(any);
        let mut options = socket.options.clone();
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX).min(4096);
        let fast_open = self.settings.sysctls.fast_open();
        if fast_open.every_listener() {
            options.fast_open = options.fast_open.or(Some(backlog));
        }
        let told = options.fast_open;
        options.fast_open = told.filter(|pending| *pending > 0 && fast_open.server());
        options.fast_open_no_cookie |= fast_open.server_bare();
        let keys = self.settings.sysctls.fast_open_keys;
        options.fast_open_keys = options.fast_open_keys.or(keys);
        let id = self.stack.tcp_listen(local, backlog as usize, options)?;
        let bound = self.stack.tcp_listener_address(id);
        self.owners.insert(SocketId::TcpListener(id), fd);
        let socket = self.socket_mut(fd)?;
        socket.kind = Kind::Listener { id, backlog };
        socket.options.fast_open = told;
        socket.bound = bound;
        Ok(())
    }

    /// accept(2): the descriptor, and the peer's address.
    pub(crate) fn accept(&mut self, fd: c_int) -> Result<(c_int, Vec<u8>)> {
        let socket = self.socket(fd)?;
        let Kind::Listener { id, .. } = socket.kind else {
            let udp = socket.is_udp();
            return Err(Errno(if udp { libc::EOPNOTSUPP } else { libc::EINVAL }));
        };
        let (id, remote) = self.stack.tcp_accept(self.now, id)?;
        let mut accepted = self.socket(fd)?.accepted(id);
        if accepted.saves_syns != 0 {
            let addresses = self.stack.tcp_addresses(id);
            let port = addresses.map_or(0, |(local, _)| local.port());
            accepted.saved_syn = self.saved_syns.take(remote, port);
        }
        let remote = address::write(remote, accepted.v6);
        let fd = self.insert(accepted)?;
        Ok((fd, remote))
    }

    /// Sends a part of a stream, or one datagram.
    pub(crate) fn send(
        &mut self,
        fd: c_int,
        bytes: &[u8],
        flags: c_int,
        to: Option<&[u8]>,
    ) -> Result<usize> {
        let socket = self.socket(fd)?;
        if socket.is_udp() {
            if flags & (libc::MSG_OOB | libc::MSG_FASTOPEN) != 0 {
                return Err(Errno(libc::EOPNOTSUPP));
            }
            let remote = to.map(|to| address::read(to, socket.v6)).transpose()?;
            let id = self.udp(fd)?;
            if let Some(error) = self.stack.udp_take_error(id) {
                return Err(Errno(error.error.errno()));
            }
            self.stack.udp_send(self.now, id, remote, bytes)?;
            return Ok(bytes.len());
        }
        let Kind::Connection(id) = socket.kind else {
            let failed = self.socket_mut(fd)?.failed.take();
            return Err(Errno(failed.unwrap_or(libc::EPIPE)));
        };
        if self.opens(id, socket.connecting) {
            return Err(WOULD_BLOCK);
        }
        let more = flags & libc::MSG_MORE != 0;
        let sent = self.stack.tcp_send(self.now, id, bytes, more);
        let whole = sent.as_ref().is_ok_and(|count| *count == bytes.len());
        if whole && flags & libc::MSG_EOR != 0 {
            self.stack.tcp_end_record(id)?;
        }
        if whole && flags & libc::MSG_OOB != 0 {
            self.stack.tcp_mark_urgent(self.now, id)?;
        }
        if let Ok(count) = sent {
            self.socket_mut(fd)?.written += count as u64;
        }
        Ok(sent?)
    }

    /// A send failed, and its caller is told so: an error is told once, as SO_ERROR.
    pub(crate) fn told_of_failure(&mut self, fd: c_int) {
        if let Ok(Kind::Connection(id)) = self.socket(fd).map(|socket| socket.kind) {
            self.stack.tcp_take_error(id);
        }
    }

    /// Where a connection stands: bytes acknowledged, and sent, of those that were written.
    fn progress(&self, socket: &Socket) -> Option<(u64, u64)> {
        let Kind::Connection(id) = socket.kind else {
            return None;
        };
        let written = socket.written;
        let acked = written.saturating_sub(self.stack.tcp_unacknowledged(id).into());
        let info = self.stack.tcp_info(self.now, id);
        let unsent = info.map_or(0, |info| info.tcpi_notsent_bytes);
        Some((acked, written.saturating_sub(unsent.into())))
    }

    /// A call wrote something: what of it is to be told later.
    pub(crate) fn wrote(&mut self, fd: c_int, flags: c_int, stamps: Option<u32>) -> Result<()> {
        let socket = self.socket(fd)?;
        let Some((_, sent)) = self.progress(socket) else {
            return Ok(());
        };
        let written = socket.written;
        let zero_copy = flags & libc::MSG_ZEROCOPY != 0;
        let joins = zero_copy && socket.notices.ends_with_unsent(sent);
        // A super-frame has two segments at least.
        let whole = 2 * self.segment_size(socket.kind).unwrap_or(1).unsigned_abs();
        let within = socket.notices.ends_within(sent, written, whole.into());
        let notices = &mut self.socket_mut(fd)?.notices;
        notices.on_written(written, zero_copy.then_some(joins), stamps, within);
        Ok(())
    }

    /// Puts into the error queues what has come about.
    pub(crate) fn tell_notices(&mut self) {
        let waiting = self
            .sockets
            .iter()
            .filter(|(_, socket)| socket.notices.is_waiting());
        let progress: Vec<_> = waiting
            .filter_map(|(fd, socket)| Some((*fd, self.progress(socket)?)))
            .collect();
        let now = self.now;
        for (fd, (acked, sent)) in progress {
            if let Some(socket) = self.sockets.get_mut(&fd)
                && socket.notices.on_progress(now, sent, acked)
            {
                socket.edges.other += 1;
            }
        }
    }

    /// recvmsg(2) with MSG_ERRQUEUE.
    pub(crate) fn take_notice(&mut self, fd: c_int) -> Result<Received> {
        let socket = self.socket_mut(fd)?;
        let notice = socket.notices.pop().ok_or(WOULD_BLOCK)?;
        Ok(Received {
            beside: vec![Beside::Notice(notice, socket.v6)],
            ..Received::default()
        })
    }

    /// SO_TIMESTAMPING.
    pub(crate) fn set_stamping(&mut self, fd: c_int, flags: u32) -> Result<()> {
        let socket = self.socket(fd)?;
        let place = self
            .progress(socket)
            .map(|(acked, _)| (acked, socket.written));
        self.socket_mut(fd)?.notices.set_stamping(flags, place)
    }

    /// Whether a connection is not there yet. One that was accepted is, though it may be in
    /// SYN-RECEIVED (RFC 7413).
    pub(crate) fn opens(&self, id: Id, connecting: bool) -> bool {
        match self.stack.tcp_state(id) {
            Some(State::SynSent) => true,
            Some(State::SynReceived) => connecting,
            _ => false,
        }
    }

    /// Receives at most `max` bytes, and for UDP the sender's address; also says how long
    /// the datagram was.
    pub(crate) fn receive(&mut self, fd: c_int, max: usize, flags: c_int) -> Result<Received> {
        if flags & libc::MSG_OOB != 0 {
            return Err(Errno(libc::EINVAL));
        }
        let socket = self.socket(fd)?;
        let (v6, udp) = (socket.v6, socket.is_udp());
        if udp {
            let id = self.udp(fd)?;
            if let Some(error) = self.stack.udp_take_error(id) {
                return Err(Errno(error.error.errno()));
            }
            if flags & libc::MSG_PEEK != 0 {
                return Err(Errno(libc::EOPNOTSUPP));
            }
            let datagram = self.stack.udp_recv(id)?;
            let mut bytes = datagram.payload.to_vec();
            let len = bytes.len();
            bytes.truncate(max);
            let from = address::write(datagram.remote, v6);
            return Ok(Received {
                bytes,
                len,
                from,
                beside: Vec::new(),
            });
        }
        let Kind::Connection(id) = socket.kind else {
            if socket.deferred.is_some() {
                return Err(WOULD_BLOCK);
            }
            let failed = self.socket_mut(fd)?.failed.take();
            return Err(Errno(failed.unwrap_or(libc::ENOTCONN)));
        };
        if self.opens(id, socket.connecting) {
            return Err(WOULD_BLOCK);
        }
        let readable = self.stack.tcp_readable(id);
        let peek = flags & libc::MSG_PEEK != 0;
        // SO_PEEK_OFF
        let skipped = socket.peek_offset.filter(|_| peek).unwrap_or(0);
        if peek && skipped > 0 && skipped >= readable && !self.has_ended(id) {
            return Err(WOULD_BLOCK);
        }
        let skipped = skipped.min(readable);
        let mut bytes = vec![0; (max.saturating_add(skipped)).min(readable).max(1)];
        let count = if peek {
            self.stack.tcp_peek(self.now, id, &mut bytes)
        } else if max == 0 && readable > 0 {
            Ok(0)
        } else {
            self.stack.tcp_recv(self.now, id, &mut bytes)
        };
        if let Err(RecvError::Connection(_)) = count {
            self.stack.tcp_take_error(id);
        }
        if count == Err(RecvError::WouldBlock) && self.socket(fd)?.read_shut {
            return Ok(Received::default());
        }
        if count == Err(RecvError::NotFound) {
            return Ok(Received::default());
        }
        bytes.truncate(count?);
        bytes.drain(..skipped.min(bytes.len()));
        bytes.truncate(max);
        let len = bytes.len();
        if let Some(offset) = &mut self.socket_mut(fd)?.peek_offset {
            *offset = if peek {
                *offset + len
            } else {
                offset.saturating_sub(len)
            };
        }
        if flags & libc::MSG_TRUNC != 0 {
            // tcp(7): the data is thrown away.
            bytes.clear();
        }
        let mut beside = Vec::new();
        if self.socket(fd)?.tell_readable {
            // As Linux: the end can be read, too.
            let left = self.stack.tcp_readable(id) + usize::from(self.has_ended(id));
            beside.push(Beside::Left(c_int::try_from(left).unwrap_or(c_int::MAX)));
        }
        Ok(Received {
            bytes,
            len,
            from: Vec::new(),
            beside,
        })
    }

    /// Whether the peer has nothing more to say.
    pub(crate) fn has_ended(&self, id: Id) -> bool {
        let state = self.stack.tcp_state(id);
        state.is_none_or(|state| !state.may_receive())
    }

    /// Whether a blocking receive of `wanted` bytes has to wait for more: MSG_WAITALL and
    /// SO_RCVLOWAT.
    pub(crate) fn wants_more(&mut self, fd: c_int, max: usize, flags: c_int) -> bool {
        let Some(socket) = self.sockets.get(&fd) else {
            return false;
        };
        let Kind::Connection(id) = socket.kind else {
            return false;
        };
        let low = socket.options.receive_low_water as usize;
        let wanted = if flags & libc::MSG_WAITALL != 0 {
            max
        } else {
            low.min(max)
        };
        let may_come = !socket.read_shut && !self.has_ended(id);
        may_come && self.stack.tcp_readable(id) < wanted
    }
}

/// What a receive brought.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// Bytes taken from the socket.
    pub(crate) len: usize,
    /// The sender of a datagram, as C knows it.
    pub(crate) from: Vec<u8>,
    /// What comes beside them.
    pub(crate) beside: Vec<Beside>,
}

/// Ancillary data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Beside {
    /// What is left to be read (TCP_INQ).
    Left(c_int),
    /// An entry of the error queue, of an IPv6 socket or not.
    Notice(Notice, bool),
}

pub(crate) fn socket_id(kind: Kind) -> Option<SocketId> {
    match kind {
        Kind::Connection(id) => Some(SocketId::Tcp(id)),
        Kind::Listener { id, .. } => Some(SocketId::TcpListener(id)),
        Kind::Udp(id) => Some(SocketId::Udp(id)),
        Kind::Idle | Kind::IdleUdp => None,
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
