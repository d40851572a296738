//! Drivers of the user-space stack, behind one [`Driver`] trait.

mod driver;
mod statistics;

pub use driver::Driver;
pub use statistics::{DropReason, Statistics};
// What a driver moves.
pub use zcn_frame::{Capabilities, Checksum, Frame, FrameMeta, Gso, GsoKind, GsoKinds, Medium};
