//! shutdown(2) and close(2).

use libc::c_int;
use zcn_stack::slab::Id;
use zcn_stack::tcp::State;
use zcn_stack::{Instant, SocketId};

use crate::core::Core;
use crate::errno::{Errno, Result};
use crate::socket::{Kind, Socket, socket_id};

impl Core {
    /// shutdown(2)
    pub(crate) fn shutdown(&mut self, fd: c_int, how: c_int) -> Result<()> {
        if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) {
            return Err(Errno(libc::EINVAL));
        }
        // Whoever waits is woken, whatever comes of it, as by Linux.
        self.socket_mut(fd)?.edges.other += 1;
        match self.socket(fd)?.kind {
            Kind::Connection(id) => {
                let now = self.now;
                let state = self.stack.tcp_state(id);
                if state == Some(State::SynSent) {
                    self.disconnect(fd, id);
                    return Ok(());
                }
                if matches!(state, None | Some(State::Closed)) {
                    return Err(Errno(libc::ENOTCONN));
                }
                if how != libc::SHUT_RD {
                    self.stack.tcp_shutdown_write(now, id)?;
                }
                let socket = self.socket_mut(fd)?;
                socket.ending |= how != libc::SHUT_RD;
                socket.read_shut |= how != libc::SHUT_WR;
                // What is there stays readable. The stack is told once both sides are shut:
                // what comes then is answered with RST.
                let ended = self
                    .stack
                    .tcp_state(id)
                    .is_none_or(|state| !state.may_send());
                if self.socket(fd)?.read_shut && ended {
                    self.stack.tcp_shutdown_read(now, id)?;
                }
                Ok(())
            }
            Kind::Listener { .. } if how == libc::SHUT_WR => Ok(()),
            Kind::Listener { id, .. } => {
                self.owners.remove(&SocketId::TcpListener(id));
                self.socket_mut(fd)?.kind = Kind::Idle;
                Ok(self.stack.tcp_close_listener(self.now, id)?)
            }
            Kind::Idle if self.socket(fd)?.deferred.is_some() => {
                let socket = self.socket_mut(fd)?;
                (socket.deferred, socket.failed) = (None, Some(libc::ECONNRESET));
                Ok(())
            }
            Kind::Idle | Kind::IdleUdp => {
                // Whoever polls it hears of it all the same.
                self.socket_mut(fd)?.read_shut |= how != libc::SHUT_WR;
                Err(Errno(libc::ENOTCONN))
            }
            Kind::Udp(_) => Err(Errno(libc::ENOTCONN)),
        }
    }

    /// Takes a socket out and closes it; answers the connection that lingers, and until
    /// when.
    pub(crate) fn close(&mut self, fd: c_int) -> Result<Option<(Id, Instant)>> {
        self.forget(fd);
        if self.epolls.remove(&fd).is_some() {
            return Ok(None);
        }
        let socket = self.sockets.remove(&fd).ok_or(Errno(libc::EBADF))?;
        let lingering = socket
            .options
            .linger
            .filter(|time| !time.is_zero() && !socket.nonblocking);
        let kind = socket.kind;
        self.release(socket);
        Ok(match (kind, lingering) {
            (Kind::Connection(id), Some(time)) => Some((id, self.now + time)),
            _ => None,
        })
    }

    /// Whether the peer of a lingering connection still lacks something.
    pub(crate) fn lingers(&self, id: Id) -> bool {
        matches!(
            self.stack.tcp_state(id),
            Some(State::FinWait1 | State::Closing | State::LastAck)
        )
    }

    /// Gives the stack back what a socket had of it.
    pub(crate) fn release(&mut self, socket: Socket) {
        if let Some(id) = socket_id(socket.kind) {
            self.owners.remove(&id);
        }
        // What is over already needs no closing.
        match socket.kind {
            Kind::Connection(id) => drop(self.stack.tcp_close(self.now, id)),
            Kind::Listener { id, .. } => drop(self.stack.tcp_close_listener(self.now, id)),
            Kind::Udp(id) => drop(self.stack.udp_close(id)),
            Kind::Idle | Kind::IdleUdp => {}
        }
    }
}
