//! Datagrams out of fragments, within bounds (RFC 791, RFC 8200 section 4.5, RFC 5722).
//!
//! Fragments are copied: a datagram holds exactly the memory it is charged for, and no
//! buffer of the pool, however small its pieces are. Pieces are sorted by offset, so a
//! fragment is placed by binary search; any overlap gives up the whole datagram, for IPv4
//! as for IPv6. What was given up is remembered until it would have expired, so that the
//! rest of it does not begin anew.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use zcn_frame::Chain;
use zcn_pool::SharedBuf;

use crate::id::InterfaceId;
use crate::stats::DropReason;
use crate::time::{Instant, earlier};

/// Largest payload of an IP packet in bytes.
pub const PAYLOAD_MAX: usize = 65_535;

/// What a piece costs beside its bytes.
const PIECE_OVERHEAD: usize = 64;
/// What a datagram costs beside its pieces.
const DATAGRAM_OVERHEAD: usize = 256;

/// Limits of reassembly. Sizes are in bytes, overhead included.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReassemblyConfig {
    /// Memory for all datagrams; the oldest makes room.
    pub total_bytes: usize,
    /// Memory for the datagrams of one source address.
    pub source_bytes: usize,
    /// Datagrams begun, from all sources.
    pub datagrams: usize,
    /// Pieces of one datagram: 65,535 bytes in pieces of 512 are 128.
    pub pieces: usize,
    /// How long an IPv4 datagram may take (RFC 1122 section 3.3.2 asks for 60 to 120
    /// seconds; 30, as Linux, as identifications repeat sooner at the speeds of today).
    pub timeout_v4: Duration,
    /// How long an IPv6 datagram may take (RFC 8200 section 4.5).
    pub timeout_v6: Duration,
}

impl Default for ReassemblyConfig {
    fn default() -> Self {
        Self {
            total_bytes: 4 << 20,
            source_bytes: 1 << 20,
            datagrams: 1_024,
            pieces: 128,
            timeout_v4: Duration::from_secs(30),
            timeout_v6: Duration::from_secs(60),
        }
    }
}

/// What the fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FragmentKey {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) identification: u32,
    /// Protocol of IPv4; 0 for IPv6, where it is no part of the key.
    pub(crate) protocol: u8,
    pub(crate) interface: InterfaceId,
}

/// A fragment, its header taken off.
#[derive(Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) key: FragmentKey,
    /// Where it belongs in the payload, in bytes.
    pub(crate) offset: usize,
    /// Whether more follow.
    pub(crate) more: bool,
    /// Its ECN field.
    pub(crate) ecn: u8,
    pub(crate) payload: &'a Chain,
    /// What comes before the fragment's payload in an unfragmented packet: only looked at
    /// in the first fragment.
    pub(crate) header: &'a [u8],
}

/// A datagram put together.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// The header of its first fragment.
    pub(crate) header: Vec<u8>,
    pub(crate) payload: SharedBuf,
    /// The ECN field (RFC 3168 section 5.3).
    pub(crate) ecn: u8,
}

/// A datagram that did not arrive whole in time.
#[derive(Debug)]
pub(crate) struct Expired {
    pub(crate) key: FragmentKey,
    /// Header and first bytes of its first fragment; `None` if that did not arrive, and
    /// nothing is to be said to the sender (RFC 1122 section 3.3.2).
    pub(crate) first: Option<(Vec<u8>, SharedBuf)>,
}

#[derive(Debug)]
struct Piece {
    start: usize,
    bytes: bytes::Bytes,
}

impl Piece {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }
}

#[derive(Debug)]
struct Pending {
    /// Sorted, disjoint.
    pieces: Vec<Piece>,
    /// Bytes in all pieces.
    len: usize,
    /// Known from the last fragment.
    total: Option<usize>,
    header: Option<Vec<u8>>,
    /// Bit `n`: a fragment had ECN field `n`.
    ecn: u8,
    charge: usize,
    /// Given up; what still arrives is dropped.
    dropped: bool,
    /// Which of several datagrams with the same key.
    serial: u64,
}

#[derive(Debug, Default)]
struct Usage {
    bytes: usize,
    datagrams: usize,
}

/// Fragments waiting for the rest of their datagrams.
#[derive(Debug)]
pub(crate) struct Reassembly {
    config: ReassemblyConfig,
    pending: BTreeMap<FragmentKey, Pending>,
    sources: BTreeMap<IpAddr, Usage>,
    /// In the order of their beginning, which is that of their expiry, for each family;
    /// those that ended otherwise are skipped.
    order: [VecDeque<(Instant, FragmentKey, u64)>; 2],
    charge: usize,
    serial: u64,
}

impl Reassembly {
    pub(crate) fn new(config: ReassemblyConfig) -> Self {
        Self {
            config,
            pending: BTreeMap::new(),
            sources: BTreeMap::new(),
            order: [VecDeque::new(), VecDeque::new()],
            charge: 0,
            serial: 0,
        }
    }

    /// Takes a fragment, and answers the datagram if it is whole now.
    ///
    /// # Errors
    /// Why the fragment, or its whole datagram, is dropped. Datagrams that made room for
    /// it are counted in `evicted`.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        fragment: &Fragment<'_>,
        evicted: &mut u64,
    ) -> Result<Option<Datagram>, DropReason> {
        let start = fragment.offset;
        let end = start + fragment.payload.len();
        if fragment.payload.is_empty()
            || fragment.more && !end.is_multiple_of(8)
            || end > PAYLOAD_MAX
        {
            return Err(DropReason::FragmentMalformed);
        }
        if !self.pending.contains_key(&fragment.key) {
            self.begin(now, fragment.key, evicted)?;
        }
        let Some(pending) = self.pending.get_mut(&fragment.key) else {
            return Err(DropReason::FragmentLimit);
        };
        if pending.dropped {
            return Err(DropReason::FragmentOfDropped);
        }
        let at = pending.pieces.partition_point(|piece| piece.start < start);
        if let Some(piece) = pending.pieces.get(at)
            && (piece.start, piece.end()) == (start, end)
        {
            // An exact copy is no overlap (RFC 8200 section 4.5); the first one stays.
            return Ok(None);
        }
        let before = at.checked_sub(1).map(|at| pending.pieces[at].end());
        let after = pending.pieces.get(at).map(|piece| piece.start);
        let highest = pending.pieces.last().map_or(0, Piece::end);
        let contradicts = match pending.total {
            Some(total) => end > total || !fragment.more && end != total,
            None => !fragment.more && highest > end,
        };
        if before.is_some_and(|before| before > start)
            || after.is_some_and(|after| after < end)
            || contradicts
        {
            self.give_up(fragment.key);
            return Err(DropReason::FragmentOverlap);
        }
        let header_charge = if start == 0 { fragment.header.len() } else { 0 };
        let charge = fragment.payload.len() + PIECE_OVERHEAD + header_charge;
        let source = self.sources.entry(fragment.key.source).or_default();
        if pending.pieces.len() >= self.config.pieces
            || source.bytes + charge > self.config.source_bytes
        {
            self.give_up(fragment.key);
            return Err(DropReason::FragmentLimit);
        }
        source.bytes += charge;
        self.charge += charge;
        pending.charge += charge;
        pending.len += fragment.payload.len();
        pending.ecn |= 1 << (fragment.ecn & 3);
        if start == 0 {
            pending.header = Some(fragment.header.to_vec());
        }
        if !fragment.more {
            pending.total = Some(end);
        }
        let bytes = bytes::Bytes::from(fragment.payload.to_vec());
        pending.pieces.insert(at, Piece { start, bytes });
        if pending.total == Some(pending.len) {
            return self.finish(fragment.key).map(Some);
        }
        let serial = pending.serial;
        while self.charge > self.config.total_bytes {
            if !self.evict(serial, evicted) {
                self.give_up(fragment.key);
                return Err(DropReason::FragmentLimit);
            }
        }
        Ok(None)
    }

    fn begin(
        &mut self,
        now: Instant,
        key: FragmentKey,
        evicted: &mut u64,
    ) -> Result<(), DropReason> {
        // One source may hold a quarter of all datagrams.
        let share = (self.config.datagrams / 4).max(1);
        let full = |usage: &Usage| {
            usage.datagrams >= share || usage.bytes + DATAGRAM_OVERHEAD > self.config.source_bytes
        };
        if self.sources.get(&key.source).is_some_and(full) {
            return Err(DropReason::FragmentLimit);
        }
        while self.pending.len() >= self.config.datagrams
            || self.charge + DATAGRAM_OVERHEAD > self.config.total_bytes
        {
            if !self.evict(u64::MAX, evicted) {
                return Err(DropReason::FragmentLimit);
            }
        }
        let (queue, timeout) = match key.source {
            IpAddr::V4(_) => (0, self.config.timeout_v4),
            IpAddr::V6(_) => (1, self.config.timeout_v6),
        };
        self.serial += 1;
        self.order[queue].push_back((now + timeout, key, self.serial));
        let usage = self.sources.entry(key.source).or_default();
        usage.datagrams += 1;
        usage.bytes += DATAGRAM_OVERHEAD;
        self.charge += DATAGRAM_OVERHEAD;
        self.pending.insert(
            key,
            Pending {
                pieces: Vec::new(),
                len: 0,
                total: None,
                header: None,
                ecn: 0,
                charge: DATAGRAM_OVERHEAD,
                dropped: false,
                serial: self.serial,
            },
        );
        Ok(())
    }

    /// Removes the oldest datagram but the one with `keep`; answers whether there was one.
    fn evict(&mut self, keep: u64, evicted: &mut u64) -> bool {
        loop {
            // The older of the two families' oldest, by serial number.
            let oldest = |queue: &VecDeque<(Instant, FragmentKey, u64)>| {
                queue
                    .iter()
                    .find(|entry| entry.2 != keep)
                    .map(|entry| entry.2)
            };
            let queue = match (oldest(&self.order[0]), oldest(&self.order[1])) {
                (Some(v4), Some(v6)) => usize::from(v6 < v4),
                (Some(_), None) => 0,
                (None, Some(_)) => 1,
                (None, None) => return false,
            };
            let at = self.order[queue].iter().position(|entry| entry.2 != keep);
            let Some((_, key, serial)) = at.and_then(|at| self.order[queue].remove(at)) else {
                return false;
            };
            if self
                .pending
                .get(&key)
                .is_some_and(|pending| pending.serial == serial)
            {
                self.remove(&key);
                *evicted += 1;
                return true;
            }
        }
    }

    fn remove(&mut self, key: &FragmentKey) -> Option<Pending> {
        let pending = self.pending.remove(key)?;
        self.charge -= pending.charge;
        if let Some(usage) = self.sources.get_mut(&key.source) {
            usage.bytes -= pending.charge;
            usage.datagrams -= 1;
            if usage.datagrams == 0 {
                self.sources.remove(&key.source);
            }
        }
        // The queue of those to expire is cleaned when it is looked at; here only so
        // that it cannot outgrow what it lists.
        for queue in &mut self.order {
            if queue.len() > 2 * self.config.datagrams.max(8) {
                let all = &self.pending;
                queue.retain(|(_, key, serial)| {
                    all.get(key)
                        .is_some_and(|pending| pending.serial == *serial)
                });
            }
        }
        Some(pending)
    }

    /// Frees the pieces and remembers the datagram as one to drop.
    fn give_up(&mut self, key: FragmentKey) {
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        pending.dropped = true;
        pending.pieces = Vec::new();
        pending.header = None;
        let freed = pending.charge - DATAGRAM_OVERHEAD;
        pending.charge = DATAGRAM_OVERHEAD;
        self.charge -= freed;
        if let Some(usage) = self.sources.get_mut(&key.source) {
            usage.bytes -= freed;
        }
    }

    fn finish(&mut self, key: FragmentKey) -> Result<Datagram, DropReason> {
        let whole = self.remove(&key).ok_or(DropReason::FragmentLimit)?;
        // Not-ECT beside anything else is no valid mixture; CE in any makes CE of all
        // (RFC 3168 section 5.3).
        const NOT_ECT: u8 = 1 << 0;
        const CE: u8 = 1 << 3;
        if whole.ecn & NOT_ECT != 0 && whole.ecn & CE != 0 {
            return Err(DropReason::FragmentMalformed);
        }
        let ecn = match whole.ecn {
            set if set & CE != 0 => 3,
            set if set & NOT_ECT != 0 => 0,
            set if set & (1 << 2) != 0 => 2,
            _ => 1,
        };
        let mut bytes = Vec::with_capacity(whole.len);
        for piece in &whole.pieces {
            bytes.extend_from_slice(&piece.bytes);
        }
        Ok(Datagram {
            header: whole.header.ok_or(DropReason::FragmentMalformed)?,
            payload: SharedBuf::from(bytes::Bytes::from(bytes)),
            ecn,
        })
    }

    /// One datagram whose time is over by `now`; call it until `None`.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Expired> {
        for queue in 0..2 {
            while let Some(&(expires, key, serial)) = self.order[queue].front() {
                let lives = self
                    .pending
                    .get(&key)
                    .is_some_and(|pending| pending.serial == serial);
                if lives && expires > now {
                    break;
                }
                self.order[queue].pop_front();
                if !lives {
                    continue;
                }
                let Some(pending) = self.remove(&key) else {
                    continue;
                };
                if pending.dropped {
                    continue;
                }
                let first = pending
                    .pieces
                    .into_iter()
                    .next()
                    .filter(|piece| piece.start == 0)
                    .zip(pending.header)
                    .map(|(piece, header)| (header, SharedBuf::from(piece.bytes)));
                return Some(Expired { key, first });
            }
        }
        None
    }

    /// When to call [`pop_expired`](Self::pop_expired): at or before the next expiry.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let front = |queue: &VecDeque<(Instant, FragmentKey, u64)>| queue.front().map(|e| e.0);
        earlier(front(&self.order[0]), front(&self.order[1]))
    }

    /// Memory in use, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.charge
    }
}

#[cfg(test)]
mod tests;
