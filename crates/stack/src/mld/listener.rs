//! What one interface has to say of the groups it listens to, and when.

use core::net::Ipv6Addr;
use core::time::Duration;

use zcn_wire::{MldQuery, MldRecordKind};

use crate::random::Random;
use crate::time::{Instant, earlier};

/// How often a change is told, and how many losses a querier counts on, unless it says
/// otherwise (RFC 9777 section 9.1).
const ROBUSTNESS: u8 = 2;
/// Between two general queries, unless the querier says otherwise (RFC 9777 section 9.2).
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// Within this time a change is told again (RFC 9777 section 9.11), in milliseconds.
const UNSOLICITED_REPORT_INTERVAL_MS: u32 = 1_000;

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// In version 2: one record for each group, all of them in as few messages as possible.
    Records(Vec<(MldRecordKind, Ipv6Addr)>),
    /// In version 1: the group is listened to.
    Listening(Ipv6Addr),
    /// In version 1: the group is not listened to any more.
    Done(Ipv6Addr),
}

/// A group that addresses of the interface need.
#[derive(Debug)]
struct Group {
    address: Ipv6Addr,
    /// How many addresses need it; 0: it was left, and that is still to be told.
    users: u32,
    /// How often the last change is still to be told.
    changes: u8,
    /// When to answer a query about this group.
    answer: Option<Instant>,
    /// Whether the last report of version 1 on the link was ours, and so it is ours to say
    /// when the group is left (RFC 2710 section 4).
    told_last: bool,
}

/// The listener side of an interface. There are as many groups as addresses at most, so what
/// peers send makes nothing grow.
///
/// Groups are listened to from every source. A query about a group and some sources is
/// therefore answered as one about the group, which says the same and needs no list of sources
/// (RFC 9777 section 6.2).
#[derive(Debug)]
pub(crate) struct Listener {
    groups: Vec<Group>,
    /// When to tell changes.
    changes_at: Option<Instant>,
    /// When to answer a general query (version 2).
    answer_all_at: Option<Instant>,
    /// The earliest answer of a group.
    answer_at: Option<Instant>,
    /// Until then a querier of version 1 counts as present (RFC 9777 section 8.2.1).
    version_1_until: Option<Instant>,
    robustness: u8,
    query_interval: Duration,
    random: Random,
}

impl Listener {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            groups: Vec::new(),
            changes_at: None,
            answer_all_at: None,
            answer_at: None,
            version_1_until: None,
            robustness: ROBUSTNESS,
            query_interval: QUERY_INTERVAL,
            random,
        }
    }

    /// One more address needs `group`.
    pub(crate) fn join(&mut self, now: Instant, group: Ipv6Addr) {
        let found = self.groups.iter_mut().find(|own| own.address == group);
        match found {
            Some(own) if own.users > 0 => {
                own.users += 1;
                return;
            }
            Some(own) => {
                own.users = 1;
                own.changes = self.robustness;
            }
            None => self.groups.push(Group {
                address: group,
                users: 1,
                changes: self.robustness,
                answer: None,
                told_last: false,
            }),
        }
        self.changes_at = Some(now);
    }

    /// One address less needs `group`.
    pub(crate) fn leave(&mut self, now: Instant, group: Ipv6Addr) {
        let found = self.groups.iter_mut().find(|own| own.address == group);
        let Some(own) = found.filter(|own| own.users > 0) else {
            return;
        };
        own.users -= 1;
        if own.users == 0 {
            own.changes = self.robustness;
            own.answer = None;
            self.changes_at = Some(now);
        }
    }

    /// Says again what is listened to: there is an address to say it from, without which
    /// routers do not listen (RFC 3590 section 4).
    pub(crate) fn announce(&mut self, now: Instant) {
        for own in &mut self.groups {
            own.changes = self.robustness;
            self.changes_at = Some(now);
        }
    }

    /// Takes a query that is sound.
    pub(super) fn handle_query(&mut self, now: Instant, query: &MldQuery<'_>) {
        let delay = query.max_response_delay();
        match query.querier {
            None => {
                let intervals = self.query_interval * u32::from(self.robustness);
                self.version_1_until = Some(now + intervals + delay);
            }
            Some(querier) => {
                self.robustness = match querier.robustness {
                    0 => ROBUSTNESS,
                    robustness => robustness,
                };
                self.query_interval = match querier.interval() {
                    Duration::ZERO => QUERY_INTERVAL,
                    interval => interval,
                };
            }
        }
        let one = !query.group.is_unspecified();
        if !one && !self.is_version_1(now) {
            let at = now + self.part_of(delay);
            self.answer_all_at = earlier(self.answer_all_at, Some(at));
            return;
        }
        for index in 0..self.groups.len() {
            let own = &self.groups[index];
            if own.users > 0 && (!one || own.address == query.group) {
                let at = now + self.part_of(delay);
                let own = &mut self.groups[index];
                own.answer = earlier(own.answer, Some(at));
                self.answer_at = earlier(self.answer_at, Some(at));
            }
        }
    }

    /// Somebody else said that it listens to `group`. In version 1 that is enough for all
    /// (RFC 2710 section 4).
    pub(super) fn handle_report_v1(&mut self, now: Instant, group: Ipv6Addr) {
        if !self.is_version_1(now) {
            return;
        }
        if let Some(own) = self.groups.iter_mut().find(|own| own.address == group) {
            own.answer = None;
            own.told_last = false;
        }
    }

    fn is_version_1(&self, now: Instant) -> bool {
        self.version_1_until.is_some_and(|until| now < until)
    }

    /// A time between 0 and `max`, drawn, in milliseconds.
    fn part_of(&mut self, max: Duration) -> Duration {
        let max = u32::try_from(max.as_millis()).unwrap_or(u32::MAX - 1);
        Duration::from_millis(self.random.below(max + 1).into())
    }

    /// When there will be something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        earlier(self.changes_at, earlier(self.answer_all_at, self.answer_at))
    }

    /// What is to be said at `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Report> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut reports = Vec::new();
        let version_1 = self.is_version_1(now);
        if is_due(self.changes_at) {
            self.changes(version_1, &mut reports);
            let again = self.groups.iter().any(|own| own.changes > 0);
            let interval = 1 + self.random.below(UNSOLICITED_REPORT_INTERVAL_MS);
            self.changes_at = again.then(|| now + Duration::from_millis(interval.into()));
        }
        let answer_all = is_due(self.answer_all_at);
        if answer_all {
            self.answer_all_at = None;
        }
        if answer_all || is_due(self.answer_at) {
            self.answers(now, answer_all, version_1, &mut reports);
        }
        reports
    }

    fn changes(&mut self, version_1: bool, reports: &mut Vec<Report>) {
        let mut records = Vec::new();
        for own in self.groups.iter_mut().filter(|own| own.changes > 0) {
            own.changes -= 1;
            match (version_1, own.users > 0) {
                (false, true) => records.push((MldRecordKind::ToExclude, own.address)),
                (false, false) => records.push((MldRecordKind::ToInclude, own.address)),
                (true, true) => {
                    own.told_last = true;
                    reports.push(Report::Listening(own.address));
                }
                (true, false) => {
                    // Said once (RFC 2710 section 4).
                    own.changes = 0;
                    if own.told_last {
                        reports.push(Report::Done(own.address));
                    }
                }
            }
        }
        if !records.is_empty() {
            reports.push(Report::Records(records));
        }
        self.groups.retain(|own| own.users > 0 || own.changes > 0);
    }

    fn answers(&mut self, now: Instant, all: bool, version_1: bool, reports: &mut Vec<Report>) {
        let mut records = Vec::new();
        for own in self.groups.iter_mut().filter(|own| own.users > 0) {
            let is_due = own.answer.is_some_and(|at| at <= now);
            if !all && !is_due {
                continue;
            }
            if is_due {
                own.answer = None;
            }
            if version_1 {
                own.told_last = true;
                reports.push(Report::Listening(own.address));
            } else {
                records.push((MldRecordKind::IsExclude, own.address));
            }
        }
        self.answer_at = self.groups.iter().filter_map(|own| own.answer).min();
        if !records.is_empty() {
            reports.push(Report::Records(records));
        }
    }
}

#[cfg(test)]
mod tests;
