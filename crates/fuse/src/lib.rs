//! A file system in memory, mounted by FUSE and served in either of two ways: through commands of an
//! io_uring with 128-byte entries (Linux 6.14), or by reads and writes of `/dev/fuse`.
//!
//! It shows zcn's ring under a real driver, and lets both ways be compared over one file system
//! ([`MemFs`]). It is no FUSE library: for file systems of your own, `fuser` is the well-kept one.
//!
//! ```no_run
//! use std::sync::{Arc, Mutex};
//! use zcn_fuse::{MemFs, Options, Session, Transport};
//!
//! let files = Arc::new(Mutex::new(MemFs::new(64 << 20)));
//! let options = Options::new(Transport::Uring).enable_uring(true);
//! let session = Session::mount(&files, "/mnt".as_ref(), &options)?;
//! std::fs::write("/mnt/hello", b"from a ring")?;
//! session.unmount()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod folder;
mod memory;
mod mount;
pub mod protocol;
mod queue;
mod reads;
mod request;
mod session;
mod stats;
mod switch;

pub use error::MountError;
pub use memory::{MAX_FILE_BYTES, MAX_NAME_BYTES, MemFs};
pub use request::{Malformed, Request};
pub use session::{MAX_DEPTH, Options, Session, Transport};
pub use stats::Stats;
pub use switch::UringSwitch;
