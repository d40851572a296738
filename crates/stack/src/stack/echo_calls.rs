//! Calls on ICMP echo sockets.

use super::Stack;
use crate::echo::{Echo, EchoError, EchoRequest};
use crate::slab::Id;
use crate::time::Instant;
use crate::udp::SocketError;

impl Stack {
    /// Makes a socket for echo requests, with an identifier of its own.
    ///
    /// # Errors
    /// If there are too many.
    pub fn echo_open(&mut self) -> Result<Id, EchoError> {
        self.echo.open()
    }

    /// Sends an echo request.
    ///
    /// # Errors
    /// If it does not leave.
    pub fn echo_send(
        &mut self,
        now: Instant,
        socket: Id,
        request: EchoRequest,
    ) -> Result<(), EchoError> {
        self.echo.send(&mut self.ip, now, socket, request)
    }

    /// The next answer.
    ///
    /// # Errors
    /// If nothing is there.
    pub fn echo_recv(&mut self, socket: Id) -> Result<Echo, EchoError> {
        self.echo.recv(socket)
    }

    /// What the network said of a request; the port of the address is its number.
    pub fn echo_take_error(&mut self, socket: Id) -> Option<SocketError> {
        self.echo.take_error(socket)
    }

    /// Ends a socket.
    ///
    /// # Errors
    /// If there is no such socket.
    pub fn echo_close(&mut self, socket: Id) -> Result<(), EchoError> {
        self.echo.close(socket)
    }
}
