//! Two links joined into one.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zcn_frame::Frame;

use crate::driver::Driver;

/// How many frames are moved at a time.
const BATCH: usize = 64;
/// A link that takes nothing more is asked again after this time.
const FULL: Duration = Duration::from_millis(1);

/// Carries frames between two links, as a bridge with two ports does.
///
/// With an [`Impaired`](crate::Impaired) link on one side this is a bad network between any
/// two parties: two of the kernel's stacks in namespaces of their own on TAP devices, one of
/// them and a stack on a memory link, and so on. It belongs to one thread, which calls
/// [`turn`](Self::turn), and [`wait`](Self::wait) when nothing moved.
#[derive(Debug)]
pub struct Bridge<A, B> {
    left: A,
    right: B,
    /// Fetched from the left, and not yet taken by the right.
    to_right: VecDeque<Frame>,
    to_left: VecDeque<Frame>,
    fetched: Vec<Frame>,
}

impl<A: Driver, B: Driver> Bridge<A, B> {
    /// A bridge between `left` and `right`, which have the same medium.
    ///
    /// # Errors
    /// `InvalidInput` if one link carries Ethernet and the other IP packets.
    pub fn new(left: A, right: B) -> io::Result<Self> {
        let header = |driver: &dyn Driver| driver.capabilities().medium.header_len();
        if header(&left) != header(&right) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "one of the links carries Ethernet, the other one IP packets; join two of a kind",
            ));
        }
        Ok(Self {
            left,
            right,
            to_right: VecDeque::new(),
            to_left: VecDeque::new(),
            fetched: Vec::new(),
        })
    }

    /// The left link.
    pub const fn left(&mut self) -> &mut A {
        &mut self.left
    }

    /// The right link.
    pub const fn right(&mut self) -> &mut B {
        &mut self.right
    }

    /// Moves what there is, each way at most a batch. Answers whether anything moved.
    ///
    /// # Errors
    /// One of the links is gone.
    pub fn turn(&mut self) -> io::Result<bool> {
        let there = carry(
            &mut self.left,
            &mut self.right,
            &mut self.to_right,
            &mut self.fetched,
        )?;
        let back = carry(
            &mut self.right,
            &mut self.left,
            &mut self.to_left,
            &mut self.fetched,
        )?;
        Ok(there || back)
    }

    /// Sleeps until one of the links has something, or `timeout` is over. May end early.
    ///
    /// # Errors
    /// One of the links is gone, or whatever poll(2) answers.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        // Both must be armed, whatever the first one says.
        if self.left.arm()? | self.right.arm()? {
            return Ok(());
        }
        let full = !self.to_left.is_empty() || !self.to_right.is_empty();
        let timeout = if full { timeout.min(FULL) } else { timeout };
        // A timeout beyond the range of the kernel's type is none.
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [
            PollFd::from_borrowed_fd(self.left.readiness(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.right.readiness(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What the receiver has no room for waits, and holds up what comes after it.
fn carry(
    from: &mut impl Driver,
    to: &mut impl Driver,
    waiting: &mut VecDeque<Frame>,
    fetched: &mut Vec<Frame>,
) -> io::Result<bool> {
    if waiting.is_empty() {
        from.receive(fetched, BATCH)?;
        waiting.extend(fetched.drain(..));
    }
    if waiting.is_empty() {
        return Ok(false);
    }
    let taken = to.transmit(waiting)?;
    to.flush()?;
    Ok(taken > 0)
}
