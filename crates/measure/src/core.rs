//! Cores, and threads that stay on them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{Action, Error, Result};

/// Who runs where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's core.
    pub server: usize,
    /// The load's core.
    pub client: usize,
}

impl Cores {
    /// The first two cores this process may run on; with one core, the same twice.
    pub fn pick() -> Result<Self> {
        let allowed = allowed()?;
        let server = *allowed
            .first()
            .ok_or_else(|| Error::Options("no core to run on".to_owned()))?;
        Ok(Self {
            server,
            client: *allowed.get(1).unwrap_or(&server),
        })
    }
}

/// The cores that this thread may run on.
pub fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).action("read the allowed cores")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

/// Keeps the calling thread, and the threads it starts from now on, on `core`.
pub fn pin(core: usize) -> Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(Error::Options(format!("there is no core {core}")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).action(&format!("pin a thread to core {core}"))
}

/// Runs `work` on a thread of its own that stays on `core`, and waits for it.
pub fn on_core<T: Send>(core: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(core)?;
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
