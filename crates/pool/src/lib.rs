//! Page-aligned buffer pools, object pools and arenas of zcn.
//!
//! * [`BufferPool`] owns one memory map cut into page-aligned buffers of one size. A
//!   thread that uses it much asks for a [`LocalPool`]; then acquiring and releasing are
//!   plain loads and stores of that thread.
//! * [`Buf`] is one buffer: unique, mutable, with headroom. Dropping it gives it back.
//! * [`SharedBuf`] is a counted slice of a buffer; it and `Buf` go in and out of
//!   [`bytes::Bytes`] without a copy.
//! * [`RawBuf`] names a buffer across a boundary that knows no ownership (C, a kernel
//!   entry); releasing one twice is an error.
//! * [`FixedPool`] holds a bounded number of objects of one type for one thread, and
//!   [`Arena`] many objects of any type that go all at once.
//!
//! ```
//! use zcn_pool::BufferPool;
//!
//! let pool = BufferPool::builder().buffer_size(4096).count(64).build()?;
//! let local = pool.local();
//! let mut buf = local.acquire().expect("63 more are left");
//! buf.extend_from_slice(b"hello")?;
//! assert_eq!(&buf[..], b"hello");
//! drop(buf);
//! assert_eq!(pool.stats().in_use, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here blocks: an empty pool answers `None` and counts it.

#[cfg(any(not(target_os = "linux"), not(target_pointer_width = "64")))]
compile_error!("zcn-pool needs 64-bit Linux");

mod arena;
mod buf;
mod builder;
mod core;
mod depot;
mod error;
mod fixed;
mod foreign;
mod local;
mod meta;
mod pool;
mod raw;
mod references;
mod region;
mod shard;
mod shared;
mod stats;
mod sync;
mod tagged_stack;
mod thread;
#[cfg(tsan)]
mod visible_lock;

#[cfg(all(test, loom))]
mod models;

pub use arena::{Arena, Scope};
pub use buf::Buf;
pub use builder::{Builder, HugePages, MAX_BUFFER_SIZE, MAX_COUNT};
pub use error::{AllocError, CapacityError, Full, PoolError, RawError};
pub use fixed::{FixedBox, FixedPool};
pub use foreign::{Hold, let_go};
pub use local::LocalPool;
pub use pool::{BufferPool, PoolId};
pub use raw::RawBuf;
pub use shared::SharedBuf;
pub use stats::{PageKind, PoolStats};
