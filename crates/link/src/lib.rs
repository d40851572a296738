//! Drivers of the user-space stack, behind one [`Driver`] trait.

mod admission;
mod driver;
pub mod impairment;
mod memory;
mod offload;
pub mod segment;
mod statistics;
mod wait;

pub use driver::Driver;
pub use impairment::{BurstLoss, Impairment, Impairments, Rate};
pub use memory::{MEMORY_FRAMES, MemoryLink, memory_capabilities};
pub use offload::SoftwareOffload;
pub use statistics::{DropReason, Statistics};
// What a driver moves.
pub use zcn_frame::{
    Capabilities, Checksum, ChecksumOffload, Frame, FrameMeta, Gso, GsoKind, GsoKinds, Medium,
};
