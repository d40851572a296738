//! Settings of the sessions with pools.

use std::path::PathBuf;
use std::time::Duration;

use zcn::tls::{Fingerprint, TlsConnector};
use zcn_stratum::client::ClientConfig;

use super::{Channel, PoolUrl};
use crate::ledger::Durability;

/// A pool, and who we are there.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Where it is.
    pub url: PoolUrl,
    /// Name of the worker.
    pub user: String,
    /// Its password; Stratum V2 knows none.
    pub password: String,
    /// With TLS: certificates to be taken instead of those that the system trusts.
    pub pins: Vec<Fingerprint>,
}

/// Where found shares are written before they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The file; made where there is none. Two programs cannot have the same.
    pub path: PathBuf,
    /// When a share counts as written.
    pub durability: Durability,
}

/// Settings of [`run`](super::run).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionSettings {
    /// The pools, the preferred one first. Nothing is mined for anybody else.
    pub pools: Vec<Pool>,
    /// The shortest and the longest time that a pool which failed is left alone.
    pub retry: (Duration, Duration),
    /// How often a pool further up in the list is tried while another one works.
    pub return_after: Duration,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// How long answers to shares are waited for when a pool is left on purpose.
    pub drain_timeout: Duration,
    /// Shares that may wait for a pool.
    pub max_shares: usize,
    /// How long after the last news of a pool the session goes through the last job every
    /// fifty microseconds, from the line to the hand-over and without consequence
    /// ([`Notice::Rehearsal`](super::Notice::Rehearsal)), so that the CPU has at hand what the
    /// next one needs. A runtime that does this does not sleep: it is meant for as long as the
    /// runtime [spins](zcn::Sleep::Spin) anyway.
    pub rehearse_for: Duration,
    /// The ledger of shares. Without one, what was found and not answered is lost with the
    /// program.
    pub ledger: Option<LedgerSettings>,
    /// What is spread is spread by this, and what is searched begins here; should differ each
    /// time.
    pub seed: u64,
    /// What every session of Stratum V1 begins with; host, user, password and resumption are filled
    /// in. Its `request_timeout` is also how long a pool of V2 may take over each step up to the
    /// channel, and how long a pool of either may take to read what it is sent.
    pub protocol: ClientConfig,
    /// How long a pool of Stratum V2 may leave a share unanswered: it may answer many at once. With
    /// V1 that is the `request_timeout` of `protocol`.
    pub share_timeout: Duration,
    /// The kind of channel with pools of Stratum V2.
    pub channel: Channel,
    /// Hashes a second that such a pool is told of before
    /// [`set_hash_rate`](super::SessionHandle::set_hash_rate) says more.
    pub hash_rate: f32,
    /// Trust for TLS where a pool has no pins; the system's certificates when absent.
    pub trust: Option<TlsConnector>,
}

impl SessionSettings {
    /// Usual settings for these pools.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self {
            pools,
            retry: (Duration::from_secs(1), Duration::from_secs(60)),
            return_after: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
            max_shares: 10_000,
            rehearse_for: Duration::ZERO,
            ledger: None,
            seed: 0,
            protocol: ClientConfig::new("", "", ""),
            share_timeout: Duration::from_secs(300),
            channel: Channel::Standard,
            hash_rate: 1e7,
            trust: None,
        }
    }
}
