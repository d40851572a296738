//! The TCP/IP of zcn without I/O: frames, calls and time go in; frames, events and the
//! next deadline come out.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: `now` is an
//! argument, and every secret derives from a seed given at the start, so a run replays to
//! the bit. One stack is one shard of one thread; it shares nothing.

#![forbid(unsafe_code)]

pub mod demux;
pub mod error;
pub mod event;
pub mod id;
pub mod random;
pub mod slab;
pub mod stats;
pub mod tcp;
pub mod time;
pub mod wheel;
