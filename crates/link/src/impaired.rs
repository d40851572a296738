//! A driver behind a bad network.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use zcn_frame::{Capabilities, Frame};

use crate::driver::Driver;
use crate::impairment::{Impairment, Impairments};
use crate::statistics::Statistics;
use crate::wait::{Spun, is_readable, sleep, spin};

/// How many frames are fetched from the link below at a time.
const BATCH: usize = 64;

/// A driver whose frames pass an [`Impairment`] each way, by the machine's clock.
///
/// Frames come out when [`receive`](Driver::receive), [`transmit`](Driver::transmit) or
/// [`flush`](Driver::flush) is called at or after their time;
/// [`readiness`](Driver::readiness) and [`wait`](Driver::wait) tell when that is.
#[derive(Debug)]
pub struct Impaired<D> {
    inner: D,
    start: Instant,
    incoming: Impairment,
    outgoing: Impairment,
    /// Due, and not yet taken by the link.
    pending: VecDeque<Frame>,
    fetched: Vec<Frame>,
    timer: OwnedFd,
    /// Readable when the link is or the timer is over.
    both: OwnedFd,
    /// What the timer is set to.
    armed: Option<Duration>,
    statistics: Statistics,
}

impl<D: Driver> Impaired<D> {
    /// Impairs what `inner` receives and what is sent by it, each by its own settings.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new(
        inner: D,
        incoming: Impairments,
        outgoing: Impairments,
        seed: u64,
    ) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let both = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &both,
            &timer,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )?;
        epoll::add(
            &both,
            inner.readiness(),
            epoll::EventData::new_u64(1),
            epoll::EventFlags::IN,
        )?;
        let link_header = inner.capabilities().medium.header_len();
        Ok(Self {
            start: Instant::now(),
            incoming: Impairment::new(incoming, link_header, seed),
            // Another seed, so that the two ways do not share their fate.
            outgoing: Impairment::new(outgoing, link_header, !seed),
            pending: VecDeque::new(),
            fetched: Vec::new(),
            timer,
            both,
            armed: None,
            statistics: Statistics::default(),
            inner,
        })
    }

    /// What happens to received frames; may be changed at any time.
    pub const fn incoming(&mut self) -> &mut Impairment {
        &mut self.incoming
    }

    /// What happens to sent frames; may be changed at any time.
    pub const fn outgoing(&mut self) -> &mut Impairment {
        &mut self.outgoing
    }

    /// The driver inside.
    pub const fn inner(&self) -> &D {
        &self.inner
    }

    /// Moves what is due on either way, and fetches what the link has.
    fn turn(&mut self) -> io::Result<()> {
        let now = self.start.elapsed();
        loop {
            let count = self.inner.receive(&mut self.fetched, BATCH)?;
            for frame in self.fetched.drain(..) {
                self.incoming.push(frame, now);
            }
            if count < BATCH {
                break;
            }
        }
        self.send_due(now)
    }

    fn send_due(&mut self, now: Duration) -> io::Result<()> {
        while let Some(frame) = self.outgoing.pop(now) {
            self.pending.push_back(frame);
        }
        if !self.pending.is_empty() {
            self.inner.transmit(&mut self.pending)?;
            self.inner.flush()?;
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Duration> {
        // What the link did not take is tried again soon.
        let again =
            (!self.pending.is_empty()).then(|| self.start.elapsed() + Duration::from_micros(100));
        [
            self.incoming.next_deadline(),
            self.outgoing.next_deadline(),
            again,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Sets the timer to the next deadline; answers whether that is over already.
    fn set_timer(&mut self) -> io::Result<bool> {
        let deadline = self.next_deadline();
        let now = self.start.elapsed();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(true);
        }
        if deadline == self.armed {
            return Ok(false);
        }
        let left = deadline.map_or(Duration::ZERO, |deadline| deadline - now);
        let value = rustix::time::Timespec::try_from(left).unwrap_or(rustix::time::Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let setting = Itimerspec {
            it_interval: rustix::time::Timespec::default(),
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
        self.armed = deadline;
        Ok(false)
    }
}

impl<D: Driver> Driver for Impaired<D> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let result = self.turn();
        let now = self.start.elapsed();
        let mut count = 0;
        while count < max
            && let Some(frame) = self.incoming.pop(now)
        {
            into.push(frame);
            count += 1;
        }
        self.set_timer()?;
        // What came before the link went is handed up first.
        match result {
            Err(_) if count > 0 || self.incoming.under_way() > 0 => Ok(count),
            Err(error) => Err(error),
            Ok(()) => Ok(count),
        }
    }

    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize> {
        let now = self.start.elapsed();
        let taken = frames.len();
        for frame in frames.drain(..) {
            self.outgoing.push(frame, now);
        }
        self.send_due(now)?;
        self.set_timer()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_due(self.start.elapsed())?;
        self.inner.flush()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.both.as_fd()
    }

    fn arm(&mut self) -> io::Result<bool> {
        Ok(self.set_timer()? | self.inner.arm()?)
    }

    fn wait(&mut self, spinning: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        let start = self.start;
        let deadline = self.next_deadline();
        let both = self.both.as_fd();
        let spun = spin(spinning, timeout, || {
            let due = deadline.is_some_and(|deadline| deadline <= start.elapsed());
            Ok(due || is_readable(both)?)
        })?;
        match spun {
            Spun::Ready => {}
            Spun::Nothing(_) if self.arm()? => {}
            Spun::Nothing(left) => {
                sleep(self.both.as_fd(), left)?;
            }
        }
        // Sends what is due, also for a caller that only waits.
        self.turn()?;
        self.inner.flush()?;
        let now = self.start.elapsed();
        Ok(self.incoming.next_deadline().is_some_and(|due| due <= now))
    }

    fn statistics(&mut self) -> &Statistics {
        self.statistics = self.inner.statistics().clone();
        self.statistics.add_drops(self.incoming.statistics());
        self.statistics.add_drops(self.outgoing.statistics());
        &self.statistics
    }
}
