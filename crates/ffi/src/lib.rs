//! zcn (zero-copy net) for C: `libzero_copy_net`, whose header is `include/zero_copy_net.h`.
//!
//! The documentation of each function is written for C and lands in the header, which
//! `cargo test -p zero_copy_net` compares with what is written here; `UPDATE_HEADER=1` rewrites it.
//!
//! # Safety
//! Pointers that C passes are NULL or good for what the function's documentation says, for the time
//! of the call; texts end with a NUL. Handles may be anything at all: they are numbers, looked up
//! and never looked through (`handle.rs`). No panic crosses the boundary (`guard.rs`).
//!
//! # Layers
//! * `handle`: what C holds in place of a pointer;
//! * `event_loop`, `server`, `client`, `udp`, `connection`, `lease`, `options`,
//!   `stats`, `address`, `error`: the exported functions;
//! * `backend`, `member`, `endpoint`, `connections`, `pools`, `embed`: what they share.

// Documentation for C: its square brackets are addresses and defaults, not links.
#![allow(rustdoc::broken_intra_doc_links)]

mod address;
mod backend;
mod client;
mod connection;
mod connections;
mod embed;
mod endpoint;
mod error;
mod event_loop;
mod guard;
mod handle;
mod lease;
mod member;
mod options;
mod pools;
mod server;
mod stats;
mod udp;

pub use address::*;
pub use client::*;
pub use connection::*;
pub use endpoint::*;
pub use error::*;
pub use event_loop::*;
pub use lease::*;
pub use options::*;
pub use server::*;
pub use stats::*;
pub use udp::*;

use std::ffi::c_int;

/// Version of the header: 0xMMmmpp00 for M.m.p; `zcn_version` tells that of the library.
pub const ZCN_VERSION: c_int = 0x0001_0000;
