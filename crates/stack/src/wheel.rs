//! A hierarchical timing wheel: many deadlines, each set, moved and dropped in O(1).
//!
//! Seven levels of 64 slots; a slot of level 0 is one tick of a millisecond, a slot of the
//! next level 64 of the one below, so that the whole wheel spans 139 years. An entry sits
//! at the level where its deadline first differs from the time the wheel has reached, and
//! moves down when that slot is reached (the scheme of Varghese and Lauck, 1987).
//!
//! Entries are **lazy**: a deadline that moves into the future stays where it is linked
//! and is looked at again when that slot is reached. A retransmission timer that is pushed
//! back by every ACK costs one store.

use core::time::Duration;

use crate::time::Instant;

/// One tick: the finest difference the wheel knows.
pub const TICK: Duration = Duration::from_millis(1);

const TICK_NANOS: u64 = TICK.as_nanos() as u64;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 7;
/// No entry, no slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// In ticks; meaningful while linked.
    deadline: u64,
    previous: u32,
    next: u32,
    /// `level * SLOTS + slot`, or `NONE` while not linked.
    slot: u32,
}

const UNLINKED: Entry = Entry {
    deadline: 0,
    previous: NONE,
    next: NONE,
    slot: NONE,
};

/// Deadlines by key, one for each key. A key is a small number, the
/// [`index`](crate::slab::Id::index) of a slab's id: the wheel holds 24 bytes for every
/// key up to the largest one used. Who removes a value from the slab cancels its entry.
///
/// Nothing fires early; a deadline fires at most one tick late, plus the time until
/// somebody asks.
#[derive(Debug)]
pub struct Wheel {
    entries: Vec<Entry>,
    heads: Box<[u32; SLOTS * LEVELS]>,
    /// Bit `s` of word `l`: slot `s` of level `l` holds something.
    occupied: [u64; LEVELS],
    /// Tick up to and including which everything has fired.
    reached: u64,
    /// Entries whose deadline may have passed, being handed out.
    due: u32,
    len: usize,
    /// What [`next_deadline`](Self::next_deadline) answers, which is asked much more often than
    /// it changes.
    next: Option<Instant>,
}

impl Wheel {
    /// An empty wheel at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            entries: Vec::new(),
            heads: Box::new([NONE; SLOTS * LEVELS]),
            occupied: [0; LEVELS],
            reached: now.as_nanos() / TICK_NANOS,
            due: NONE,
            len: 0,
            next: None,
        }
    }

    /// How many keys have a deadline.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key has a deadline.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The deadline of `key`, rounded up to a tick.
    pub fn deadline(&self, key: u32) -> Option<Instant> {
        let entry = self.entries.get(key as usize)?;
        (entry.slot != NONE).then(|| from_ticks(entry.deadline))
    }

    /// Sets or moves the deadline of `key`. One that has passed already fires in the next
    /// tick, so that a loop over [`pop_expired`](Self::pop_expired) ends even if every
    /// entry is scheduled again at once.
    ///
    /// # Panics
    /// If `key` is `u32::MAX`.
    #[inline]
    pub fn schedule(&mut self, key: u32, at: Instant) {
        assert!(key != NONE, "key out of range");
        let deadline = at.as_nanos().div_ceil(TICK_NANOS).max(self.reached + 1);
        if self.entries.len() <= key as usize {
            self.entries.resize(key as usize + 1, UNLINKED);
        }
        let entry = &mut self.entries[key as usize];
        if entry.slot != NONE && entry.slot != DUE && entry.deadline <= deadline {
            // Lazily: it is looked at when its old slot is reached.
            entry.deadline = deadline;
            return;
        }
        self.relink(key, deadline);
    }

    /// The deadline of `key` comes before the slot that it is in, or it is in none.
    #[inline(never)]
    fn relink(&mut self, key: u32, deadline: u64) {
        if self.entries[key as usize].slot == NONE {
            self.len += 1;
        } else {
            self.unlink(key);
        }
        self.entries[key as usize].deadline = deadline;
        self.link(key);
        self.note_next();
    }

    /// Drops the deadline of `key`, if it has one.
    pub fn cancel(&mut self, key: u32) {
        if self
            .entries
            .get(key as usize)
            .is_some_and(|entry| entry.slot != NONE)
        {
            self.unlink(key);
            self.len -= 1;
            self.note_next();
        }
    }

    /// Takes out one key whose deadline is at or before `now`, in no particular order
    /// within a tick; `None` when there is no more. Call it until then.
    pub fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        let key = self.take_expired(now);
        self.note_next();
        key
    }

    fn take_expired(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_nanos() / TICK_NANOS;
        loop {
            while self.due != NONE {
                let key = self.due;
                self.unlink(key);
                if self.entries[key as usize].deadline <= self.reached {
                    self.len -= 1;
                    return Some(key);
                }
                // A slot of a higher level, or a deadline that moved since.
                self.link(key);
            }
            match self.next_slot() {
                Some((level, slot, start)) if start <= now => {
                    self.reached = start;
                    self.occupied[level] &= !(1 << slot);
                    let at = level * SLOTS + slot;
                    let mut key = core::mem::replace(&mut self.heads[at], NONE);
                    self.due = key;
                    while key != NONE {
                        self.entries[key as usize].slot = DUE;
                        key = self.entries[key as usize].next;
                    }
                }
                _ => {
                    self.reached = self.reached.max(now);
                    return None;
                }
            }
        }
    }

    /// When to ask next: at or before the earliest deadline. Early because an entry may
    /// have to move down a level, or because its deadline moved; asking again then gives
    /// a later instant.
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Entries came, went or were reached.
    fn note_next(&mut self) {
        self.next = if self.due != NONE {
            Some(from_ticks(self.reached))
        } else {
            self.next_slot().map(|(_, _, start)| from_ticks(start))
        };
    }

    /// The first slot that holds something: its level, its number and its first tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        // What a lower level holds is due before anything of a higher one.
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = LEVEL_BITS * level as u32;
            let position = ((self.reached >> shift) & (SLOTS as u64 - 1)) as u32;
            let ahead = self.occupied[level].rotate_right(position).trailing_zeros();
            let slot = (position + ahead) % SLOTS as u32;
            let span = u64::from(LEVEL_BITS) + u64::from(shift);
            let turn = self.reached >> span << span;
            let mut start = turn + (u64::from(slot) << shift);
            if start < self.reached {
                // Only the topmost level goes round: deadlines beyond its span.
                start += 1 << span;
            }
            return Some((level, slot as usize, start));
        }
        None
    }

    fn link(&mut self, key: u32) {
        let deadline = self.entries[key as usize].deadline;
        // Beyond the span the entry waits in the last slot of the top level, and is
        // looked at again from there.
        let span = 1_u64 << (LEVEL_BITS * LEVELS as u32);
        let at = deadline.min(self.reached + (span - (span >> LEVEL_BITS)));
        let differing = (at ^ self.reached) | 1;
        let level = ((63 - differing.leading_zeros()) / LEVEL_BITS).min(LEVELS as u32 - 1);
        let slot = (at >> (level * LEVEL_BITS)) as usize & (SLOTS - 1);
        let level = level as usize;
        let index = level * SLOTS + slot;
        let head = core::mem::replace(&mut self.heads[index], key);
        if head != NONE {
            self.entries[head as usize].previous = key;
        }
        self.occupied[level] |= 1 << slot;
        let entry = &mut self.entries[key as usize];
        entry.previous = NONE;
        entry.next = head;
        entry.slot = index as u32;
    }

    fn unlink(&mut self, key: u32) {
        let Entry {
            previous,
            next,
            slot,
            ..
        } = self.entries[key as usize];
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else if slot == DUE {
            self.due = next;
        } else {
            self.heads[slot as usize] = next;
            if next == NONE {
                self.occupied[slot as usize / SLOTS] &= !(1 << (slot as usize % SLOTS));
            }
        }
        self.entries[key as usize].slot = NONE;
    }
}

/// In the list of entries being handed out.
const DUE: u32 = NONE - 1;

fn from_ticks(ticks: u64) -> Instant {
    Instant::from_nanos(ticks.saturating_mul(TICK_NANOS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::random::Random;

    fn drain(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut keys: Vec<_> = std::iter::from_fn(|| wheel.pop_expired(now)).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn nothing_fires_early_and_nothing_a_tick_late() {
        let mut wheel = Wheel::new(Instant::from_micros(300));
        wheel.schedule(0, Instant::from_micros(1_001));
        assert_eq!(drain(&mut wheel, Instant::from_micros(1_999)), []);
        assert_eq!(wheel.next_deadline(), Some(Instant::from_millis(2)));
        assert_eq!(drain(&mut wheel, Instant::from_millis(2)), [0]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_passed_deadline_fires_in_the_next_tick_so_that_loops_end() {
        let mut wheel = Wheel::new(Instant::from_secs(1));
        wheel.schedule(3, Instant::ZERO);
        let now = Instant::from_millis(1_001);
        let mut fired = 0;
        while let Some(key) = wheel.pop_expired(now) {
            wheel.schedule(key, now);
            fired += 1;
        }
        assert_eq!(fired, 1);
        assert_eq!(wheel.next_deadline(), Some(Instant::from_millis(1_002)));
    }

    #[test]
    fn cancelled_while_being_handed_out() {
        let mut wheel = Wheel::new(Instant::ZERO);
        for key in 0..3 {
            wheel.schedule(key, Instant::from_millis(5));
        }
        let first = wheel.pop_expired(Instant::from_millis(5)).unwrap();
        let others: Vec<_> = (0..3).filter(|&key| key != first).collect();
        wheel.cancel(others[0]);
        wheel.schedule(others[1], Instant::from_millis(9));
        assert_eq!(wheel.pop_expired(Instant::from_millis(5)), None);
        assert_eq!(drain(&mut wheel, Instant::from_millis(9)), [others[1]]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn deadlines_beyond_the_wheel_are_kept() {
        let mut wheel = Wheel::new(Instant::from_secs(5));
        wheel.schedule(0, Instant::MAX);
        wheel.schedule(1, Instant::from_secs(400 * 365 * 86_400));
        assert_eq!(
            drain(&mut wheel, Instant::from_secs(399 * 365 * 86_400)),
            []
        );
        assert_eq!(
            drain(&mut wheel, Instant::from_secs(400 * 365 * 86_400)),
            [1]
        );
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn an_idle_wait_wakes_up_at_most_once_a_level() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let deadline = Instant::from_secs(7_200);
        wheel.schedule(0, deadline);
        let mut wakes = 0;
        loop {
            let now = wheel.next_deadline().unwrap();
            wakes += 1;
            if wheel.pop_expired(now).is_some() {
                assert_eq!(now, deadline);
                break;
            }
        }
        assert!(wakes <= LEVELS, "{wakes}");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u32, u64),
        Cancel(u32),
        Advance(u64),
        Sleep,
    }

    fn step() -> impl Strategy<Value = Step> {
        let length = prop_oneof![
            0..200_u64,
            0..100_000_u64,
            0..50_000_000_u64,
            0..u64::MAX / 8
        ];
        prop_oneof![
            (0..12_u32, length.clone()).prop_map(|(key, at)| Step::Schedule(key, at)),
            (0..12_u32).prop_map(Step::Cancel),
            length.prop_map(Step::Advance),
            Just(Step::Sleep),
        ]
    }

    /// Runs the steps against a map of deadlines.
    fn agrees_with_a_map(steps: &[Step]) {
        let mut now = Instant::from_micros(123_456);
        let mut wheel = Wheel::new(now);
        let mut model = BTreeMap::<u32, u64>::new();
        for step in steps {
            let mut reached = now.as_nanos() / TICK_NANOS;
            match *step {
                Step::Schedule(key, micros) => {
                    let at = now + Duration::from_micros(micros);
                    wheel.schedule(key, at);
                    let tick = at.as_nanos().div_ceil(TICK_NANOS).max(reached + 1);
                    model.insert(key, tick);
                    continue;
                }
                Step::Cancel(key) => {
                    wheel.cancel(key);
                    model.remove(&key);
                    continue;
                }
                Step::Advance(micros) => now += Duration::from_micros(micros),
                Step::Sleep => now = wheel.next_deadline().unwrap_or(now).max(now),
            }
            reached = now.as_nanos() / TICK_NANOS;
            let expected: Vec<_> = model
                .extract_if(.., |_, tick| *tick <= reached)
                .map(|(key, _)| key)
                .collect();
            assert_eq!(drain(&mut wheel, now), expected);
            assert_eq!(wheel.len(), model.len());
            for (&key, &tick) in &model {
                assert_eq!(wheel.deadline(key), Some(from_ticks(tick)));
            }
            let earliest = model.values().min().map(|&tick| from_ticks(tick));
            match (wheel.next_deadline(), earliest) {
                (None, None) => {}
                (Some(next), Some(earliest)) => assert!(next <= earliest && next > now - TICK),
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn a_wheel_agrees_with_a_map(steps in prop::collection::vec(step(), 1..200)) {
            agrees_with_a_map(&steps);
        }
    }

    #[test]
    fn a_long_run_agrees_with_a_map() {
        let seed = [42; 32];
        let mut random = Random::new(&seed, "wheel");
        let steps: Vec<_> = (0..20_000)
            .map(|_| match random.below(8) {
                0..4 => Step::Schedule(random.below(500), u64::from(random.below(3_000_000))),
                4 => Step::Cancel(random.below(500)),
                5 => Step::Sleep,
                _ => Step::Advance(u64::from(random.below(5_000))),
            })
            .collect();
        agrees_with_a_map(&steps);
    }
}
