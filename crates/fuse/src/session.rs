//! A mounted file system and the threads that serve it.

use std::fs::File;
use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zcn_sys::affinity;

use crate::error::MountError;
use crate::memory::MemFs;
use crate::mount::{Mount, open_device};
use crate::queue::Queues;
use crate::reads;
use crate::stats::{Counted, Stats, count};
use crate::switch::UringSwitch;

/// How requests come from the kernel, and answers back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By read(2) and write(2) of `/dev/fuse`: two system calls for each request.
    Reads,
    /// Through commands of an io_uring with 128-byte entries: one system call for each request, and
    /// a queue for each CPU (Linux 6.14).
    Uring,
}

/// Most entries in a queue of a ring ([`Options::depth`]).
pub const MAX_DEPTH: u16 = 256;

/// How a file system is served.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    transport: Transport,
    threads: Option<NonZeroU16>,
    depth: u16,
    enable: bool,
}

impl Options {
    /// Serves by this transport, with a thread for each CPU that there may be.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            threads: None,
            depth: 4,
            enable: false,
        }
    }

    /// How many threads serve. Each of a ring's has its share of the queues, so more than there may
    /// be CPUs are of no use to it.
    pub fn threads(mut self, threads: NonZeroU16) -> Self {
        self.threads = Some(threads);
        self
    }

    /// How many requests of one CPU a ring takes at once (4): as many entries wait in each queue,
    /// with 132 KiB each. At most [`MAX_DEPTH`]; nothing to [`Transport::Reads`].
    pub fn depth(mut self, depth: u16) -> Self {
        self.depth = depth;
        self
    }

    /// Whether to switch FUSE over io_uring on for the moment of the mount if it is off, which needs
    /// root ([`UringSwitch`]).
    pub fn enable_uring(mut self, enable: bool) -> Self {
        self.enable = enable;
        self
    }
}

/// What the threads of a session share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) device: File,
    /// Whether to ask for a ring.
    pub(crate) uring: bool,
    pub(crate) counted: Counted,
    files: Arc<Mutex<MemFs>>,
    mount: Mount,
    /// The mount has ended, as a thread was told. `Relaxed`: it decides only whether there is still
    /// something to end, and that a second attempt does no harm.
    ended: AtomicBool,
}

impl Shared {
    pub(crate) fn files(&self) -> MutexGuard<'_, MemFs> {
        // A thread that panics ends the mount, and the rest only sees it off.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Counts what an outcome tells.
    pub(crate) fn note(&self, outcome: &Result<&[u8], i32>) {
        if *outcome == Err(libc::ENOSYS) {
            count(&self.counted.unsupported);
        }
    }

    /// Ends the mount, unless it has ended already: its path may be another's by now.
    fn abort(&self) {
        if !self.ended.swap(true, Ordering::Relaxed)
            && let Err(error) = self.mount.abort()
        {
            tracing::debug!(%error, "the mount had ended already");
        }
    }
}

/// Time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A mounted [`MemFs`] and the threads that serve it.
///
/// The file system may be shared: what it holds outlives the session. Dropping a session ends the
/// mount by force. It may be used from any thread that is in the mount namespace of the one that
/// made it.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
}

impl Session {
    /// Mounts the file system on a folder, in the calling thread's mount namespace, and serves it.
    ///
    /// # Errors
    /// [`MountError`], which says what to do; nothing is mounted then.
    pub fn mount(
        files: &Arc<Mutex<MemFs>>,
        at: &Path,
        options: &Options,
    ) -> Result<Self, MountError> {
        if options.depth == 0 || options.depth > MAX_DEPTH {
            return Err(MountError::Config {
                setting: "depth",
                value: options.depth.into(),
                range: "1 to 256",
            });
        }
        let cpus = possible_cpus();
        let threads = options.threads.map_or(cpus, NonZeroU16::get);
        // Should anything fail from here on, the drop of the session ends the mount.
        let session = Self::introduce(files, at, options, threads)?;
        if session.shared.uring {
            session.queue(cpus, threads.min(cpus), options.depth)?;
        }
        Ok(session)
    }

    /// Mounts, and lets the kernel introduce itself: from here on it sends requests, or waits for
    /// entries of all queues of a ring.
    fn introduce(
        files: &Arc<Mutex<MemFs>>,
        at: &Path,
        options: &Options,
        threads: u16,
    ) -> Result<Self, MountError> {
        let uring = options.transport == Transport::Uring;
        let switch = match uring {
            true => switch(options.enable)?,
            false => None,
        };
        let device = open_device()?;
        let mount = Mount::new(&device, at)?;
        let session = Self {
            shared: Arc::new(Shared {
                device,
                uring,
                counted: Counted::default(),
                files: Arc::clone(files),
                mount,
                ended: AtomicBool::new(false),
            }),
            threads: Mutex::default(),
        };
        let started = session.read(if uring { 1 } else { threads })?;
        let granted = started.recv();
        drop(switch);
        match granted {
            Ok(Ok(granted)) if granted == uring => Ok(session),
            Ok(Ok(_)) => Err(MountError::UringDisabled),
            Ok(Err(_)) | Err(_) => Err(MountError::Ended),
        }
    }

    /// Starts threads that read from the device; one of them will tell how the kernel introduced
    /// itself.
    fn read(&self, threads: u16) -> Result<Receiver<Result<bool, i32>>, MountError> {
        let (tell, told) = mpsc::channel();
        for number in 0..threads {
            let tell = tell.clone();
            self.spawn(format!("fuse-read-{number}"), move |shared| {
                reads::serve(shared, &tell)
            })?;
        }
        Ok(told)
    }

    /// Starts threads that serve the queues of a ring, and waits until all are registered: before
    /// that, the kernel sends no request.
    fn queue(&self, queues: u16, threads: u16, depth: u16) -> Result<(), MountError> {
        let (tell, told) = mpsc::channel();
        for number in 0..threads {
            let tell = tell.clone();
            self.spawn(format!("fuse-queue-{number}"), move |shared| {
                if threads == queues {
                    // Where its requests are made, so that a wake-up crosses no CPU. Not possible
                    // for one that is offline, or forbidden.
                    let _ = affinity::pin_current_thread(number.into());
                }
                let mine: Vec<u16> = (number..queues).step_by(threads.into()).collect();
                let (registered, all) = match Queues::register(shared, &mine, depth) {
                    Ok(all) => (Ok(()), Some(all)),
                    Err(error) => (Err(error), None),
                };
                let _ = tell.send(registered);
                // Whoever waits is told no more.
                drop(tell);
                all.map_or(Ok(()), Queues::run)
            })?;
        }
        drop(tell);
        let mut registered = 0;
        for outcome in told {
            outcome?;
            registered += 1;
        }
        match registered == threads {
            true => Ok(()),
            false => Err(MountError::Ended),
        }
    }

    fn spawn(
        &self,
        name: String,
        work: impl FnOnce(&Shared) -> io::Result<()> + Send + 'static,
    ) -> Result<(), MountError> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(name).spawn(move || {
            // A thread ends when the mount does. If it ends otherwise, by an error or a panic, its
            // requests would wait for ever.
            let leaving = Leaving(&shared);
            let outcome = work(&shared);
            drop(leaving);
            outcome
        });
        let thread = thread.map_err(|source| MountError::Resources {
            what: "a thread",
            source,
        })?;
        self.threads().push(thread);
        Ok(())
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<io::Result<()>>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been served so far.
    pub fn stats(&self) -> Stats {
        self.shared.counted.read()
    }

    /// Unmounts and waits for the threads. If somebody still uses the file system, it is ended by
    /// force: calls on files that are still open fail from then on.
    ///
    /// # Errors
    /// Of umount(2), or with which a thread had ended.
    pub fn unmount(&self) -> io::Result<()> {
        if self.shared.ended.load(Ordering::Relaxed) {
            // Its path may be another's by now.
            return self.wait();
        }
        match self.shared.mount.unmount() {
            Ok(()) => {}
            Err(rustix::io::Errno::BUSY) => self.shared.abort(),
            // Somebody else has unmounted it.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.wait()
    }

    /// Waits until somebody unmounts the file system and all threads have ended.
    ///
    /// # Errors
    /// With which a thread ended.
    ///
    /// # Panics
    /// When a thread did.
    pub fn wait(&self) -> io::Result<()> {
        let threads = std::mem::take(&mut *self.threads());
        let mut outcome = Ok(());
        for thread in threads {
            match thread.join() {
                Ok(ended) => outcome = outcome.and(ended),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcome
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.abort();
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            // Who wants to know how it ended waits.
            let _ = thread.join();
        }
    }
}

/// Ends the mount when a thread ends before it.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sees to it that FUSE over io_uring is on; `None` when it is without our doing.
fn switch(enable: bool) -> Result<Option<UringSwitch>, MountError> {
    if enable {
        match UringSwitch::set(true) {
            // It may be on all the same.
            Err(MountError::NotPermitted { .. }) if UringSwitch::is_on()? => {}
            outcome => return outcome.map(Some),
        }
    }
    match UringSwitch::is_on()? {
        true => Ok(None),
        false => Err(MountError::UringDisabled),
    }
}

/// CPUs that there may ever be: the kernel has a queue for each.
fn possible_cpus() -> u16 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    last_of(&text).map_or(1, |last| last.saturating_add(1))
}

/// The last number of a list such as `0-3,8`.
fn last_of(list: &str) -> Option<u16> {
    list.trim().rsplit(['-', ',']).next()?.parse().ok()
}

#[cfg(test)]
mod tests;
