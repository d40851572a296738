//! The connection to a pool that always comes back.
//!
//! [`run`] keeps a session with the first pool of its list that works, and returns to those
//! before it as soon as one of them takes shares again. A pool that fails is left alone, longer
//! each time. Shares wait for their answers across connections: what was not answered is sent
//! again where the pool resumes the session or the job still counts, and an answer that calls
//! such a share a duplicate says that it had arrived.
//!
//! A pool that breaks the rules (see [`zcn_stratum::client::ClientError`]) is left like one
//! that does not answer. Nothing that a pool sends can grow memory without bound or stop the
//! session for good.
//!
//! Pools of Stratum V1 and V2 may stand in one list. V2 knows no resumption: what was found for
//! such a pool and not answered when its connection breaks is told of as lost, unless the pool
//! hands out the same work once more.
//!
//! With a ledger ([`LedgerSettings`]) a share is written before it is sent, and settled when it
//! was answered or is worth nothing. What a program leaves, however it ends, the next one takes
//! up: it resumes the session of those shares and sends them like after a broken connection.

mod backoff;
mod book;
mod connect;
mod driver;
mod notice;
mod rehearsal;
mod settings;
mod shares;
mod talk;
mod url;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use thiserror::Error;

pub use notice::{Disconnect, Notice};
pub use settings::{LedgerSettings, Pool, SessionSettings};
pub use shares::{FoundShare, Lost};
pub use url::{PoolUrl, Protocol, UrlError};
pub use zcn_stratum::v2::client::Channel;

use crate::ledger::LedgerError;
use crate::signal::Signal;
pub use crate::wire::SendError;

/// Hands shares to a running session, and ends it. Clones lead to the same session; all stay on
/// its thread.
#[derive(Clone, Debug, Default)]
pub struct SessionHandle(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    signal: Signal,
    found: RefCell<VecDeque<FoundShare>>,
    stopped: Cell<bool>,
    /// Hashes a second; 0 as long as nobody knows.
    hash_rate: Cell<f32>,
}

impl SessionHandle {
    /// A handle to be given to [`run`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands in a share. It is told of as accepted, rejected or lost, once.
    pub fn submit(&self, found: FoundShare) {
        self.0.found.borrow_mut().push_back(found);
        self.0.signal.ring();
    }

    /// Tells pools that want to know it how many hashes a second there are: by that a pool of
    /// Stratum V2 chooses the difficulty.
    pub fn set_hash_rate(&self, hashes_per_second: f64) {
        // Noticed when the session has something to do.
        self.0.hash_rate.set(hashes_per_second as f32);
    }

    /// Ends the session, after the answers to what was sent, or the time for them.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        self.0.signal.ring();
    }
}

/// Settings that nothing can be done with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no pool in the list.
    #[error("there is no pool to mine for")]
    NoPool,
    /// The ledger cannot be had.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Keeps a session until it is stopped by its handle; `sink` is told what happens. Runs in a
/// task of a [`zcn::Runtime`]. Shares that wait in the end are told of as lost, or as kept in
/// the ledger.
///
/// # Errors
/// The settings name no pool, or the ledger cannot be had.
pub async fn run(
    settings: SessionSettings,
    handle: &SessionHandle,
    sink: &mut dyn FnMut(Notice<'_>),
) -> Result<(), SessionError> {
    if settings.pools.is_empty() {
        return Err(SessionError::NoPool);
    }
    driver::Driver::new(settings, handle.clone(), sink)?
        .run()
        .await;
    Ok(())
}
