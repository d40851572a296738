//! The error queue of a socket (`MSG_ERRQUEUE`): which writes that were not to be copied are
//! done with (`MSG_ZEROCOPY`), and when bytes left and were acknowledged (`SO_TIMESTAMPING`).

use std::collections::VecDeque;

use zcn_stack::Instant;

use crate::errno::{Errno, Result};

/// Flags of `SO_TIMESTAMPING` (linux/net_tstamp.h).
const TX_SOFTWARE: u32 = 1 << 1;
const SOFTWARE: u32 = 1 << 4;
const OPT_ID: u32 = 1 << 7;
const TX_SCHED: u32 = 1 << 8;
const TX_ACK: u32 = 1 << 9;
const OPT_ID_TCP: u32 = 1 << 16;
const FLAGS_MAX: u32 = (1 << 19) - 1;
/// Those that a message may choose for itself.
const PER_MESSAGE: u32 = TX_SOFTWARE | TX_SCHED | TX_ACK;

/// What was stamped (linux/errqueue.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamped {
    Sent = 0,
    Scheduled = 1,
    Acknowledged = 2,
}

/// One entry of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The writes with these numbers are done with; they were copied, as is told too.
    Copied { first: u32, last: u32 },
    /// A byte passed a place at a time. `at`: if times are asked for.
    Stamp {
        what: Stamped,
        key: u32,
        at: Option<Instant>,
    },
}

/// Writes whose bytes are in use up to a place in the stream.
#[derive(Clone, Copy, Debug)]
struct Borrowed {
    end: u64,
    first: u32,
    last: u32,
}

/// A byte whose way is stamped.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Behind the byte.
    end: u64,
    flags: u32,
    sent: bool,
}

/// The queue of one socket, and what will come into it. Places in the stream are bytes written
/// by the application.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// SO_ZEROCOPY.
    pub(crate) zero_copy: bool,
    /// SO_TIMESTAMPING.
    pub(crate) stamping: u32,
    next_id: u32,
    borrowed: VecDeque<Borrowed>,
    /// From where keys count (`OPT_ID`).
    base: u64,
    marks: VecDeque<Mark>,
    queue: VecDeque<Notice>,
}

impl Notices {
    /// Those of a connection that a listener with these accepts.
    pub(crate) fn inherited(&self) -> Self {
        Self {
            zero_copy: self.zero_copy,
            stamping: self.stamping,
            ..Self::default()
        }
    }

    /// SO_TIMESTAMPING; `place`: how much was acknowledged and how much written of a connection.
    ///
    /// # Errors
    /// For flags that there are not, or keys without a connection.
    pub(crate) fn set_stamping(&mut self, flags: u32, place: Option<(u64, u64)>) -> Result<()> {
        if flags & !FLAGS_MAX != 0 || flags & OPT_ID_TCP != 0 && flags & OPT_ID == 0 {
            return Err(Errno(libc::EINVAL));
        }
        if flags & OPT_ID != 0 && self.stamping & OPT_ID == 0 {
            let (acked, written) = place.ok_or(Errno(libc::EINVAL))?;
            self.base = if flags & OPT_ID_TCP != 0 {
                written
            } else {
                acked
            };
        }
        self.stamping = flags;
        Ok(())
    }

    /// A call wrote up to `end`, with `MSG_ZEROCOPY` perhaps, behind bytes of such a call that have not
    /// left yet or not, and with flags of its own. `within`: in the super-frame in which the last
    /// marked byte is, whose mark then moves on.
    pub(crate) fn on_written(
        &mut self,
        end: u64,
        zero_copy: Option<bool>,
        own: Option<u32>,
        within: bool,
    ) {
        if let Some(joins) = zero_copy.filter(|_| self.zero_copy) {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            match self.borrowed.back_mut().filter(|_| joins) {
                Some(last) => (last.end, last.last) = (end, id),
                None => self.borrowed.push_back(Borrowed {
                    end,
                    first: id,
                    last: id,
                }),
            }
        }
        let flags = own.unwrap_or(self.stamping) & PER_MESSAGE;
        if flags == 0 {
            return;
        }
        match self.marks.back_mut().filter(|_| within) {
            Some(last) => (last.end, last.flags) = (end, last.flags | flags),
            None => self.marks.push_back(Mark {
                end,
                flags,
                sent: false,
            }),
        }
    }

    /// Bytes up to `sent` have left, up to `acked` they have arrived. Whether there is news.
    pub(crate) fn on_progress(&mut self, now: Instant, sent: u64, acked: u64) -> bool {
        let before = self.queue.len();
        let mut joined = false;
        // An acknowledgement comes before what it lets leave.
        let arrived = self
            .marks
            .iter()
            .take_while(|mark| mark.end <= acked)
            .count();
        for mark in self.marks.drain(..arrived).collect::<Vec<_>>() {
            if !mark.sent {
                self.tell_sent(mark, now);
            }
            if mark.flags & TX_ACK != 0 {
                self.tell(mark, Stamped::Acknowledged, now);
            }
        }
        for at in 0..self.marks.len() {
            let mark = self.marks[at];
            if mark.end > sent {
                break;
            }
            if !mark.sent {
                self.marks[at].sent = true;
                self.tell_sent(mark, now);
            }
        }
        while let Some(done) = self.borrowed.front().copied()
            && done.end <= acked
        {
            self.borrowed.pop_front();
            joined = true;
            // A range that follows on an unread one becomes one with it.
            if let Some(Notice::Copied { last, .. }) = self.queue.back_mut()
                && last.wrapping_add(1) == done.first
            {
                *last = done.last;
                continue;
            }
            self.queue.push_back(Notice::Copied {
                first: done.first,
                last: done.last,
            });
        }
        joined || self.queue.len() != before
    }

    fn tell(&mut self, mark: Mark, what: Stamped, now: Instant) {
        let notice = stamp(self.stamping, self.base, mark.end, what, now);
        self.queue.push_back(notice);
    }

    fn tell_sent(&mut self, mark: Mark, now: Instant) {
        for (flag, what) in [(TX_SCHED, Stamped::Scheduled), (TX_SOFTWARE, Stamped::Sent)] {
            if mark.flags & flag != 0 {
                self.tell(mark, what, now);
            }
        }
    }

    /// Whether the last write that was not to be copied has not all left yet.
    pub(crate) fn ends_with_unsent(&self, sent: u64) -> bool {
        self.borrowed.back().is_some_and(|last| last.end > sent)
    }

    /// Whether what was written up to `end` ends in the super-frame of `whole` bytes in which the last
    /// marked byte waits, `sent` bytes having left.
    pub(crate) fn ends_within(&self, sent: u64, end: u64, whole: u64) -> bool {
        let frame = |end: u64| (end - 1 - sent) / whole;
        self.marks
            .back()
            .is_some_and(|mark| mark.end > sent && end > sent && frame(mark.end) == frame(end))
    }

    /// Whether something is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.borrowed.is_empty() || !self.marks.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Notice> {
        self.queue.pop_front()
    }
}

fn stamp(flags: u32, base: u64, end: u64, what: Stamped, now: Instant) -> Notice {
    let key = if flags & OPT_ID != 0 {
        (end - 1).wrapping_sub(base) as u32
    } else {
        0
    };
    let at = (flags & SOFTWARE != 0).then_some(now);
    Notice::Stamp { what, key, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(7);

    #[test]
    fn writes_are_numbered_and_told_in_ranges() {
        let mut notices = Notices::default();
        notices.on_written(10, Some(false), None, false);
        assert!(!notices.is_waiting(), "SO_ZEROCOPY is off");
        notices.zero_copy = true;
        for end in [20, 30, 40] {
            notices.on_written(end, Some(false), None, false);
        }
        assert!(!notices.on_progress(NOW, 40, 19));
        assert!(notices.on_progress(NOW, 40, 30));
        assert_eq!(notices.pop(), Some(Notice::Copied { first: 0, last: 1 }));
        assert!(notices.on_progress(NOW, 40, 40));
        assert_eq!(notices.pop(), Some(Notice::Copied { first: 2, last: 2 }));
        assert_eq!(notices.pop(), None);
        // What joins bytes that wait is done with when they are.
        notices.on_written(50, Some(false), None, false);
        notices.on_written(60, Some(true), None, false);
        assert!(!notices.on_progress(NOW, 60, 50));
        assert!(notices.on_progress(NOW, 60, 60));
        assert_eq!(notices.pop(), Some(Notice::Copied { first: 3, last: 4 }));
    }

    #[test]
    fn bytes_are_stamped_on_their_way() {
        let mut notices = Notices::default();
        let flags = TX_SCHED | TX_SOFTWARE | TX_ACK | SOFTWARE | OPT_ID;
        assert!(notices.set_stamping(flags, None).is_err());
        assert!(notices.set_stamping(1 << 20, Some((0, 0))).is_err());
        notices.set_stamping(flags, Some((100, 150))).expect("good");
        notices.on_written(160, None, None, false);
        assert!(!notices.on_progress(NOW, 159, 150));
        assert!(notices.on_progress(NOW, 160, 150));
        assert!(notices.on_progress(NOW, 160, 160));
        for what in [Stamped::Scheduled, Stamped::Sent, Stamped::Acknowledged] {
            let at = Some(NOW);
            assert_eq!(notices.pop(), Some(Notice::Stamp { what, key: 59, at }));
        }
        // A message's own flags replace the socket's.
        notices.on_written(170, None, Some(TX_ACK), false);
        assert!(notices.on_progress(NOW, 170, 170));
        assert!(matches!(
            notices.pop(),
            Some(Notice::Stamp {
                what: Stamped::Acknowledged,
                key: 69,
                ..
            })
        ));
        assert!(notices.is_empty() && !notices.is_waiting());
    }
}
