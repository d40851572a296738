//! What comes back: one completion of one operation, translated and with its resources.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use crate::constants::NOTIF_USAGE_ZC_COPIED;
use crate::op::{CHOSEN_PLACE, ORDINARY, Op};
use crate::payload::{self, Payload};
use crate::ring::Ring;
use crate::slot::{CANCELLED, HIDDEN, Kind, LIVE, LOADED, ORPHANED, OpId, Tag};

const F_BUFFER: u32 = 1 << 0;
const F_MORE: u32 = 1 << 1;
const F_SOCK_NONEMPTY: u32 = 1 << 2;
const F_NOTIF: u32 = 1 << 3;
const F_BUF_MORE: u32 = 1 << 4;

/// One completion.
#[derive(Debug)]
pub struct Completion {
    /// The operation it belongs to.
    pub id: OpId,
    /// What the operation does.
    pub kind: Kind,
    /// The word given with the operation.
    pub token: u64,
    /// The operation goes on; otherwise this is its final completion and `id` is stale from here.
    pub more: bool,
    /// This is the notification of a zero-copy send: `payload` is the slice, free again.
    pub notification: bool,
    /// The notification says that the kernel copied after all.
    pub copied: bool,
    /// The socket held more data when the receive completed; worth asking again at once.
    pub nonempty: bool,
    /// What the operation gives back: a received buffer, or on the final completion what was sent.
    pub payload: Payload,
    result: i32,
}

impl Completion {
    #[inline(always)]
    fn new(tag: Tag, token: u64, result: i32, flags: u32, payload: Payload) -> Self {
        let notification = flags & F_NOTIF != 0;
        Self {
            id: OpId {
                slot: tag.slot,
                generation: tag.generation,
            },
            kind: tag.kind,
            token,
            more: flags & F_MORE != 0,
            notification,
            copied: notification && result as u32 & NOTIF_USAGE_ZC_COPIED != 0,
            nonempty: flags & F_SOCK_NONEMPTY != 0,
            payload,
            result: if notification { 0 } else { result },
        }
    }

    /// Result of the operation: bytes, a descriptor, or a count by kind.
    ///
    /// # Errors
    /// The errno with which the operation ended. It tells nothing about whether the operation is
    /// over: [`Completion::more`] does (rule 3).
    #[inline]
    pub fn result(&self) -> io::Result<u32> {
        if self.result < 0 {
            return Err(io::Error::from_raw_os_error(-self.result));
        }
        Ok(self.result as u32)
    }

    /// The raw result: negative errno or value.
    #[inline]
    pub fn raw_result(&self) -> i32 {
        self.result
    }
}

/// Takes completions out of a ring's queue.
///
/// While it lives the ring is borrowed, so no operation can be pushed from inside the loop and no
/// user code runs under a borrowed ring (rule 16): collect, then act.
///
/// ```compile_fail
/// let mut ring = zcn_uring::Ring::builder().build().unwrap();
/// for _ in ring.completions() {
///     ring.push(zcn_uring::Op::nop()).unwrap();
/// }
/// ```
#[derive(Debug)]
pub struct Completions<'a> {
    ring: &'a mut Ring,
}

impl<'a> Completions<'a> {
    #[inline]
    pub(crate) fn new(ring: &'a mut Ring) -> Self {
        Self { ring }
    }
}

impl Iterator for Completions<'_> {
    type Item = Completion;

    #[inline]
    fn next(&mut self) -> Option<Completion> {
        loop {
            let (word, result, flags) = self.ring.next_entry()?;
            if let Some(completion) = self.ring.translate(word, result, flags) {
                return Some(completion);
            }
        }
    }
}

impl Drop for Completions<'_> {
    /// Frees the places of what was taken, so that the kernel need not overflow for their sake.
    #[inline]
    fn drop(&mut self) {
        self.ring.queues.release();
    }
}

impl Completions<'_> {
    /// Takes one completion and lets go of everything in it; whether there was one.
    pub(crate) fn next_hidden(&mut self) -> bool {
        let Some((word, result, flags)) = self.ring.next_entry() else {
            return false;
        };
        drop(self.ring.translate(word, result, flags));
        true
    }
}

impl Ring {
    /// One raw entry of the completion queue.
    #[inline]
    fn next_entry(&mut self) -> Option<(u64, i32, u32)> {
        let entry = self.queues.next()?;
        self.counters.completed += 1;
        Some(entry)
    }

    /// Finds the operation, moves its resources, and hides what nobody waits for.
    #[inline]
    fn translate(&mut self, word: u64, result: i32, flags: u32) -> Option<Completion> {
        let Some(slot) = self.slots.find(word) else {
            return self.foreign(word, result, flags);
        };
        let tag = Tag::known(slot.kind, word);
        let (token, state) = (slot.token, slot.state);
        if state == LIVE && result >= 0 && flags & (F_MORE | F_BUFFER | F_NOTIF) == 0 {
            // It ends as it should, owns nothing and brings nothing.
            self.slots.remove(tag.slot);
            return Some(Completion::new(tag, token, result, flags, Payload::None));
        }
        let detail = self.slots.detail(tag.slot);
        let more = flags & F_MORE != 0;
        // By the flag alone: a failed receive may still carry a buffer (rule 14).
        let picked = flags & F_BUFFER != 0;
        if !more {
            self.slots.remove(tag.slot);
        }
        if flags & F_NOTIF != 0 {
            self.count_notification(result);
        } else {
            self.count(tag.kind, result, more, state, detail);
        }
        let loaded = picked || (!more && state & LOADED != 0);
        if state & (ORPHANED | HIDDEN) != 0 {
            self.bury(tag, result, flags, loaded, state, detail);
            if tag.kind == Kind::Cancel && detail > 0 {
                self.see_to_orphan(token, result, detail);
            }
            return None;
        }
        // Two places that build it: one copies a payload, the other must not pay for that.
        if loaded {
            let payload = self.payload_of(tag, result, flags, detail);
            return Some(Completion::new(tag, token, result, flags, payload));
        }
        Some(Completion::new(tag, token, result, flags, Payload::None))
    }

    /// What comes back with a completion that has a buffer, or that ends an operation which owns
    /// something.
    #[inline]
    fn payload_of(&mut self, tag: Tag, result: i32, flags: u32, detail: u32) -> Payload {
        let picked = flags & F_BUFFER != 0;
        if flags & F_MORE == 0 {
            // Without a payload this is `None`.
            let payload = self.slots.take_payload(tag.slot);
            if !picked {
                return settle(tag.kind, payload, result);
            }
            if let Payload::Msg(template) = payload {
                self.give_msg(template);
            }
        }
        self.take_buffers(tag, result, flags, tag.kind == Kind::Recv && detail != 0)
    }

    /// Lets go of what a completion brings that nobody waits for.
    #[cold]
    fn bury(&mut self, tag: Tag, result: i32, flags: u32, loaded: bool, state: u8, detail: u32) {
        if loaded {
            drop(self.payload_of(tag, result, flags, detail));
        }
        if result >= 0 && tag.kind.yields_descriptor() {
            self.close_reclaimed(tag, result, Some(detail));
        }
        if flags & F_MORE == 0 && state & ORPHANED != 0 {
            self.counters.orphans_reclaimed += 1;
        }
    }

    /// A cancel of an orphan has completed.
    #[cold]
    fn see_to_orphan(&mut self, token: u64, result: i32, attempt: u32) {
        if matches!(-result, libc::ENOENT | libc::EALREADY) {
            let id = OpId {
                slot: token as u32,
                generation: (token >> 32) as u32,
            };
            self.pursue(id, attempt);
        }
    }

    #[inline]
    fn take_buffers(&mut self, tag: Tag, result: i32, flags: u32, bundle: bool) -> Payload {
        let Some(Some(group)) = self.groups.get_mut(usize::from(tag.group)) else {
            self.counters.stale += 1;
            return Payload::None;
        };
        let id = (flags >> 16) as u16;
        let len = usize::try_from(result).unwrap_or(0);
        if group.is_incremental() {
            return group
                .take_piece(id, len, flags & F_BUF_MORE != 0)
                .map_or(Payload::None, Payload::Shared);
        }
        if bundle {
            let mut bufs = self.spare_bundles.pop().unwrap_or_default();
            group.take_bundle(id, len, &mut bufs);
            return Payload::Bufs(bufs);
        }
        group.take(id, len).map_or(Payload::None, Payload::Buf)
    }

    #[cold]
    fn count_notification(&mut self, result: i32) {
        self.counters.zc_notifications += 1;
        if result as u32 & NOTIF_USAGE_ZC_COPIED != 0 {
            self.counters.zc_copied += 1;
        }
    }

    #[inline]
    fn count(&mut self, kind: Kind, result: i32, more: bool, state: u8, detail: u32) {
        if result < 0 {
            self.counters.no_buffers += u64::from(result == -libc::ENOBUFS);
        } else if kind.is_send() && (result as u32) < detail {
            self.counters.short_sends += 1;
        }
        if kind.is_multishot() && !more && state & CANCELLED == 0 {
            // A stream that is over or broken is not worth arming again.
            let worth_it = match -result {
                libc::ENOBUFS | libc::EMFILE | libc::ENFILE | libc::ENOMEM => true,
                0 => kind == Kind::AcceptMulti,
                errno => errno < 0,
            };
            self.counters.multishot_ended += u64::from(worth_it);
        }
    }

    /// A completion of no operation in flight here: a message, or a stale one.
    #[cold]
    fn foreign(&mut self, word: u64, result: i32, flags: u32) -> Option<Completion> {
        if (word >> 56) as u8 == Kind::Message as u8 {
            return Some(message(word, result));
        }
        self.reclaim_stale(word, result, flags);
        None
    }

    /// A completion of an operation that is long over: give back what it brings.
    #[cold]
    fn reclaim_stale(&mut self, word: u64, result: i32, flags: u32) {
        self.counters.stale += 1;
        let Some(tag) = Tag::decode(word) else { return };
        if flags & F_BUFFER != 0 {
            drop(self.take_buffers(tag, result, flags, false));
        }
        if result >= 0 && tag.kind.yields_descriptor() {
            self.close_reclaimed(tag, result, None);
        }
        tracing::debug!(?tag, result, "stale completion");
    }

    /// Closes a descriptor that an operation yielded after its owner had gone. `place` is the slot
    /// of the file table that the owner had chosen, where it is known.
    #[cold]
    fn close_reclaimed(&mut self, tag: Tag, result: i32, place: Option<u32>) {
        self.counters.descriptors_reclaimed += 1;
        let direct = match (tag.kind, tag.group) {
            (Kind::InstallFd, _) | (_, ORDINARY) => None,
            (_, CHOSEN_PLACE) => match place {
                Some(place) => Some(place),
                None => return,
            },
            _ => Some(result as u32),
        };
        if let Some(place) = direct {
            if let Ok(close) = self.push(Op::close_direct(place)) {
                self.hide(close);
            }
            return;
        }
        // SAFETY: the kernel has just opened this descriptor for an operation that nobody waits
        // for, so nobody else knows its number. Slots of the file table were told apart above.
        drop(unsafe { OwnedFd::from_raw_fd(result) });
    }
}

/// Brings what an operation owned up to date with how it ended.
#[inline]
fn settle(kind: Kind, mut payload: Payload, result: i32) -> Payload {
    match &mut payload {
        Payload::Buf(buf) if result > 0 => payload::grow(buf, result as usize),
        Payload::Msg(msg) if kind == Kind::RecvMsg => {
            msg.received(result >= 0);
            if let (Some(buf), true) = (msg.buf_mut(), result > 0) {
                payload::grow(buf, result as usize);
            }
        }
        Payload::Fd(_) => {
            // The close never ran, or was refused: the descriptor is still ours. Otherwise the
            // kernel has closed it, even if the close reported an error.
            if !matches!(-result, libc::ECANCELED | libc::EBADF | libc::EINVAL)
                && let Payload::Fd(fd) = std::mem::take(&mut payload)
            {
                let _ = fd.into_raw_fd();
            }
        }
        _ => {}
    }
    payload
}

/// A message from another ring: it has no slot here.
#[cold]
fn message(word: u64, result: i32) -> Completion {
    Completion {
        id: OpId::NONE,
        kind: Kind::Message,
        token: word & crate::op::MESSAGE_TOKEN_MASK,
        more: false,
        notification: false,
        copied: false,
        nonempty: false,
        payload: Payload::None,
        result,
    }
}
