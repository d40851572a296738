//! What a server counts of itself, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cpu_clock::CpuClock;

/// Counters of one thread of a server.
///
/// Only that thread writes, so an increment is a load and a store, not a locked
/// instruction. Others may read at any time; all accesses are relaxed, because each
/// counter stands for itself.
#[derive(Debug, Default)]
pub struct Meter {
    syscalls: AtomicU64,
    bytes: AtomicU64,
    connections: AtomicU64,
    errors: AtomicU64,
    cpu: Mutex<Cpu>,
}

#[derive(Debug, Default)]
struct Cpu {
    /// The thread's clock while the thread lives.
    clock: Option<CpuClock>,
    /// Its last reading.
    used: Duration,
}

impl Meter {
    /// Counts system calls.
    #[inline]
    pub fn syscalls(&self, count: u64) {
        add(&self.syscalls, count);
    }

    /// Sets the number of system calls, for a server whose library counts them.
    #[inline]
    pub fn set_syscalls(&self, count: u64) {
        self.syscalls.store(count, Relaxed);
    }

    /// Counts bytes sent back.
    #[inline]
    pub fn bytes(&self, count: usize) {
        add(&self.bytes, count as u64);
    }

    /// Counts one accepted connection.
    pub fn connection(&self) {
        add(&self.connections, 1);
    }

    /// Counts one connection that failed.
    pub fn error(&self) {
        add(&self.errors, 1);
    }

    fn cpu(&self) -> Duration {
        let mut cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(used)) = cpu.clock.map(CpuClock::read) {
            cpu.used = used;
        }
        cpu.used
    }

    fn retire(&self) {
        self.cpu();
        self.cpu
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clock = None;
    }
}

#[inline]
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed) + count, Relaxed);
}

/// A server's threads, each with its meter.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    all: Mutex<Vec<Arc<Meter>>>,
}

impl Meters {
    /// Gives the calling thread a meter that runs until the guard is dropped.
    pub(crate) fn enroll(&self) -> Enrolled {
        let meter = Arc::new(Meter::default());
        meter
            .cpu
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clock = Some(CpuClock::of_this_thread());
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(meter.clone());
        Enrolled { meter }
    }

    pub(crate) fn usage(&self) -> Usage {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |counter: fn(&Meter) -> &AtomicU64| {
            all.iter().map(|meter| counter(meter).load(Relaxed)).sum()
        };
        Usage {
            cpu: all.iter().map(|meter| meter.cpu()).sum(),
            syscalls: sum(|meter| &meter.syscalls),
            bytes: sum(|meter| &meter.bytes),
            connections: sum(|meter| &meter.connections),
            errors: sum(|meter| &meter.errors),
        }
    }
}

/// A thread's meter; dropping it ends the thread's CPU accounting.
#[derive(Debug)]
pub struct Enrolled {
    meter: Arc<Meter>,
}

impl std::ops::Deref for Enrolled {
    type Target = Meter;

    fn deref(&self) -> &Meter {
        &self.meter
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.meter.retire();
    }
}

/// What a server used and did, up to a moment or between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of its threads, in user space and in the kernel.
    pub cpu: Duration,
    /// System calls, as the server counted them; 0 when it cannot.
    pub syscalls: u64,
    /// Bytes sent back.
    pub bytes: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections that failed.
    pub errors: u64,
}

impl Usage {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            syscalls: self.syscalls.saturating_sub(earlier.syscalls),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            connections: self.connections.saturating_sub(earlier.connections),
            errors: self.errors.saturating_sub(earlier.errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_stay_counted_when_they_end() {
        let meters = Meters::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let meter = meters.enroll();
                    meter.syscalls(3);
                    meter.bytes(64);
                    meter.connection();
                });
            }
        });
        let usage = meters.usage();
        assert_eq!((usage.syscalls, usage.bytes), (6, 128));
        assert_eq!((usage.connections, usage.errors), (2, 0));
        assert!(usage.cpu > Duration::ZERO);
        assert_eq!(usage.since(&usage), Usage::default());
    }
}
