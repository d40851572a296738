//! Many idle connections beside some active ones.

use std::net::SocketAddr;
use std::time::Duration;

use super::closed_loop::Session;
use super::{ClosedLoopReport, Window};
use crate::error::Result;

/// Bytes of every message.
const MESSAGE_BYTES: usize = 64;

/// `idle` connections that talk once at the beginning and once at the end, while `active`
/// ones are kept busy.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Connections that stay silent in between.
    pub idle: usize,
    /// Connections with one request on the way at all times.
    pub active: usize,
    /// How long the active ones are busy.
    pub duration: Duration,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is open yet.
    Begun,
    /// All idle connections are open and each has had one message echoed.
    IdleOpen,
    /// The active ones were busy, and all idle ones have had another message echoed.
    Done,
}

/// What came of it; that nothing was lost is the absence of an error.
#[derive(Clone, Debug)]
pub struct ConnectionsReport {
    /// The active connections' requests.
    pub active: ClosedLoopReport,
    /// Messages of the idle ones that were echoed.
    pub idle_messages: u64,
}

impl Connections {
    /// Drives the server at `address` and calls `at` when a phase is reached.
    ///
    /// # Errors
    /// Those of a load, with the idle connections numbered first; and those of `at`.
    pub fn run(
        &self,
        address: SocketAddr,
        window: &mut Window<'_>,
        mut at: impl FnMut(Phase) -> Result<()>,
    ) -> Result<ConnectionsReport> {
        at(Phase::Begun)?;
        let mut idle = match self.idle {
            0 => None,
            count => Some(Session::open(address, 0, count, MESSAGE_BYTES)?),
        };
        let mut idle_messages = 0;
        let mut ask_idle = || match &mut idle {
            None => Ok(()),
            Some(session) => {
                session.exchange(true)?;
                idle_messages += self.idle as u64;
                Ok(())
            }
        };
        ask_idle()?;
        at(Phase::IdleOpen)?;
        let active = Session::open(address, self.idle, self.active, MESSAGE_BYTES)?.run(
            self.duration,
            true,
            window,
        )?;
        ask_idle()?;
        at(Phase::Done)?;
        Ok(ConnectionsReport {
            active,
            idle_messages,
        })
    }
}
