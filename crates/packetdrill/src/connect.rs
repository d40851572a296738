//! Connecting, also with data (RFC 7413).

use std::net::{IpAddr, SocketAddr};

use libc::c_int;
use zcn_stack::SocketId;
use zcn_stack::slab::Id;
use zcn_stack::tcp::State;

use crate::address;
use crate::core::Core;
use crate::errno::{Errno, Result};
use crate::socket::Kind;

impl Core {
    /// connect(2), which waits for data where that can go with the SYN.
    pub(crate) fn connect(&mut self, fd: c_int, bytes: &[u8]) -> Result<()> {
        let socket = self.socket(fd)?;
        if socket.kind == Kind::Idle && socket.options.fast_open_connect {
            if socket.deferred.is_some() {
                return Err(Errno(libc::EISCONN));
            }
            let remote = address::read(bytes, socket.v6)?;
            let bare = socket.options.fast_open_no_cookie
                || self.settings.sysctls.fast_open().client_bare();
            if bare || self.stack.tcp_knows_fast_open(remote.ip().to_canonical()) {
                self.socket_mut(fd)?.deferred = Some(bytes.to_vec());
                return Ok(());
            }
        }
        self.begin_connect(fd, bytes)
    }

    /// Connects, and sends data with the SYN if there is a cookie for that (MSG_FASTOPEN).
    /// Without one, EINPROGRESS.
    pub(crate) fn connect_with(
        &mut self,
        fd: c_int,
        bytes: &[u8],
        flags: c_int,
        to: Option<&[u8]>,
    ) -> Result<usize> {
        let socket = self.socket_mut(fd)?;
        let deferred = socket.deferred.take();
        let to = deferred.as_deref().or(to).ok_or(Errno(libc::EINVAL))?;
        let by_option = std::mem::replace(&mut socket.options.fast_open_connect, true);
        let begun = self.begin_connect(fd, to);
        let socket = self.socket_mut(fd)?;
        socket.options.fast_open_connect = by_option;
        let Kind::Connection(id) = socket.kind else {
            return begun.and(Err(Errno(libc::EPIPE)));
        };
        // What does not go with the SYN is not taken, as on Linux.
        let room = self.stack.tcp_fast_open_room(self.now, id).unwrap_or(0) as usize;
        let with_syn = &bytes[..bytes.len().min(room)];
        if with_syn.is_empty() {
            return begun.and(Ok(0));
        }
        let more = flags & libc::MSG_MORE != 0;
        let sent = self.stack.tcp_send(self.now, id, with_syn, more)?;
        self.socket_mut(fd)?.written += sent as u64;
        Ok(sent)
    }

    /// Whether a send begins a connection.
    ///
    /// # Errors
    /// That of MSG_FASTOPEN on a socket that is connected, or about to be, or where clients may not
    /// use it.
    pub(crate) fn connects_with_data(
        &mut self,
        fd: c_int,
        flags: c_int,
        waits: bool,
    ) -> Result<bool> {
        let socket = self.socket(fd)?;
        let asked = flags & libc::MSG_FASTOPEN != 0;
        if socket.is_udp() || !asked && socket.deferred.is_none() {
            return Ok(false);
        }
        if !self.settings.sysctls.fast_open().client() {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        match socket.kind {
            Kind::Idle => Ok(true),
            Kind::Connection(_) if socket.connecting => {
                match self.connected(fd, Errno(libc::EALREADY)) {
                    Err(Errno(libc::EALREADY)) if waits => Ok(false),
                    answer => answer.map(|()| false),
                }
            }
            _ => Err(Errno(libc::EISCONN)),
        }
    }

    /// Begins connect(2), or tells how it went.
    fn begin_connect(&mut self, fd: c_int, bytes: &[u8]) -> Result<()> {
        let socket = self.socket(fd)?;
        match socket.kind {
            Kind::Idle => {}
            Kind::Listener { .. } => return Err(Errno(libc::EISCONN)),
            Kind::Connection(_) => return self.connected(fd, Errno(libc::EALREADY)),
            Kind::IdleUdp | Kind::Udp(_) => {
                let remote = address::read(bytes, socket.v6)?;
                let id = self.udp(fd)?;
                return Ok(self.stack.udp_connect(id, remote)?);
            }
        }
        let remote = address::read(bytes, socket.v6)?;
        let local = socket.bound;
        // A wildcard is no wish for a family.
        let local = local.map(|local| {
            if local.ip().is_unspecified() && remote.ip().to_canonical().is_ipv4() {
                SocketAddr::new(IpAddr::from([0, 0, 0, 0]), local.port())
            } else {
                local
            }
        });
        let mut options = socket.options.clone();
        options.fast_open_no_cookie |= self.settings.sysctls.fast_open().client_bare();
        let id = self.stack.tcp_connect(self.now, remote, local, options)?;
        self.owners.insert(SocketId::Tcp(id), fd);
        let bound = self.stack.tcp_addresses(id).map(|(local, _)| local);
        let socket = self.socket_mut(fd)?;
        socket.kind = Kind::Connection(id);
        socket.bound = bound;
        socket.connecting = true;
        Err(Errno(libc::EINPROGRESS))
    }

    /// Whether a connect has succeeded; while it is under way, `pending`.
    pub(crate) fn connected(&mut self, fd: c_int, pending: Errno) -> Result<()> {
        let Kind::Connection(id) = self.socket(fd)?.kind else {
            return Err(Errno(libc::EINVAL));
        };
        match self.stack.tcp_state(id) {
            Some(State::SynSent | State::SynReceived) => return Err(pending),
            // It was there, and its failure is told elsewhere.
            _ if !self.socket(fd)?.connecting => return Err(Errno(libc::EISCONN)),
            Some(State::Closed) | None => {
                let error = self.stack.tcp_take_error(id);
                self.socket_mut(fd)?.connecting = false;
                // Another try begins afresh.
                self.drop_connection(fd, id);
                let errno = error.map_or(libc::ECONNABORTED, |error| error.errno());
                return Err(Errno(errno));
            }
            Some(_) => {}
        }
        let socket = self.socket_mut(fd)?;
        if std::mem::take(&mut socket.connecting) {
            return Ok(());
        }
        Err(Errno(libc::EISCONN))
    }

    /// shutdown(2) of a connection that is not there yet ends it, and tells whoever asks next.
    pub(crate) fn disconnect(&mut self, fd: c_int, id: Id) {
        self.drop_connection(fd, id);
        if let Some(socket) = self.sockets.get_mut(&fd) {
            socket.connecting = false;
            socket.failed = Some(libc::ECONNRESET);
        }
    }

    /// Lets go of a connection that failed.
    fn drop_connection(&mut self, fd: c_int, id: Id) {
        self.owners.remove(&SocketId::Tcp(id));
        // It is over: there is nothing to close but the entry.
        let _ = self.stack.tcp_close(self.now, id);
        if let Some(socket) = self.sockets.get_mut(&fd) {
            socket.kind = Kind::Idle;
            socket.edges.other += 1;
        }
    }
}
