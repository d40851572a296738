//! The pool's side of a connection, with one channel.

mod check;
mod config;
mod opening;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use binary_sv2::{Str0255, Sv2Option, U256};
use common_messages_sv2::Reconnect;
use mining_sv2::{
    CloseChannel, NewExtendedMiningJob, NewMiningJob, SetExtranoncePrefix, SetNewPrevHash,
    SetTarget, SubmitSharesError, SubmitSharesSuccess, UpdateChannelError,
};

pub use config::{FoundShare, ServerConfig, ServerError, ServerEvent};

use check::Given;

use super::link::{Frame, Link};
use super::message::{FromMiner, FromPool, MessageError, refusal, text};
use super::work::{Root, Share, Work, WorkKey};
use crate::budget::Budget;
use crate::hash::Hash;
use crate::inline::{Extranonce, JobId};
use crate::job::Job;
use crate::server::vardiff::Vardiff;
use crate::target::Target;

/// Bytes that may wait for a miner that does not read.
const MAX_OUTPUT: usize = 1 << 20;
/// Shares that are remembered to find the second one of the same.
const MAX_SEEN: usize = 1 << 16;

/// A connection to a miner without the connection: bytes and time go in, bytes, events and the
/// next deadline come out. To be used as [`ClientSession`](super::ClientSession).
///
/// Jobs that are announced before the channel is open are given when it opens: the last one.
#[derive(Debug)]
pub struct ServerSession {
    config: ServerConfig,
    link: Link,
    events: VecDeque<ServerEvent>,
    stage: Stage,
    /// The time of the day when the session began, and when that was.
    began: (u32, Instant),
    /// Since when there is no channel, as long as there is none.
    without_since: Instant,
    job: Option<(u32, Arc<Job>)>,
    next_job: u32,
    given: Given,
    /// The block that was told last, and its target: jobs may follow without one.
    tip: Option<(Hash, u32)>,
    /// Name and version of the miner's program.
    agent: String,
    /// The easiest target that the miner would work on.
    easiest: Target,
    /// The target of the jobs that are given from now on: what the pool wants (its settings),
    /// within the bounds of both sides.
    target: Target,
    vardiff: Option<Vardiff>,
    budget: Budget,
    received_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Setup,
    /// Connected, and no channel.
    Idle,
    Standard,
    Extended,
    Over,
}

/// A short constant as the protocol's string.
fn field(words: &str) -> Result<Str0255<'_>, MessageError> {
    Str0255::new(text(words)).map_err(|_| MessageError { kind: 0 })
}

impl ServerSession {
    /// A session on a connection that was just accepted, at `unix_s` seconds since 1970. `seed` is
    /// 32 fresh random bytes that nobody else knows.
    pub fn new(config: ServerConfig, now: Instant, unix_s: u32, seed: [u8; 32]) -> Self {
        let validity = config.certificate_validity.as_secs();
        let validity = u32::try_from(validity).unwrap_or(u32::MAX - unix_s);
        Self {
            link: Link::responder(&config.secret, validity, seed, config.max_frame, MAX_OUTPUT),
            events: VecDeque::new(),
            stage: Stage::Setup,
            began: (unix_s, now),
            without_since: now,
            job: None,
            next_job: 1,
            given: Given::new(MAX_SEEN),
            tip: None,
            agent: String::new(),
            easiest: Target::MAX,
            target: config.target,
            // It begins with the channel.
            vardiff: None,
            budget: Budget::new(config.max_messages, now),
            received_at: now,
            config,
        }
    }

    /// Takes what was received.
    ///
    /// # Errors
    /// The miner breaks the protocol or floods; the session is then over. What waits in
    /// [`output`](Self::output) may still tell it why.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> Result<(), ServerError> {
        if self.stage == Stage::Over {
            return Err(ServerError::Over);
        }
        self.received_at = now;
        let taken = self.take(now, bytes);
        if taken.is_err() {
            self.stage = Stage::Over;
        }
        taken
    }

    fn take(&mut self, now: Instant, bytes: &[u8]) -> Result<(), ServerError> {
        self.link.receive(bytes);
        let passed = now.saturating_duration_since(self.began.1).as_secs();
        let unix_s = self
            .began
            .0
            .saturating_add(passed.try_into().unwrap_or(u32::MAX));
        while let Some(frame) = self.link.next(unix_s)? {
            if !self.budget.spend(now) {
                let max = self.config.max_messages;
                return Err(ServerError::Flood { max });
            }
            self.handle_frame(frame)?;
            self.follow(now)?;
            if self.link.is_full() {
                return Err(ServerError::NotReading);
            }
        }
        Ok(())
    }

    fn send(&mut self, message: FromPool<'_>) -> Result<(), MessageError> {
        let (kind, for_channel, payload) = message.emit()?;
        self.link.send(kind, for_channel, &payload);
        Ok(())
    }

    fn handle_frame(&mut self, mut frame: Frame) -> Result<(), ServerError> {
        if frame.extension != 0 {
            return Ok(());
        }
        let kind = frame.kind;
        let Some(message) = FromMiner::parse(kind, &mut frame.payload)? else {
            return Ok(());
        };
        let ours = self.config.channel_id;
        match (self.stage, message) {
            (Stage::Setup, FromMiner::SetupConnection(setup)) => self.set_up(&setup),
            (Stage::Setup, _) | (_, FromMiner::SetupConnection(_)) => {
                Err(ServerError::OutOfTurn { kind })
            }
            (_, FromMiner::OpenStandardMiningChannel(open)) => {
                let user = String::from_utf8_lossy(open.user_identity.as_bytes()).into_owned();
                let asked = (open.request_id, open.nominal_hash_rate, open.max_target);
                self.open(user, asked, None)
            }
            (_, FromMiner::OpenExtendedMiningChannel(open)) => {
                let user = String::from_utf8_lossy(open.user_identity.as_bytes()).into_owned();
                let asked = (open.request_id, open.nominal_hash_rate, open.max_target);
                self.open(user, asked, Some(open.min_extranonce_size))
            }
            (Stage::Standard, FromMiner::SubmitSharesStandard(sent)) => {
                let share = Share {
                    job_id: sent.job_id,
                    extranonce: Extranonce::EMPTY,
                    version: sent.version,
                    ntime: sent.ntime,
                    nonce: sent.nonce,
                };
                self.submitted(sent.channel_id, sent.sequence_number, share)
            }
            (Stage::Extended, FromMiner::SubmitSharesExtended(sent)) => {
                let extranonce = Extranonce::new(sent.extranonce.as_bytes());
                let share = Share {
                    job_id: sent.job_id,
                    extranonce: extranonce.unwrap_or(Extranonce::EMPTY),
                    version: sent.version,
                    ntime: sent.ntime,
                    nonce: sent.nonce,
                };
                self.submitted(sent.channel_id, sent.sequence_number, share)
            }
            (_, FromMiner::SubmitSharesStandard(sent)) => {
                self.refuse(sent.channel_id, sent.sequence_number, "invalid-channel-id")
            }
            (_, FromMiner::SubmitSharesExtended(sent)) => {
                self.refuse(sent.channel_id, sent.sequence_number, "invalid-channel-id")
            }
            (Stage::Standard | Stage::Extended, FromMiner::UpdateChannel(update))
                if update.channel_id == ours =>
            {
                self.updated(update.nominal_hash_rate, update.maximum_target)
            }
            (_, FromMiner::UpdateChannel(update)) => {
                let message = UpdateChannelError {
                    channel_id: update.channel_id,
                    error_code: field("invalid-channel-id")?,
                };
                Ok(self.send(FromPool::UpdateChannelError(message))?)
            }
            (Stage::Standard | Stage::Extended, FromMiner::CloseChannel(close))
                if close.channel_id == ours =>
            {
                self.stage = Stage::Idle;
                self.without_since = self.received_at;
                self.events.push_back(ServerEvent::Closed);
                Ok(())
            }
            (_, FromMiner::CloseChannel(_)) => Ok(()),
        }
    }

    /// Gives a job, whose coinbase transaction has room for prefix and extranonce, to the miner,
    /// now or when it opens its channel. One that is [`clean`](Job::clean) ends all before it, as
    /// does the first that the miner gets of a block.
    ///
    /// # Errors
    /// Its coinbase transaction is longer than a message can say.
    pub fn announce(&mut self, now: Instant, job: &Arc<Job>) -> Result<(), MessageError> {
        let number = self.next_job;
        self.next_job += 1;
        self.job = Some((number, job.clone()));
        if !self.is_open() {
            return Ok(());
        }
        self.give(now, number, job)
    }

    fn give(&mut self, now: Instant, job_id: u32, job: &Arc<Job>) -> Result<(), MessageError> {
        // A caller may have passed over the first job of a block.
        let tip = (job.prev_hash, job.nbits);
        let new_block = job.clean || self.tip != Some(tip);
        let channel_id = self.config.channel_id;
        // Without a time it is for the block that is told next.
        let min_ntime = Sv2Option::new((!new_block).then_some(job.ntime));
        let extended = self.stage == Stage::Extended;
        let prefix = self.prefix(extended);
        let (version, nbits, ntime, prev_hash) = (job.version, job.nbits, job.ntime, job.prev_hash);
        let root = if extended {
            let wrong = |_| MessageError { kind: 0x1f };
            let path = job.branches.iter().map(U256::from).collect();
            self.send(FromPool::NewExtendedMiningJob(NewExtendedMiningJob {
                channel_id,
                job_id,
                min_ntime,
                version,
                version_rolling_allowed: self.config.version_mask != 0,
                merkle_path: binary_sv2::Seq0255::new(path).map_err(wrong)?,
                coinbase_tx_prefix: job.coinbase_1.as_slice().try_into().map_err(wrong)?,
                coinbase_tx_suffix: job.coinbase_2.as_slice().try_into().map_err(wrong)?,
            }))?;
            Root::Rolled {
                job: job.clone(),
                extranonce_len: self.config.extranonce_len,
            }
        } else {
            let root = job.merkle_root(&job.coinbase_prefix(prefix.as_bytes()), &[]);
            self.send(FromPool::NewMiningJob(NewMiningJob {
                channel_id,
                job_id,
                min_ntime,
                version,
                merkle_root: U256::from(&root),
            }))?;
            Root::Fixed(root)
        };
        if new_block {
            self.send(FromPool::SetNewPrevHash(SetNewPrevHash {
                channel_id,
                job_id,
                prev_hash: U256::from(&prev_hash),
                min_ntime: ntime,
                nbits,
            }))?;
            self.tip = Some(tip);
        }
        let work = Work {
            key: WorkKey(job_id.into()),
            job_id,
            prev_hash,
            version,
            version_mask: self.config.version_mask,
            nbits,
            min_ntime: ntime,
            target: self.target,
            prefix,
            root,
            first: new_block,
            stale: false,
        };
        self.given.push(work, job.id);
        if let Some(vardiff) = &mut self.vardiff {
            vardiff.give(now, self.target.difficulty());
        }
        Ok(())
    }

    fn submitted(&mut self, channel: u32, sequence: u32, share: Share) -> Result<(), ServerError> {
        if channel != self.config.channel_id {
            return self.refuse(channel, sequence, "invalid-channel-id");
        }
        let found = match self.given.check(share, self.config.max_ntime_s) {
            Ok(found) => found,
            Err(code) => return self.refuse(channel, sequence, code),
        };
        if let Some(vardiff) = &mut self.vardiff {
            vardiff.count(found.target.difficulty());
        }
        let worth = found.target.difficulty().max(1.0) as u64;
        self.events.push_back(ServerEvent::Share(Box::new(found)));
        let message = SubmitSharesSuccess {
            channel_id: channel,
            last_sequence_number: sequence,
            new_submits_accepted_count: 1,
            new_shares_sum: worth,
        };
        Ok(self.send(FromPool::SubmitSharesSuccess(message))?)
    }

    fn refuse(
        &mut self,
        channel_id: u32,
        sequence_number: u32,
        code: &'static str,
    ) -> Result<(), ServerError> {
        let reason = refusal(code);
        self.events.push_back(ServerEvent::Refused { reason, code });
        let message = SubmitSharesError {
            channel_id,
            sequence_number,
            error_code: field(code)?,
        };
        Ok(self.send(FromPool::SubmitSharesError(message))?)
    }

    fn updated(&mut self, nominal_hash_rate: f32, max_target: U256<'_>) -> Result<(), ServerError> {
        let code = if !(nominal_hash_rate.is_finite() && nominal_hash_rate >= 0.0) {
            "invalid-nominal-hashrate"
        } else if let Some(easiest) = Target::from_le_bytes(max_target.to_array()) {
            self.easiest = easiest;
            self.events
                .push_back(ServerEvent::Updated { nominal_hash_rate });
            // The pool has to follow one that is harder (part 5).
            return Ok(self.apply_target()?);
        } else {
            "max-target-out-of-range"
        };
        let message = UpdateChannelError {
            channel_id: self.config.channel_id,
            error_code: field(code)?,
        };
        Ok(self.send(FromPool::UpdateChannelError(message))?)
    }

    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Standard | Stage::Extended)
    }

    /// The nearest to the pool's target that both sides would have.
    fn bounded_target(&self) -> Target {
        let wanted = self.config.target;
        wanted.max(self.config.hardest_target).min(self.easiest)
    }

    /// Another target, if it is time for one.
    fn follow(&mut self, now: Instant) -> Result<(), MessageError> {
        let (open, difficulty) = (self.is_open(), self.target.difficulty());
        let next = self
            .vardiff
            .as_mut()
            .filter(|_| open)
            .and_then(|vardiff| vardiff.retarget(now, difficulty))
            .and_then(|next| Target::from_difficulty(next).ok());
        next.map_or(Ok(()), |target| self.set_target(target))
    }

    /// Bounds the targets of the jobs that are announced from now on.
    ///
    /// # Errors
    /// None that a target could cause.
    pub fn set_hardest_target(&mut self, target: Target) -> Result<(), MessageError> {
        self.config.hardest_target = target;
        self.apply_target()
    }

    /// Sets the target of the jobs that are announced from now on, within the bounds of the
    /// settings and of the miner. It is kept for when they move.
    ///
    /// # Errors
    /// None that a target could cause.
    pub fn set_target(&mut self, target: Target) -> Result<(), MessageError> {
        self.config.target = target;
        self.apply_target()
    }

    /// Tells the miner of its target, if a wish or a bound has moved it.
    fn apply_target(&mut self) -> Result<(), MessageError> {
        let target = self.bounded_target();
        if target == self.target {
            return Ok(());
        }
        self.target = target;
        if !self.is_open() {
            return Ok(());
        }
        self.send(FromPool::SetTarget(SetTarget {
            channel_id: self.config.channel_id,
            maximum_target: U256::from(&target.to_le_bytes()),
        }))
    }

    /// Changes the pool's part of the extranonce, for the jobs that are announced from now on. It
    /// has to be as long as the one before.
    ///
    /// # Errors
    /// None that a prefix of 32 bytes at most could cause.
    pub fn set_prefix(&mut self, prefix: Extranonce) -> Result<(), MessageError> {
        self.config.prefix = prefix;
        if !self.is_open() {
            return Ok(());
        }
        let prefix = self.prefix(self.stage == Stage::Extended);
        let wrong = |_| MessageError { kind: 0x19 };
        self.send(FromPool::SetExtranoncePrefix(SetExtranoncePrefix {
            channel_id: self.config.channel_id,
            extranonce_prefix: prefix.as_bytes().try_into().map_err(wrong)?,
        }))
    }

    /// Asks the miner to come back at another place; an empty host and port 0 mean this one.
    ///
    /// # Errors
    /// None: a host that is too long is cut.
    pub fn reconnect(&mut self, host: &str, port: u16) -> Result<(), MessageError> {
        let message = Reconnect {
            new_host: field(host)?,
            new_port: port,
        };
        self.send(FromPool::Reconnect(message))
    }

    /// Closes the channel, and says why.
    ///
    /// # Errors
    /// None: a reason that is too long is cut.
    pub fn close(&mut self, reason: &str) -> Result<(), MessageError> {
        if !self.is_open() {
            return Ok(());
        }
        self.stage = Stage::Idle;
        self.without_since = self.received_at;
        let message = CloseChannel {
            channel_id: self.config.channel_id,
            reason_code: field(reason)?,
        };
        self.send(FromPool::CloseChannel(message))
    }

    /// Forgets the jobs that a pool can make no block of any more: shares of them are stale.
    pub fn retain_jobs(&mut self, keep: impl FnMut(&JobId) -> bool) {
        self.given.retain(keep);
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
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` when the session is
    /// over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.received_at + self.config.idle_timeout;
        let also = match self.stage {
            Stage::Over => return None,
            Stage::Setup | Stage::Idle => Some(self.without_since + self.config.open_timeout),
            Stage::Standard | Stage::Extended => {
                let difficulty = self.target.difficulty();
                let vardiff = self.vardiff.as_ref();
                vardiff.and_then(|vardiff| vardiff.deadline(difficulty))
            }
        };
        Some(also.map_or(idle, |also| idle.min(also)))
    }

    /// To be called when it is time; earlier does no harm.
    ///
    /// # Errors
    /// The miner is silent, or opens no channel; the session is then over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ServerError> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let after = self.config.open_timeout;
        let error = if !self.is_open() && now >= self.without_since + after {
            ServerError::NoChannel { after }
        } else if now >= self.received_at + self.config.idle_timeout {
            let after = self.config.idle_timeout;
            ServerError::Silent { after }
        } else {
            return Ok(self.follow(now)?);
        };
        self.stage = Stage::Over;
        Err(error)
    }
}
