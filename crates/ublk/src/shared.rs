//! What the queues of a device share, and what becomes of the device with the last of them.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use zcn_sys::eventfd::EventFd;

use crate::control::Control;
use crate::error::UblkError;
use crate::target::Target;
use crate::uapi::DevInfo;

/// What all queues of a device share. Dropped with the last of their threads, which closes the
/// character device: the deletion of a device waits for that.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The character device.
    pub(crate) device: File,
    pub(crate) target: Arc<Target>,
    pub(crate) info: DevInfo,
    /// Rung when the queues shall let go of the device.
    pub(crate) bell: Arc<EventFd>,
    /// Whether the device was stopped. Written before the drop of the thread's own reference, which
    /// orders it before that of the last, so `Relaxed` will do.
    pub(crate) stopped: AtomicBool,
    /// Told how the deletion went.
    pub(crate) deleted: Sender<Result<(), UblkError>>,
}

impl Drop for Shared {
    /// Deletes a stopped device while it is still held open: until it is closed nobody can add
    /// another of the same id, which a later deletion would hit. One that was not stopped may have
    /// requests that only the close ends, and its deletion would wait for them.
    fn drop(&mut self) {
        if !self.stopped.load(Ordering::Relaxed) {
            return;
        }
        let id = self.info.dev_id;
        let deleted = Control::open().and_then(|mut control| control.delete_held(id));
        // Nobody waits for it after a start that failed.
        let _ = self.deleted.send(deleted);
    }
}
