//! The CPU time of one thread, read from another.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

/// The CPU clock of a thread of this process, usable from all its threads.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock {
    id: libc::clockid_t,
}

impl CpuClock {
    /// The clock of the calling thread.
    pub fn of_this_thread() -> Self {
        // The kernel's numbering of dynamic clocks: the thread's id, inverted, above three
        // bits that say "one thread" (4) and "scheduler's clock" (2).
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        Self {
            id: (!thread << 3) | 6,
        }
    }

    /// CPU time used so far, in user space and in the kernel.
    ///
    /// # Errors
    /// `EINVAL` once the thread has ended.
    pub fn read(self) -> io::Result<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a live, writable timespec for the length of the call, and the
        // kernel rejects a clock id it does not know.
        let result = unsafe { libc::clock_gettime(self.id, &raw mut time) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn another_thread_can_be_read_until_it_ends() {
        let (clocks, clock) = mpsc::channel();
        let (done, wait) = mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let mine = CpuClock::of_this_thread();
            while mine.read().unwrap() < Duration::from_millis(2) {}
            clocks.send(mine).unwrap();
            let _ = wait.recv();
        });
        let clock = clock.recv().unwrap();
        assert!(clock.read().unwrap() >= Duration::from_millis(2));
        drop(done);
        worker.join().unwrap();
    }
}
