//! Closes a ring and learns when the kernel has let go of everything in it.
//!
//! Closing is no barrier by itself: the kernel ends what is in flight in a worker of its own, some
//! time after close(2) has returned. But it frees a ring's file table only behind the last
//! operation. So a pipe's writing end is put into that table as the only descriptor of it that
//! there is, and when the pipe reports its end, everything is over. Source: `io_ring_exit_work`,
//! `io_ring_ctx_free` in `io_uring/io_uring.c` of Linux 6.1 to 6.18.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::ring::Ring;
use crate::sizes::{CompletionSize, EntrySize};

/// Reports the end of a ring that has been closed.
pub(crate) struct Tether(PipeReader);

impl Tether {
    /// Ties to a ring that is about to be closed: the first place of its file table is taken, or a
    /// table is made.
    pub(crate) fn tie<E: EntrySize, C: CompletionSize>(ring: &mut Ring<E, C>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        if ring.file_slots == 0 {
            ring.register_files(1).map_err(io::Error::other)?;
        }
        ring.update_files(0, &[writer.as_fd()])
            .map_err(io::Error::other)?;
        Ok(Self(reader))
    }

    /// Waits until the kernel has freed the ring; whether it has before `limit` had passed. It does
    /// not while somebody else keeps the ring open.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut end = [PollFd::new(&self.0, PollFlags::empty())];
            // A signal only starts another wait.
            if let Ok(1..) = poll(&mut end, Timespec::try_from(left).ok().as_ref()) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}
