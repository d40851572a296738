//! A connection, with the answers of the stack sorted by what is to be done about them.

use zcn::SharedBuf;
use zcn::stack::{Instant, Stack};
use zcn_stack::slab::Id;
use zcn_stack::tcp::{RecvError, SendError};

/// Most bytes taken from a connection at a time.
const RECEIVE_MAX: usize = 64 * 1024;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Its next event.
    Event,
    /// Nothing: it is over.
    Nothing,
}

/// What was received.
pub(super) enum Received {
    /// Bytes.
    Data(SharedBuf),
    /// The peer sends no more.
    End,
}

/// One connection during one event.
pub(super) struct Stream<'a> {
    pub(super) stack: &'a mut Stack,
    pub(super) now: Instant,
    pub(super) id: Id,
}

impl Stream<'_> {
    /// What has come.
    ///
    /// # Errors
    /// What to wait for, if nothing has.
    pub(super) fn receive(&mut self) -> Result<Received, Waiting> {
        match self.stack.tcp_recv_buf(self.now, self.id, RECEIVE_MAX) {
            Ok(data) if data.is_empty() => Ok(Received::End),
            Ok(data) => Ok(Received::Data(data)),
            Err(RecvError::WouldBlock) => Err(Waiting::Event),
            Err(_) => Err(Waiting::Nothing),
        }
    }

    /// Sends, without a copy.
    ///
    /// # Errors
    /// What to wait for if there is no room; the bytes are in `unsent` then.
    pub(super) fn send(
        &mut self,
        bytes: SharedBuf,
        more: bool,
        unsent: &mut Option<SharedBuf>,
    ) -> Result<(), Waiting> {
        match self.stack.tcp_send_buf(self.now, self.id, bytes, more) {
            Ok(()) => Ok(()),
            Err(refused) if refused.error == SendError::WouldBlock => {
                *unsent = Some(refused.bytes);
                Err(Waiting::Event)
            }
            Err(_) => Err(Waiting::Nothing),
        }
    }

    /// Receives and forgets, up to the end.
    pub(super) fn discard(&mut self) -> Waiting {
        loop {
            match self.receive() {
                Ok(Received::Data(_)) => {}
                Ok(Received::End) => return Waiting::Nothing,
                Err(waiting) => return waiting,
            }
        }
    }

    /// Sends no more, and waits for the peer to end, too: closing with something unread
    /// would reset the connection, and could cost the peer what was sent last.
    pub(super) fn finish(&mut self) -> Waiting {
        // Refused only where it is over already, which receiving tells.
        let _ = self.stack.tcp_shutdown_write(self.now, self.id);
        self.discard()
    }
}
