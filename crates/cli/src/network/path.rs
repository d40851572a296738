//! The way between two parties, with its faults.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use zcn_link::{Bridge, Driver, Impaired, Impairments};

/// How often somebody looks whether to stop.
const LOOK: Duration = Duration::from_millis(20);

/// A thread that carries frames between two links until it is dropped, or a link is gone.
pub(crate) struct Path {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Path {
    /// Joins two links; both ways have the same faults, drawn from `seed`.
    ///
    /// # Errors
    /// No descriptors or threads left.
    pub(crate) fn between(
        left: impl Driver + 'static,
        right: impl Driver + 'static,
        faults: &Impairments,
        seed: u64,
    ) -> io::Result<Self> {
        let left = Impaired::new(left, faults.clone(), faults.clone(), seed)?;
        let mut bridge = Bridge::new(left, right)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("path".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let went = match bridge.turn() {
                        Ok(true) => Ok(()),
                        Ok(false) => bridge.wait(LOOK),
                        Err(error) => Err(error),
                    };
                    if went.is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nothing in it panics.
            let _ = thread.join();
        }
    }
}
