//! The books of a connection pool: what is open, idle and waited for. No I/O and no user code in
//! here; what must be woken or closed goes out by [`Effects`] and is seen to with nothing borrowed.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::Instant;

use super::destination::Destination;
use super::options::ConnectionPoolOptions;
use crate::TcpStream;

/// A connection nobody uses.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) stream: TcpStream,
    pub(super) born: Instant,
    pub(super) since: Instant,
}

/// What a caller gets: its connection counts as open from here on.
#[derive(Debug)]
pub(super) enum Grant {
    /// An idle connection, not looked at yet.
    Idle(Idle),
    /// Leave to connect.
    Connect,
}

/// A caller that waits.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    waker: Waker,
}

/// One destination.
#[derive(Debug, Default)]
struct Place {
    /// Most recently used last.
    idle: Vec<Idle>,
    /// Connections in use, idle and being made.
    open: usize,
    /// First come first served.
    waiting: VecDeque<Waiter>,
    /// Connects that failed in a row.
    failures: u32,
    /// No connect before this time.
    retry_at: Option<Instant>,
    /// After a failure one connect at a time tries whether the destination is back.
    probing: bool,
    last_error: Option<String>,
    /// `min_idle` connections are kept ready.
    warm: bool,
}

/// What a pool did so far and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionPoolStats {
    /// Connections in use, idle and being made, now.
    pub open: usize,
    /// Idle connections now.
    pub idle: usize,
    /// Callers waiting now.
    pub waiting: usize,
    /// Connections made.
    pub created: u64,
    /// Times an idle connection was handed out.
    pub reused: u64,
    /// Idle connections closed because the peer had gone, something unexpected had arrived, or the
    /// user's check said so.
    pub stale: u64,
    /// Connections closed because of the idle timeout or their age.
    pub expired: u64,
    /// Connects that failed.
    pub failed: u64,
    /// Callers that waited in vain.
    pub timed_out: u64,
}

/// What is to be done once the books are closed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) wakers: Vec<Waker>,
    pub(super) closing: Vec<TcpStream>,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct State {
    places: HashMap<Destination, Place>,
    /// What waiting callers have been given and not fetched yet.
    granted: HashMap<u64, Grant>,
    next_ticket: u64,
    pub(super) stats: ConnectionPoolStats,
    /// A task looks through the idle connections from time to time.
    pub(super) sweeping: bool,
}

impl Place {
    fn may_connect(&self, options: &ConnectionPoolOptions, now: Instant) -> bool {
        self.open < options.max_per_destination
            && self.retry_at.is_none_or(|at| at <= now)
            && !(self.failures > 0 && self.probing)
    }

    fn is_forgettable(&self) -> bool {
        self.open == 0 && self.waiting.is_empty() && self.failures == 0 && !self.warm
    }
}

impl State {
    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Serves a caller who has just come, unless others wait for the same.
    pub(super) fn grant_at_once(
        &mut self,
        destination: &Destination,
        options: &ConnectionPoolOptions,
        effects: &mut Effects,
    ) -> Option<Grant> {
        let place = self.places.entry(destination.clone()).or_default();
        if !place.waiting.is_empty() {
            return None;
        }
        self.grant(destination, options, effects)
    }

    /// An idle connection, or leave to connect within the caps.
    fn grant(
        &mut self,
        destination: &Destination,
        options: &ConnectionPoolOptions,
        effects: &mut Effects,
    ) -> Option<Grant> {
        if let Some(idle) = self.take_idle(destination) {
            return Some(Grant::Idle(idle));
        }
        let now = Instant::now();
        if !self.places.get(destination)?.may_connect(options, now) {
            return None;
        }
        if self.stats.open >= options.max_total {
            effects.closing.push(self.evict()?);
        }
        let place = self.places.get_mut(destination)?;
        place.open += 1;
        place.probing = place.failures > 0;
        self.stats.open += 1;
        Some(Grant::Connect)
    }

    /// The idle connection used last.
    pub(super) fn take_idle(&mut self, destination: &Destination) -> Option<Idle> {
        let idle = self.places.get_mut(destination)?.idle.pop()?;
        self.stats.idle -= 1;
        Some(idle)
    }

    /// Takes out the connection that has been idle for longest, to make room.
    fn evict(&mut self) -> Option<TcpStream> {
        let destination = self
            .places
            .iter()
            .filter_map(|(destination, place)| Some((place.idle.first()?.since, destination)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, destination)| destination.clone())?;
        let place = self.places.get_mut(&destination)?;
        let idle = place.idle.remove(0);
        self.stats.idle -= 1;
        self.close_one(&destination);
        Some(idle.stream)
    }

    /// A connection that counted as open is no more.
    fn close_one(&mut self, destination: &Destination) {
        self.stats.open -= 1;
        if let Some(place) = self.places.get_mut(destination) {
            place.open -= 1;
            if place.is_forgettable() {
                self.places.remove(destination);
            }
        }
    }

    /// A connection, or leave to connect, that came to nothing.
    pub(super) fn release(
        &mut self,
        destination: &Destination,
        options: &ConnectionPoolOptions,
        effects: &mut Effects,
    ) {
        self.close_one(destination);
        self.dispatch(options, effects);
    }

    /// A connection comes back in good order.
    pub(super) fn give_back(
        &mut self,
        destination: &Destination,
        idle: Idle,
        options: &ConnectionPoolOptions,
        effects: &mut Effects,
    ) {
        // Counted as open, so the place is there.
        let place = self.places.entry(destination.clone()).or_default();
        place.idle.push(idle);
        self.stats.idle += 1;
        self.dispatch(options, effects);
        let crowded = self
            .places
            .get_mut(destination)
            .filter(|place| place.idle.len() > options.max_idle);
        if let Some(place) = crowded {
            effects.closing.push(place.idle.remove(0).stream);
            self.stats.idle -= 1;
            self.release(destination, options, effects);
        }
    }

    /// Queues a caller.
    pub(super) fn wait(&mut self, destination: &Destination, ticket: u64, waker: &Waker) {
        let place = self.places.entry(destination.clone()).or_default();
        if let Some(waiter) = place
            .waiting
            .iter_mut()
            .find(|waiter| waiter.ticket == ticket)
        {
            waiter.waker.clone_from(waker);
            return;
        }
        place.waiting.push_back(Waiter {
            ticket,
            waker: waker.clone(),
        });
        self.stats.waiting += 1;
    }

    pub(super) fn take_granted(&mut self, ticket: u64) -> Option<Grant> {
        self.granted.remove(&ticket)
    }

    /// A caller does not wait any longer; what it was given goes to the next one.
    pub(super) fn leave(
        &mut self,
        destination: &Destination,
        ticket: u64,
        options: &ConnectionPoolOptions,
        effects: &mut Effects,
    ) {
        match self.granted.remove(&ticket) {
            Some(Grant::Idle(idle)) => {
                return self.give_back(destination, idle, options, effects);
            }
            Some(Grant::Connect) => {
                self.probed(destination);
                return self.release(destination, options, effects);
            }
            None => {}
        }
        let Some(place) = self.places.get_mut(destination) else {
            return;
        };
        let before = place.waiting.len();
        place.waiting.retain(|waiter| waiter.ticket != ticket);
        self.stats.waiting -= before - place.waiting.len();
        if place.is_forgettable() {
            self.places.remove(destination);
        }
    }

    /// Serves whoever can be served, the one who has waited longest first.
    pub(super) fn dispatch(&mut self, options: &ConnectionPoolOptions, effects: &mut Effects) {
        while self.stats.waiting > 0 {
            let now = Instant::now();
            let room = self.stats.open < options.max_total || self.stats.idle > 0;
            let next = self
                .places
                .iter()
                .filter(|(_, place)| {
                    !place.idle.is_empty() || (room && place.may_connect(options, now))
                })
                .filter_map(|(destination, place)| {
                    Some((place.waiting.front()?.ticket, destination))
                })
                .min_by_key(|(ticket, _)| *ticket)
                .map(|(_, destination)| destination.clone());
            let Some(destination) = next else { return };
            let Some(grant) = self.grant(&destination, options, effects) else {
                return;
            };
            let waiter = self
                .places
                .get_mut(&destination)
                .and_then(|place| place.waiting.pop_front());
            // There is one, by the choice above.
            if let Some(waiter) = waiter {
                self.stats.waiting -= 1;
                self.granted.insert(waiter.ticket, grant);
                effects.wakers.push(waiter.waker);
            }
        }
    }

    /// The one connect that was trying has ended.
    pub(super) fn probed(&mut self, destination: &Destination) {
        if let Some(place) = self.places.get_mut(destination) {
            place.probing = false;
        }
    }

    pub(super) fn connected(
        &mut self,
        destination: &Destination,
        options: &ConnectionPoolOptions,
        effects: &mut Effects,
    ) {
        self.stats.created += 1;
        if let Some(place) = self.places.get_mut(destination) {
            place.probing = false;
            if place.failures > 0 {
                place.failures = 0;
                place.retry_at = None;
                place.last_error = None;
                // The others need not wait for their turn to try any more.
                self.dispatch(options, effects);
            }
        }
    }

    /// Notes a failed connect; when the next one may be tried, if that has changed.
    pub(super) fn failed(
        &mut self,
        destination: &Destination,
        error: &crate::Error,
        options: &ConnectionPoolOptions,
        random: u64,
    ) -> Option<Instant> {
        self.stats.failed += 1;
        let place = self.places.get_mut(destination)?;
        place.probing = false;
        place.last_error = Some(error.to_string());
        let now = Instant::now();
        if place.retry_at.is_some_and(|at| at > now) {
            // Begun before the failure that is being waited out: tells nothing new.
            return None;
        }
        place.failures = place.failures.saturating_add(1);
        let at = now.checked_add(options.backoff_after(place.failures, random))?;
        place.retry_at = Some(at);
        Some(at)
    }

    /// Forgets an old failure of a destination that nobody has asked for since.
    pub(super) fn forget_failure(&mut self, destination: &Destination, at: Instant) {
        let Some(place) = self.places.get_mut(destination) else {
            return;
        };
        if place.retry_at == Some(at) && place.waiting.is_empty() && place.open == 0 {
            place.failures = 0;
            place.retry_at = None;
            if place.is_forgettable() {
                self.places.remove(destination);
            }
        }
    }

    /// Why a caller waits, for the error message.
    pub(super) fn why_waiting(&self, destination: &Destination) -> String {
        let Some(place) = self.places.get(destination) else {
            return String::new();
        };
        let mut why = format!(
            "{} open there, {} of all destinations",
            place.open, self.stats.open
        );
        if let Some(error) = &place.last_error {
            why.push_str("; the last connect failed: ");
            why.push_str(error);
        }
        why
    }

    /// Leave to connect for keeping a destination warm; makes nobody wait.
    pub(super) fn grant_spare(
        &mut self,
        destination: &Destination,
        options: &ConnectionPoolOptions,
    ) -> bool {
        let now = Instant::now();
        let place = self.places.entry(destination.clone()).or_default();
        place.warm = options.min_idle > 0;
        if place.idle.len() >= options.min_idle
            || !place.may_connect(options, now)
            || self.stats.open >= options.max_total
        {
            return false;
        }
        place.open += 1;
        place.probing = place.failures > 0;
        self.stats.open += 1;
        true
    }

    pub(super) fn idle_at(&self, destination: &Destination) -> usize {
        self.places
            .get(destination)
            .map_or(0, |place| place.idle.len())
    }

    /// Closes what is idle for too long, too old or, by `stale`, of no use any more. Answers which
    /// warm destinations want connections.
    pub(super) fn sweep(
        &mut self,
        options: &ConnectionPoolOptions,
        stale: impl Fn(&TcpStream) -> bool,
        effects: &mut Effects,
    ) -> Vec<Destination> {
        let mut wanting = Vec::new();
        let mut closed = Vec::new();
        for (destination, place) in &mut self.places {
            let (keep, drop): (Vec<_>, Vec<_>) = place.idle.drain(..).partition(|idle| {
                if is_expired(idle, options) {
                    self.stats.expired += 1;
                    false
                } else if stale(&idle.stream) {
                    self.stats.stale += 1;
                    false
                } else {
                    true
                }
            });
            place.idle = keep;
            closed.extend(drop.iter().map(|_| destination.clone()));
            effects
                .closing
                .extend(drop.into_iter().map(|idle| idle.stream));
            if place.warm && place.idle.len() < options.min_idle {
                wanting.push(destination.clone());
            }
        }
        self.stats.idle -= closed.len();
        for destination in &closed {
            self.close_one(destination);
        }
        self.dispatch(options, effects);
        wanting
    }

    /// Whether there is anything for a sweep to look at.
    pub(super) fn wants_sweeps(&self) -> bool {
        self.stats.idle > 0 || self.places.values().any(|place| place.warm)
    }

    /// Closes every idle connection.
    pub(super) fn clear(&mut self, options: &ConnectionPoolOptions, effects: &mut Effects) {
        for place in self.places.values_mut() {
            place.warm = false;
        }
        while let Some(stream) = self.evict() {
            effects.closing.push(stream);
        }
        self.places.retain(|_, place| !place.is_forgettable());
        self.dispatch(options, effects);
    }
}

/// Whether an idle connection has reached one of its time limits.
pub(super) fn is_expired(idle: &Idle, options: &ConnectionPoolOptions) -> bool {
    let reached = |since: Instant, limit: Option<std::time::Duration>| {
        limit.is_some_and(|limit| since.elapsed() >= limit)
    };
    reached(idle.since, options.idle_timeout) || reached(idle.born, options.max_age)
}
