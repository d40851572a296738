//! The pool's side of a connection.

mod config;
mod event;
pub(crate) mod vardiff;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub use config::{ServerConfig, ServerError};
pub use event::{AuthorizeId, FoundShare, ServerEvent};
pub use vardiff::VardiffConfig;

use vardiff::Vardiff;

use crate::budget::Budget;
use crate::inline::{Inline, JobId};
use crate::job::Job;
use crate::json::Text;
use crate::line::LineReader;
use crate::message::{
    Configure, Configured, FromMiner, Message, MessageError, Subscribe, Subscribed, write,
};
use crate::output::Output;
use crate::reject::{RejectReason, cut};
use crate::share::{Novelty, SeenShares, Share};
use crate::target::Target;

/// Bytes that may wait for a miner that does not read.
const MAX_OUTPUT: usize = 1 << 20;
/// Jobs that a late share may still be for.
const REMEMBERED: usize = 16;
/// Shares that are remembered to find the second one of the same.
const MAX_SEEN: usize = 1 << 16;
/// Requests for authorisation that may wait.
const MAX_WAITING: usize = 16;

/// A job as it was handed out on this connection.
#[derive(Debug)]
struct Given {
    job: Arc<Job>,
    subscribed: Subscribed,
    difficulty: f64,
    target: Target,
}

/// What a connection leaves behind for one that resumes it: its extranonces, the jobs that it
/// was given and the shares that it sent.
#[derive(Debug)]
pub struct Parked {
    extranonces: Subscribed,
    wanted: f64,
    given: VecDeque<Given>,
    seen: SeenShares,
}

/// A connection to a miner without the connection: bytes, jobs and time go in, bytes, events
/// and the next deadline come out. Calling order as of
/// [`ClientSession`](crate::client::ClientSession).
///
/// Shares are checked here: job, length of the extranonce, time, version bits, a second one of
/// the same, the target. The miner has its answer when the event is told.
#[derive(Debug)]
pub struct ServerSession {
    config: ServerConfig,
    reader: LineReader,
    output: Output,
    events: VecDeque<ServerEvent>,
    waiting: VecDeque<(AuthorizeId, Inline<64>, String)>,
    workers: BTreeSet<String>,
    /// A subscription that wants to resume a session, unanswered.
    resuming: Option<Inline<64>>,
    subscribed: bool,
    configured: Configured,
    /// What the pool wants, or the miner has suggested.
    wanted: f64,
    /// The same within the bounds.
    difficulty: f64,
    /// What the miner was told last.
    told_difficulty: Option<f64>,
    floor: f64,
    vardiff: Option<Vardiff>,
    given: VecDeque<Given>,
    current: Option<Arc<Job>>,
    seen: SeenShares,
    budget: Budget,
    received_at: Instant,
    next_id: u64,
    over: bool,
}

impl ServerSession {
    /// A session on a connection that was just accepted.
    pub fn new(config: ServerConfig, now: Instant) -> Self {
        Self {
            reader: LineReader::new(config.max_line),
            output: Output::new(MAX_OUTPUT),
            events: VecDeque::new(),
            waiting: VecDeque::new(),
            workers: BTreeSet::new(),
            resuming: None,
            subscribed: false,
            configured: Configured::default(),
            wanted: config.difficulty,
            difficulty: config.difficulty,
            told_difficulty: None,
            floor: config.min_difficulty,
            vardiff: config.vardiff.map(|config| Vardiff::new(config, now)),
            given: VecDeque::new(),
            current: None,
            seen: SeenShares::new(MAX_SEEN),
            budget: Budget::new(config.max_messages, now),
            received_at: now,
            next_id: 1,
            over: false,
            config,
        }
    }

    /// Takes what was received, in pieces of any size.
    ///
    /// # Errors
    /// What ended the session.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> Result<(), ServerError> {
        if self.over {
            return Ok(());
        }
        if !bytes.is_empty() {
            self.received_at = now;
        }
        // Out of `self` while its lines are looked at; it is back before anything returns.
        let mut reader = std::mem::replace(&mut self.reader, LineReader::new(0));
        let done = reader.each_line(bytes, |line| self.handle_line(now, line));
        self.reader = reader;
        done.inspect_err(|_| self.over = true)
    }

    fn handle_line(&mut self, now: Instant, line: &[u8]) -> Result<(), ServerError> {
        if !self.budget.spend(now) {
            let max = self.config.max_messages;
            return Err(ServerError::Flood { max });
        }
        let message = Message::parse(line)?;
        let raw_id = message.raw_id;
        match FromMiner::of(&message) {
            Ok(meaning) => self.handle_message(now, meaning, raw_id),
            // Parameters that are wrong cost the request, not the connection.
            Err(error @ MessageError::Shape { .. }) => {
                self.refuse(raw_id, RejectReason::Malformed, &error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        if self.output.is_full() {
            return Err(ServerError::NotReading);
        }
        Ok(())
    }

    fn refuse(&mut self, raw_id: &[u8], reason: RejectReason, text: &str) {
        write::reply_error(self.output.lines(), raw_id, reason, text);
    }

    fn yes(&mut self, raw_id: &[u8]) {
        write::reply_bool(self.output.lines(), raw_id, true);
    }

    fn handle_message(&mut self, now: Instant, meaning: FromMiner<'_>, raw_id: &[u8]) {
        match meaning {
            FromMiner::Configure(asked) => self.handle_configure(&asked, raw_id),
            FromMiner::Subscribe(asked) => self.handle_subscribe(now, &asked, raw_id),
            FromMiner::Authorize { user, password } => {
                self.handle_authorize(user, password, raw_id);
            }
            FromMiner::Submit { user, share } => self.handle_submit(now, user, &share, raw_id),
            FromMiner::SuggestDifficulty(difficulty) => match Target::from_difficulty(difficulty) {
                Ok(_) => {
                    self.set_difficulty(difficulty);
                    self.yes(raw_id);
                }
                Err(error) => {
                    self.refuse(raw_id, RejectReason::Malformed, &error.to_string());
                }
            },
            FromMiner::SuggestTarget(target) => {
                self.set_difficulty(target.difficulty());
                self.yes(raw_id);
            }
            FromMiner::ExtranonceSubscribe => {
                self.configured.subscribe_extranonce = true;
                self.yes(raw_id);
            }
            FromMiner::Ping => write::reply_text(self.output.lines(), raw_id, "pong"),
            FromMiner::Reply => {}
            FromMiner::Unknown(method) => {
                let text = cut(format!("Method not found: {method}"));
                self.refuse(raw_id, RejectReason::Other, &text);
            }
        }
    }

    fn handle_configure(&mut self, asked: &Configure, raw_id: &[u8]) {
        if let Some((mask, min_bits)) = asked.version_rolling {
            let mask = mask & self.config.version_mask;
            let enough = mask.count_ones() >= min_bits.into();
            self.configured.version_mask = (enough && mask != 0).then_some(mask);
        }
        if let Some(difficulty) = asked.minimum_difficulty {
            let valid = Target::from_difficulty(difficulty).is_ok();
            self.configured.minimum_difficulty = valid;
            if valid {
                self.floor =
                    difficulty.clamp(self.config.min_difficulty, self.config.max_difficulty);
                self.apply_difficulty();
            }
        }
        self.configured.subscribe_extranonce |= asked.subscribe_extranonce;
        let lines = self.output.lines();
        write::reply_configured(lines, raw_id, asked, &self.configured);
    }

    fn handle_subscribe(&mut self, now: Instant, asked: &Subscribe<'_>, raw_id: &[u8]) {
        let words = |text: Text<'_>| cut(text.to_str().into_owned());
        self.events.push_back(ServerEvent::Subscribed {
            agent: asked.agent.map(words).unwrap_or_default(),
        });
        let wanted = asked.session.filter(|_| !self.subscribed).map(words);
        // Longer ids do not pass the parser.
        if let (Some(session), Some(answer_to)) = (wanted, Inline::new(raw_id)) {
            self.resuming = Some(answer_to);
            self.events.push_back(ServerEvent::Resume { session });
            return;
        }
        self.answer_subscribe(now, raw_id);
    }

    fn answer_subscribe(&mut self, now: Instant, raw_id: &[u8]) {
        let (session, extranonces) = (&self.config.session, &self.config.extranonces);
        write::reply_subscribed(self.output.lines(), raw_id, session, extranonces);
        self.subscribed = true;
        self.hand_out_if_ready(now);
    }

    /// Answers a miner who wants to resume a session: with what that left behind and its name,
    /// or with a new one. Nothing happens when nobody asked.
    pub fn resume(&mut self, now: Instant, session: Option<(String, Parked)>) {
        let Some(raw_id) = self.resuming.take() else {
            return;
        };
        if let Some((name, parked)) = session {
            self.config.session = name;
            self.config.extranonces = parked.extranonces;
            self.set_difficulty(parked.wanted);
            self.given = parked.given;
            self.seen = parked.seen;
        }
        self.answer_subscribe(now, raw_id.as_bytes());
    }

    /// Ends the session for one that may resume it, under the name that is beside it; `None`
    /// when the miner never subscribed.
    pub fn park(self) -> Option<(String, Parked)> {
        let parked = Parked {
            extranonces: self.config.extranonces,
            wanted: self.wanted,
            given: self.given,
            seen: self.seen,
        };
        self.subscribed.then_some((self.config.session, parked))
    }

    fn handle_authorize(&mut self, user: Text<'_>, password: Text<'_>, raw_id: &[u8]) {
        let [user, password] = [user, password].map(|text| cut(text.to_str().into_owned()));
        let room = self.waiting.len() < MAX_WAITING && self.workers.len() < self.config.max_workers;
        // Longer ids do not pass the parser.
        let (true, Some(answer_to)) = (room, Inline::new(raw_id)) else {
            self.refuse(raw_id, RejectReason::Unauthorized, "Too many workers");
            return;
        };
        let id = AuthorizeId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back((id, answer_to, user.clone()));
        self.events
            .push_back(ServerEvent::Authorize { id, user, password });
    }

    /// Answers a worker who wants to be let in. Nothing happens for one that was answered.
    pub fn authorize(&mut self, now: Instant, id: AuthorizeId, welcome: bool) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.0 == id) else {
            return;
        };
        let Some((_, raw_id, user)) = self.waiting.remove(at) else {
            return;
        };
        if !welcome {
            let reason = RejectReason::Unauthorized;
            self.refuse(raw_id.as_bytes(), reason, reason.text());
            return;
        }
        self.yes(raw_id.as_bytes());
        let first = self.workers.is_empty();
        self.workers.insert(user);
        if first {
            self.hand_out_if_ready(now);
        }
    }

    /// Hands out a job, now or as soon as the miner is subscribed and authorised. One that is
    /// [`clean`](Job::clean) ends all before it, as does the first that the miner gets of a block.
    pub fn announce(&mut self, now: Instant, job: &Arc<Job>) {
        self.current = Some(job.clone());
        self.hand_out_if_ready(now);
    }

    /// Forgets the jobs that a pool can make no block of any more: shares of them are stale.
    pub fn retain_jobs(&mut self, mut keep: impl FnMut(&JobId) -> bool) {
        self.given.retain(|given| keep(&given.job.id));
    }

    fn hand_out_if_ready(&mut self, now: Instant) {
        if !self.subscribed || self.workers.is_empty() {
            return;
        }
        let Some(job) = self.current.clone() else {
            return;
        };
        let Ok(target) = Target::from_difficulty(self.difficulty) else {
            // Bounded when it was set.
            return;
        };
        if self.told_difficulty != Some(self.difficulty) {
            write::set_difficulty(self.output.lines(), self.difficulty);
            self.told_difficulty = Some(self.difficulty);
        }
        // A session that is resumed is told its last job again: its shares are still known.
        let again = self.given.iter().any(|given| Arc::ptr_eq(&given.job, &job));
        // The first job of a block may have come and gone while the miner was not looked at, or
        // away: whatever comes first of it ends the jobs before.
        let same_block = |given: &Given| given.job.prev_hash == job.prev_hash;
        let clean = job.clean || !self.given.back().is_some_and(same_block);
        if clean && !again {
            self.given.clear();
            self.seen.clear();
        }
        self.given.retain(|given| given.job.id != job.id);
        if self.given.len() == REMEMBERED {
            self.given.pop_front();
        }
        write::notify_as(self.output.lines(), &job, clean);
        self.given.push_back(Given {
            job,
            subscribed: self.config.extranonces,
            difficulty: self.difficulty,
            target,
        });
        if let Some(vardiff) = &mut self.vardiff {
            vardiff.give(now, self.difficulty);
        }
        let given = &self.given;
        self.seen
            .retain(|share| given.iter().any(|given| given.job.id == share.job_id));
    }

    fn handle_submit(&mut self, now: Instant, user: Text<'_>, share: &Share, raw_id: &[u8]) {
        let user = cut(user.to_str().into_owned());
        match self.check(&user, share) {
            Ok(found) => {
                self.yes(raw_id);
                if let Some(vardiff) = &mut self.vardiff {
                    vardiff.count(found.difficulty);
                }
                self.events.push_back(ServerEvent::Share(Box::new(found)));
                self.follow(now);
            }
            Err(reason) => {
                self.refuse(raw_id, reason, reason.text());
                self.events.push_back(ServerEvent::Refused { user, reason });
            }
        }
    }

    fn check(&mut self, user: &str, share: &Share) -> Result<FoundShare, RejectReason> {
        if !self.subscribed {
            return Err(RejectReason::NotSubscribed);
        }
        if !self.workers.contains(user) {
            return Err(RejectReason::Unauthorized);
        }
        let given = self.given_as(&share.job_id).ok_or(RejectReason::Stale)?;
        let mask = self.configured.version_mask;
        let version_fits = match (mask, share.version_bits) {
            (Some(mask), Some(bits)) => bits & !mask == 0,
            (None, None) => true,
            // BIP 310: once configured, the bits have to be there.
            _ => false,
        };
        let latest = given.job.ntime.saturating_add(self.config.max_ntime_s);
        let fits = version_fits
            && share.extranonce_2.as_bytes().len() == given.subscribed.extranonce_2_len
            && (given.job.ntime..=latest).contains(&share.ntime);
        if !fits {
            return Err(RejectReason::Malformed);
        }
        let extranonce_1 = given.subscribed.extranonce_1.as_bytes();
        let header = given.job.header_of(extranonce_1, mask.unwrap_or(0), share);
        let hash = header.hash();
        if !given.target.is_met_by(&hash) {
            return Err(RejectReason::LowDifficulty);
        }
        let found = FoundShare {
            user: user.to_owned(),
            share: *share,
            header,
            hash,
            difficulty: given.difficulty,
            is_block: Target::from_compact(header.nbits)
                .is_ok_and(|target| target.is_met_by(&hash)),
        };
        match self.seen.insert(*share) {
            Novelty::New => Ok(found),
            Novelty::Duplicate => Err(RejectReason::Duplicate),
            // Work that costs so little that it cannot be told apart any more.
            Novelty::Full => Err(RejectReason::Other),
        }
    }

    fn given_as(&self, id: &JobId) -> Option<&Given> {
        self.given.iter().find(|given| given.job.id == *id)
    }

    /// Bounds the difficulty of later jobs from above: shares harder than a block would hide
    /// blocks.
    pub fn set_max_difficulty(&mut self, difficulty: f64) {
        self.config.max_difficulty = difficulty;
        self.apply_difficulty();
    }

    /// Changes the difficulty of later jobs, within the bounds of the settings and of what the
    /// miner has asked for. It is kept for when they move.
    pub fn set_difficulty(&mut self, difficulty: f64) {
        self.wanted = difficulty;
        self.apply_difficulty();
    }

    fn apply_difficulty(&mut self) {
        let max = self.config.max_difficulty.max(self.floor);
        let difficulty = self.wanted.clamp(self.floor, max);
        if difficulty != self.difficulty {
            self.difficulty = difficulty;
            self.events.push_back(ServerEvent::Difficulty(difficulty));
        }
    }

    fn follow(&mut self, now: Instant) {
        let difficulty = self.difficulty;
        let next = self
            .vardiff
            .as_mut()
            .and_then(|vardiff| vardiff.retarget(now, difficulty));
        if let Some(next) = next {
            self.set_difficulty(next);
        }
    }

    /// Another first extranonce, for later jobs; whether the miner understands that.
    pub fn set_extranonces(&mut self, extranonces: Subscribed) -> bool {
        if !self.configured.subscribe_extranonce {
            return false;
        }
        self.config.extranonces = extranonces;
        write::set_extranonce(self.output.lines(), &extranonces);
        true
    }

    /// Sends the miner elsewhere, or back to the same place.
    pub fn reconnect(&mut self, to: Option<(&str, u16)>, wait_s: u32) {
        write::reconnect(self.output.lines(), to, wait_s);
    }

    /// Shows words to whoever runs the miner.
    pub fn show_message(&mut self, text: &str) {
        write::show_message(self.output.lines(), text);
    }

    /// The difficulty of jobs handed out from now on.
    pub fn difficulty(&self) -> f64 {
        self.difficulty
    }

    /// The length of the first extranonce and that of the second, and what else was agreed on.
    pub fn extranonces(&self) -> &Subscribed {
        &self.config.extranonces
    }

    /// Bytes to be sent.
    pub fn output(&self) -> &[u8] {
        self.output.waiting()
    }

    /// Forgets the first bytes of [`output`](Self::output), which were sent.
    ///
    /// # Panics
    /// When `count` is more than there are.
    pub fn consume_output(&mut self, count: usize) {
        self.output.consume(count);
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let idle = self.received_at + self.config.idle_timeout;
        let deadline = |vardiff: &Vardiff| vardiff.deadline(self.difficulty);
        let vardiff = self.vardiff.as_ref().and_then(deadline);
        Some(vardiff.map_or(idle, |vardiff| idle.min(vardiff)))
    }

    /// Does what is due. Early calls do no harm.
    ///
    /// # Errors
    /// What ended the session: silence.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ServerError> {
        if self.over {
            return Ok(());
        }
        let after = self.config.idle_timeout;
        if now.saturating_duration_since(self.received_at) >= after {
            self.over = true;
            return Err(ServerError::Silent { after });
        }
        self.follow(now);
        Ok(())
    }
}
