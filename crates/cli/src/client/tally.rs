//! What all connections of a client have done together.

use crate::failure::Failure;

/// Counts of all connections.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Messages sent, or answered.
    pub(crate) messages: u64,
    /// Bytes handed to the kernel.
    pub(crate) sent: u64,
    /// Bytes that came back.
    pub(crate) returned: u64,
    /// Datagrams that did not come back.
    pub(crate) lost: u64,
    /// Connections that failed.
    pub(crate) errors: u64,
    /// Why the first of them did.
    pub(crate) first: Option<Failure>,
}

impl Tally {
    /// Counts a connection that failed.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.errors += 1;
        self.first.get_or_insert(failure);
    }

    /// Something that changes whenever anything moves.
    pub(crate) fn movement(&self) -> u64 {
        self.messages
            .wrapping_add(self.sent)
            .wrapping_add(self.returned)
            .wrapping_add(self.lost)
            .wrapping_add(self.errors)
    }
}
