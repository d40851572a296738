//! The TCP/IP of zcn without I/O: frames, calls and time go in; frames, events and the
//! next deadline come out.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: `now` is an
//! argument, and every secret derives from a seed given at the start, so a run replays to
//! the bit. One stack is one shard of one thread; it shares nothing.
//!
//! Whoever runs a [`Stack`] hands it frames and time, and carries away what comes out:
//!
//! ```
//! use zcn_frame::{Capabilities, Medium};
//! use zcn_stack::demux::Binding;
//! use zcn_stack::{InterfaceConfig, Instant, Stack, StackConfig};
//!
//! let pool = zcn_pool::BufferPool::builder().count(64).build()?;
//! let now = Instant::from_secs(1);
//! // Two stacks on a link of plain IP packets, as a TUN device has it.
//! let mut ends = Vec::new();
//! for (seed, address) in [([1; 32], "192.0.2.1/24"), ([2; 32], "192.0.2.2/24")] {
//!     let mut stack = Stack::new(StackConfig::default(), pool.local(), &seed, now);
//!     let link = Capabilities::plain(Medium::Ip, 1500);
//!     let id = stack.add_interface(now, &InterfaceConfig::new(link, &[address.parse()?]))?;
//!     ends.push((stack, id));
//! }
//! let [(client, out), (server, inner)] = &mut ends[..] else { unreachable!() };
//!
//! let listening = server.udp_bind(Binding::new("0.0.0.0:7".parse()?))?;
//! let socket = client.udp_bind(Binding::new("0.0.0.0:0".parse()?))?;
//! client.udp_send(now, socket, Some("192.0.2.2:7".parse()?), b"hello")?;
//!
//! let mut frames = Vec::new();
//! client.poll_frames(now, *out, &mut frames, 64);
//! server.handle_frames(now, *inner, &mut frames);
//! let datagram = server.udp_recv(listening)?;
//! assert_eq!(datagram.payload.to_vec(), b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod arp;
pub mod config;
pub mod demux;
pub mod echo;
pub mod error;
pub mod event;
mod fragment;
mod frames;
mod gro;
mod icmp;
pub mod id;
mod interface;
mod ip;
mod limit;
mod mld;
mod ndp;
pub mod neighbour;
mod packet;
mod pmtu;
pub mod random;
pub mod reassembly;
pub mod route;
pub mod slab;
mod stack;
pub mod stats;
pub mod tcp;
pub mod time;
pub mod udp;
pub mod wheel;

pub use config::{ConfigError, IcmpConfig, InterfaceConfig, StackConfig};
pub use frames::Frames;
pub use id::{InterfaceId, SocketId};
pub use interface::{AddressState, LOOPBACK};
pub use stack::Stack;
pub use time::Instant;
