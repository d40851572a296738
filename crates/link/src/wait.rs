//! Waiting: spinning for a bounded time, then asleep.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What came of spinning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spun {
    /// There is something.
    Ready,
    /// There is nothing, and so much of the timeout is left for sleeping, if there is one.
    Nothing(Option<Duration>),
}

/// Asks `ready` again and again for up to `spin`, at least once.
pub(crate) fn spin(
    spin: Duration,
    timeout: Option<Duration>,
    mut ready: impl FnMut() -> io::Result<bool>,
) -> io::Result<Spun> {
    if ready()? {
        return Ok(Spun::Ready);
    }
    if spin.is_zero() {
        return Ok(Spun::Nothing(timeout));
    }
    let start = Instant::now();
    let spin = timeout.map_or(spin, |timeout| spin.min(timeout));
    loop {
        let spent = start.elapsed();
        if spent >= spin {
            return Ok(Spun::Nothing(
                timeout.map(|timeout| timeout.saturating_sub(spent)),
            ));
        }
        if ready()? {
            return Ok(Spun::Ready);
        }
        std::hint::spin_loop();
    }
}

/// Spins as [`spin`] does, and then sleeps until `fd` is readable or the timeout is over.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    spinning: Duration,
    timeout: Option<Duration>,
    ready: impl FnMut() -> io::Result<bool>,
) -> io::Result<bool> {
    match spin(spinning, timeout, ready)? {
        Spun::Ready => Ok(true),
        Spun::Nothing(left) => sleep(fd, left),
    }
}

/// Sleeps until `fd` is readable, at most for `timeout`. Answers whether it is, or was a
/// signal.
pub(crate) fn sleep(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    if timeout == Some(Duration::ZERO) {
        return is_readable(fd);
    }
    // A timeout beyond the range of the kernel's type is none.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether `fd` is readable now.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&Timespec::default()))? > 0)
}
