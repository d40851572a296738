//! A block device and its server: the threads of its queues.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use zcn_sys::eventfd::EventFd;
use zcn_uring::CommandError;

use crate::control::Control;
use crate::error::UblkError;
use crate::info::{DeviceInfo, DeviceState, block_device, character_device};
use crate::options::DeviceOptions;
use crate::queue::{End, Queue};
use crate::shared::Shared;
use crate::tally::Tally;
use crate::target::Target;
use crate::uapi::DevInfo;

/// A block device that this process serves, with a thread for each of its queues.
///
/// Dropping it stops and deletes the device, as [`wait`](Self::wait) does when somebody else has
/// stopped it. It may be sent to other threads.
#[derive(Debug)]
pub struct Device {
    id: u32,
    queues: u16,
    recoverable: bool,
    threads: Vec<JoinHandle<()>>,
    ends: Receiver<(Result<End, UblkError>, Tally)>,
    bell: Arc<EventFd>,
    /// How its deletion by the last thread went.
    deleted: Receiver<Result<(), UblkError>>,
    /// The threads have been ended, or were seen to end.
    let_go: bool,
}

/// Stops a device from another thread.
#[derive(Clone, Copy, Debug)]
pub struct Stopper {
    id: u32,
}

impl Stopper {
    /// Stops the device: requests under way are waited for, later ones fail, and
    /// [`Device::wait`] returns. Nothing happens if it has ended already.
    ///
    /// # Errors
    /// [`UblkError`]: the driver could not be asked.
    pub fn stop(&self) -> Result<(), UblkError> {
        match Control::open()?.stop(self.id) {
            Err(UblkError::NoDevice { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// How a device comes to be served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    New,
    Recovery,
}

/// How long to wait for the node of a new device, which another program may have to make, and for
/// an old one to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

impl Device {
    /// Adds a device and starts it: applications may open [`path`](Self::path) when this returns.
    ///
    /// # Errors
    /// [`UblkError`]: settings out of range, no driver, no permission, the id is taken, or not
    /// enough memory. Nothing is left behind.
    pub fn add(target: Target, options: &DeviceOptions) -> Result<Self, UblkError> {
        options.check(target.size())?;
        target.may_be_written_unless(options.read_only)?;
        if options.recoverable {
            target.outlives_server()?;
        }
        let mut control = Control::open()?;
        let deadline = Instant::now() + PATIENCE;
        let info = loop {
            match control.add(options.info()) {
                // An id is taken for a moment longer than its last device can be found.
                Err(UblkError::Exists { id })
                    if Instant::now() < deadline
                        && matches!(control.info(id), Err(UblkError::NoDevice { .. })) =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                added => break added?,
            }
        };
        let id = info.dev_id;
        let params = options.params(&target);
        let started = control
            .set_params(id, params)
            .and_then(|()| Self::serve(&mut control, info, target, Start::New));
        if started.is_err() {
            let _ = control.delete(id);
        }
        started
    }

    /// Takes over a [recoverable](DeviceOptions::recoverable) device whose server is gone. What it
    /// had not answered is served again, and what has waited meanwhile.
    ///
    /// # Errors
    /// [`UblkError`]: there is no such device, it is not recoverable, it is still served, or what
    /// shall stand behind it is memory, has another size, or may not be written where the device
    /// may. The device is left as it was.
    pub fn recover(id: u32, target: Target) -> Result<Self, UblkError> {
        let mut control = Control::open()?;
        let found = control.info(id)?;
        target.outlives_server()?;
        target.may_be_written_unless(found.read_only)?;
        if found.size != target.size() {
            return Err(UblkError::Size {
                id,
                device: found.size,
                target: target.size(),
            });
        }
        control.start_recovery(id)?;
        let info = control.raw_info(id)?;
        Self::serve(&mut control, info, target, Start::Recovery)
    }

    /// Starts the threads, and then the device.
    fn serve(
        control: &mut Control,
        info: DevInfo,
        target: Target,
        start: Start,
    ) -> Result<Self, UblkError> {
        let resources = |what| move |source| UblkError::Resources { what, source };
        let id = info.dev_id;
        let bell = Arc::new(EventFd::new().map_err(resources("an eventfd"))?);
        let (deleted, is_deleted) = mpsc::channel();
        // Of the threads alone.
        let shared = Arc::new(Shared {
            device: open(id)?,
            target: Arc::new(target),
            info,
            bell: Arc::clone(&bell),
            stopped: AtomicBool::new(false),
            deleted,
        });
        let (ready, is_ready) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let mut device = Self {
            id,
            queues: info.nr_hw_queues,
            recoverable: info.flags & crate::uapi::F_USER_RECOVERY != 0,
            threads: Vec::with_capacity(info.nr_hw_queues.into()),
            ends,
            bell,
            deleted: is_deleted,
            let_go: false,
        };
        let spawn = || {
            for number in 0..info.nr_hw_queues {
                let (shared, ready, end) = (Arc::clone(&shared), ready.clone(), end.clone());
                let thread = thread::Builder::new()
                    .name(format!("ublk{id}-{number}"))
                    .spawn(move || serve_queue(shared, number, ready, &end))
                    .map_err(resources("a thread for a queue"))?;
                device.threads.push(thread);
            }
            drop((shared, ready, end));
            for _ in 0..info.nr_hw_queues {
                // A thread that panics has dropped its sender, and the last one ends the channel.
                let told = is_ready.recv().map_err(io::Error::other);
                told.map_err(resources("a thread for a queue"))??;
            }
            Ok(())
        };
        let started = spawn().and_then(|()| match start {
            Start::New => control.start(id),
            Start::Recovery => control.end_recovery(id),
        });
        match started {
            Ok(()) => Ok(device),
            Err(error) => {
                if start == Start::New {
                    // Takes back at once what the queues had fetched.
                    let _ = control.stop(id);
                }
                device.let_go();
                Err(error)
            }
        }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Queues that it has.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// The block device: `/dev/ublkbN`.
    pub fn path(&self) -> PathBuf {
        block_device(self.id)
    }

    /// What the driver says about it.
    ///
    /// # Errors
    /// [`UblkError`], such as that somebody has deleted it.
    pub fn info(&self) -> Result<DeviceInfo, UblkError> {
        Control::open()?.info(self.id)
    }

    /// What stops it from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper { id: self.id }
    }

    /// Serves until the device is stopped or deleted, by a [`Stopper`] or another process, and
    /// deletes it; gives what was asked of it.
    ///
    /// # Errors
    /// [`UblkError`]: a queue could not go on. The device is let go of: deleted, or left for
    /// [`recover`](Self::recover) if it is recoverable.
    pub fn wait(mut self) -> Result<Tally, UblkError> {
        let mut tally = Tally::default();
        let mut failed = None;
        for _ in 0..self.threads.len() {
            // Every thread sends one.
            let Ok((end, of_queue)) = self.ends.recv() else {
                break;
            };
            tally.add(&of_queue);
            if let Err(error) = end {
                // The others would wait for ever for an answer that does not come.
                self.ring_bell();
                failed.get_or_insert(error);
            }
        }
        self.let_go();
        match failed {
            Some(error) if self.recoverable => {
                self.be_noticed();
                Err(error)
            }
            Some(error) => {
                let _ = self.delete();
                Err(error)
            }
            None => self.gone().map(|()| tally),
        }
    }

    /// Lets go of the device as a server does that dies, but for the memory of requests under way,
    /// which the ring still waits for. Requests that were not answered fail, or wait for another
    /// server if the device is recoverable. The device is left to be deleted, or
    /// [recovered](Self::recover).
    pub fn abandon(mut self) {
        self.let_go();
        self.be_noticed();
    }

    /// Waits until the driver has noticed that nobody serves the device, which is some moments after
    /// the close: until then nobody could take it over.
    fn be_noticed(&self) {
        if let Ok(mut control) = Control::open() {
            self.outlast(&mut control, DeviceState::Live);
        }
    }

    /// Waits until the device is in another state, but not for ever.
    fn outlast(&self, control: &mut Control, state: DeviceState) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline
            && control.info(self.id).is_ok_and(|info| info.state == state)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn ring_bell(&self) {
        // An eventfd can only fail by being closed.
        let _ = self.bell.wake();
    }

    /// Ends the threads, if they have not ended.
    fn let_go(&mut self) {
        self.ring_bell();
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(device = self.id, "a queue's thread panicked");
            }
        }
        self.let_go = true;
    }

    fn delete(&self) -> Result<(), UblkError> {
        match Control::open()?.delete(self.id) {
            // Somebody else did.
            Err(UblkError::NoDevice { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until a device is gone that was stopped, and that the last thread has deleted.
    fn gone(&self) -> Result<(), UblkError> {
        let mut control = match self.deleted.recv() {
            // The last thread has not found it stopped.
            Err(_) => return self.delete(),
            Ok(Err(UblkError::NoDevice { .. })) => return Ok(()),
            // Drivers of Linux 6.5 and 6.6 only know the deletion that waits.
            Ok(Err(UblkError::Command {
                source: CommandError::Unsupported { .. },
                ..
            })) => return self.delete(),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(())) => Control::open()?,
        };
        // Some moments after the close. A device that is alive is another of the same id.
        self.outlast(&mut control, DeviceState::Dead);
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.let_go {
            return;
        }
        let gone = match self.stopper().stop() {
            // The threads see to the rest.
            Ok(()) => {
                self.join();
                self.gone()
            }
            Err(error) => {
                self.let_go();
                Err(error)
            }
        };
        if let Err(error) = gone {
            tracing::error!(device = self.id, %error, "the device could not be deleted");
        }
    }
}

/// Opens the character device, whose node another program may be making.
fn open(id: u32) -> Result<File, UblkError> {
    let path = character_device(id);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match File::options().read(true).write(true).open(&path) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(UblkError::opening(path, Some(id), error)),
        }
    }
}

/// What the thread of a queue does.
fn serve_queue(
    shared: Arc<Shared>,
    number: u16,
    ready: Sender<Result<(), UblkError>>,
    end: &Sender<(Result<End, UblkError>, Tally)>,
) {
    // Memory that this thread asks for must not wait for data to be written to this very device.
    if let Err(error) = rustix::process::configure_io_flusher_behavior(true) {
        tracing::debug!(%error, "the thread is no flusher: it lacks CAP_SYS_RESOURCE");
    }
    let queue = match Queue::new(shared, number) {
        Ok(queue) => queue,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    // Whoever waits learns from its end that another thread has panicked.
    drop(ready);
    // Told like any other failure, so that the other queues do not go on for ever.
    let ended = catch_unwind(AssertUnwindSafe(|| queue.run())).unwrap_or_else(|_| {
        let source = io::Error::other("it panicked");
        let what = "the thread of a queue";
        let error = UblkError::Resources { what, source };
        (Err(error), Tally::default())
    });
    let _ = end.send(ended);
}
