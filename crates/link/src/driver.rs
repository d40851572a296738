//! What every driver offers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use zcn_frame::{Capabilities, Frame};

use crate::statistics::Statistics;

/// One queue of a link: takes and gives batches of frames.
///
/// The order of calls in a turn is the caller's; usually `receive`, the stack, `transmit`,
/// `flush`, and [`wait`](Self::wait) (or the caller's own event loop on
/// [`readiness`](Self::readiness)) when nothing moved. No method but `wait` blocks. A
/// driver may go to another thread, but is used by one at a time; a link with several
/// queues gives one driver for each.
///
/// Bad frames and want of buffers are counted in [`statistics`](Self::statistics) and cost
/// that frame. An error means that the link itself is broken or gone.
pub trait Driver: Send {
    /// What the link can do; the same for the driver's life.
    fn capabilities(&self) -> &Capabilities;

    /// Appends up to `max` received frames to `into` and answers how many; none if none
    /// are there. The frames own their buffers, which go home when they are dropped. A
    /// driver that has to cut a super-frame for want of offload may go beyond `max` by the
    /// packets of that one.
    ///
    /// # Errors
    /// The link is gone (its device was removed or set down). Frames that came before the
    /// error are in `into`.
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize>;

    /// Takes frames from the front of `frames` and sends them, or queues them up to
    /// [`flush`](Self::flush). Answers how many it took; those that it has no room for at
    /// present stay, in order. Frames that the link can never carry are taken, dropped and
    /// counted.
    ///
    /// # Errors
    /// The link is gone; frames that were not sent stay.
    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize>;

    /// Sees to it that everything taken by [`transmit`](Self::transmit) is on its way.
    ///
    /// # Errors
    /// As `transmit`.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// A descriptor for an event loop, readable when [`receive`](Self::receive) has
    /// something to give and [`arm`](Self::arm) was called before.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// To be called before going to sleep on [`readiness`](Self::readiness): from now on
    /// the next frame makes it readable. Answers whether frames are there already; then do
    /// not sleep. ([`wait`](Self::wait) does this itself.) The next
    /// [`receive`](Self::receive) ends it.
    ///
    /// # Errors
    /// As `receive`.
    fn arm(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    /// Waits until there is something to receive, or until `timeout` is over (never, if
    /// none): first asking again and again for up to `spin`, then asleep. Answers whether
    /// there is something. It may answer so early: a signal or a wake-up without a frame.
    ///
    /// A wake-up costs tens of microseconds; spinning costs the core. A spin of 20 to
    /// 50 µs is where both cost the same.
    ///
    /// # Errors
    /// Whatever poll(2) answers.
    fn wait(&mut self, spin: Duration, timeout: Option<Duration>) -> io::Result<bool>;

    /// The counters, brought up to date.
    fn statistics(&mut self) -> &Statistics;
}

/// A driver of a kind that is chosen at run time.
impl<D: Driver + ?Sized> Driver for Box<D> {
    fn capabilities(&self) -> &Capabilities {
        (**self).capabilities()
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        (**self).receive(into, max)
    }

    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize> {
        (**self).transmit(frames)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        (**self).readiness()
    }

    fn arm(&mut self) -> io::Result<bool> {
        (**self).arm()
    }

    fn wait(&mut self, spin: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        (**self).wait(spin, timeout)
    }

    fn statistics(&mut self) -> &Statistics {
        (**self).statistics()
    }
}
