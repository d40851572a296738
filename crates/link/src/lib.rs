//! Drivers of the user-space stack: batches of frames in, batches of frames out.
//!
//! | driver | other end | frames |
//! |---|---|---|
//! | [`MemoryLink`] | another end in the process, or itself | change owner, no copy |
//! | [`Tun`] | the kernel's stack, by a TAP or TUN device | super-frames and checksums left to the kernel, several queues |
//! | [`PacketSocket`] | whoever is on an interface of the kernel | the same, received by calls or by a shared ring, spread by fanout |
//!
//! Each is one type with the [`Driver`] trait, and so are the wrappers around any of them:
//! [`SoftwareOffload`] cuts super-frames and finishes checksums for a link that cannot,
//! [`Captured`] writes what passes to a pcapng file, and [`Impaired`] loses, delays,
//! reorders and damages it. What these two do is there without a driver, too, in given
//! time: [`PcapngWriter`] and [`Impairment`]. A [`Bridge`] joins two links into one.
//!
//! ```
//! use std::collections::VecDeque;
//! use zcn_link::{Driver, Frame, Medium, MemoryLink, memory_capabilities};
//! use zcn_frame::Head;
//!
//! let capabilities = memory_capabilities(Medium::Ip, 1500);
//! let (mut one, mut other) = MemoryLink::pair(capabilities, capabilities, 64)?;
//! let mut head = Head::new();
//! head.extend_from_slice(b"an IP packet")?;
//! one.transmit(&mut VecDeque::from([Frame::new(head)]))?;
//! one.flush()?;
//!
//! let mut received = Vec::new();
//! other.receive(&mut received, 32)?;
//! assert_eq!(received[0].linear(), b"an IP packet");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Drivers open what they need in the network namespace of the calling thread. A TAP device
//! takes `CAP_NET_ADMIN`, a packet socket `CAP_NET_RAW`, memory nothing.

mod admission;
mod bridge;
mod capture;
mod driver;
mod error;
mod impaired;
pub mod impairment;
mod interface;
mod ioctl;
mod mark;
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

pub use bridge::Bridge;
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
