//! A counter that wakes a sleeping event loop from any thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// An eventfd: readable as soon as somebody has called [`EventFd::wake`].
///
/// Non-blocking and closed on exec. Any number of wakes before a
/// [`EventFd::drain`] make it readable once.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// Opens a counter that stands at zero.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` when no descriptor is left, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd })
    }

    /// Makes the descriptor readable. Never blocks: a counter that is full
    /// is readable already.
    ///
    /// # Errors
    /// Whatever `write(2)` answers, but for the full counter.
    pub fn wake(&self) -> io::Result<()> {
        loop {
            match rustix::io::write(&self.fd, &1u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Takes the counter back to zero and returns how many wakes it held.
    ///
    /// # Errors
    /// Whatever `read(2)` answers, but for the empty counter (which is 0).
    pub fn drain(&self) -> io::Result<u64> {
        let mut count = [0u8; 8];
        loop {
            match rustix::io::read(&self.fd, &mut count) {
                Ok(_) => return Ok(u64::from_ne_bytes(count)),
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_add_up_until_drained() {
        let event = EventFd::new().expect("an eventfd");
        assert_eq!(event.drain().expect("drain"), 0);
        event.wake().expect("wake");
        event.wake().expect("wake");
        assert_eq!(event.drain().expect("drain"), 2);
        assert_eq!(event.drain().expect("drain"), 0);
    }
}
