//! The control device: adds, starts, stops, lists and deletes block devices.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;

use zcn_pool::{Buf, BufferPool};
use zcn_uring::{CommandError, Entry128, Payload, Ring};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::command;
use crate::error::UblkError;
use crate::info::DeviceInfo;
use crate::uapi::{self, CtrlCmd, DevInfo, Params, cmd};

/// The driver's control device.
const PATH: &str = "/dev/ublk-control";
/// A folder of links, one for each device that was added.
const CLASS: &str = "/sys/class/ublk-char";

/// The control device, opened, with a ring of 128-byte entries to give it commands.
///
/// Stays on the thread that opened it, as its ring does. Every call waits until the driver has
/// done what it was asked to.
#[derive(Debug)]
pub struct Control {
    // Before the file that its commands are about.
    ring: Ring<Entry128>,
    pool: BufferPool,
    file: File,
}

impl Control {
    /// Opens the control device and asks the driver what it can.
    ///
    /// # Errors
    /// [`UblkError`]: no driver, no permission, too old a driver, or no ring.
    pub fn open() -> Result<Self, UblkError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(PATH)
            .map_err(|source| UblkError::opening(PATH.into(), None, source))?;
        let pool =
            BufferPool::builder()
                .count(4)
                .build()
                .map_err(|error| UblkError::Resources {
                    what: "buffers for commands",
                    source: io::Error::other(error),
                })?;
        let ring = Ring::builder().entries(4).entries_of_128_bytes().build()?;
        let mut control = Self { ring, pool, file };
        // Came after the encoding of the commands that are used here.
        control
            .call(cmd::GET_FEATURES, CtrlCmd::default(), 0_u64)?
            .map_err(|source| UblkError::TooOld { source })?;
        Ok(control)
    }

    /// What there is to know of a device.
    ///
    /// # Errors
    /// [`UblkError::NoDevice`], or the driver's refusal.
    pub fn info(&mut self, id: u32) -> Result<DeviceInfo, UblkError> {
        let info = self.raw_info(id)?;
        let params = Params {
            len: uapi::PARAMS_LEN,
            ..Params::default()
        };
        let params = self.about("GET_PARAMS", cmd::GET_PARAMS, id, 0, params)?;
        Ok(DeviceInfo::new(&info, &params))
    }

    /// All devices that were added, by id.
    ///
    /// # Errors
    /// The driver's refusal. A device that vanishes meanwhile is passed over.
    pub fn list(&mut self) -> Result<Vec<DeviceInfo>, UblkError> {
        let mut ids: Vec<u32> = fs::read_dir(CLASS)
            .map_err(|source| UblkError::Device {
                path: CLASS.into(),
                source,
            })?
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("ublkc")?
                    .parse()
                    .ok()
            })
            .collect();
        ids.sort_unstable();
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            match self.info(id) {
                Ok(info) => all.push(info),
                Err(UblkError::NoDevice { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Ends a device: no request is taken any more, those under way are waited for, and its server
    /// is told to leave. The device stays to be deleted.
    ///
    /// # Errors
    /// [`UblkError::NoDevice`], or the driver's refusal.
    pub fn stop(&mut self, id: u32) -> Result<(), UblkError> {
        self.about("STOP_DEV", cmd::STOP_DEV, id, 0, 0_u64)
            .map(drop)
    }

    /// Stops a device if need be, and removes it. Waits until its server, if it has one, has let go
    /// of it.
    ///
    /// # Errors
    /// [`UblkError::NoDevice`], or the driver's refusal.
    pub fn delete(&mut self, id: u32) -> Result<(), UblkError> {
        self.about("DEL_DEV", cmd::DEL_DEV, id, 0, 0_u64).map(drop)
    }

    pub(crate) fn raw_info(&mut self, id: u32) -> Result<DevInfo, UblkError> {
        let info = DevInfo::default();
        self.about("GET_DEV_INFO", cmd::GET_DEV_INFO, id, 0, info)
    }

    /// Removes a stopped device that this process still holds open, and does not wait. The id stays
    /// the device's until the last that holds it open has closed it.
    pub(crate) fn delete_held(&mut self, id: u32) -> Result<(), UblkError> {
        let (name, number) = ("DEL_DEV_ASYNC", cmd::DEL_DEV_ASYNC);
        self.about(name, number, id, 0, 0_u64).map(drop)
    }

    /// Adds a device; gives back what the driver made of the wish: its id, and fewer queues if
    /// there are fewer CPUs.
    pub(crate) fn add(&mut self, wish: DevInfo) -> Result<DevInfo, UblkError> {
        self.about("ADD_DEV", cmd::ADD_DEV, wish.dev_id, 0, wish)
    }

    pub(crate) fn set_params(&mut self, id: u32, params: Params) -> Result<(), UblkError> {
        self.about("SET_PARAMS", cmd::SET_PARAMS, id, 0, params)
            .map(drop)
    }

    /// Makes the block device, once every tag of every queue of this process waits for a request.
    pub(crate) fn start(&mut self, id: u32) -> Result<(), UblkError> {
        let pid = std::process::id().into();
        self.about("START_DEV", cmd::START_DEV, id, pid, 0_u64)
            .map(drop)
    }

    /// Prepares a device whose server is gone for another.
    pub(crate) fn start_recovery(&mut self, id: u32) -> Result<(), UblkError> {
        let (name, number) = ("START_USER_RECOVERY", cmd::START_USER_RECOVERY);
        self.about(name, number, id, 0, 0_u64).map(drop)
    }

    /// Goes on with a device, once every tag of every queue of this process waits for a request.
    pub(crate) fn end_recovery(&mut self, id: u32) -> Result<(), UblkError> {
        let pid = std::process::id().into();
        let (name, number) = ("END_USER_RECOVERY", cmd::END_USER_RECOVERY);
        self.about(name, number, id, pid, 0_u64).map(drop)
    }

    /// A command about one device, with a word and a structure to be read or filled.
    fn about<T: FromBytes + IntoBytes + Immutable>(
        &mut self,
        name: &'static str,
        number: u32,
        id: u32,
        data: u64,
        structure: T,
    ) -> Result<T, UblkError> {
        let command = CtrlCmd {
            dev_id: id,
            queue_id: uapi::NO_QUEUE,
            data,
            ..CtrlCmd::default()
        };
        self.call(number, command, structure)?
            .map_err(|source| UblkError::command(name, id, source))
    }

    /// One command, from push to completion.
    fn call<T: FromBytes + IntoBytes + Immutable>(
        &mut self,
        number: u32,
        command: CtrlCmd,
        structure: T,
    ) -> Result<Result<T, CommandError>, UblkError> {
        let resources = |source| UblkError::Resources {
            what: "a command of the control device",
            source,
        };
        let mut buf = self
            .pool
            .acquire()
            .ok_or_else(|| resources(io::ErrorKind::OutOfMemory.into()))?;
        buf.extend_from_slice(structure.as_bytes())
            .map_err(|error| resources(io::Error::other(error)))?;
        let op = command::control(self.file.as_fd(), number, command, buf);
        self.ring
            .push(op)
            .map_err(|error| resources(io::Error::other(error.reason)))?;
        let done = loop {
            self.ring.wait(1, None).map_err(resources)?;
            if let Some(done) = self.ring.completions().next() {
                break done;
            }
        };
        if let Err(refused) = done.command_result() {
            return Ok(Err(refused));
        }
        // The command had a buffer, and this is its only completion.
        let bytes = done.payload.and_then(Payload::into_buf);
        let filled = bytes.and_then(|buf: Buf| {
            let (structure, _) = T::read_from_prefix(&buf).ok()?;
            Some(structure)
        });
        filled
            .map(Ok)
            .ok_or_else(|| resources(io::ErrorKind::UnexpectedEof.into()))
    }
}
