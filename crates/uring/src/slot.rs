//! The table of operations in flight, and the identity each carries through the kernel.
//!
//! `user_data` is kind (8 bits), generation (24), group (8), slot (24). A descriptor is never an
//! identity: a completion of a closed connection may arrive after its descriptor number has been
//! given to another.

use crate::payload::Payload;

/// What an operation does; the upper byte of its `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Does nothing; measures the ring.
    Nop = 1,
    /// Receive into an owned buffer, or one picked from a group.
    Recv,
    /// Receive into buffers of a group until cancelled or out of buffers.
    RecvMulti,
    /// `recvmsg` once.
    RecvMsg,
    /// `recvmsg` into buffers of a group until cancelled or out of buffers.
    RecvMsgMulti,
    /// Send an owned slice.
    Send,
    /// `sendmsg`: gather, address, control data.
    SendMsg,
    /// Zero-copy send; completes twice.
    SendZc,
    /// Zero-copy `sendmsg`; completes twice.
    SendMsgZc,
    /// Accept one connection.
    Accept,
    /// Accept connections until cancelled.
    AcceptMulti,
    /// Connect a socket.
    Connect,
    /// Create a socket.
    Socket,
    /// Bind a socket.
    Bind,
    /// Listen on a socket.
    Listen,
    /// Shut one or both directions down.
    Shutdown,
    /// Close a descriptor or a direct descriptor.
    Close,
    /// A timer of its own.
    Timeout,
    /// The time limit of the operation linked before it.
    LinkTimeout,
    /// Cancel other operations.
    Cancel,
    /// Wait for readiness once.
    Poll,
    /// Report readiness until cancelled.
    PollMulti,
    /// Send a message to another ring.
    MsgRing,
    /// A message that arrived from another ring; has no slot here.
    Message,
    /// Read into an owned buffer.
    Read,
    /// Write an owned slice.
    Write,
    /// Turn a direct descriptor into an ordinary one.
    InstallFd,
    /// A command of a driver, file system or socket type (`URING_CMD`).
    Command,
    /// A command of an NVMe device, whose result is a status.
    Nvme,
    /// Ask for an address of a socket.
    SocketName,
    /// Report when data left, until cancelled.
    TxTimestamps,
    /// Filled by the caller.
    Raw,
}

impl Kind {
    const ALL: [Self; 32] = [
        Self::Nop,
        Self::Recv,
        Self::RecvMulti,
        Self::RecvMsg,
        Self::RecvMsgMulti,
        Self::Send,
        Self::SendMsg,
        Self::SendZc,
        Self::SendMsgZc,
        Self::Accept,
        Self::AcceptMulti,
        Self::Connect,
        Self::Socket,
        Self::Bind,
        Self::Listen,
        Self::Shutdown,
        Self::Close,
        Self::Timeout,
        Self::LinkTimeout,
        Self::Cancel,
        Self::Poll,
        Self::PollMulti,
        Self::MsgRing,
        Self::Message,
        Self::Read,
        Self::Write,
        Self::InstallFd,
        Self::Command,
        Self::Nvme,
        Self::SocketName,
        Self::TxTimestamps,
        Self::Raw,
    ];

    #[inline]
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).wrapping_sub(1)).copied()
    }

    /// Whether a successful result is a new descriptor that somebody must close.
    pub(crate) fn yields_descriptor(self) -> bool {
        matches!(
            self,
            Self::Accept | Self::AcceptMulti | Self::Socket | Self::InstallFd
        )
    }

    /// Whether the operation goes on after a completion that carries the MORE flag.
    #[inline]
    pub fn is_multishot(self) -> bool {
        matches!(
            self,
            Self::RecvMulti
                | Self::RecvMsgMulti
                | Self::AcceptMulti
                | Self::PollMulti
                | Self::TxTimestamps
        )
    }

    #[inline]
    pub(crate) fn is_receive(self) -> bool {
        matches!(
            self,
            Self::Recv | Self::RecvMulti | Self::RecvMsg | Self::RecvMsgMulti
        )
    }

    #[inline]
    pub(crate) fn is_send(self) -> bool {
        matches!(
            self,
            Self::Send | Self::SendMsg | Self::SendZc | Self::SendMsgZc
        )
    }
}

const GENERATION_MASK: u32 = (1 << 24) - 1;
const SLOT_MASK: u32 = (1 << 24) - 1;

/// Most operations that can be in flight on one ring.
pub const MAX_OPS: usize = SLOT_MASK as usize;

/// Identity of one operation: good until its final completion, recognised as stale afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl OpId {
    /// An identity that names no operation.
    pub const NONE: Self = Self {
        slot: SLOT_MASK,
        generation: 0,
    };

    /// The operation that a `user_data` word was made for.
    #[inline]
    pub(crate) fn of(word: u64) -> Self {
        Self {
            slot: slot_of(word),
            generation: identity_of(word) & GENERATION_MASK,
        }
    }

    /// Whether this is [`OpId::NONE`].
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// The parts of a `user_data` word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) kind: Kind,
    pub(crate) generation: u32,
    pub(crate) group: u8,
    pub(crate) slot: u32,
}

impl Tag {
    #[inline]
    pub(crate) fn encode(self) -> u64 {
        (self.kind as u64) << 56
            | u64::from(self.generation & GENERATION_MASK) << 32
            | u64::from(self.group) << 24
            | u64::from(self.slot & SLOT_MASK)
    }

    /// `None` for a word that was never given out.
    pub(crate) fn decode(word: u64) -> Option<Self> {
        let kind = Kind::from_byte((word >> 56) as u8)?;
        Some(Self::known(kind, word))
    }

    /// Decodes a word whose kind is known from its slot.
    #[inline]
    pub(crate) fn known(kind: Kind, word: u64) -> Self {
        Self {
            kind,
            generation: identity_of(word) & GENERATION_MASK,
            group: (word >> 24) as u8,
            slot: slot_of(word),
        }
    }
}

/// Kind and generation in a `user_data`.
#[inline]
fn identity_of(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The slot in a `user_data`.
#[inline]
pub(crate) fn slot_of(word: u64) -> u32 {
    word as u32 & SLOT_MASK
}

/// One operation in flight, but for what it owns: 16 bytes, so that a batch of slots stays in the
/// first-level cache beside the queues.
pub(crate) struct Slot {
    pub(crate) token: u64,
    /// Kind and generation as in the upper half of `user_data`, so that one comparison tells
    /// whether a completion is of this operation.
    identity: u32,
    pub(crate) kind: Kind,
    /// The group byte of the operation's `user_data`.
    pub(crate) group: u8,
    /// [`LIVE`], whether there is more to it, and what became of the owner.
    pub(crate) state: u8,
}

const _: () = assert!(size_of::<Slot>() == 16);

/// The rest of an operation, for those that have more to them.
#[derive(Default)]
struct Load {
    payload: Option<Payload>,
    detail: u32,
}

/// The slot is in flight; alone, there is nothing else to know about it.
pub(crate) const LIVE: u8 = 1 << 0;
/// The owner is gone: reclaim in silence, and count.
pub(crate) const ORPHANED: u8 = 1 << 1;
/// Nobody ever waits for it: reclaim in silence.
pub(crate) const HIDDEN: u8 = 1 << 2;
/// Somebody asked for its cancellation, so its end is no surprise.
pub(crate) const CANCELLED: u8 = 1 << 3;
/// The operation owns something, or its kind needs to know something of the request.
pub(crate) const LOADED: u8 = 1 << 4;

/// Its completions are counted by what they say: sends and multishots.
const COUNTED: u8 = 1 << 5;

/// Slots by index, with a stack of the free ones: a list through the slots themselves would make
/// each push wait for the memory of the one before. What operations own lies in a table beside
/// them, which operations that own nothing never touch.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    loads: Vec<Load>,
    /// As many as there are slots, so that freeing one never allocates; the first `idle` count.
    free: Vec<u32>,
    idle: usize,
}

impl Slots {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: Vec::with_capacity(capacity),
            loads: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            idle: 0,
        }
    }

    /// Operations in flight.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.slots.len() - self.idle
    }

    /// Takes a free slot for [`fill`](Self::fill), if there is one.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Option<u32> {
        let last = self.idle.checked_sub(1)?;
        let index = *self.free.get(last)?;
        self.idle = last;
        Some(index)
    }

    /// Puts an operation into the slot that was reserved for it; gives its identity and its
    /// `user_data`.
    #[inline(always)]
    pub(crate) fn fill(
        &mut self,
        index: u32,
        kind: Kind,
        group: u8,
        token: u64,
        detail: u32,
        payload: Option<Payload>,
    ) -> (OpId, u64) {
        // First of all, so that nothing owned is alive where a bounds check could fail.
        let loaded = match payload.is_none() && detail == 0 {
            true => {
                // Nothing to drop; saying so spares a call.
                std::mem::forget(payload);
                0
            }
            false => {
                self.loads[index as usize] = Load { payload, detail };
                LOADED
            }
        };
        let slot = &mut self.slots[index as usize];
        let generation = slot.identity & GENERATION_MASK;
        let identity = (kind as u32) << 24 | generation;
        slot.token = token;
        slot.identity = identity;
        slot.kind = kind;
        slot.group = group;
        slot.state = loaded
            | match kind.is_send() || kind.is_multishot() {
                true => LIVE | COUNTED,
                false => LIVE,
            };
        let id = OpId {
            slot: index,
            generation,
        };
        // The index is below `MAX_OPS`, so it needs no mask.
        let word = u64::from(identity) << 32 | u64::from(group) << 24 | u64::from(index);
        (id, word)
    }

    /// Makes one more slot and reserves it; `None` when [`MAX_OPS`] are in flight.
    #[cold]
    pub(crate) fn grow(&mut self) -> Option<u32> {
        let index = self.slots.len();
        if index >= MAX_OPS {
            return None;
        }
        self.slots.push(Slot {
            token: 0,
            identity: 1,
            kind: Kind::Nop,
            group: 0,
            state: 0,
        });
        self.loads.push(Load::default());
        self.free.push(0);
        Some(index as u32)
    }

    /// The live operation with this identity.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: OpId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.state != 0 && slot.identity & GENERATION_MASK == id.generation)
    }

    /// The live operation that a completion is of.
    #[inline]
    pub(crate) fn find(&self, word: u64) -> Option<&Slot> {
        // A free slot has no kind, so it is like no word that was ever given out.
        self.slots
            .get(slot_of(word) as usize)
            .filter(|slot| slot.identity == identity_of(word) && slot.identity > GENERATION_MASK)
    }

    /// Frees a live slot and makes every identity given out for it stale. What it owned must be
    /// [taken](Self::take_payload).
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.state != 0);
        slot.state = 0;
        // Generation 0 is never live, so `OpId::NONE` and a zeroed word match nothing.
        slot.identity = ((slot.identity + 1) & GENERATION_MASK).max(1);
        self.free[self.idle] = index;
        self.idle += 1;
    }

    /// What the operation in this slot owns.
    #[inline]
    pub(crate) fn take_payload(&mut self, index: u32) -> Option<Payload> {
        self.loads[index as usize].payload.take()
    }

    /// What the kind of the operation in this slot needs to know of the request (see
    /// [`Op`](crate::Op)).
    #[inline]
    pub(crate) fn detail(&self, index: u32) -> u32 {
        let index = index as usize;
        match self.slots[index].state & LOADED {
            0 => 0,
            _ => self.loads[index].detail,
        }
    }

    /// Whether completions of some operation may name buffers of this group.
    pub(crate) fn picks_from(&self, group: u8) -> bool {
        self.slots.iter().zip(&self.loads).any(|(slot, load)| {
            slot.state != 0
                && slot.group == group
                && match slot.kind {
                    Kind::RecvMulti | Kind::RecvMsgMulti | Kind::Command | Kind::Raw => true,
                    // Otherwise it has a buffer of its own.
                    Kind::Recv => load.payload.is_none(),
                    _ => false,
                }
        })
    }

    /// Every slot still in flight, for the drop of the ring.
    pub(crate) fn iter_live(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter(|slot| slot.state != 0)
    }

    /// Forgets everything that operations own: the kernel may still write there.
    pub(crate) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.loads));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_round_trips() {
        for kind in Kind::ALL {
            let tag = Tag {
                kind,
                generation: 0xab_cdef,
                group: 7,
                slot: 0x12_3456,
            };
            assert_eq!(Tag::decode(tag.encode()), Some(tag));
        }
        assert_eq!(Tag::decode(0), None);
        assert_eq!(Tag::decode(u64::MAX), None);
    }

    fn insert(
        slots: &mut Slots,
        kind: Kind,
        group: u8,
        detail: u32,
        payload: Option<Payload>,
    ) -> (OpId, u64) {
        let index = slots.reserve().or_else(|| slots.grow()).unwrap();
        slots.fill(index, kind, group, 0, detail, payload)
    }

    fn nop(slots: &mut Slots) -> (OpId, u64) {
        insert(slots, Kind::Nop, 0, 0, None)
    }

    #[test]
    fn a_reused_slot_has_another_generation() {
        let mut slots = Slots::with_capacity(1);
        let (first, old) = nop(&mut slots);
        slots.remove(first.slot);
        assert!(slots.get_mut(first).is_none() && slots.find(old).is_none());
        let (second, new) = nop(&mut slots);
        assert_eq!(first.slot, second.slot);
        assert_ne!(first.generation, second.generation);
        assert!(slots.get_mut(first).is_none() && slots.find(old).is_none());
        assert!(slots.get_mut(second).is_some() && slots.find(new).is_some());
    }

    #[test]
    fn a_generation_never_becomes_zero() {
        let mut slots = Slots::with_capacity(1);
        let (id, _) = nop(&mut slots);
        slots.slots[0].identity |= GENERATION_MASK;
        slots.remove(id.slot);
        assert_eq!(nop(&mut slots).0.generation, 1);
    }

    #[test]
    fn a_word_is_the_tag_of_its_operation() {
        let mut slots = Slots::with_capacity(4);
        nop(&mut slots);
        let (id, word) = insert(&mut slots, Kind::RecvMulti, 9, 0, None);
        let tag = Tag {
            kind: Kind::RecvMulti,
            generation: id.generation,
            group: 9,
            slot: 1,
        };
        assert_eq!(Tag::decode(word), Some(tag));
        // The same slot and generation, but of another kind.
        let other = Tag {
            kind: Kind::Recv,
            ..tag
        };
        assert!(slots.find(other.encode()).is_none());
    }

    #[test]
    fn a_slot_used_again_remembers_nothing() {
        let mut slots = Slots::with_capacity(1);
        let payload = Some(Payload::Timespec(Box::default()));
        let (id, _) = insert(&mut slots, Kind::Send, 0, 77, payload);
        assert_eq!(slots.detail(id.slot), 77);
        assert!(matches!(
            slots.take_payload(id.slot),
            Some(Payload::Timespec(_))
        ));
        slots.remove(id.slot);
        let (id, _) = nop(&mut slots);
        assert_eq!(slots.detail(id.slot), 0);
    }
}
