//! The TCP/IP of zcn without I/O: frames, calls and time go in; frames, events and the
//! next deadline come out.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: `now` is an
//! argument, and every secret derives from a seed given at the start, so a run replays to
//! the bit. One stack is one shard of one thread; it shares nothing.

#![forbid(unsafe_code)]

mod arp;
pub mod config;
pub mod demux;
pub mod echo;
pub mod error;
pub mod event;
mod fragment;
mod gro;
mod icmp;
pub mod id;
mod interface;
mod ip;
mod limit;
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
pub use id::{InterfaceId, SocketId};
pub use interface::{AddressState, LOOPBACK};
pub use stack::Stack;
pub use time::Instant;
