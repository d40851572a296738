//! What an application does with its connections.

use std::io;

use zcn_pool::{Buf, SharedBuf};

use super::{Conn, ConnId};
use crate::client::Attempt;
use crate::error::Error;
use crate::net::socket::Address;
use crate::reactor::queue::Refusal;
use crate::reactor::stream::CloseReason;

/// What a server does with its connections.
///
/// All methods run on the runtime's thread, one at a time. They may send, close, pause and look at
/// other connections of the server through [`Conn`]. A method that panics costs its connection, not
/// the server.
pub trait Handler: 'static {
    /// What the handler keeps for each connection.
    type State: 'static;

    /// A peer was accepted; `None` refuses it.
    fn on_accept(&mut self, conn: &mut Conn<'_>, peer: &Address) -> Option<Self::State>;

    /// Bytes arrived, in a buffer on loan: dropping it gives it back, sending it moves it on
    /// without a copy.
    fn on_data(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, data: Buf);

    /// The send queue, which had been full, is down to its low mark.
    fn on_writable(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// The peer has finished sending (half-close). Unless overridden, what is queued is sent and
    /// the connection closed.
    fn on_end(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// The kernel has taken bytes, with
    /// [`ServerOptions::notify_sent`](super::ServerOptions::notify_sent); [`Conn::unsent`] tells
    /// what is left in the queue.
    fn on_sent(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// A connection that a [`TcpClient`](crate::TcpClient) began is made; `None` closes it. Unless
    /// overridden, as [`on_accept`](Self::on_accept).
    fn on_connect(
        &mut self,
        conn: &mut Conn<'_>,
        peer: &Address,
        attempt: Attempt,
    ) -> Option<Self::State> {
        let _ = attempt;
        self.on_accept(conn, peer)
    }

    /// A connection that a [`TcpClient`](crate::TcpClient) began could not be made.
    fn on_connect_failed(&mut self, attempt: Attempt, error: Error) {
        let _ = attempt;
        tracing::debug!(%error, "a connection could not be made");
    }

    /// The server is shutting down. Unless overridden, what is queued is sent and the connection
    /// closed; a handler in the middle of something may finish it first, within the time limit.
    fn on_drain(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// The connection is gone; its state comes back. The last call for it, after which no other
    /// comes; not made when the runtime itself is dropped, which drops the states with the handler.
    fn on_close(&mut self, conn: ConnId, state: Self::State, reason: CloseReason) {
        let _ = (conn, state, reason);
    }
}

/// Why bytes were not accepted for sending; they come back with the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is above its high-water mark; [`Handler::on_writable`] tells when it is not.
    #[error("the connection's send queue is full until on_writable")]
    Full(SharedBuf),
    /// The connection is closing or gone.
    #[error("the connection is closed: {1}")]
    Closed(SharedBuf, io::Error),
    /// No buffer to copy into; nothing was sent.
    #[error("no free buffer in the pool: raise RuntimeBuilder::buffers, or send what you received")]
    NoBuffer,
}

impl SendError {
    #[cold]
    pub(super) fn new(refusal: Refusal, data: SharedBuf) -> Self {
        match refusal {
            Refusal::Full => Self::Full(data),
            Refusal::Closed(errno) => Self::Closed(data, io::Error::from_raw_os_error(errno)),
            Refusal::NoBuffer => Self::NoBuffer,
        }
    }
}
