//! The miner's side of a connection.

mod config;
mod event;
mod jobs;
mod opening;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use binary_sv2::{Str0255, U256};
use mining_sv2::{
    CloseChannel, SetNewPrevHash, SubmitSharesExtended, SubmitSharesStandard, UpdateChannel,
};

pub use crate::client::SubmitId;
pub use config::{Channel, ClientConfig};
pub use event::{ClientError, Event, SubmitError};

use jobs::{Jobs, NewJob, Tip};

use super::link::{Frame, Link};
use super::message::{FromMiner, FromPool, refusal};
use super::work::{Share, Work, WorkKey};
use crate::budget::Budget;
use crate::client::redirect;
use crate::inline::Extranonce;
use crate::share::{Novelty, SeenShares};
use crate::target::Target;

/// Bytes that may wait for a pool that does not read.
const MAX_OUTPUT: usize = 1 << 20;
/// Shares that may wait for their answers.
const MAX_PENDING: usize = 4096;
/// Shares that are remembered to find the second one of the same.
const MAX_SEEN: usize = 1 << 16;
/// The number of the one request that is made.
const REQUEST_ID: u32 = 1;

/// A connection to a pool without the connection: bytes and time go in, bytes, events and the
/// next deadline come out.
///
/// Calling order: after [`new`](Self::new), and after every call that takes `now`, send what
/// [`output`](Self::output) has and [`consume_output`](Self::consume_output) it, take all
/// [`poll_event`](Self::poll_event)s, and be back at [`poll_timeout`](Self::poll_timeout) with
/// [`handle_timeout`](Self::handle_timeout). What was received goes to
/// [`handle_bytes`](Self::handle_bytes). After an error the session is over; its shares that were
/// not answered are in [`unanswered`](Self::unanswered).
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    link: Link,
    events: VecDeque<Event>,
    stage: Stage,
    stage_since: Instant,
    /// The time of the day when the session began, and when that was.
    began: (u32, Instant),
    fixed_version: bool,
    channel: Option<Opened>,
    jobs: Jobs,
    pending: VecDeque<Sent>,
    seen: SeenShares<Share>,
    next_sequence: u32,
    budget: Budget,
    received_at: Instant,
    sent_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Setup,
    Opening,
    Open,
    Over,
}

#[derive(Debug)]
struct Opened {
    id: u32,
    group: u32,
    prefix: Extranonce,
    extranonce_len: usize,
    target: Target,
}

/// A share on its way.
#[derive(Debug)]
struct Sent {
    sequence: u32,
    at: Instant,
    share: Share,
}

impl Sent {
    fn id(&self) -> SubmitId {
        SubmitId(self.sequence.into())
    }
}

fn word(text: Str0255<'_>) -> String {
    crate::reject::cut(String::from_utf8_lossy(text.as_bytes()).into_owned())
}

fn target(bytes: U256<'_>) -> Result<Target, ClientError> {
    Target::from_le_bytes(bytes.to_array()).ok_or(ClientError::ZeroTarget)
}

impl ClientSession {
    /// A session on a connection that was just made, at `unix_s` seconds since 1970. `seed` is
    /// 32 fresh random bytes that nobody else knows.
    pub fn new(config: ClientConfig, now: Instant, unix_s: u32, seed: [u8; 32]) -> Self {
        Self {
            link: Link::initiator(config.authority, seed, config.max_frame, MAX_OUTPUT),
            events: VecDeque::new(),
            stage: Stage::Handshake,
            stage_since: now,
            began: (unix_s, now),
            fixed_version: false,
            channel: None,
            jobs: Jobs::default(),
            pending: VecDeque::new(),
            seen: SeenShares::new(MAX_SEEN),
            next_sequence: 1,
            budget: Budget::new(config.max_messages, now),
            received_at: now,
            sent_at: now,
            config,
        }
    }

    /// Takes what was received.
    ///
    /// # Errors
    /// The pool breaks the protocol, refuses, or floods; the session is then over.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> Result<(), ClientError> {
        if self.stage == Stage::Over {
            return Err(ClientError::Over);
        }
        self.received_at = now;
        let taken = self.take(now, bytes);
        if taken.is_err() {
            self.stage = Stage::Over;
        }
        taken
    }

    fn take(&mut self, now: Instant, bytes: &[u8]) -> Result<(), ClientError> {
        self.link.receive(bytes);
        let passed = now.saturating_duration_since(self.began.1).as_secs();
        let unix_s = self
            .began
            .0
            .saturating_add(passed.try_into().unwrap_or(u32::MAX));
        loop {
            let frame = self.link.next(unix_s)?;
            if self.stage == Stage::Handshake && self.link.is_open() {
                self.enter(Stage::Setup, now);
                self.set_up()?;
            }
            let Some(frame) = frame else { return Ok(()) };
            let unanswered = self.pending.len();
            self.handle_frame(now, frame)?;
            // Answers to shares were asked for.
            if self.pending.len() == unanswered && !self.budget.spend(now) {
                let max = self.config.max_messages;
                return Err(ClientError::Flood { max });
            }
        }
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.stage_since = now;
    }

    fn send(&mut self, message: FromMiner<'_>) -> Result<(), ClientError> {
        let (kind, for_channel, payload) = message.emit()?;
        self.link.send(kind, for_channel, &payload);
        Ok(())
    }

    fn handle_frame(&mut self, now: Instant, mut frame: Frame) -> Result<(), ClientError> {
        // Extensions were not asked for; what is unknown is passed over (part 3).
        if frame.extension != 0 {
            return Ok(());
        }
        let Some(message) = FromPool::parse(frame.kind, &mut frame.payload)? else {
            return Ok(());
        };
        match (self.stage, message) {
            (Stage::Setup, FromPool::SetupConnectionSuccess(success)) => self.open(now, &success),
            (Stage::Setup, FromPool::SetupConnectionError(error)) => {
                Err(ClientError::SetupRefused {
                    code: word(error.error_code),
                })
            }
            (_, FromPool::Reconnect(to)) => {
                self.redirected(word(to.new_host), to.new_port);
                Ok(())
            }
            (Stage::Opening, FromPool::OpenStandardMiningChannelSuccess(success))
                if self.config.channel == Channel::Standard =>
            {
                let prefix = success.extranonce_prefix.as_bytes();
                let ids = (success.channel_id, success.group_channel_id);
                self.opened(now, ids, success.target, prefix, 0)
            }
            (Stage::Opening, FromPool::OpenExtendedMiningChannelSuccess(success))
                if self.config.channel != Channel::Standard =>
            {
                let prefix = success.extranonce_prefix.as_bytes();
                let ids = (success.channel_id, success.group_channel_id);
                let len = success.extranonce_size.into();
                self.opened(now, ids, success.target, prefix, len)
            }
            (Stage::Opening, FromPool::OpenMiningChannelError(error)) => {
                Err(ClientError::OpenRefused {
                    code: word(error.error_code),
                })
            }
            (Stage::Open, message) => self.handle_channel(now, message),
            // Out of its order: nothing of it is for a channel of ours.
            _ => Ok(()),
        }
    }

    fn redirected(&mut self, host: String, port: u16) {
        if !host.is_empty() && !redirect::is_allowed(&self.config.host, &host) {
            self.events.push_back(Event::RedirectRefused { host });
            return;
        }
        self.events.push_back(Event::Reconnect {
            host: Some(host).filter(|host| !host.is_empty()),
            port: Some(port).filter(|port| *port != 0),
        });
    }

    /// A message for the channel, if it is for ours.
    fn handle_channel(&mut self, now: Instant, message: FromPool<'_>) -> Result<(), ClientError> {
        let Some(channel) = &mut self.channel else {
            return Ok(());
        };
        let (id, group) = (channel.id, channel.group);
        let ours = |other| other == id;
        let grouped = |other| other == id || other == group;
        match message {
            FromPool::NewMiningJob(job)
                if ours(job.channel_id) && self.config.channel == Channel::Standard =>
            {
                let (prefix, target) = (channel.prefix, channel.target);
                self.take_job(NewJob::standard(job, self.fixed_version, prefix), target)?;
            }
            FromPool::NewExtendedMiningJob(job)
                if grouped(job.channel_id) && self.config.channel != Channel::Standard =>
            {
                let (prefix, len) = (channel.prefix, channel.extranonce_len);
                let target = channel.target;
                let job = NewJob::extended(job, self.fixed_version, prefix, len)?;
                self.take_job(job, target)?;
            }
            FromPool::SetNewPrevHash(block) if grouped(block.channel_id) => {
                self.new_block(block)?;
            }
            FromPool::SetTarget(set) if grouped(set.channel_id) => {
                // For jobs to come, and for those that have no block yet (part 5).
                channel.target = target(set.maximum_target)?;
            }
            FromPool::SetExtranoncePrefix(set) if ours(set.channel_id) => {
                let prefix = set.extranonce_prefix.as_bytes();
                let len = prefix.len() + channel.extranonce_len;
                let prefix = Extranonce::new(prefix).filter(|_| len <= 32);
                channel.prefix = prefix.ok_or(ClientError::Extranonce { len })?;
            }
            FromPool::SetGroupChannel(set) if set.channel_ids.iter().any(|other| *other == id) => {
                channel.group = set.group_channel_id;
            }
            FromPool::SubmitSharesSuccess(success) if ours(success.channel_id) => {
                self.accepted(now, success.last_sequence_number);
            }
            FromPool::SubmitSharesError(error) if ours(error.channel_id) => {
                self.rejected(now, error.sequence_number, word(error.error_code));
            }
            FromPool::UpdateChannelError(error) if ours(error.channel_id) => {
                let code = word(error.error_code);
                self.events.push_back(Event::UpdateRefused { code });
            }
            FromPool::CloseChannel(close) if grouped(close.channel_id) => {
                return Err(ClientError::Closed {
                    code: word(close.reason_code),
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn take_job(&mut self, job: NewJob, target: Target) -> Result<(), ClientError> {
        if let Some(key) = self.jobs.add(job, target)? {
            self.begin(key);
        }
        Ok(())
    }

    fn new_block(&mut self, block: SetNewPrevHash<'_>) -> Result<(), ClientError> {
        let target = self
            .channel
            .as_ref()
            .map_or(Target::MAX, |open| open.target);
        let tip = Tip {
            prev_hash: block.prev_hash.to_array(),
            nbits: block.nbits,
            min_ntime: block.min_ntime,
        };
        let key = self.jobs.begin(block.job_id, tip, target)?;
        self.events.push_back(Event::NewBlock);
        self.begin(key);
        Ok(())
    }

    /// A job is to be worked on from now on; others may have ended with it.
    fn begin(&mut self, key: WorkKey) {
        let jobs = &self.jobs;
        self.seen
            .retain(|share| jobs.numbered(share.job_id).is_some());
        self.events.push_back(Event::Work(key));
    }

    /// All shares up to that one are good, but those that were refused by then.
    fn accepted(&mut self, now: Instant, last: u32) {
        while let Some(sent) = self.pending.front() {
            // Numbers wrap.
            if last.wrapping_sub(sent.sequence).cast_signed() < 0 {
                return;
            }
            let (id, rtt) = (sent.id(), now.saturating_duration_since(sent.at));
            self.pending.pop_front();
            self.events.push_back(Event::Accepted { id, rtt });
        }
    }

    fn rejected(&mut self, now: Instant, sequence: u32, code: String) {
        let found = self
            .pending
            .iter()
            .position(|sent| sent.sequence == sequence);
        let Some(sent) = found.and_then(|at| self.pending.remove(at)) else {
            return;
        };
        self.events.push_back(Event::Rejected {
            id: sent.id(),
            rtt: now.saturating_duration_since(sent.at),
            reason: refusal(&code),
            code,
        });
    }

    /// Whether shares may be sent.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Sends a share of work of this session. Whether its hash meets the target is the caller's
    /// to see ([`Work::hash_of`]).
    ///
    /// # Errors
    /// It is not sent; the error says whether it is worth keeping.
    pub fn submit(&mut self, now: Instant, share: &Share) -> Result<SubmitId, SubmitError> {
        let Some(channel) = self.channel.as_ref().filter(|_| self.stage == Stage::Open) else {
            return Err(SubmitError::NotReady);
        };
        let (channel_id, expected) = (channel.id, channel.extranonce_len);
        if self.jobs.numbered(share.job_id).is_none() {
            return Err(SubmitError::Stale);
        }
        let len = share.extranonce.as_bytes().len();
        if len != expected {
            return Err(SubmitError::Extranonce { len, expected });
        }
        if self.pending.len() >= MAX_PENDING || self.link.is_full() {
            return Err(SubmitError::Busy);
        }
        let sequence_number = self.next_sequence;
        let standard = SubmitSharesStandard {
            channel_id,
            sequence_number,
            job_id: share.job_id,
            nonce: share.nonce,
            ntime: share.ntime,
            version: share.version,
        };
        let message = match self.config.channel {
            Channel::Standard => FromMiner::SubmitSharesStandard(standard),
            Channel::Extended { .. } => FromMiner::SubmitSharesExtended(SubmitSharesExtended {
                channel_id,
                sequence_number,
                job_id: share.job_id,
                nonce: share.nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce: share
                    .extranonce
                    .as_bytes()
                    .try_into()
                    .map_err(|_| SubmitError::Extranonce { len, expected })?,
            }),
        };
        if self.seen.insert(*share) == Novelty::Duplicate {
            return Err(SubmitError::Duplicate);
        }
        if self.send(message).is_err() {
            self.seen.remove(share);
            return Err(SubmitError::NotReady);
        }
        self.next_sequence = self.next_sequence.wrapping_add(1);
        let sent = Sent {
            sequence: sequence_number,
            at: now,
            share: *share,
        };
        let id = sent.id();
        self.sent_at = now;
        self.pending.push_back(sent);
        Ok(id)
    }

    /// Tells the pool another hash rate, by which it chooses the target.
    ///
    /// # Errors
    /// The channel is not open.
    pub fn update(&mut self, now: Instant, nominal_hash_rate: f32) -> Result<(), SubmitError> {
        let Some(channel) = self.channel.as_ref().filter(|_| self.stage == Stage::Open) else {
            return Err(SubmitError::NotReady);
        };
        let maximum_target = self.config.max_target.to_le_bytes();
        let message = UpdateChannel {
            channel_id: channel.id,
            nominal_hash_rate,
            maximum_target: U256::from(&maximum_target),
        };
        self.send(FromMiner::UpdateChannel(message))
            .map_err(|_| SubmitError::NotReady)?;
        self.config.nominal_hash_rate = nominal_hash_rate;
        self.sent_at = now;
        Ok(())
    }

    /// Says good-bye; the session is then over.
    pub fn close(&mut self) {
        if let Some(channel) = self.channel.take()
            && let Ok(reason_code) = Str0255::new(b"")
        {
            let channel_id = channel.id;
            let message = CloseChannel {
                channel_id,
                reason_code,
            };
            let _ = self.send(FromMiner::CloseChannel(message));
        }
        self.stage = Stage::Over;
    }

    /// The shares that were sent and not answered, the oldest first.
    pub fn unanswered(&self) -> impl Iterator<Item = (SubmitId, &Share)> {
        self.pending.iter().map(|sent| (sent.id(), &sent.share))
    }

    /// Work by its name, as long as it is kept.
    pub fn work(&self, key: WorkKey) -> Option<&Work> {
        self.jobs.get(key)
    }

    /// The work of that number whose shares still count.
    pub fn work_numbered(&self, job_id: u32) -> Option<&Work> {
        self.jobs.numbered(job_id)
    }

    /// The part of the extranonce that the pool chose, once the channel is open: on a standard
    /// channel all of it.
    pub fn prefix(&self) -> Option<Extranonce> {
        self.channel.as_ref().map(|channel| channel.prefix)
    }

    /// What waits to be sent.
    pub fn output(&self) -> &[u8] {
        self.link.output()
    }

    /// Forgets the first bytes of [`output`](Self::output), which were sent.
    ///
    /// # Panics
    /// When that is more than waits.
    pub fn consume_output(&mut self, count: usize) {
        self.link.consume_output(count);
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn waited_for(&self) -> Option<(&'static str, Duration)> {
        let limit = self.config.answer_timeout;
        match self.stage {
            Stage::Handshake => Some(("handshake of Stratum V2", limit)),
            Stage::Setup => Some(("set-up", limit)),
            Stage::Opening => Some(("opening of a channel", limit)),
            Stage::Open | Stage::Over => None,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` when the session is
    /// over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.stage, self.waited_for()) {
            (Stage::Over, _) => None,
            (_, Some((_, limit))) => Some(self.stage_since + limit),
            (_, None) => [
                Some(self.received_at + self.config.idle_timeout),
                self.answer_due(),
                self.config.keepalive.map(|after| self.sent_at + after),
            ]
            .into_iter()
            .flatten()
            .min(),
        }
    }

    /// When the oldest share has to be answered.
    fn answer_due(&self) -> Option<Instant> {
        let oldest = self.pending.front()?;
        Some(oldest.at + self.config.share_timeout)
    }

    /// To be called when it is time; earlier does no harm.
    ///
    /// # Errors
    /// The pool does not answer, or is silent; the session is then over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let error = if let Some((stage, after)) = self.waited_for() {
            ClientError::Unanswered { stage, after }
        } else if now >= self.received_at + self.config.idle_timeout {
            let after = self.config.idle_timeout;
            ClientError::Silent { after }
        } else if self.answer_due().is_some_and(|due| now >= due) {
            let (stage, after) = ("share", self.config.share_timeout);
            ClientError::Unanswered { stage, after }
        } else {
            // An answer of the kind that there is none to but a refusal.
            let _ = self.update(now, self.config.nominal_hash_rate);
            return Ok(());
        };
        self.stage = Stage::Over;
        Err(error)
    }
}
