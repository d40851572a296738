//! The session with a pool, whichever version of the protocol it speaks.
//!
//! The driver knows the terms of Stratum V1; what a pool of V2 says and hears is put into them
//! here. A share names its job by the number of that, lowest byte first.

use std::time::{Duration, Instant};

use zcn_stratum::client::{
    ClientConfig, ClientSession, Event, Resume, SubmitError, SubmitId, Work, WorkKey,
};
use zcn_stratum::inline::JobId;
use zcn_stratum::reject::Rejection;
use zcn_stratum::share::Share;
use zcn_stratum::v2;

use super::Disconnect;
use super::shares::FoundShare;
use crate::machine::{random, unix_s};

/// What a session begins with.
#[derive(Clone, Debug)]
pub(super) enum TalkConfig {
    V1(ClientConfig),
    V2(v2::ClientConfig),
}

/// A session with a pool.
#[derive(Debug)]
pub(super) enum Talk {
    V1(Box<ClientSession>),
    V2(Box<V2Talk>),
}

#[derive(Debug)]
pub(super) struct V2Talk {
    session: v2::ClientSession,
    /// The latest work, in the terms of V1.
    work: Work,
    /// The hash rate that the pool was told, and when.
    rate: (f32, Instant),
}

/// The pool is told another hash rate when it is off by more than this factor.
const RATE_TOLERANCE: f32 = 1.5;
/// And at most so often.
const RATE_INTERVAL: Duration = Duration::from_secs(30);

impl Talk {
    /// A session on a connection that was just made.
    pub(super) fn start(config: TalkConfig, now: Instant) -> Result<Self, Disconnect> {
        Ok(match config {
            TalkConfig::V1(config) => Self::V1(Box::new(ClientSession::new(config, now))),
            TalkConfig::V2(config) => {
                let seed = random().map_err(Disconnect::Random)?;
                let rate = (config.nominal_hash_rate, now);
                Self::V2(Box::new(V2Talk {
                    session: v2::ClientSession::new(config, now, unix_s(), seed),
                    work: Work::default(),
                    rate,
                }))
            }
        })
    }

    /// What waits to be sent.
    pub(super) fn output(&self) -> &[u8] {
        match self {
            Self::V1(session) => session.output(),
            Self::V2(talk) => talk.session.output(),
        }
    }

    pub(super) fn consume_output(&mut self, count: usize) {
        match self {
            Self::V1(session) => session.consume_output(count),
            Self::V2(talk) => talk.session.consume_output(count),
        }
    }

    pub(super) fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Disconnect> {
        match self {
            Self::V1(session) => Ok(session.handle_bytes(now, bytes)?),
            Self::V2(talk) => Ok(talk.session.handle_bytes(now, bytes)?),
        }
    }

    /// Whether bytes can be gone through again: frames of V2 are opened only once.
    pub(super) fn can_rehearse(&self) -> bool {
        matches!(self, Self::V1(_))
    }

    /// Goes through the jobs of bytes that came before; see [`ClientSession::rehearse`].
    pub(super) fn rehearse(&mut self, bytes: &[u8]) -> Option<&Work> {
        match self {
            Self::V1(session) => session.rehearse(bytes),
            Self::V2(_) => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Disconnect> {
        match self {
            Self::V1(session) => Ok(session.handle_timeout(now)?),
            Self::V2(talk) => Ok(talk.session.handle_timeout(now)?),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::V1(session) => session.poll_timeout(),
            Self::V2(talk) => talk.session.poll_timeout(),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::V1(session) => session.poll_event(),
            Self::V2(talk) => talk.poll_event(),
        }
    }

    /// Whether shares may be sent.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::V1(session) => session.is_ready(),
            Self::V2(talk) => talk.session.is_ready(),
        }
    }

    /// The work that an event has told of.
    pub(super) fn work(&self, key: WorkKey) -> Option<&Work> {
        match self {
            Self::V1(session) => session.work(key),
            Self::V2(talk) => Some(&talk.work).filter(|work| work.key == key),
        }
    }

    /// Whether the share is one of a job of this session that still counts.
    pub(super) fn knows(&self, found: &FoundShare) -> bool {
        match self {
            Self::V1(session) => session.work_named(&found.share.job_id).is_some_and(|work| {
                work.extranonce_1 == found.extranonce_1 && work.job.prev_hash == found.prev_hash
            }),
            Self::V2(talk) => talk.work_of(&found.share).is_some_and(|(work, share)| {
                // Numbers of jobs begin anew with each connection: the hash tells.
                work.prefix == found.extranonce_1
                    && work.prev_hash == found.prev_hash
                    && work.target.is_met_by(&work.hash_of(&share))
            }),
        }
    }

    /// Whether the share was found in this session, or in one that this resumes: the pool knows
    /// its job even where this connection does not.
    pub(super) fn continues(&self, found: &FoundShare) -> bool {
        match self {
            Self::V1(session) => session.extranonce_1() == Some(found.extranonce_1),
            // Numbers of jobs begin anew with each connection: what is not known here would be
            // sent as a share of another job.
            Self::V2(_) => false,
        }
    }

    /// What it takes to resume the session; V2 has no such thing.
    pub(super) fn resume(&self) -> Option<Resume> {
        match self {
            Self::V1(session) => session.resume(),
            Self::V2(_) => None,
        }
    }

    /// Sends a share whose job may be unknown to this connection.
    pub(super) fn submit(&mut self, now: Instant, share: &Share) -> Result<SubmitId, SubmitError> {
        match self {
            Self::V1(session) => session.resubmit(now, share),
            Self::V2(talk) => talk.submit(now, share),
        }
    }

    /// Tells a pool that wants to know how fast the miner is, if that is news.
    pub(super) fn set_hash_rate(&mut self, rate: f32) {
        let Self::V2(talk) = self else { return };
        let (told, at) = talk.rate;
        let news = !(told / RATE_TOLERANCE..told * RATE_TOLERANCE).contains(&rate);
        if !(rate > 0.0 && rate.is_finite() && news) {
            return;
        }
        let now = Instant::now();
        let due = now.saturating_duration_since(at) >= RATE_INTERVAL;
        if due && talk.session.update(now, rate).is_ok() {
            talk.rate = (rate, now);
        }
    }

    /// What it means that the pool has ended the connection.
    pub(super) fn ended(&self) -> Disconnect {
        match self {
            _ if self.is_ready() => Disconnect::Ended,
            Self::V1(session) if session.extranonce_1().is_some() => Disconnect::Ended,
            Self::V1(_) => Disconnect::EndedEarly,
            Self::V2(_) => Disconnect::EndedEarlyV2,
        }
    }
}

impl V2Talk {
    fn poll_event(&mut self) -> Option<Event> {
        loop {
            return Some(match self.session.poll_event()? {
                v2::client::Event::Work(key) => {
                    if let Some(work) = self.session.work(key) {
                        work.copy_to(&mut self.work);
                    }
                    Event::Work(key)
                }
                v2::client::Event::Accepted { id, rtt } => Event::Accepted { id, rtt },
                v2::client::Event::Rejected {
                    id,
                    rtt,
                    reason,
                    code,
                } => Event::Rejected {
                    id,
                    rtt,
                    rejection: Rejection {
                        reason,
                        code: None,
                        text: code,
                    },
                },
                v2::client::Event::Reconnect { host, port } => Event::Reconnect {
                    host,
                    port,
                    wait: Duration::ZERO,
                },
                v2::client::Event::RedirectRefused { host } => Event::RedirectRefused { host },
                v2::client::Event::UpdateRefused { code } => {
                    Event::Message(format!("the hash rate is refused: {code}"))
                }
                // What they say shows in the work that comes with them.
                _ => continue,
            });
        }
    }

    /// The work that a share is for, as long as it counts, and the share in the terms of V2.
    fn work_of(&self, share: &Share) -> Option<(&v2::Work, v2::work::Share)> {
        let work = self.session.work_numbered(number(&share.job_id)?)?;
        let extranonce = share.extranonce_2;
        if extranonce.as_bytes().len() != work.extranonce_len() {
            return None;
        }
        let version = share.version_bits.unwrap_or(work.version);
        let share = work.share(extranonce, version, share.ntime, share.nonce);
        Some((work, share))
    }

    fn submit(&mut self, now: Instant, share: &Share) -> Result<SubmitId, SubmitError> {
        let (_, share) = self.work_of(share).ok_or(SubmitError::Stale)?;
        self.session
            .submit(now, &share)
            .map_err(|error| match error {
                v2::client::SubmitError::NotReady => SubmitError::NotReady,
                v2::client::SubmitError::Duplicate => SubmitError::Duplicate,
                v2::client::SubmitError::Busy => SubmitError::Busy,
                _ => SubmitError::Stale,
            })
    }
}

/// The number that a job of V2 has been named by.
fn number(id: &JobId) -> Option<u32> {
    let bytes = id.as_bytes().try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}
