//! What comes back: one completion of one operation, translated and with its resources.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::constants::NOTIF_USAGE_ZC_COPIED;
use crate::op::Op;
use crate::payload::{self, Payload};
use crate::ring::Ring;
use crate::slot::{Kind, OpId, Tag};

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
    /// One raw entry of the completion queue. The acquire load of the tail and the release store of
    /// the head are in the crate's queue guard.
    #[inline]
    fn next_entry(&mut self) -> Option<(u64, i32, u32)> {
        let entry = self.io.completion().next()?;
        self.counters.completed += 1;
        Some((entry.user_data(), entry.result(), entry.flags()))
    }

    /// Finds the operation, moves its resources, and hides what nobody waits for.
    #[inline]
    fn translate(&mut self, word: u64, result: i32, flags: u32) -> Option<Completion> {
        let Some(tag) = Tag::decode(word) else {
            self.counters.stale += 1;
            return None;
        };
        if tag.kind == Kind::Message {
            return Some(Completion {
                id: OpId::NONE,
                kind: Kind::Message,
                token: word & crate::op::MESSAGE_TOKEN_MASK,
                more: false,
                notification: false,
                copied: false,
                nonempty: false,
                payload: Payload::None,
                result,
            });
        }
        let more = flags & F_MORE != 0;
        let notification = flags & F_NOTIF != 0;
        let Some(slot) = self.slots.get_mut(tag.slot, tag.generation) else {
            self.reclaim_stale(tag, result, flags);
            return None;
        };
        let (token, orphaned, cancelled, asked) =
            (slot.token, slot.orphaned, slot.cancelled, slot.asked);
        let mut payload = Payload::None;
        if flags & F_BUFFER != 0 {
            // A failed receive may still carry a buffer (rule 14): look at the flag alone.
            payload = self.take_buffers(tag, result, flags);
        } else if !more {
            payload = self.slots.remove(tag.slot);
            if let (Payload::Buf(buf), true) = (&mut payload, result > 0) {
                payload::grow(buf, result as usize);
            }
            if let (Payload::Msg(msg), Kind::RecvMsg) = (&mut payload, tag.kind) {
                msg.received();
                if let (Some(buf), true) = (msg.buf_mut(), result > 0) {
                    payload::grow(buf, result as usize);
                }
            }
        }
        if flags & F_BUFFER != 0 && !more {
            // What the slot itself owns (a message template) goes home with the last completion.
            drop(self.slots.remove(tag.slot));
        }
        self.count(tag.kind, result, more, notification, cancelled, asked);
        if orphaned {
            if result >= 0 && tag.kind.yields_descriptor() {
                self.close_reclaimed(tag, result);
            }
            if !more && tag.kind != Kind::Cancel {
                self.counters.orphans_reclaimed += 1;
            }
            return None;
        }
        Some(Completion {
            id: OpId {
                slot: tag.slot,
                generation: tag.generation,
            },
            kind: tag.kind,
            token,
            more,
            notification,
            copied: notification && result as u32 & NOTIF_USAGE_ZC_COPIED != 0,
            nonempty: flags & F_SOCK_NONEMPTY != 0,
            payload,
            result: if notification { 0 } else { result },
        })
    }

    #[inline]
    fn take_buffers(&mut self, tag: Tag, result: i32, flags: u32) -> Payload {
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
        if len > group.buffer_size() {
            let mut bufs = self.spare_bundles.pop().unwrap_or_default();
            group.take_bundle(id, len, &mut bufs);
            return Payload::Bufs(bufs);
        }
        group.take(id, len).map_or(Payload::None, Payload::Buf)
    }

    #[inline]
    fn count(
        &mut self,
        kind: Kind,
        result: i32,
        more: bool,
        notification: bool,
        cancelled: bool,
        asked: u32,
    ) {
        if notification {
            self.counters.zc_notifications += 1;
            if result as u32 & NOTIF_USAGE_ZC_COPIED != 0 {
                self.counters.zc_copied += 1;
            }
            return;
        }
        if result == -libc::ENOBUFS {
            self.counters.no_buffers += 1;
        }
        if kind.is_multishot() && !more && !cancelled {
            self.counters.multishot_ended += 1;
        }
        if kind.is_send() && result >= 0 && (result as u32) < asked {
            self.counters.short_sends += 1;
        }
    }

    /// A completion of an operation that is long over: give back what it brings.
    #[cold]
    fn reclaim_stale(&mut self, tag: Tag, result: i32, flags: u32) {
        self.counters.stale += 1;
        if flags & F_BUFFER != 0 {
            drop(self.take_buffers(tag, result, flags));
        }
        if result >= 0 && tag.kind.yields_descriptor() {
            self.close_reclaimed(tag, result);
        }
        tracing::debug!(?tag, result, "stale completion");
    }

    /// Closes a descriptor that an operation yielded after its owner had gone.
    #[cold]
    fn close_reclaimed(&mut self, tag: Tag, result: i32) {
        self.counters.descriptors_reclaimed += 1;
        let direct = tag.kind != Kind::InstallFd && tag.group != 0;
        if direct {
            if let Ok(close) = self.push(Op::close_direct(result as u32)) {
                self.hide(close);
            }
            return;
        }
        // SAFETY: the kernel has just opened this descriptor for an operation that nobody waits
        // for, so nobody else knows its number. Slots of the file table were told apart above.
        drop(unsafe { OwnedFd::from_raw_fd(result) });
    }
}
