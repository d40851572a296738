//! Ends operations before their time: cancel, abandon, drain.

use std::time::{Duration, Instant};

use crate::op::{Op, cancel_tag};
use crate::push::PushError;
use crate::ring::Ring;
use crate::sizes::{CompletionSize, EntrySize};
use crate::slot::{CANCELLED, HIDDEN, Kind, ORPHANED, OpId};

/// How often an orphan is cancelled again: after 1, 2, 4, … ms, a second in all.
const CANCEL_ATTEMPTS: u32 = 10;

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// Asks the kernel to end an operation. Its completion still comes and still decides (the
    /// operation may have succeeded, rule 7); the cancel itself completes as an operation of its
    /// own with `token`. Nothing happens if the operation has ended already.
    // The error carries the operation, as in `push`.
    #[allow(clippy::result_large_err)]
    pub fn cancel(&mut self, id: OpId, token: u64) -> Result<Option<OpId>, PushError> {
        let Some(user_data) = self.mark_cancelled(id) else {
            return Ok(None);
        };
        self.push(Op::cancel_user_data(user_data).token(token))
            .map(Some)
    }

    fn mark_cancelled(&mut self, id: OpId) -> Option<u64> {
        let slot = self.slots.get_mut(id)?;
        slot.state |= CANCELLED;
        Some(cancel_tag(slot.kind, slot.group, id))
    }

    /// The owner of an operation goes away: the operation is cancelled, its completions are no
    /// longer shown, and what it owns goes home with the final one (rule 1). A descriptor that it
    /// yields after all is closed.
    pub fn abandon(&mut self, id: OpId) {
        let Some(user_data) = self.mark_cancelled(id) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(id) {
            if slot.state & ORPHANED != 0 {
                return;
            }
            slot.state |= ORPHANED;
        }
        self.counters.orphaned += 1;
        self.push_hidden(Op::cancel_user_data(user_data).pursuing(id, 1));
    }

    /// The cancel of an orphan found nothing, or found it under way: it may have been on its way
    /// between the kernel's lists. If it has not ended after a while, it is cancelled again.
    #[cold]
    pub(crate) fn pursue(&mut self, id: OpId, attempt: u32) {
        if attempt > CANCEL_ATTEMPTS {
            return;
        }
        let Some(user_data) = self.mark_cancelled(id) else {
            return;
        };
        let pause = Duration::from_millis(1 << (attempt - 1));
        // Hard-linked, because the end of a timeout counts as a failure.
        self.push_hidden(Op::timeout(pause, 0).hard_link());
        self.push_hidden(Op::cancel_user_data(user_data).pursuing(id, attempt + 1));
    }

    /// Pushes an operation whose completion nobody waits for. If there is no slot for it, so be it:
    /// what it was to end ends by itself or with the ring.
    fn push_hidden(&mut self, op: Op) {
        if let Ok(id) = self.push(op) {
            self.hide(id);
        }
    }

    /// Completions of this operation are not shown; for cancels nobody waits for.
    pub fn hide(&mut self, id: OpId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.state |= HIDDEN;
        }
    }

    /// Whether the operation has not had its final completion.
    pub fn is_in_flight(&mut self, id: OpId) -> bool {
        self.slots.get_mut(id).is_some()
    }

    /// Cancels everything and waits until nothing is in flight or `limit` has passed; returns what
    /// is left. Completions are consumed; resources go home, descriptors are closed.
    ///
    /// Commands that wait in a driver (the fetch commands of FUSE and ublk) do not heed a cancel:
    /// they end when their device does, or with the ring.
    pub fn drain(&mut self, limit: Duration) -> usize {
        self.drain_unless(limit, |_| false)
    }

    /// [`drain`](Self::drain), but stops as soon as a round of cancels has brought nothing and only
    /// commands are left, which only the end of the ring ends.
    pub(crate) fn drain_all_but_commands(&mut self, limit: Duration) -> usize {
        self.drain_unless(limit, Self::only_commands_left)
    }

    /// Whether nothing but commands is in flight.
    pub(crate) fn only_commands_left(&mut self) -> bool {
        self.slots
            .iter_live()
            .all(|slot| matches!(slot.kind, Kind::Command | Kind::Nvme))
    }

    fn drain_unless(&mut self, limit: Duration, hopeless: impl Fn(&mut Self) -> bool) -> usize {
        let deadline = Instant::now() + limit;
        if self.slots.live() > 0 {
            self.push_hidden(Op::cancel_all());
        }
        while self.slots.live() > 0 {
            for slot in self.slots.iter_live() {
                if slot.state & (ORPHANED | HIDDEN) == 0 {
                    slot.state |= ORPHANED;
                    self.counters.orphaned += 1;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // A short wait: an operation that was between two states when the cancel ran is
            // cancelled again.
            if self
                .wait(1, Some(left.min(Duration::from_millis(50))))
                .is_err()
            {
                break;
            }
            let mut reaped = 0;
            let mut completions = self.completions();
            while completions.next_hidden() {
                reaped += 1;
            }
            drop(completions);
            if reaped == 0 {
                if hopeless(self) {
                    break;
                }
                self.push_hidden(Op::cancel_all());
            }
        }
        self.slots.live()
    }
}
