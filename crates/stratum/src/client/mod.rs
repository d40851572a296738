//! The miner's side of a connection.

mod config;
mod error;
mod event;
mod pending;
pub(crate) mod redirect;
mod work;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use config::{ClientConfig, ROLLING_MASK, Resume};
pub use error::{ClientError, SubmitError};
pub use event::{Event, SubmitId};
pub use work::{Work, WorkKey};

use pending::{Asked, Pending};
use work::WorkTable;

use crate::budget::Budget;
use crate::inline::{Extranonce, JobId};
use crate::json::Value;
use crate::line::LineReader;
use crate::message::{Configure, FromPool, Reconnect, Reply, Subscribed, write};
use crate::output::Output;
use crate::reject::{RejectReason, cut};
use crate::share::{Novelty, SeenShares, Share};
use crate::target::Target;

/// Bytes of answers that may wait for a pool that does not read.
const MAX_OUTPUT: usize = 1 << 20;
/// Shares that are remembered to find the second one of the same.
const MAX_SEEN: usize = 1 << 16;
/// A redirect is not waited for longer than this.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// A connection to a pool without the connection: bytes and time go in, bytes, events and the
/// next deadline come out.
///
/// Calling order: after [`new`](Self::new), and after every call that takes `now`, send what
/// [`output`](Self::output) has and [`consume_output`](Self::consume_output) it, take all
/// [`poll_event`](Self::poll_event)s, and be back at [`poll_timeout`](Self::poll_timeout) with
/// [`handle_timeout`](Self::handle_timeout). What was received goes to
/// [`handle_bytes`](Self::handle_bytes). After an error the session is over; its shares that
/// were not answered are in [`unanswered`](Self::unanswered).
///
/// It configures, waits for the answer (not for long), subscribes and authorises, answers what
/// a pool asks, and keeps the last jobs for shares that come late. A steady stream of jobs
/// allocates nothing once memory has grown to their size.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    reader: LineReader,
    output: Output,
    events: VecDeque<Event>,
    pending: Pending,
    stage: Stage,
    configure_deadline: Option<Instant>,
    authorized: bool,
    version_mask: Option<u32>,
    extranonces: Option<Subscribed>,
    session: Option<String>,
    /// A job came before the extranonce that it needs.
    early_work: bool,
    /// A rehearsal has come upon a job.
    rehearsed: bool,
    difficulty: f64,
    target: Target,
    works: WorkTable,
    seen: SeenShares,
    budget: Budget,
    received_at: Instant,
    sent_at: Instant,
    next_id: u64,
}

/// Whether what is read has consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Real,
    Rehearsal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Configuring,
    Subscribing,
    Subscribed,
    Over,
}

impl ClientSession {
    /// A session on a connection that was just made.
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let mut session = Self {
            reader: LineReader::new(config.max_line),
            output: Output::new(MAX_OUTPUT),
            events: VecDeque::new(),
            pending: Pending::default(),
            stage: Stage::Configuring,
            configure_deadline: None,
            authorized: false,
            version_mask: None,
            extranonces: None,
            session: None,
            early_work: false,
            rehearsed: false,
            // What difficulty means until a pool says something.
            difficulty: 1.0,
            target: Target::from_difficulty(1.0).unwrap_or(Target::MAX),
            works: WorkTable::new(),
            seen: SeenShares::new(MAX_SEEN),
            budget: Budget::new(config.max_messages, now),
            received_at: now,
            sent_at: now,
            next_id: 1,
            config,
        };
        session.start(now);
        session
    }

    fn start(&mut self, now: Instant) {
        let config = &self.config;
        let rolling =
            (config.version_mask != 0).then_some((config.version_mask, config.min_version_bits));
        let configure = Configure {
            version_rolling: rolling,
            minimum_difficulty: config.minimum_difficulty,
            subscribe_extranonce: config.extranonce_subscribe,
            info: false,
        };
        if !config.configure || configure == Configure::default() {
            self.subscribe(now, true);
            return;
        }
        self.configure_deadline = Some(now + config.configure_timeout);
        let id = self.ask(now, Asked::Configure);
        write::configure(self.output.lines(), id, &configure);
    }

    /// Numbers a request.
    fn ask(&mut self, now: Instant, what: Asked) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.push(id, what, now);
        self.sent_at = now;
        id
    }

    fn subscribe(&mut self, now: Instant, resume: bool) {
        self.stage = Stage::Subscribing;
        self.configure_deadline = None;
        let resume = resume && self.config.resume.is_some();
        let id = self.ask(now, Asked::Subscribe { resume });
        let session = self.config.resume.as_ref().filter(|_| resume);
        write::subscribe(
            self.output.lines(),
            id,
            &self.config.agent,
            session.map(|resume| &*resume.session),
        );
        let id = self.ask(now, Asked::Authorize);
        let (user, password) = (&self.config.user, &self.config.password);
        write::authorize(self.output.lines(), id, user, password);
    }

    /// Takes what was received, in pieces of any size.
    ///
    /// # Errors
    /// What ended the session.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> Result<(), ClientError> {
        if self.stage == Stage::Over {
            return Ok(());
        }
        if !bytes.is_empty() {
            self.received_at = now;
        }
        // Out of `self` while its lines are looked at; it is back before anything returns.
        let mut reader = std::mem::replace(&mut self.reader, LineReader::new(0));
        let done = self.handle_lines(now, &mut reader, bytes, Run::Real);
        self.reader = reader;
        done.inspect_err(|_| self.stage = Stage::Over)
    }

    /// Does with the jobs in `bytes`, whole lines received before, what was done then, and
    /// leaves it without consequence; the last of them, which is valid until the next call that
    /// changes anything. Not a name that [`work`](Self::work) knows. `None` when there is no job
    /// in them, or the session is not as far as that.
    ///
    /// The code and the memory that the next job needs are in the caches of the CPU after this.
    pub fn rehearse(&mut self, bytes: &[u8]) -> Option<&Work> {
        // A job that waits for its extranonce has the place.
        if self.stage == Stage::Over || self.extranonces.is_none() {
            return None;
        }
        let mut reader = LineReader::new(self.config.max_line);
        self.rehearsed = false;
        let done = self.handle_lines(self.received_at, &mut reader, bytes, Run::Rehearsal);
        (done.is_ok() && self.rehearsed).then(|| &*self.works.begun())
    }

    /// One function for both, so that a rehearsal goes through the same instructions.
    #[inline(never)]
    fn handle_lines(
        &mut self,
        now: Instant,
        reader: &mut LineReader,
        bytes: &[u8],
        run: Run,
    ) -> Result<(), ClientError> {
        reader.each_line(bytes, |line| self.handle_line(now, line, run))
    }

    fn handle_line(&mut self, now: Instant, line: &[u8], run: Run) -> Result<(), ClientError> {
        // One that waits for its extranonce has the place: the job of a line that turns out to be
        // none would be left there.
        if self.extranonces.is_some() && self.works.begun().job.read_line(line).is_some() {
            if run == Run::Real {
                self.count_message(now)?;
            }
            self.handle_job(run);
            return self.check_output();
        }
        let (message, raw_id) = FromPool::parse(line)?;
        if run == Run::Rehearsal && !matches!(message, FromPool::Notify(_)) {
            return Ok(());
        }
        if let FromPool::Reply(reply) = &message
            && self.handle_reply(now, reply)?
        {
            return Ok(());
        }
        if run == Run::Real {
            self.count_message(now)?;
        }
        match message {
            FromPool::Notify(notify) => {
                self.works.begun().job.assign(&notify)?;
                self.handle_job(run);
            }
            FromPool::SetDifficulty(difficulty) => {
                self.target = Target::from_difficulty(difficulty)?;
                self.difficulty = difficulty;
            }
            FromPool::SetExtranonce(extranonces) => self.extranonces = Some(extranonces),
            FromPool::SetVersionMask(mask) => {
                let mask = mask & self.config.version_mask;
                self.version_mask = Some(mask);
                self.works.set_version_mask(mask);
                self.events.push_back(Event::VersionMask(mask));
            }
            FromPool::Reconnect(reconnect) => self.handle_reconnect(&reconnect),
            FromPool::ShowMessage(text) => {
                let text = cut(text.to_str().into_owned());
                self.events.push_back(Event::Message(text));
            }
            FromPool::GetVersion => {
                write::reply_text(self.output.lines(), raw_id, &self.config.agent);
            }
            FromPool::Ping => write::reply_text(self.output.lines(), raw_id, "pong"),
            FromPool::Unknown(method) => {
                // A notification has no id and wants no answer.
                if raw_id != b"null" {
                    let text = cut(format!("Method not found: {method}"));
                    write::reply_error(self.output.lines(), raw_id, RejectReason::Other, &text);
                }
            }
            // An answer to nothing that was asked.
            FromPool::Reply(_) => {}
        }
        self.check_output()
    }

    /// One more message that nobody has asked for.
    fn count_message(&mut self, now: Instant) -> Result<(), ClientError> {
        let max = self.config.max_messages;
        let spent = self.budget.spend(now);
        spent.then_some(()).ok_or(ClientError::Flood { max })
    }

    fn check_output(&self) -> Result<(), ClientError> {
        match self.output.is_full() {
            true => Err(ClientError::NotReading),
            false => Ok(()),
        }
    }

    /// What belongs to the job that was read.
    fn handle_job(&mut self, run: Run) {
        let (target, difficulty) = (self.target, self.difficulty);
        let version_mask = self.version_mask;
        let work = self.works.begun();
        (work.target, work.difficulty) = (target, difficulty);
        work.version_mask = version_mask;
        match &self.extranonces {
            Some(extranonces) => {
                work.extranonce_1 = extranonces.extranonce_1;
                work.extranonce_2_len = extranonces.extranonce_2_len;
                match run {
                    Run::Real => self.commit_work(),
                    Run::Rehearsal => self.rehearsed = true,
                }
            }
            None => self.early_work = true,
        }
    }

    /// Puts the last job into force.
    fn commit_work(&mut self) {
        let key = self.works.commit();
        if self.works.get(key).is_some_and(|work| work.job.clean) {
            self.seen.clear();
        } else {
            let works = &self.works;
            self.seen
                .retain(|share| works.named(&share.job_id).is_some());
        }
        self.events.push_back(Event::Work(key));
    }

    fn handle_reconnect(&mut self, reconnect: &Reconnect<'_>) {
        let host = reconnect.host.map(|host| cut(host.to_str().into_owned()));
        if let Some(host) = &host
            && !redirect::is_allowed(&self.config.host, host)
        {
            let host = host.clone();
            self.events.push_back(Event::RedirectRefused { host });
            return;
        }
        self.events.push_back(Event::Reconnect {
            host,
            port: reconnect.port,
            wait: Duration::from_secs(reconnect.wait_s.into()).min(MAX_WAIT),
        });
    }

    /// Whether it answers something that was asked.
    fn handle_reply(&mut self, now: Instant, reply: &Reply<'_>) -> Result<bool, ClientError> {
        let asked = reply
            .id
            .and_then(|id| u64::try_from(id).ok())
            .and_then(|id| self.pending.take(id));
        let Some((asked, asked_at)) = asked else {
            return Ok(false);
        };
        let outcome = reply.outcome();
        let rtt = now.saturating_duration_since(asked_at);
        match (asked, outcome) {
            (Asked::Configure, outcome) => self.handle_configured(now, outcome.ok()),
            (Asked::Subscribe { .. }, Ok(result)) => self.handle_subscribed(now, result)?,
            // The pool may not know the session any more, and say so.
            (Asked::Subscribe { resume: true }, Err(_)) => {
                self.pending.forget(Asked::Authorize);
                self.subscribe(now, false);
            }
            (Asked::Subscribe { resume: false }, Err(rejection)) => {
                return Err(ClientError::SubscribeRefused(rejection));
            }
            (Asked::Authorize, Ok(_)) => self.handle_authorized(now),
            (Asked::Authorize, Err(rejection)) => return Err(ClientError::Unauthorized(rejection)),
            (Asked::Submit { id, .. }, Ok(_)) => {
                self.events.push_back(Event::Accepted { id, rtt });
            }
            (Asked::Submit { id, .. }, Err(rejection)) => {
                self.events
                    .push_back(Event::Rejected { id, rtt, rejection })
            }
            // Wishes: whatever the pool thinks of them.
            (Asked::Wish, _) => {}
        }
        Ok(true)
    }

    fn handle_configured(&mut self, now: Instant, result: Option<Value<'_>>) {
        match result {
            Some(result @ Value::Object(_)) => {
                let mut configured = Reply::configured(result);
                configured.version_mask = configured
                    .version_mask
                    .map(|mask| mask & self.config.version_mask);
                self.version_mask = configured.version_mask;
                self.events.push_back(Event::Configured(configured));
            }
            _ => self.events.push_back(Event::ConfigureUnanswered),
        }
        // The answer may come after we went on.
        if self.stage == Stage::Configuring {
            self.subscribe(now, true);
        }
    }

    fn handle_subscribed(&mut self, now: Instant, result: Value<'_>) -> Result<(), ClientError> {
        let (extranonces, session) = Reply::subscribed(result)?;
        let extranonce_1 = extranonces.extranonce_1;
        let resumed = self
            .config
            .resume
            .as_ref()
            .is_some_and(|resume| resume.extranonce_1 == extranonce_1);
        self.session = session
            .map(|session| session.to_str().into_owned())
            .filter(|session| session.len() <= self.config.max_line / 4);
        self.extranonces = Some(extranonces);
        self.stage = Stage::Subscribed;
        self.events.push_back(Event::Subscribed {
            extranonces,
            resumed,
        });
        if std::mem::take(&mut self.early_work) {
            let work = self.works.begun();
            work.extranonce_1 = extranonce_1;
            work.extranonce_2_len = extranonces.extranonce_2_len;
            self.commit_work();
        }
        self.wishes(now);
        Ok(())
    }

    fn handle_authorized(&mut self, now: Instant) {
        self.authorized = true;
        self.events.push_back(Event::Authorized);
        self.wishes(now);
    }

    /// What a pool may ignore is asked for when all else is settled.
    fn wishes(&mut self, now: Instant) {
        if !self.is_ready() {
            return;
        }
        if self.config.extranonce_subscribe {
            let id = self.ask(now, Asked::Wish);
            write::extranonce_subscribe(self.output.lines(), id);
        }
        if let Some(difficulty) = self.config.suggest_difficulty {
            let id = self.ask(now, Asked::Wish);
            write::suggest_difficulty(self.output.lines(), id, difficulty);
        }
    }

    /// Whether shares may be sent.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Subscribed && self.authorized
    }

    /// Sends a share of a job of this session.
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn submit(&mut self, now: Instant, share: &Share) -> Result<SubmitId, SubmitError> {
        if self.works.named(&share.job_id).is_none() {
            return Err(SubmitError::Stale);
        }
        self.resubmit(now, share)
    }

    /// Sends a share of a session that was resumed in this one, whose job may not be known here.
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn resubmit(&mut self, now: Instant, share: &Share) -> Result<SubmitId, SubmitError> {
        if !self.is_ready() {
            return Err(SubmitError::NotReady);
        }
        if self.pending.shares() >= self.config.max_unanswered {
            return Err(SubmitError::Busy);
        }
        if self.seen.insert(*share) == Novelty::Duplicate {
            return Err(SubmitError::Duplicate);
        }
        let submit_id = SubmitId(self.next_id);
        let id = self.ask(
            now,
            Asked::Submit {
                id: submit_id,
                share: *share,
            },
        );
        write::submit(self.output.lines(), id, &self.config.user, share);
        Ok(submit_id)
    }

    /// Shares that were sent and not answered, the oldest first. After the session is over
    /// nobody knows what became of them: send them again if a session resumes this one; the
    /// pool calls those that it knows duplicates.
    pub fn unanswered(&self) -> impl Iterator<Item = (SubmitId, &Share)> {
        self.pending.unanswered()
    }

    /// A job by its key, while it is among the last sixteen.
    pub fn work(&self, key: WorkKey) -> Option<&Work> {
        self.works.get(key)
    }

    /// The job of that name whose shares still count.
    pub fn work_named(&self, id: &JobId) -> Option<&Work> {
        self.works.named(id)
    }

    /// What it takes to resume this session.
    pub fn resume(&self) -> Option<Resume> {
        let extranonces = self.extranonces?;
        Some(Resume {
            session: self.session.clone()?,
            extranonce_1: extranonces.extranonce_1,
        })
    }

    /// The first extranonce, once there is one.
    pub fn extranonce_1(&self) -> Option<Extranonce> {
        self.extranonces.map(|extranonces| extranonces.extranonce_1)
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
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.stage == Stage::Over {
            return None;
        }
        let config = &self.config;
        [
            Some(self.received_at + config.idle_timeout),
            self.configure_deadline,
            config.keepalive.map(|after| self.sent_at + after),
            self.pending
                .oldest()
                .map(|(_, asked_at)| asked_at + config.request_timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due. Early calls do no harm.
    ///
    /// # Errors
    /// What ended the session: silence, or something unanswered.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.stage == Stage::Over {
            return Ok(());
        }
        if self
            .configure_deadline
            .is_some_and(|deadline| now >= deadline)
        {
            self.events.push_back(Event::ConfigureUnanswered);
            self.subscribe(now, true);
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        let config = &self.config;
        let error = if since(self.received_at) >= config.idle_timeout {
            let after = config.idle_timeout;
            Some(ClientError::Silent { after })
        } else {
            let oldest = self.pending.oldest();
            let late = oldest.filter(|(_, asked_at)| since(*asked_at) >= config.request_timeout);
            late.map(|(method, _)| ClientError::Unanswered {
                method,
                after: config.request_timeout,
            })
        };
        if let Some(error) = error {
            self.stage = Stage::Over;
            return Err(error);
        }
        if config
            .keepalive
            .is_some_and(|after| since(self.sent_at) >= after)
        {
            // One that was never answered is not waited for.
            self.pending.forget(Asked::Wish);
            let id = self.ask(now, Asked::Wish);
            write::ping(self.output.lines(), id);
        }
        Ok(())
    }
}
