//! One descriptor for a foreign event loop: the kernel's completions and the library's own timers.

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use zcn::Runtime;

use crate::error::{Failure, Result, ZCN_Error};

/// An epoll set of the reactor's descriptor and a timer.
///
/// The reactor's descriptor alone would do for completions only: what is due by the clock, or was
/// asked for between two polls, does not make it readable.
pub(crate) struct Embedding {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// The timer as it is set; `None` when it is off.
    set: Cell<Option<Duration>>,
}

fn failed(errno: rustix::io::Errno) -> Failure {
    let error = std::io::Error::from(errno);
    Failure::new(
        ZCN_Error::ZCN_ERROR_SYSTEM,
        format!("no descriptor to wait on: {error}"),
    )
    .with_errno(errno.raw_os_error())
}

impl Embedding {
    pub(crate) fn new(runtime: &Runtime) -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(failed)?;
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let readable = epoll::EventFlags::IN;
        epoll::add(&set, &timer, epoll::EventData::new_u64(0), readable).map_err(failed)?;
        let waited = runtime.wait_fd().map_err(Failure::from)?;
        epoll::add(&set, waited, epoll::EventData::new_u64(1), readable).map_err(failed)?;
        Ok(Self {
            epoll: set,
            timer,
            set: Cell::new(None),
        })
    }

    pub(crate) fn fd(&self) -> c_int {
        self.epoll.as_raw_fd()
    }

    /// Gets the runtime ready for its thread to sleep elsewhere, and sets the timer to when it must
    /// come back.
    pub(crate) fn prepare(&self, runtime: &Runtime) -> Result<()> {
        let until = runtime.prepare_to_sleep().map_err(Failure::from)?;
        self.set(until)
    }

    /// The foreign loop is to come back at once.
    pub(crate) fn kick(&self) {
        if self.set.get() != Some(Duration::ZERO) {
            // It fails only for times that are no times.
            let _ = self.set(Some(Duration::ZERO));
        }
    }

    fn set(&self, until: Option<Duration>) -> Result<()> {
        if until.is_none() && self.set.get().is_none() {
            return Ok(());
        }
        let value = until.map_or(Duration::ZERO, |until| until.max(Duration::from_nanos(1)));
        let zero = Timespec::default();
        let spec = Itimerspec {
            it_interval: zero,
            // All zeroes switch it off.
            it_value: Timespec::try_from(value).unwrap_or(zero),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).map_err(failed)?;
        self.set.set(until);
        Ok(())
    }
}
