//! The io_uring floor of zcn: thin over the `io-uring` crate, safe by ownership.
//!
//! A [`Ring`] takes typed operations ([`Op`]) that own their buffers, addresses and times until the
//! final completion, whatever the application does meanwhile. Buffers come from a
//! [`zcn_pool::BufferPool`]; the kernel may pick them from a provided-buffer ring
//! ([`Ring::register_group`]).
//!
//! ```no_run
//! use zcn_uring::{Op, Ring};
//!
//! let mut ring = Ring::builder().entries(64).build()?;
//! ring.push(Op::nop().token(7))?;
//! ring.wait(1, None)?;
//! let done = ring.completions().next().expect("waited for it");
//! assert_eq!(done.token, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod buf_ring;
mod builder;
mod cancel;
mod command;
mod completion;
pub mod constants;
mod counters;
mod enter;
mod error;
mod features;
mod files;
mod fixed_buffers;
mod groups;
mod handle;
mod msg;
pub mod nvme;
mod op;
mod payload;
mod push;
mod queues;
pub mod recv_msg;
mod register;
mod release;
mod ring;
mod sizes;
mod slot;
mod socket;
pub mod sqe;
mod submission;
mod waker;

pub use batch::Batch;
pub use buf_ring::{Consumption, GroupId, GroupStats};
pub use builder::{MAX_CQ_ENTRIES, MAX_ENTRIES, RingBuilder};
pub use command::CommandError;
pub use completion::{Completion, Completions};
pub use counters::Counters;
pub use error::{RegisterError, SetupError};
pub use features::Features;
pub use handle::{Handle, HandleError, SharedRing};
pub use msg::{MAX_SLICES, Msg};
pub use op::{MESSAGE_TOKEN_MASK, NewFd, Op, Target};
pub use payload::Payload;
pub use push::{Fits, Op128, PushError, PushReason};
pub use ring::{Ring, leaked_ops};
pub use sizes::{Completion16, Completion32, CompletionSize, Entry64, Entry128, EntrySize};
pub use slot::{Kind, MAX_OPS, OpId};
pub use socket::{TxStage, TxTimestamp};
pub use waker::Waker;
