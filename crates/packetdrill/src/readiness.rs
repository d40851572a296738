//! What poll(2) says.

use libc::{c_int, c_short};
use zcn_stack::slab::Id;
use zcn_stack::tcp::{RecvError, State};

use crate::core::Core;
use crate::socket::Kind;

impl Core {
    /// What poll(2) says of a descriptor.
    pub(crate) fn readiness(&mut self, fd: c_int) -> c_short {
        let Some(socket) = self.sockets.get(&fd) else {
            return libc::POLLNVAL;
        };
        match socket.kind {
            Kind::Idle if socket.deferred.is_some() => libc::POLLOUT | libc::POLLWRNORM,
            Kind::Idle => {
                let idle = libc::POLLOUT | libc::POLLWRNORM | libc::POLLHUP;
                let ended = libc::POLLIN | libc::POLLRDNORM | libc::POLLRDHUP;
                let failed = socket.failed.map_or(0, |_| libc::POLLERR);
                idle | failed | if socket.read_shut { ended } else { 0 }
            }
            Kind::IdleUdp => libc::POLLOUT,
            Kind::Udp(id) => {
                let waiting = self.stack.udp_readable(id).is_some();
                libc::POLLOUT | if waiting { libc::POLLIN } else { 0 }
            }
            Kind::Listener { id, .. } if self.stack.tcp_acceptable(id) > 0 => {
                libc::POLLIN | libc::POLLRDNORM
            }
            Kind::Listener { .. } => 0,
            Kind::Connection(id) if self.opens(id, socket.connecting) => 0,
            Kind::Connection(id) => {
                let low = socket.options.receive_low_water;
                let read_shut = socket.read_shut;
                let told = !socket.notices.is_empty();
                let mut ready = self.connection_readiness(id, low as usize);
                ready |= if told { libc::POLLERR } else { 0 };
                if read_shut {
                    ready |= libc::POLLIN | libc::POLLRDNORM | libc::POLLRDHUP;
                    let ended = self
                        .stack
                        .tcp_state(id)
                        .is_none_or(|state| !state.may_send());
                    ready |= if ended { libc::POLLHUP } else { 0 };
                }
                ready
            }
        }
    }

    fn connection_readiness(&mut self, id: Id, low: usize) -> c_short {
        let reading = libc::POLLIN | libc::POLLRDNORM;
        let writing = libc::POLLOUT | libc::POLLWRNORM;
        let Some(state) = self.stack.tcp_state(id) else {
            return reading | writing | libc::POLLHUP | libc::POLLRDHUP;
        };
        let mut ready = 0;
        let peeked = self.stack.tcp_peek(self.now, id, &mut [0]);
        let ended = matches!(peeked, Ok(0) | Err(RecvError::Connection(_)));
        if ended || self.stack.tcp_readable(id) >= low.max(1) {
            ready |= reading;
        }
        if self.stack.tcp_error(id).is_some() {
            ready |= libc::POLLERR;
        }
        let over = state == State::Closed;
        if self.has_ended(id) {
            ready |= libc::POLLRDHUP | reading;
        }
        // Whoever is told that there is no room is told when there is.
        if over || !state.may_send() || self.stack.tcp_poll_writable(id) {
            ready |= writing;
        }
        let both = matches!(state, State::LastAck | State::Closing | State::TimeWait);
        if over || both {
            ready |= libc::POLLHUP;
        }
        ready
    }
}
