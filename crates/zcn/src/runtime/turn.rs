//! The turns of the event loop: what is looked at in which order, and when it sleeps.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::remote::Remote;
use super::{Inner, cell};
use crate::error::{Action, Error, Result};
use crate::reactor::driver::Wait;
use crate::reactor::{Event, Look};
use crate::table::Key;

/// Looks between two readings of the clock while spinning (a reading costs some 25 ns).
const LOOKS_PER_CLOCK: u32 = 16;

/// Answers of hot connections before everything else gets a turn.
const HOT_ROUNDS: u32 = 64;

/// What has ended a spin.
enum Spun {
    /// Nothing came for long enough.
    Idle,
    /// Something that needs a turn.
    Busy,
    /// A hot connection has woken the future that `block_on` runs: it is polled at once, and not
    /// so often in a row that turns have to wait for it.
    Awake,
}

/// A stop that came while nothing was running.
pub(super) struct Earlier<'a> {
    stopped: &'a Cell<bool>,
    was: bool,
}

impl Drop for Earlier<'_> {
    /// Leaves it to the next `run`, as one that came meanwhile and ended nothing.
    fn drop(&mut self) {
        self.stopped.set(self.was || self.stopped.get());
    }
}

impl Inner {
    /// Takes a stop aside that came before what begins now, which it does not concern.
    pub(super) fn set_stop_aside(self: &Rc<Self>) -> Earlier<'_> {
        self.read_inbox();
        Earlier {
            stopped: &self.stopped,
            was: self.stopped.replace(false),
        }
    }

    /// One round of `run`: everything that is ready, then a turn that may sleep.
    pub(super) fn round(self: &Rc<Self>, awake: &dyn Fn() -> bool) -> Result<()> {
        self.sleepy_turn(Wait::Forever, awake)
    }

    /// A turn that sleeps at most as long as `wait`, the timers and the sweeps allow, after
    /// spinning for as long as the settings say.
    pub(super) fn sleepy_turn(self: &Rc<Self>, wait: Wait, awake: &dyn Fn() -> bool) -> Result<()> {
        self.executor.run_ready();
        if awake()
            || self.executor.has_ready()
            || self.stopped.get()
            || wait == Wait::No
            || self.has_leftovers()
        {
            return self.turn(Wait::No);
        }
        if !self.spin.get().is_zero() {
            match self.spin(wait, awake) {
                Spun::Idle => {}
                Spun::Busy => return self.turn(Wait::No),
                Spun::Awake => return Ok(()),
            }
        }
        let wait = self.shortened(wait);
        if wait == Wait::No || !self.inbox.fall_asleep() {
            return self.turn(Wait::No);
        }
        let outcome = self.turn(wait);
        self.inbox.wake_up();
        self.idle_since.set(None);
        outcome
    }

    /// Looks for work for a bounded time since the last of it. What the hot connections bring is
    /// handled in here, with nothing but the handler between the receive and the send.
    fn spin(self: &Rc<Self>, wait: Wait, awake: &dyn Fn() -> bool) -> Spun {
        let limit = wait
            .timeout()
            .map_or(self.spin.get(), |limit| limit.min(self.spin.get()));
        {
            let reactor = self.reactor.borrow();
            if !reactor.driver.is_uring() {
                // Only a turn can tell, so turns are taken until they have found nothing for long
                // enough.
                let now = Instant::now();
                let since = match self.idle_since.get() {
                    Some(since) if !reactor.was_busy() => since,
                    _ => now,
                };
                self.idle_since.set(Some(since));
                return match now.duration_since(since) < limit {
                    true => Spun::Busy,
                    false => Spun::Idle,
                };
            }
        }
        // What was sent since the last look goes out before anybody is asked for more.
        self.reactor.borrow_mut().flush_directly();
        if cell::let_go() {
            return Spun::Busy;
        }
        let due = self.next_due();
        let mut start = Instant::now();
        // The clock is read once in so many looks; what came in between counts from then.
        let mut looks = 0;
        let mut fresh = false;
        // Everything else gets its turn after so many answers.
        for _ in 0..HOT_ROUNDS {
            loop {
                match self.reactor.borrow_mut().look() {
                    Look::Events => break,
                    Look::News => return Spun::Busy,
                    Look::Nothing => {}
                }
                if self.inbox.is_filled() || awake() {
                    return Spun::Busy;
                }
                std::hint::spin_loop();
                looks += 1;
                if looks == LOOKS_PER_CLOCK {
                    looks = 0;
                    let now = Instant::now();
                    if due.is_some_and(|due| due <= now) {
                        return Spun::Busy;
                    }
                    if std::mem::take(&mut fresh) {
                        start = now;
                    }
                    if now.duration_since(start) >= limit {
                        return Spun::Idle;
                    }
                }
            }
            self.wake_tasks(None);
            let polls = self.polls_in_a_row.get();
            if awake() && polls < HOT_ROUNDS && !cell::let_go() {
                // What else has come is there at the next look.
                self.polls_in_a_row.set(polls + 1);
                return Spun::Awake;
            }
            self.serve_events();
            if self.executor.has_ready() {
                self.executor.run_ready();
            }
            self.reactor.borrow_mut().flush_directly();
            if cell::let_go() || awake() || self.stopped.get() {
                return Spun::Busy;
            }
            fresh = true;
        }
        Spun::Busy
    }

    /// When the next timer or sweep is due.
    fn next_due(&self) -> Option<Instant> {
        let timer = self.timers.borrow().next();
        let stacks = self.reactor.borrow().stacks.deadline();
        [timer, self.next_sweep(), stacks]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn shortened(&self, wait: Wait) -> Wait {
        let Some(due) = self.next_due() else {
            return wait;
        };
        let until = due.saturating_duration_since(Instant::now());
        match wait.timeout().map_or(until, |limit| limit.min(until)) {
            Duration::ZERO => Wait::No,
            limit => Wait::AtMost(limit),
        }
    }

    /// One turn: inbox, tasks, reactor, wakers, servers, timers.
    pub(crate) fn turn(self: &Rc<Self>, wait: Wait) -> Result<()> {
        self.polls_in_a_row.set(0);
        self.read_inbox();
        let wait = if cell::let_go() || self.executor.has_ready() || self.has_leftovers() {
            Wait::No
        } else {
            wait
        };
        let outcome = self.reactor.borrow_mut().turn(wait);
        outcome.map_err(|error| Error::bare(Action::Receive, error))?;
        self.read_inbox();
        let now = self.reactor.borrow().now();
        self.wake_tasks(Some(now));
        self.serve_events();
        self.serve_sweeps(now);
        self.executor.run_ready();
        cell::let_go();
        Ok(())
    }

    fn read_inbox(self: &Rc<Self>) {
        if !self.inbox.is_filled() {
            return;
        }
        let mut remotes = std::mem::take(&mut *self.remotes.borrow_mut());
        self.inbox.take(&mut remotes);
        for remote in remotes.drain(..) {
            match remote {
                Remote::Wake(id) => self.executor.make_ready(id),
                Remote::Run(job) => job(),
                Remote::Stop => self.stopped.set(true),
            }
        }
        *self.remotes.borrow_mut() = remotes;
    }

    fn wake_tasks(&self, now: Option<Instant>) {
        let mut wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.append(&mut self.reactor.borrow_mut().wakers);
        if let Some(now) = now {
            self.timers.borrow_mut().expired(now, &mut wakers);
        }
        for waker in wakers.drain(..) {
            waker.wake();
        }
        *self.wakers.borrow_mut() = wakers;
    }

    /// Hands the reactor's events to their servers, with nothing borrowed (rule 16).
    fn serve_events(self: &Rc<Self>) {
        let mut events = std::mem::take(&mut *self.events.borrow_mut());
        match events.is_empty() {
            true => std::mem::swap(&mut events, &mut self.reactor.borrow_mut().events),
            false => events.append(&mut self.reactor.borrow_mut().events),
        }
        while let Some(event) = self.allowed(&mut events, None) {
            let server = event.server();
            let Some(mut service) = self.take_service(server) else {
                continue;
            };
            service.on_event(self, event);
            // The rest of this server's run of events without putting it back in between.
            while let Some(event) = self.allowed(&mut events, Some(server)) {
                service.on_event(self, event);
            }
            self.give_service(server, service);
        }
        *self.events.borrow_mut() = events;
    }

    /// The next event, of this server if one is named, if the turn may hand out another.
    #[inline]
    fn allowed(&self, events: &mut VecDeque<Event>, server: Option<Key>) -> Option<Event> {
        if self.allowance.get() == 0 {
            return None;
        }
        let event = match server {
            None => events.pop_front(),
            Some(server) => events.pop_front_if(|event| event.server() == server),
        }?;
        // Datagrams are counted one by one by their server.
        if !matches!(event, Event::Datagrams { .. }) {
            self.spend();
        }
        Some(event)
    }

    /// Takes one event off what the turn may still hand out; `false` when that is nothing.
    #[inline]
    pub(crate) fn spend(&self) -> bool {
        match self.allowance.get().checked_sub(1) {
            Some(left) => {
                self.allowance.set(left);
                true
            }
            None => false,
        }
    }

    /// Whether the last turn was not allowed to hand out everything.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.events.borrow().is_empty()
    }
}
