//! Half-open connections of passive opens: a SYN arrived, our SYN-ACK is not acknowledged.
//!
//! An entry holds what the connection will need, in 64 bytes; nothing else is kept for a
//! peer that has not shown that it receives at its address.

use core::time::Duration;
use std::collections::VecDeque;

use zcn_wire::SeqNum;

use super::accurate::AccurateOffer;
use super::timestamps::clock;
use super::tuple::Tuple;
use crate::slab::{Id, Slab};
use crate::time::Instant;

/// The peer offered a window scale.
pub(crate) const WINDOW_SCALE: u8 = 1;
/// The peer offered SACK.
pub(crate) const SACK: u8 = 2;
/// The peer offered timestamps.
pub(crate) const TIMESTAMPS: u8 = 4;
/// The handshake is complete, only the accept queue had no room, or data is waited for.
pub(crate) const ACKED: u8 = 8;
/// Its SYN-ACK gives the peer a cookie for the next time (RFC 7413).
pub(crate) const FAST_OPEN_COOKIE: u8 = 32;
/// The SYN offered ECN, and we take it (RFC 3168).
pub(crate) const ECN: u8 = 64;
/// The cookie is in the option of experiments.
pub(crate) const EXPERIMENTAL_COOKIE: u8 = 128;
/// Its SYN-ACK waits for output.
pub(crate) const SYN_ACK_DUE: u8 = 16;

/// What SYN and SYN-ACK agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfOpen {
    pub(crate) tuple: Tuple,
    /// The peer's MSS option, or the default.
    pub(crate) mss: u16,
    pub(crate) irs: SeqNum,
    pub(crate) iss: SeqNum,
    /// The TSval of the SYN.
    pub(crate) ts_recent: u32,
    /// Index of the listener in 24 bits, and the low half of its generation.
    listener: [u8; 3],
    /// What SYN and SYN-ACKs said of accurate ECN.
    pub(crate) accurate: AccurateOffer,
    listener_generation: u16,
    /// Which options both ends use.
    pub(crate) flags: u8,
    /// The peer's shift count in the low half, times the SYN-ACK was sent again above.
    scale_and_retries: u8,
    /// When the SYN-ACK was sent last, in milliseconds, wrapped.
    pub(crate) sent_at: u32,
}

const _: () = assert!(size_of::<HalfOpen>() <= 64);

/// Listeners that an entry can tell apart.
pub(crate) const LISTENERS_MAX: usize = 1 << 24;

impl HalfOpen {
    #[expect(clippy::too_many_arguments, reason = "all that a SYN says")]
    pub(crate) fn new(
        listener: Id,
        tuple: Tuple,
        irs: SeqNum,
        iss: SeqNum,
        mss: u16,
        scale: u8,
        ts_recent: u32,
        flags: u8,
    ) -> Self {
        Self {
            tuple,
            mss,
            irs,
            iss,
            ts_recent,
            listener: index_of(listener),
            accurate: AccurateOffer::default(),
            listener_generation: listener.generation as u16,
            flags,
            scale_and_retries: scale.min(14),
            sent_at: 0,
        }
    }

    /// The peer's shift count.
    pub(crate) fn scale(&self) -> u8 {
        self.scale_and_retries & 15
    }

    /// Times the SYN-ACK was sent again because nothing came.
    pub(crate) fn retries(&self) -> u8 {
        self.scale_and_retries >> 4
    }

    /// Index of the listener in its slab.
    pub(crate) fn listener_index(&self) -> u32 {
        let [low, middle, high] = self.listener;
        u32::from_le_bytes([low, middle, high, 0])
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn is_of(&self, listener: Id) -> bool {
        self.listener_index() == listener.index
            && self.listener_generation == listener.generation as u16
    }
}

/// The three bytes that name a listener: there are never so many that they are too few
/// ([`LISTENERS_MAX`]).
fn index_of(listener: Id) -> [u8; 3] {
    let [low, middle, high, _] = listener.index.to_le_bytes();
    [low, middle, high]
}

/// What is to be done with an entry whose time is over.
#[derive(Debug)]
pub(crate) enum Expired {
    /// Send the SYN-ACK again.
    Retransmit(Id),
    /// It was sent often enough: the entry is gone.
    Forgotten(HalfOpen),
}

/// All half-open connections.
///
/// Entries that were retransmitted equally often wait equally long, so each count has a
/// queue in order of time.
#[derive(Debug)]
pub(crate) struct SynCache {
    entries: Slab<HalfOpen>,
    queues: Vec<VecDeque<(Instant, Id)>>,
    timeout: Duration,
    capacity: usize,
}

impl SynCache {
    /// Room for `capacity` entries, whose SYN-ACK is sent again `retries` times.
    pub(crate) fn new(capacity: usize, retries: u8, timeout: Duration) -> Self {
        Self {
            entries: Slab::new(),
            queues: vec![VecDeque::new(); usize::from(retries.min(15)) + 1],
            timeout,
            capacity,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    pub(crate) fn get(&self, id: Id) -> Option<&HalfOpen> {
        self.entries.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut HalfOpen> {
        self.entries.get_mut(id)
    }

    /// Adds an entry whose SYN-ACK leaves now.
    pub(crate) fn insert(&mut self, now: Instant, mut entry: HalfOpen) -> Id {
        entry.sent_at = clock(now);
        let id = self.entries.insert(entry);
        self.enqueue(now, 0, id);
        id
    }

    fn enqueue(&mut self, now: Instant, retries: u8, id: Id) {
        let queue = &mut self.queues[usize::from(retries)];
        // Records of entries that went early; they must not pile up under a flood.
        if queue.len() >= 2 * self.capacity + 64 {
            let entries = &self.entries;
            queue.retain(|&(_, id)| entries.get(id).is_some_and(|e| e.retries() == retries));
        }
        queue.push_back((now + self.timeout * (1 << retries), id));
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<HalfOpen> {
        self.entries.remove(id)
    }

    /// The next entry whose time is over. One that is to be sent again has been counted
    /// and queued for the next time.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Expired> {
        for retries in 0..self.queues.len() as u8 {
            while let Some(&(deadline, id)) = self.queues[usize::from(retries)].front() {
                if deadline > now {
                    break;
                }
                self.queues[usize::from(retries)].pop_front();
                let Some(entry) = self.entries.get_mut(id) else {
                    continue;
                };
                if entry.retries() != retries {
                    continue;
                }
                if usize::from(retries) + 1 == self.queues.len() {
                    return self.entries.remove(id).map(Expired::Forgotten);
                }
                entry.scale_and_retries += 16;
                entry.sent_at = clock(now);
                self.enqueue(now, retries + 1, id);
                return Some(Expired::Retransmit(id));
            }
        }
        None
    }

    /// When [`pop_expired`](Self::pop_expired) has something to say, or may have.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.entries.is_empty() {
            return None;
        }
        self.queues
            .iter()
            .filter_map(|queue| queue.front().map(|&(deadline, _)| deadline))
            .min()
    }

    /// Takes out all entries of a listener that goes.
    pub(crate) fn remove_of(&mut self, listener: Id) -> Vec<(Id, HalfOpen)> {
        let ids: Vec<Id> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_of(listener))
            .map(|(id, _)| id)
            .collect();
        ids.into_iter()
            .filter_map(|id| self.entries.remove(id).map(|entry| (id, entry)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: Id = Id {
        index: 3,
        generation: 0x1_0002,
    };

    fn entry() -> HalfOpen {
        let tuple = Tuple::new(
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:4000".parse().unwrap(),
        );
        HalfOpen::new(LISTENER, tuple, SeqNum(1), SeqNum(2), 1460, 9, 0, SACK)
    }

    #[test]
    fn a_syn_ack_is_sent_again_after_1_2_4_seconds_and_then_forgotten() {
        let mut cache = SynCache::new(10, 2, Duration::from_secs(1));
        let id = cache.insert(Instant::from_secs(10), entry());
        assert_eq!(cache.next_deadline(), Some(Instant::from_secs(11)));
        assert!(cache.pop_expired(Instant::from_millis(10_999)).is_none());
        for at in [11, 13] {
            let expired = cache.pop_expired(Instant::from_secs(at));
            assert!(matches!(expired, Some(Expired::Retransmit(again)) if again == id));
            assert!(cache.pop_expired(Instant::from_secs(at)).is_none());
        }
        assert_eq!(cache.get(id).unwrap().retries(), 2);
        assert_eq!(cache.get(id).unwrap().scale(), 9);
        assert!(matches!(
            cache.pop_expired(Instant::from_secs(17)),
            Some(Expired::Forgotten(_))
        ));
        assert_eq!((cache.len(), cache.next_deadline()), (0, None));
    }

    #[test]
    fn entries_go_with_their_listener() {
        let mut cache = SynCache::new(10, 2, Duration::from_secs(1));
        cache.insert(Instant::ZERO, entry());
        let stale = Id {
            generation: 7,
            ..LISTENER
        };
        assert!(cache.remove_of(stale).is_empty());
        assert_eq!(cache.remove_of(LISTENER).len(), 1);
        assert_eq!(cache.len(), 0);
    }
}
