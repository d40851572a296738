//! What a miner's session tells.

use std::time::Duration;

use crate::message::{Configured, Subscribed};
use crate::reject::Rejection;

use super::work::WorkKey;

/// Names a share that was sent, within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubmitId(pub(crate) u64);

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// What the pool agreed to.
    Configured(Configured),
    /// The pool did not answer `mining.configure`, or does not know it.
    ConfigureUnanswered,
    /// Jobs will come.
    Subscribed {
        /// The extranonces.
        extranonces: Subscribed,
        /// The session before was resumed: shares found then still count.
        resumed: bool,
    },
    /// Shares may be sent.
    Authorized,
    /// A job, to be worked on from now on. One that says `clean` ends all before it.
    Work(WorkKey),
    /// The bits that may be rolled have changed, for all jobs.
    VersionMask(u32),
    /// The pool took a share.
    Accepted {
        /// Which.
        id: SubmitId,
        /// How long the answer took.
        rtt: Duration,
    },
    /// The pool did not take a share.
    Rejected {
        /// Which.
        id: SubmitId,
        /// How long the answer took.
        rtt: Duration,
        /// Why.
        rejection: Rejection,
    },
    /// The pool wants us elsewhere, within its domain.
    Reconnect {
        /// Where; `None` for the same host.
        host: Option<String>,
        /// The port; `None` for the same one.
        port: Option<u16>,
        /// How long to wait before.
        wait: Duration,
    },
    /// Somebody wants us outside of the pool's domain; we stay.
    RedirectRefused {
        /// Where to.
        host: String,
    },
    /// Words for whoever runs the miner.
    Message(String),
}
