//! The cache itself: entries, their timers, the packets that wait for them.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use zcn_frame::Frame;
use zcn_wire::EthernetAddress;

use super::NeighbourConfig;
use super::state::{Advertisement, Effect, NeighbourState, State, effect};
use crate::limit::RateLimit;
use crate::random::Random;
use crate::slab::{Id, Slab};
use crate::stats::NeighbourStats;
use crate::time::Instant;
use crate::wheel::Wheel;

/// What a packet towards a neighbour has to do.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// Leave, to this link address; it is where it was.
    Send(EthernetAddress),
    /// It waits now; nothing else to do.
    Waits,
    /// It waits now, and the neighbour is to be solicited.
    Solicit,
    /// It waits now in the place of an older packet, which is dropped.
    Displaced,
    /// No entry could be made for it.
    Full,
}

/// What time has brought about.
#[derive(Debug)]
pub(crate) enum Timeout {
    /// Solicit this neighbour: everybody, or the one at the link address.
    Solicit(IpAddr, Option<EthernetAddress>),
    /// A neighbour does not answer; these packets waited for it.
    Failed(VecDeque<Frame>),
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    link: EthernetAddress,
    state: State,
    /// When a packet last went to it; `None` if none ever did.
    used: Option<Instant>,
    updated: Instant,
    /// When an upper layer's word last counted.
    confirmed: Instant,
    queue: VecDeque<Frame>,
}

impl Entry {
    /// Who goes first when room is needed; never a permanent one.
    fn rank(&self) -> Option<(u8, Option<Instant>)> {
        let class = match self.state {
            State::Permanent => return None,
            State::Stale if self.used.is_none() => 0,
            State::Incomplete { .. } => 1,
            State::Stale => 2,
            State::Probe { .. } => 3,
            State::Delay { .. } | State::Reachable { .. } => 4,
        };
        Some((class, self.used))
    }
}

/// Only entries that no packet ever used may go for a neighbour that a stranger told of.
const UNSOLICITED_RANK: u8 = 0;

/// The neighbours of one interface.
#[derive(Debug)]
pub(crate) struct NeighbourCache {
    config: NeighbourConfig,
    entries: Slab<Entry>,
    by_address: BTreeMap<IpAddr, Id>,
    wheel: Wheel,
    random: Random,
    solicits: RateLimit,
    /// How long an upper layer's word holds before the next one is worth anything.
    confirm_interval: Duration,
    /// Packets waiting in all entries.
    waiting: usize,
    pub(crate) stats: NeighbourStats,
}

impl NeighbourCache {
    pub(crate) fn new(config: NeighbourConfig, random: Random, now: Instant) -> Self {
        Self {
            solicits: RateLimit::new(config.solicit_rate, config.solicit_burst),
            // A reachable time is at least half the base: no word is missed for long.
            confirm_interval: config.reachable_time / 16,
            config,
            entries: Slab::new(),
            by_address: BTreeMap::new(),
            wheel: Wheel::new(now),
            random,
            waiting: 0,
            stats: NeighbourStats::default(),
        }
    }

    /// The entry of a neighbour.
    pub(crate) fn id_of(&self, address: IpAddr) -> Option<Id> {
        self.by_address.get(&address).copied()
    }

    /// The link address of a neighbour whose entry is known, if a packet changes nothing about
    /// that but when it was used; otherwise [`resolve`](Self::resolve) tells.
    #[inline]
    pub(crate) fn resolve_known(
        &mut self,
        now: Instant,
        id: Id,
        address: IpAddr,
    ) -> Option<EthernetAddress> {
        let entry = self.entries.get_mut(id)?;
        let calm = match entry.state {
            State::Reachable { until } => now < until,
            State::Delay { .. } | State::Probe { .. } | State::Permanent => true,
            State::Incomplete { .. } | State::Stale => false,
        };
        if !calm || entry.address != address {
            return None;
        }
        entry.used = Some(now);
        Some(entry.link)
    }

    /// The link address for a packet to `address`; asks for it if it is not known. The
    /// packet is taken, and waits then.
    pub(crate) fn resolve(
        &mut self,
        now: Instant,
        address: IpAddr,
        frame: &mut Frame,
    ) -> Resolution {
        let Some(&id) = self.by_address.get(&address) else {
            return self.begin(now, address, frame);
        };
        let config = &self.config;
        let Some(entry) = self.entries.get_mut(id) else {
            return Resolution::Full;
        };
        entry.used = Some(now);
        match entry.state {
            State::Incomplete { .. } => {
                if entry.queue.len() < config.queue && self.waiting < config.queue_total {
                    entry.queue.push_back(core::mem::take(frame));
                    self.waiting += 1;
                    return Resolution::Waits;
                }
                match entry.queue.pop_front() {
                    Some(_) => {
                        entry.queue.push_back(core::mem::take(frame));
                        self.stats.unres_discards += 1;
                        Resolution::Displaced
                    }
                    None => Resolution::Full,
                }
            }
            State::Stale => {
                let until = now + config.delay_first_probe;
                entry.state = State::Delay { until };
                let link = entry.link;
                self.wheel.schedule(id.index, until);
                Resolution::Send(link)
            }
            State::Reachable { until } if until <= now => {
                // Its timer has not been looked at yet.
                let until = now + config.delay_first_probe;
                entry.state = State::Delay { until };
                let link = entry.link;
                self.wheel.schedule(id.index, until);
                Resolution::Send(link)
            }
            _ => Resolution::Send(entry.link),
        }
    }

    /// A packet for a neighbour that is not in the cache.
    fn begin(&mut self, now: Instant, address: IpAddr, frame: &mut Frame) -> Resolution {
        if self.waiting >= self.config.queue_total || !self.solicits.has_token(now) {
            self.stats.table_fulls += 1;
            return Resolution::Full;
        }
        let entry = Entry {
            address,
            link: EthernetAddress::UNSPECIFIED,
            state: State::Incomplete { sent: 1 },
            used: Some(now),
            updated: now,
            confirmed: Instant::ZERO,
            queue: VecDeque::new(),
        };
        let Some(id) = self.insert(entry, u8::MAX) else {
            return Resolution::Full;
        };
        self.solicits.take(now);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.queue.push_back(core::mem::take(frame));
            self.waiting += 1;
        }
        self.stats.solicits += 1;
        self.wheel.schedule(id.index, now + self.config.retransmit);
        Resolution::Solicit
    }

    /// Adds an entry, in the place of another one of at most `rank` if there are too many.
    fn insert(&mut self, entry: Entry, rank: u8) -> Option<Id> {
        if self.entries.len() >= self.config.entries {
            let worst = self
                .entries
                .iter()
                .filter_map(|(id, entry)| Some((entry.rank()?, id)))
                .min();
            match worst {
                Some(((class, _), id)) if class <= rank => {
                    // Packets that waited for it are lost, as with a failed resolution.
                    let waited = self.remove(id).len() as u64;
                    self.stats.unres_discards += waited;
                }
                _ => {
                    self.stats.table_fulls += 1;
                    return None;
                }
            }
        }
        let address = entry.address;
        let id = self.entries.insert(entry);
        self.by_address.insert(address, id);
        self.stats.allocs += 1;
        self.stats.entries = self.entries.len() as u64;
        Some(id)
    }

    fn remove(&mut self, id: Id) -> VecDeque<Frame> {
        let Some(entry) = self.entries.remove(id) else {
            return VecDeque::new();
        };
        self.by_address.remove(&entry.address);
        self.wheel.cancel(id.index);
        self.waiting -= entry.queue.len();
        self.stats.destroys += 1;
        self.stats.entries = self.entries.len() as u64;
        entry.queue
    }

    /// A neighbour told its link address, asked or not, without asking us anything. Only
    /// an entry that exists is changed. Answers the packets that may leave now, and where
    /// to.
    pub(crate) fn advertised(
        &mut self,
        now: Instant,
        address: IpAddr,
        said: Advertisement,
    ) -> Option<(EthernetAddress, VecDeque<Frame>)> {
        let &id = self.by_address.get(&address)?;
        let reachable_until = now + self.draw_reachable_time();
        let entry = self.entries.get_mut(id)?;
        if let State::Incomplete { .. } = entry.state {
            // RFC 4861 section 7.2.5: without a link address it says nothing.
            let link = said.link?;
            entry.link = link;
            entry.updated = now;
            let state = if said.solicited {
                State::Reachable {
                    until: reachable_until,
                }
            } else {
                State::Stale
            };
            entry.state = state;
            let queue = core::mem::take(&mut entry.queue);
            self.waiting -= queue.len();
            self.schedule(id, now);
            self.use_stale(id, now, &queue);
            return Some((link, queue));
        }
        if entry.state == State::Permanent {
            return None;
        }
        let locked = now < entry.updated + self.config.lock_time;
        match effect(entry.link, entry.state, said) {
            Effect::None => {}
            Effect::Stale(link) if link != entry.link && locked => {}
            Effect::Stale(link) => {
                if link != entry.link {
                    entry.updated = now;
                }
                entry.link = link;
                entry.state = State::Stale;
            }
            Effect::Reachable(link) => {
                if link != entry.link {
                    entry.updated = now;
                }
                entry.link = link;
                entry.state = State::Reachable {
                    until: reachable_until,
                };
            }
        }
        self.schedule(id, now);
        None
    }

    /// A neighbour asked us something and told its link address with it (RFC 4861 section
    /// 7.2.3, RFC 826). We will answer, so an entry is made if there is none, unless that
    /// would cost one that is in use.
    pub(crate) fn heard(
        &mut self,
        now: Instant,
        address: IpAddr,
        link: EthernetAddress,
    ) -> Option<(EthernetAddress, VecDeque<Frame>)> {
        if self.by_address.contains_key(&address) {
            let said = Advertisement {
                link: Some(link),
                solicited: false,
                overrides: true,
            };
            return self.advertised(now, address, said);
        }
        let entry = Entry {
            address,
            link,
            state: State::Stale,
            used: None,
            updated: now,
            confirmed: Instant::ZERO,
            queue: VecDeque::new(),
        };
        self.insert(entry, UNSOLICITED_RANK);
        None
    }

    /// A stale entry that packets were waiting for is used at once.
    fn use_stale(&mut self, id: Id, now: Instant, queue: &VecDeque<Frame>) {
        if queue.is_empty() {
            return;
        }
        let until = now + self.config.delay_first_probe;
        if let Some(entry) = self.entries.get_mut(id)
            && entry.state == State::Stale
        {
            entry.state = State::Delay { until };
            self.wheel.schedule(id.index, until);
        }
    }

    /// Whether a question of ours to `address` is open: an ARP answer then is solicited.
    pub(crate) fn awaits(&self, address: IpAddr) -> bool {
        matches!(
            self.state(address),
            Some(NeighbourState::Incomplete | NeighbourState::Probe)
        )
    }

    /// An upper layer got through to the neighbour and back (RFC 4861 section 7.3.1).
    /// `known` may be its entry.
    pub(crate) fn confirm(&mut self, now: Instant, known: Option<Id>, address: IpAddr) {
        let known = known.filter(|&id| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| entry.address == address)
        });
        let Some(id) = known.or_else(|| self.id_of(address)) else {
            return;
        };
        if self.entries.get(id).is_some_and(|entry| {
            matches!(entry.state, State::Reachable { until } if now < until)
                && now < entry.confirmed + self.confirm_interval
        }) {
            return;
        }
        let until = now + self.draw_reachable_time();
        if let Some(entry) = self.entries.get_mut(id)
            && matches!(
                entry.state,
                State::Reachable { .. } | State::Stale | State::Delay { .. } | State::Probe { .. }
            )
        {
            entry.state = State::Reachable { until };
            entry.confirmed = now;
            self.schedule(id, now);
        }
    }

    /// Sets an entry that never changes. Answers the packets that may leave now.
    pub(crate) fn set_permanent(
        &mut self,
        now: Instant,
        address: IpAddr,
        link: EthernetAddress,
    ) -> VecDeque<Frame> {
        let queue = match self.by_address.get(&address) {
            Some(&id) => self.remove(id),
            None => VecDeque::new(),
        };
        self.insert(
            Entry {
                address,
                link,
                state: State::Permanent,
                used: None,
                updated: now,
                confirmed: Instant::ZERO,
                queue: VecDeque::new(),
            },
            u8::MAX,
        );
        queue
    }

    /// The state of a neighbour.
    pub(crate) fn state(&self, address: IpAddr) -> Option<NeighbourState> {
        let entry = self.entries.get(*self.by_address.get(&address)?)?;
        Some(entry.state.name())
    }

    /// Every neighbour with its state and link address.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (IpAddr, NeighbourState, EthernetAddress)> + '_ {
        self.by_address.iter().filter_map(|(&address, &id)| {
            let entry = self.entries.get(id)?;
            Some((address, entry.state.name(), entry.link))
        })
    }

    /// How many packets wait for neighbours.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// One thing that time has brought about by `now`; call it until `None`.
    pub(crate) fn pop_timeout(&mut self, now: Instant) -> Option<Timeout> {
        while let Some(index) = self.wheel.pop_expired(now) {
            let Some(id) = self.entries.id_at(index) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            let again = now + self.config.retransmit;
            match &mut entry.state {
                State::Incomplete { sent } | State::Probe { sent }
                    if *sent
                        >= self
                            .config
                            .multicast_solicits
                            .max(self.config.unicast_solicits) =>
                {
                    self.stats.res_failed += 1;
                    return Some(Timeout::Failed(self.remove(id)));
                }
                State::Incomplete { sent } => {
                    *sent += 1;
                    let address = entry.address;
                    self.stats.solicits += 1;
                    self.wheel.schedule(index, again);
                    return Some(Timeout::Solicit(address, None));
                }
                State::Probe { sent } => {
                    *sent += 1;
                    let (address, link) = (entry.address, entry.link);
                    self.stats.solicits += 1;
                    self.wheel.schedule(index, again);
                    return Some(Timeout::Solicit(address, Some(link)));
                }
                State::Delay { .. } => {
                    entry.state = State::Probe { sent: 1 };
                    let (address, link) = (entry.address, entry.link);
                    self.stats.solicits += 1;
                    self.wheel.schedule(index, again);
                    return Some(Timeout::Solicit(address, Some(link)));
                }
                State::Reachable { until } if *until <= now => entry.state = State::Stale,
                State::Reachable { until } => {
                    let until = *until;
                    self.wheel.schedule(index, until);
                }
                State::Stale | State::Permanent => {}
            }
        }
        None
    }

    /// When to call [`pop_timeout`](Self::pop_timeout).
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// Sets the timer that the state of an entry asks for.
    fn schedule(&mut self, id: Id, now: Instant) {
        let Some(entry) = self.entries.get(id) else {
            return;
        };
        match entry.state {
            State::Reachable { until } | State::Delay { until } => {
                self.wheel.schedule(id.index, until);
            }
            State::Incomplete { .. } | State::Probe { .. } => {
                if self.wheel.deadline(id.index).is_none() {
                    self.wheel.schedule(id.index, now + self.config.retransmit);
                }
            }
            State::Stale | State::Permanent => self.wheel.cancel(id.index),
        }
    }

    /// Between half and one and a half of the base (RFC 4861 section 6.3.2).
    fn draw_reachable_time(&mut self) -> Duration {
        let base = u64::try_from(self.config.reachable_time.as_micros()).unwrap_or(u64::MAX / 4);
        let part = u64::from(self.random.below(1_001));
        Duration::from_micros(base / 2 + base / 1_000 * part)
    }
}

#[cfg(test)]
mod tests;
