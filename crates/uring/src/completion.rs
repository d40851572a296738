//! What comes back: one completion of one operation, translated and with its resources.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use crate::constants::NOTIF_USAGE_ZC_COPIED;
use crate::op::{CHOSEN_PLACE, ORDINARY, Op};
use crate::payload::{self, Payload};
use crate::ring::Ring;
use crate::sizes::sealed::Reaped;
use crate::sizes::{Completion16, CompletionSize, Entry64, EntrySize};
use crate::slot::{CANCELLED, HIDDEN, Kind, LIVE, LOADED, ORPHANED, OpId, Tag, slot_of};

const F_BUFFER: u32 = 1 << 0;
const F_MORE: u32 = 1 << 1;
const F_SOCK_NONEMPTY: u32 = 1 << 2;
const F_NOTIF: u32 = 1 << 3;
const F_BUF_MORE: u32 = 1 << 4;

/// One completion.
///
/// Whole words only, as the kernel wrote them: a completion is built and moved for every
/// operation, and words that were written in parts must not be read before they are in the cache.
#[derive(Debug)]
pub struct Completion<X = ()> {
    /// The word given with the operation.
    pub token: u64,
    /// What the operation gives back, if anything: a received buffer, or on the final completion
    /// what was sent.
    pub payload: Option<Payload>,
    /// The `user_data` of the operation.
    word: u64,
    /// Result below, flags above.
    outcome: u64,
    extra: X,
}

impl<X: Copy> Completion<X> {
    #[inline(always)]
    fn new(reaped: Reaped<X>, token: u64, payload: Option<Payload>) -> Self {
        let Reaped {
            word,
            result,
            flags,
            extra,
        } = reaped;
        Self {
            token,
            payload,
            word,
            outcome: u64::from(flags) << 32 | u64::from(result as u32),
            extra,
        }
    }

    #[inline]
    fn has(&self, flag: u32) -> bool {
        self.flags() & flag != 0
    }

    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        (self.outcome >> 32) as u32
    }

    /// The operation it belongs to.
    #[inline]
    pub fn id(&self) -> OpId {
        OpId::of(self.word)
    }

    /// What the operation does.
    #[inline]
    pub fn kind(&self) -> Kind {
        // A ring makes completions from words of its own only.
        Kind::from_byte((self.word >> 56) as u8).unwrap_or(Kind::Raw)
    }

    /// The operation goes on; otherwise this is its final completion and its identity is stale
    /// from here.
    #[inline]
    pub fn more(&self) -> bool {
        self.has(F_MORE)
    }

    /// This is the notification of a zero-copy send: `payload` is the slice, free again.
    #[inline]
    pub fn notification(&self) -> bool {
        self.has(F_NOTIF)
    }

    /// The notification says that the kernel copied after all.
    #[inline]
    pub fn copied(&self) -> bool {
        self.notification() && self.outcome as u32 & NOTIF_USAGE_ZC_COPIED != 0
    }

    /// The socket held more data when the receive completed; worth asking again at once.
    #[inline]
    pub fn nonempty(&self) -> bool {
        self.has(F_SOCK_NONEMPTY)
    }

    /// Result of the operation: bytes, a descriptor, or a count by kind.
    ///
    /// # Errors
    /// The errno with which the operation ended. It tells nothing about whether the operation is
    /// over: [`Completion::more`] does (rule 3).
    #[inline]
    pub fn result(&self) -> io::Result<u32> {
        let result = self.raw_result();
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        Ok(result as u32)
    }

    /// The raw result: negative errno or value. 0 for a notification.
    #[inline]
    pub fn raw_result(&self) -> i32 {
        match self.notification() {
            true => 0,
            false => self.outcome as i32,
        }
    }
}

impl Completion<[u64; 2]> {
    /// The two words that a 32-byte completion brings beside the result; 0 where the operation has
    /// nothing to say.
    #[inline]
    pub fn extra(&self) -> [u64; 2] {
        self.extra
    }
}

/// Takes completions out of a ring's queue.
///
/// `for_each` is faster than a `for` loop where most operations own no buffer.
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
pub struct Completions<'a, E: EntrySize = Entry64, C: CompletionSize = Completion16> {
    ring: &'a mut Ring<E, C>,
}

impl<'a, E: EntrySize, C: CompletionSize> Completions<'a, E, C> {
    #[inline]
    pub(crate) fn new(ring: &'a mut Ring<E, C>) -> Self {
        Self { ring }
    }
}

impl<E: EntrySize, C: CompletionSize> Iterator for Completions<'_, E, C> {
    type Item = Completion<C::Extra>;

    // Always inline: the completion is then taken apart where it is used, instead of being
    // written to memory and read again.
    #[inline(always)]
    fn next(&mut self) -> Option<Completion<C::Extra>> {
        let reaped = self.ring.next_entry()?;
        match self.ring.end_plain(&reaped) {
            Some(token) => Some(Completion::new(reaped, token, None)),
            None => self.ring.next_from(reaped),
        }
    }

    // What `for_each` does as well: the closure is compiled once for the plain completions, where
    // nothing is left of a payload that is known to be `None`, and once for the others.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut f: F) -> B {
        let mut all = init;
        while let Some(reaped) = self.ring.next_entry() {
            if let Some(token) = self.ring.end_plain(&reaped) {
                all = f(all, Completion::new(reaped, token, None));
            } else if let Some(other) = self.ring.next_from(reaped) {
                all = f(all, other);
            }
        }
        all
    }
}

impl<E: EntrySize, C: CompletionSize> Drop for Completions<'_, E, C> {
    /// Frees the places of what was taken, so that the kernel need not overflow for their sake.
    #[inline]
    fn drop(&mut self) {
        self.ring.queues.release();
    }
}

impl<E: EntrySize, C: CompletionSize> Completions<'_, E, C> {
    /// Takes one completion and lets go of everything in it; whether there was one.
    pub(crate) fn next_hidden(&mut self) -> bool {
        let Some(reaped) = self.ring.next_entry() else {
            return false;
        };
        drop(self.ring.translate(reaped));
        true
    }
}

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// One raw entry of the completion queue.
    #[inline]
    fn next_entry(&mut self) -> Option<Reaped<C::Extra>> {
        let entry = self.queues.next()?;
        self.counters.completed += 1;
        Some(entry)
    }

    /// Ends the operation of a completion if it ends as it should, owns nothing and brings
    /// nothing; gives its token.
    #[inline(always)]
    fn end_plain(&mut self, reaped: &Reaped<C::Extra>) -> Option<u64> {
        let (word, result, flags) = (reaped.word, reaped.result, reaped.flags);
        let slot = self.slots.find(word)?;
        if slot.state != LIVE || result < 0 || flags & (F_MORE | F_BUFFER | F_NOTIF) != 0 {
            return None;
        }
        let token = slot.token;
        self.slots.remove(slot_of(word));
        Some(token)
    }

    /// The first completion to be shown, from this entry on. Never inline, so that the loop around
    /// the plain ones keeps its registers.
    #[inline(never)]
    fn next_from(&mut self, mut reaped: Reaped<C::Extra>) -> Option<Completion<C::Extra>> {
        loop {
            let completion = self.translate(reaped);
            if completion.is_some() {
                return completion;
            }
            reaped = self.next_entry()?;
        }
    }

    /// Finds the operation, moves its resources, and hides what nobody waits for.
    #[inline]
    fn translate(&mut self, reaped: Reaped<C::Extra>) -> Option<Completion<C::Extra>> {
        let (word, result, flags) = (reaped.word, reaped.result, reaped.flags);
        let Some(slot) = self.slots.find(word) else {
            return self.foreign(reaped);
        };
        let tag = Tag::known(slot.kind, word);
        let (token, state) = (slot.token, slot.state);
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
            return Some(Completion::new(reaped, token, payload));
        }
        Some(Completion::new(reaped, token, None))
    }

    /// What comes back with a completion that has a buffer, or that ends an operation which owns
    /// something.
    #[inline]
    fn payload_of(&mut self, tag: Tag, result: i32, flags: u32, detail: u32) -> Option<Payload> {
        let picked = flags & F_BUFFER != 0;
        if flags & F_MORE == 0 {
            // Without a payload this is `None`.
            let payload = self.slots.take_payload(tag.slot);
            if !picked {
                let result = match tag.kind {
                    Kind::Nvme => bytes_of(result, detail),
                    _ => result,
                };
                return settle(tag.kind, payload, result);
            }
            if let Some(Payload::Msg(template)) = payload {
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
    fn take_buffers(&mut self, tag: Tag, result: i32, flags: u32, bundle: bool) -> Option<Payload> {
        let Some(Some(group)) = self.groups.get_mut(usize::from(tag.group)) else {
            self.counters.stale += 1;
            return None;
        };
        let id = (flags >> 16) as u16;
        let len = usize::try_from(result).unwrap_or(0);
        if group.is_incremental() {
            return group
                .take_piece(id, len, flags & F_BUF_MORE != 0)
                .map(Payload::Shared);
        }
        if bundle {
            let mut bufs = self.spare_bundles.pop().unwrap_or_default();
            group.take_bundle(id, len, &mut bufs);
            return Some(Payload::Bufs(bufs));
        }
        group.take(id, len).map(Payload::Buf)
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
    fn foreign(&mut self, reaped: Reaped<C::Extra>) -> Option<Completion<C::Extra>> {
        if (reaped.word >> 56) as u8 == Kind::Message as u8 {
            return Some(message(reaped));
        }
        self.reclaim_stale(reaped.word, reaped.result, reaped.flags);
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

    /// Closes the descriptor of a completion that nobody took.
    pub(crate) fn close_untaken<X: Copy>(&mut self, done: &Completion<X>, place: u32) {
        if let (Some(tag), Ok(result)) = (Tag::decode(done.word), done.result())
            && tag.kind.yields_descriptor()
        {
            self.close_reclaimed(tag, result as i32, Some(place));
        }
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

/// What an NVMe command with this result has brought: all that it was to read, or nothing.
fn bytes_of(result: i32, asked: u32) -> i32 {
    match result {
        0 => asked as i32,
        _ => 0,
    }
}

/// Brings what an operation owned up to date with how it ended.
#[inline]
fn settle(kind: Kind, mut payload: Option<Payload>, result: i32) -> Option<Payload> {
    match &mut payload {
        Some(Payload::Buf(buf)) if result > 0 => payload::grow(buf, result as usize),
        Some(Payload::Msg(msg)) if kind == Kind::RecvMsg => {
            msg.received(result >= 0);
            if let (Some(buf), true) = (msg.buf_mut(), result > 0) {
                payload::grow(buf, result as usize);
            }
        }
        Some(Payload::Msg(msg)) if kind == Kind::SocketName => msg.received(result >= 0),
        Some(Payload::Fd(_)) => {
            // The close never ran, or was refused: the descriptor is still ours. Otherwise the
            // kernel has closed it, even if the close reported an error.
            if !matches!(-result, libc::ECANCELED | libc::EBADF | libc::EINVAL)
                && let Some(Payload::Fd(fd)) = payload.take()
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
fn message<X: Copy>(reaped: Reaped<X>) -> Completion<X> {
    let token = reaped.word & crate::op::MESSAGE_TOKEN_MASK;
    let reaped = Reaped {
        word: crate::op::cancel_tag(Kind::Message, 0, OpId::NONE),
        flags: 0,
        ..reaped
    };
    Completion::new(reaped, token, None)
}
