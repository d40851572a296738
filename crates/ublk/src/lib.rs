//! Block devices in user space, on zcn's rings: the kernel's ublk driver, driven by `URING_CMD`.
//!
//! A [`Device`] is a block device `/dev/ublkbN` whose requests come to this process and are carried
//! out on a [`Target`]: memory, or a file. It shows what the ring can do under a real block device,
//! and no more. Who wants a block device of their own making finds a library for that in the crate
//! `libublk`, which is well kept, and has zero-copy and zoned devices besides.
//!
//! ```no_run
//! use zcn_ublk::{Device, DeviceOptions, Target};
//!
//! let target = Target::memory(64 << 20)?;
//! let device = Device::add(target, &DeviceOptions::default())?;
//! println!("{} is there", device.path().display());
//! let stopper = device.stopper();
//! std::thread::spawn(move || {
//!     std::thread::sleep(std::time::Duration::from_secs(60));
//!     stopper.stop()
//! });
//! device.wait()?;
//! # Ok::<(), zcn_ublk::UblkError>(())
//! ```
//!
//! # How it works
//!
//! The [control device](Control) takes commands of 32 bytes, for which its ring has entries of 128.
//! Each queue of a block device has a thread, and on the thread a ring of 64-byte entries, where
//! each tag is one command under way: it completes when there is a request, and the command that
//! answers the request waits for the next. The data is copied by the driver to and from a buffer
//! of the tag, which the ring owns while the driver may touch it. Requests to a file are
//! operations on the same ring, as many at a time as there are tags.
//!
//! # What is stable when
//!
//! A device on a file has a volatile cache, as the kernel is told: a write is stable after a flush
//! that follows it, or when it was asked to be (FUA). A server that is killed loses nothing that
//! it had written to the file, flushed or not, as long as the machine goes on.
//!
//! # Limits
//!
//! Linux 6.5 or newer, and `CAP_SYS_ADMIN`. Sources: `include/uapi/linux/ublk_cmd.h` and
//! `drivers/block/ublk_drv.c` of Linux 7.2, and the kernel's `Documentation/block/ublk.rst`.

mod command;
mod control;
mod descriptors;
mod device;
mod error;
mod info;
mod options;
mod queue;
mod request;
mod shared;
mod tally;
mod target;
mod uapi;

pub use control::Control;
pub use device::{Device, Stopper};
pub use error::UblkError;
pub use info::{DeviceInfo, DeviceState};
pub use options::DeviceOptions;
pub use tally::Tally;
pub use target::Target;
