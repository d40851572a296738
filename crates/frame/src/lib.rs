//! One packet on its way, in either direction, as drivers and the stack hand it to each
//! other.
//!
//! * [`Frame`] is the packet: a [`Head`] of up to [`HEAD_MAX`] bytes that the stack wrote
//!   in place, a [`Chain`] of counted slices of buffers, and its [`FrameMeta`].
//! * [`FrameMeta`] says what the virtio-net header says: what is known of the checksum,
//!   and whether the frame is a super-frame that somebody has yet to cut.
//! * [`Capabilities`] is what a driver says it can do; the stack reads it once.
//!
//! ```
//! use zcn_frame::{Frame, Head};
//! use zcn_pool::SharedBuf;
//!
//! let mut head = Head::with_room(14);
//! head.extend_from_slice(b"transport header, ")?;
//! head.prepend(b"link header 14")?;
//! let mut frame = Frame::new(head);
//! frame.push(SharedBuf::from_static(b"payload"))?;
//! assert_eq!(frame.linear(), b"link header 14transport header, ");
//! frame.advance(32);
//! assert_eq!(frame.into_body().to_vec(), b"payload");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate lies under both `zcn-link` and `zcn-stack`, which must not import each other.

#![forbid(unsafe_code)]

mod capabilities;
mod chain;
mod frame;
mod head;
mod meta;

pub use capabilities::{Capabilities, ChecksumOffload, GsoKinds, Medium};
pub use chain::{Chain, ChainFull, SLICES_MAX};
pub use frame::Frame;
pub use head::{HEAD_MAX, Head};
pub use meta::{Checksum, FrameMeta, Gso, GsoKind, SEGMENTS_MAX};
