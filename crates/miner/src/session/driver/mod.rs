//! Pools one after the other, and what happens while one lasts.

mod delivery;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use zcn::Buf;
use zcn_stratum::client::{Event, Resume};
use zcn_stratum::hash::Hash;
use zcn_stratum::reject::RejectReason;
use zcn_stratum::v2;

use crate::ledger::LedgerError;
use crate::session::backoff::Backoff;
use crate::session::book::Book;
use crate::session::connect::{connect, establish, send};
use crate::session::rehearsal::Rehearsals;
use crate::session::settings::SessionSettings;
use crate::session::shares::{Lost, ShareQueue};
use crate::session::talk::{Talk, TalkConfig};
use crate::session::{Disconnect, Notice, PoolUrl, Protocol, SessionHandle};
use crate::wire::{SendError, Wire, Woken, timer};

/// A session that took a share, or lasted this long without a fault of the pool, was a good one;
/// any other counts as one failure more.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// Redirects that are followed in [`REDIRECT_SPAN`].
const MAX_REDIRECTS: usize = 5;
const REDIRECT_SPAN: Duration = Duration::from_secs(600);

/// What is remembered of a pool between its sessions.
struct Known {
    backoff: Backoff,
    resume: Option<Resume>,
    /// Whether it answers `mining.configure`.
    configure: bool,
}

/// A connection to begin with in place of a new one.
type Ready = (usize, Wire, Talk);

/// How a session ended.
struct End {
    cause: Disconnect,
    /// The pool is not to blame.
    good: bool,
    next: Option<Ready>,
    redirect: Option<(PoolUrl, Duration)>,
}

impl End {
    /// Whether the pool may be had again at once. One that goes silent, leaves requests unanswered
    /// or breaks the rules has failed, however long it took. A connection that dies is no fault
    /// of the pool's, whether that is seen when something is sent or when it is waited for.
    fn was_good(&self, lasted: Duration) -> bool {
        let fault = matches!(
            self.cause,
            Disconnect::Protocol(_)
                | Disconnect::ProtocolV2(_)
                | Disconnect::Send(SendError::Stuck(_))
        );
        self.good || lasted >= GOOD_AFTER && !fault
    }
}

impl From<Disconnect> for End {
    fn from(cause: Disconnect) -> Self {
        Self {
            cause,
            good: false,
            next: None,
            redirect: None,
        }
    }
}

pub(in crate::session) struct Driver<'a> {
    settings: Rc<SessionSettings>,
    handle: SessionHandle,
    sink: &'a mut dyn FnMut(Notice<'_>),
    queue: ShareQueue,
    book: Option<Book>,
    pools: Vec<Known>,
    redirects: VecDeque<Instant>,
    heard: u64,
}

/// What holds while one connection lasts.
struct Current {
    pool: usize,
    url: PoolUrl,
    session: Talk,
    /// The pool knows the session before.
    resumed: bool,
    ready: bool,
    took_share: bool,
    /// The block that the current work follows.
    prev_hash: Option<Hash>,
    redirect: Option<(PoolUrl, Duration)>,
}

impl<'a> Driver<'a> {
    pub(in crate::session) fn new(
        settings: SessionSettings,
        handle: SessionHandle,
        sink: &'a mut dyn FnMut(Notice<'_>),
    ) -> Result<Self, LedgerError> {
        let (min, max) = settings.retry;
        let pools = (0..settings.pools.len())
            .map(|index| Known {
                backoff: Backoff::new(min, max, settings.seed.wrapping_add(index as u64)),
                resume: None,
                configure: settings.protocol.configure,
            })
            .collect();
        let mut driver = Self {
            queue: ShareQueue::new(settings.max_shares),
            book: None,
            settings: Rc::new(settings),
            handle,
            sink,
            pools,
            redirects: VecDeque::new(),
            heard: 0,
        };
        driver.open_book()?;
        Ok(driver)
    }

    pub(in crate::session) async fn run(mut self) {
        let mut next: Option<Ready> = None;
        let mut redirect: Option<(usize, PoolUrl)> = None;
        while !self.stopped() {
            let (pool, url) = match (&next, redirect.take()) {
                (Some((pool, ..)), _) => (*pool, self.settings.pools[*pool].url.clone()),
                (None, Some(target)) => target,
                (None, None) => {
                    let Some(pool) = self.next_pool().await else {
                        break;
                    };
                    (pool, self.settings.pools[pool].url.clone())
                }
            };
            let begun = Instant::now();
            let mut end = self.one_pool(pool, url, next.take()).await;
            self.queue.disconnected();
            next = end.next.take();
            let known = &mut self.pools[pool];
            let retry_after = if end.was_good(begun.elapsed()) {
                known.backoff.succeed();
                Duration::ZERO
            } else {
                known.backoff.fail(Instant::now())
            };
            (self.sink)(Notice::Disconnected {
                pool,
                cause: &end.cause,
                retry_after,
            });
            if let Some((url, wait)) = end.redirect {
                self.pause(Instant::now() + wait).await;
                redirect = Some((pool, url));
            }
        }
        self.take_found();
        for waiting in std::mem::take(&mut self.queue.shares) {
            let why = match waiting.number {
                // Not settled.
                Some(_) => Lost::Kept,
                None => Lost::Stale,
            };
            let share = &waiting.found;
            (self.sink)(Notice::Lost { share, why });
        }
    }

    fn stopped(&self) -> bool {
        self.handle.0.stopped.get()
    }

    /// The first pool that may be tried, once there is one; `None` when stopped before.
    async fn next_pool(&mut self) -> Option<usize> {
        loop {
            if self.stopped() {
                return None;
            }
            let now = Instant::now();
            let ready_at = |known: &Known| known.backoff.ready_at(now);
            if let Some(pool) = self.pools.iter().position(|known| ready_at(known) <= now) {
                return Some(pool);
            }
            let soonest = self.pools.iter().map(ready_at).min();
            self.pause(soonest.unwrap_or(now)).await;
        }
    }

    /// Waits until then, or until stopped.
    async fn pause(&mut self, until: Instant) {
        self.unless_stopped(zcn::sleep_until(until)).await;
    }

    /// What comes of `work`; `None` when stopped before. What workers hand in meanwhile waits for
    /// a pool, but not to be written.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            self.take_found();
            if self.stopped() {
                return None;
            }
            let (signal, heard) = (&self.handle.0.signal, &mut self.heard);
            let done = std::future::poll_fn(|context| {
                if signal.poll_heard(context, heard).is_ready() {
                    return Poll::Ready(None);
                }
                work.as_mut().poll(context).map(Some)
            });
            if let Some(done) = done.await {
                return Some(done);
            }
        }
    }

    /// Settings of a session with a pool at `url`.
    fn config(&self, pool: usize, url: &PoolUrl) -> TalkConfig {
        let (known, settings) = (&self.pools[pool], &self.settings.pools[pool]);
        if let Protocol::V2(authority) = url.protocol {
            let (host, user) = (&url.host, &settings.user);
            let mut config = v2::ClientConfig::new(authority, host, url.port, user);
            config.channel = self.settings.channel;
            config.answer_timeout = self.settings.protocol.request_timeout;
            config.share_timeout = self.settings.share_timeout;
            config.nominal_hash_rate = match self.handle.0.hash_rate.get() {
                0.0 => self.settings.hash_rate,
                rate => rate,
            };
            return TalkConfig::V2(config);
        }
        let mut config = self.settings.protocol.clone();
        config.host.clone_from(&url.host);
        config.user.clone_from(&settings.user);
        config.password.clone_from(&settings.password);
        config.resume.clone_from(&known.resume);
        config.configure = known.configure;
        TalkConfig::V1(config)
    }

    /// One connection from its beginning, or from where `ready` is, to its end.
    async fn one_pool(&mut self, pool: usize, url: PoolUrl, ready: Option<Ready>) -> End {
        let (wire, session) = match ready {
            Some((_, wire, session)) => (wire, session),
            None => {
                (self.sink)(Notice::Connecting { pool });
                let settings = self.settings.clone();
                let connecting = connect(&settings, &settings.pools[pool], &url);
                let connected = self.unless_stopped(connecting).await;
                let connected = connected.unwrap_or(Err(Disconnect::Stopped));
                let started = connected.and_then(|wire| {
                    let config = self.config(pool, &url);
                    Ok((wire, Talk::start(config, Instant::now())?))
                });
                match started {
                    Ok(started) => started,
                    Err(cause) => return cause.into(),
                }
            }
        };
        let mut current = Current {
            pool,
            url,
            session,
            resumed: false,
            ready: false,
            took_share: false,
            prev_hash: None,
            redirect: None,
        };
        let mut end = self.converse(&wire, &mut current).await;
        // What was told before the end counts.
        self.tell(&mut current, Instant::now());
        match current.session.resume() {
            Some(resume) => self.pools[pool].resume = Some(resume),
            // Some pools hang up on a method that they do not know; others were just not there
            // yet.
            None if matches!(end.cause, Disconnect::EndedEarly) => {
                let configure = &mut self.pools[pool].configure;
                *configure = !*configure && self.settings.protocol.configure;
            }
            None => {}
        }
        end.good |= current.took_share;
        end.redirect = current.redirect;
        end
    }

    async fn converse(&mut self, wire: &Wire, current: &mut Current) -> End {
        let settings = self.settings.clone();
        let back: Rc<RefCell<Option<Ready>>> = Rc::default();
        let mut try_at = (current.pool > 0).then(|| Instant::now() + settings.return_after);
        let mut leaving: Option<(End, Instant)> = None;
        let mut received_at = Instant::now();
        let mut received: Option<Buf> = None;
        let mut told = false;
        let mut rehearsals = Rehearsals::new(settings.rehearse_for);
        loop {
            let told_work = self.tell(current, received_at) | std::mem::take(&mut told);
            if let Some(bytes) = received.take() {
                // Only now that a job is on its way.
                let job = told_work && current.session.can_rehearse();
                rehearsals.heard(received_at, job, &bytes);
            }
            self.take_found();
            self.offer(current);
            let rate = self.handle.0.hash_rate.get();
            current.session.set_hash_rate(rate);
            let limit = settings.protocol.request_timeout;
            if let Err(cause) = send(wire, &mut current.session, limit).await {
                return cause.into();
            }
            let now = Instant::now();
            if leaving.is_none()
                && let Some(end) = self.wants_to_leave(current, &back)
            {
                leaving = Some((end, now + settings.drain_timeout));
            }
            if leaving
                .as_ref()
                .is_some_and(|(_, until)| self.queue.sent() == 0 || now >= *until)
                && let Some((end, _)) = leaving.take()
            {
                return end;
            }
            if try_at.is_some_and(|at| now >= at) && leaving.is_none() {
                try_at = Some(now + settings.return_after);
                self.try_preferred(current.pool, &back);
            }
            let rehearse_at = rehearsals.next(now);
            let deadlines = [
                current.session.poll_timeout(),
                try_at,
                leaving.as_ref().map(|(_, until)| *until),
                rehearse_at,
            ];
            let deadline = deadlines.into_iter().flatten().min();
            let signal = &self.handle.0.signal;
            let mut time = pin!(timer(deadline));
            let woken = wire.wait_or(signal, &mut self.heard, time.as_mut()).await;
            let done = match woken {
                Ok(Woken::Bytes(bytes)) => {
                    // When the completion was seen that brought them; time does not go back.
                    let completed_at = zcn::now().unwrap_or_else(Instant::now);
                    received_at = received_at.max(completed_at);
                    let done = current.session.handle_bytes(received_at, &bytes);
                    // A job goes before all else, the end of the timer included.
                    told = self.tell(current, received_at);
                    received = Some(bytes);
                    done
                }
                Ok(Woken::End) => return current.session.ended().into(),
                Ok(Woken::Signal | Woken::Time) => {
                    received_at = Instant::now();
                    if rehearse_at.is_some_and(|at| received_at >= at)
                        && let Some(work) = current.session.rehearse(rehearsals.script())
                    {
                        (self.sink)(Notice::Rehearsal { work });
                    }
                    current.session.handle_timeout(received_at)
                }
                Err(error) => return Disconnect::from(error).into(),
            };
            if let Err(error) = done {
                return error.into();
            }
        }
    }

    fn wants_to_leave(
        &mut self,
        current: &mut Current,
        back: &RefCell<Option<Ready>>,
    ) -> Option<End> {
        let leave = |cause| End {
            good: true,
            ..End::from(cause)
        };
        if self.stopped() {
            return Some(leave(Disconnect::Stopped));
        }
        if let Some((url, _)) = &current.redirect {
            let now = Instant::now();
            self.redirects
                .retain(|&at| now.saturating_duration_since(at) < REDIRECT_SPAN);
            if self.redirects.len() >= MAX_REDIRECTS {
                current.redirect = None;
                return Some(Disconnect::RedirectLoop(MAX_REDIRECTS).into());
            }
            self.redirects.push_back(now);
            let (host, port) = (url.host.clone(), url.port);
            return Some(leave(Disconnect::Redirected { host, port }));
        }
        let next = back.borrow_mut().take()?;
        Some(End {
            next: Some(next),
            ..leave(Disconnect::Returned)
        })
    }

    /// Looks, beside the session, whether a pool before `pool` takes shares again.
    fn try_preferred(&self, pool: usize, back: &Rc<RefCell<Option<Ready>>>) {
        let candidates: Vec<(usize, TalkConfig)> = (0..pool)
            .map(|index| (index, self.config(index, &self.settings.pools[index].url)))
            .collect();
        let (settings, handle, back) = (self.settings.clone(), self.handle.clone(), back.clone());
        zcn::spawn(async move {
            for (index, config) in candidates {
                let limit = settings.connect_timeout.saturating_mul(2);
                let establishing = establish(&settings, &settings.pools[index], config);
                if let Ok(Ok((wire, session))) = zcn::timeout(limit, establishing).await {
                    *back.borrow_mut() = Some((index, wire, session));
                    handle.0.signal.ring();
                    return;
                }
            }
        });
    }

    /// Tells what the session has told; whether there was a job.
    fn tell(&mut self, current: &mut Current, received_at: Instant) -> bool {
        let mut told_work = false;
        while let Some(event) = current.session.poll_event() {
            match event {
                Event::ConfigureUnanswered => self.pools[current.pool].configure = false,
                Event::Subscribed { resumed, .. } => {
                    current.resumed = resumed;
                    // Shares of this session are written with it.
                    if let Some(resume) = current.session.resume() {
                        self.pools[current.pool].resume = Some(resume);
                    }
                }
                Event::Work(key) => {
                    let Some(work) = current.session.work(key) else {
                        continue;
                    };
                    (current.prev_hash, told_work) = (Some(work.job.prev_hash), true);
                    (self.sink)(Notice::Work {
                        pool: current.pool,
                        work,
                        received_at,
                    });
                }
                Event::VersionMask(mask) => (self.sink)(Notice::VersionMask(mask)),
                Event::Accepted { id, rtt } => {
                    current.took_share = true;
                    if let Some(waiting) = self.queue.answered(id) {
                        self.settle(&waiting);
                        let share = &waiting.found;
                        (self.sink)(Notice::Accepted { share, rtt });
                    }
                }
                Event::Rejected { id, rtt, rejection } => {
                    let Some(waiting) = self.queue.answered(id) else {
                        continue;
                    };
                    self.settle(&waiting);
                    let share = &waiting.found;
                    // It had arrived before the connection broke.
                    let arrived =
                        waiting.sent_before && rejection.reason == RejectReason::Duplicate;
                    let rejection = &rejection;
                    (self.sink)(if arrived {
                        Notice::Accepted { share, rtt }
                    } else {
                        Notice::Rejected {
                            share,
                            rtt,
                            rejection,
                        }
                    });
                }
                Event::Reconnect { host, port, wait } => {
                    let url = PoolUrl {
                        protocol: current.url.protocol,
                        host: host.unwrap_or_else(|| current.url.host.clone()),
                        port: port.unwrap_or(current.url.port),
                    };
                    current.redirect = Some((url, wait));
                }
                Event::RedirectRefused { host } => {
                    (self.sink)(Notice::RedirectRefused { host: &host });
                }
                Event::Message(text) => (self.sink)(Notice::Message(&text)),
                _ => {}
            }
        }
        if !current.ready && current.session.is_ready() {
            current.ready = true;
            (self.sink)(Notice::Ready {
                pool: current.pool,
                resumed: current.resumed,
            });
        }
        told_work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_goes_silent_is_left_for_the_next_however_long_it_took() {
        let after = Duration::from_secs(300);
        let silent = || Disconnect::from(zcn_stratum::client::ClientError::Silent { after });
        let deaf = v2::client::ClientError::Unanswered {
            stage: "share",
            after,
        };
        assert!(!End::from(silent()).was_good(after));
        assert!(!End::from(Disconnect::from(deaf)).was_good(after));
        assert!(End::from(Disconnect::Ended).was_good(after));
        assert!(!End::from(Disconnect::Ended).was_good(Duration::from_secs(1)));
        // A connection that dies is nobody's fault, whoever sees it first.
        let died = || {
            let mut runtime = zcn::Runtime::new().expect("a runtime");
            // Any error will do.
            let taken = runtime.block_on(async {
                let first = zcn::TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
                zcn::TcpListener::bind(first.local_addr())
            });
            taken.expect("a runtime").expect_err("it is in use")
        };
        assert!(End::from(Disconnect::Net(died())).was_good(after));
        assert!(End::from(Disconnect::Send(died().into())).was_good(after));
        let stuck = SendError::Stuck(after);
        assert!(!End::from(Disconnect::Send(stuck)).was_good(after));
        // It took shares before.
        let end = End {
            good: true,
            ..End::from(silent())
        };
        assert!(end.was_good(after));
    }
}
