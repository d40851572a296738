//! Drivers of the user-space stack, behind one [`Driver`] trait.

mod admission;
mod capture;
mod driver;
mod error;
mod impaired;
pub mod impairment;
mod interface;
mod ioctl;
mod memory;
mod offload;
mod packet;
pub mod pcapng;
mod receive_buffers;
pub mod segment;
mod statistics;
mod tun;
mod virtio;
mod wait;

pub use capture::Captured;
pub use driver::Driver;
pub use error::OpenError;
pub use impaired::Impaired;
pub use impairment::{BurstLoss, Impairment, Impairments, Rate};
pub use interface::Interface;
pub use memory::{MEMORY_FRAMES, MemoryLink, memory_capabilities};
pub use offload::SoftwareOffload;
pub use packet::{Fanout, PacketBuilder, PacketSocket, Reception};
pub use pcapng::{CaptureOptions, Direction, PcapngWriter};
pub use receive_buffers::ReceiveBuffers;
pub use statistics::{DropReason, Statistics};
pub use tun::{Tun, TunBuilder};
// What a driver moves.
pub use zcn_frame::{
    Capabilities, Checksum, ChecksumOffload, Frame, FrameMeta, Gso, GsoKind, GsoKinds, Medium,
};
