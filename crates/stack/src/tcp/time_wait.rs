//! Connections in TIME-WAIT: what is left of a connection when both FINs are acknowledged
//! (RFC 9293 section 3.6.1), in a table of its own.

use core::time::Duration;
use std::collections::VecDeque;

use zcn_wire::{SeqNum, TcpFlags};

use super::timestamps::{Timestamps, clock};
use super::tuple::Tuple;
use crate::slab::{Id, Slab};
use crate::time::Instant;

/// What is left of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeWait {
    pub(crate) tuple: Tuple,
    /// The window field of our answers.
    pub(crate) window: u16,
    pub(crate) rcv_nxt: SeqNum,
    pub(crate) snd_nxt: SeqNum,
    pub(crate) ts_recent: u32,
    /// When `ts_recent` was taken, in milliseconds.
    pub(crate) ts_recent_at: u32,
    /// When the entry ends, in milliseconds, wrapped.
    deadline: u32,
    pub(crate) ts_enabled: bool,
    /// The ECN flags of our answers: the counter of accurate ECN, if that is in use.
    pub(crate) ace: TcpFlags,
}

impl TimeWait {
    pub(crate) fn new(
        tuple: Tuple,
        rcv_nxt: SeqNum,
        snd_nxt: SeqNum,
        window: u16,
        ace: TcpFlags,
        timestamps: &Timestamps,
    ) -> Self {
        Self {
            tuple,
            window,
            rcv_nxt,
            snd_nxt,
            ts_recent: timestamps.recent,
            ts_recent_at: timestamps.recent_at,
            deadline: 0,
            ts_enabled: timestamps.enabled,
            ace,
        }
    }

    /// Its timestamps; `offset` is what the hosts' clock is shifted by, known from their
    /// addresses.
    pub(crate) fn timestamps(&self, offset: u32) -> Timestamps {
        Timestamps {
            enabled: self.ts_enabled,
            offset,
            recent: self.ts_recent,
            recent_at: self.ts_recent_at,
        }
    }
}

const _: () = assert!(size_of::<TimeWait>() <= 64);

/// All entries. Each stays for the same time, so they end in the order in which they were
/// (last) started.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    entries: Slab<TimeWait>,
    order: VecDeque<(Instant, Id)>,
    length: Duration,
    capacity: usize,
}

impl TimeWaits {
    pub(crate) fn new(length: Duration, capacity: usize) -> Self {
        Self {
            entries: Slab::new(),
            order: VecDeque::new(),
            length,
            capacity,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, id: Id) -> Option<&TimeWait> {
        self.entries.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut TimeWait> {
        self.entries.get_mut(id)
    }

    /// Whether one more must push out the oldest; see [`pop_oldest`](Self::pop_oldest).
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    pub(crate) fn insert(&mut self, now: Instant, entry: TimeWait) -> Id {
        let id = self.entries.insert(entry);
        self.restart(now, id);
        id
    }

    /// Begins the time of an entry anew: the peer sent its FIN again.
    pub(crate) fn restart(&mut self, now: Instant, id: Id) {
        let deadline = now + self.length;
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let at = clock(deadline);
        if entry.deadline == at {
            return; // at most one record per entry and millisecond
        }
        entry.deadline = at;
        // A peer that repeats its FIN for ever must not grow the list.
        if self.order.len() >= 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|&(deadline, id)| {
                entries
                    .get(id)
                    .is_some_and(|entry| entry.deadline == clock(deadline))
            });
        }
        self.order.push_back((deadline, id));
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<TimeWait> {
        self.entries.remove(id)
    }

    /// The first entry in order that is still meant by its record.
    fn front(&mut self) -> Option<(Instant, Id)> {
        while let Some(&(deadline, id)) = self.order.front() {
            let live = self.entries.get(id);
            if live.is_some_and(|entry| entry.deadline == clock(deadline)) {
                return Some((deadline, id));
            }
            self.order.pop_front();
        }
        None
    }

    /// Takes out the next entry whose time is over.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<TimeWait> {
        let (deadline, _) = self.front()?;
        if deadline > now {
            None
        } else {
            self.pop_oldest()
        }
    }

    /// Takes out the entry that would end first.
    pub(crate) fn pop_oldest(&mut self) -> Option<TimeWait> {
        let (_, id) = self.front()?;
        self.order.pop_front();
        self.entries.remove(id)
    }

    #[inline]
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.front().map(|(deadline, _)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(port: u16) -> TimeWait {
        let remote = core::net::SocketAddr::new([10, 0, 0, 2].into(), port);
        let tuple = Tuple::new("10.0.0.1:80".parse().unwrap(), remote);
        let stamps = Timestamps::default();
        TimeWait::new(tuple, SeqNum(1), SeqNum(2), 500, TcpFlags::NONE, &stamps)
    }

    #[test]
    fn entries_end_in_order_and_can_be_restarted() {
        let mut table = TimeWaits::new(Duration::from_secs(60), 10);
        let first = table.insert(Instant::from_secs(1), entry(1));
        table.insert(Instant::from_secs(2), entry(2));
        table.restart(Instant::from_secs(3), first);
        assert_eq!(table.next_deadline(), Some(Instant::from_secs(62)));
        assert!(table.pop_expired(Instant::from_secs(61)).is_none());
        let ended = table.pop_expired(Instant::from_secs(62)).unwrap();
        assert_eq!(ended.tuple.remote().port(), 2);
        assert_eq!(table.next_deadline(), Some(Instant::from_secs(63)));
        assert!(table.pop_expired(Instant::from_secs(63)).is_some());
        assert_eq!((table.len(), table.next_deadline()), (0, None));
    }

    #[test]
    fn a_peer_that_repeats_its_fin_does_not_grow_the_list() {
        let mut table = TimeWaits::new(Duration::from_secs(60), 10);
        let id = table.insert(Instant::from_secs(1), entry(1));
        for milli in 0..10_000 {
            table.restart(Instant::from_millis(2000 + milli), id);
        }
        assert!(table.order.len() < 100);
    }
}
