//! SO_LINGER: a closed socket that stays until the peer has everything.

use super::connection::{Connection, Flags};
use crate::event::Readiness;

impl Connection {
    /// The application has waited long enough for what it sent to arrive, or it has arrived.
    pub(crate) fn end_lingering(&mut self) {
        if self.flags.take(Flags::LINGERING) {
            self.signal(Readiness::CLOSED);
            self.flags.set(Flags::ORPHAN | Flags::LINGER_OVER, true);
        }
    }
}
