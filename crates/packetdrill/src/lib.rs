//! `libzcn_packetdrill.so`: the TCP/IP of zcn behind packetdrill's plugin interface, so that
//! scripts nobody here wrote can judge it. `docs/packetdrill.md` tells how it is used.
//!
//! One thread owns the stack (`worker`); every call of the tool is a message to it, and a
//! call that blocks sleeps until its answer comes. Time is virtual: it stands still but for
//! `usleep`, waiting for a packet, and one microsecond for each look at the clock. So a
//! script takes the same course every time, on any machine.
//!
//! # Layers
//! * `table` and `interpose`: what is exported, and C's pointers;
//! * `world`: the calls of the tool, in Rust's types;
//! * `socket`, `options`, `epoll`, `notices`, `saved_syn`, `info`: what a socket of Linux is made of;
//! * `settings`, `sysctl`: what a user or a script chooses;
//! * `worker`, `core`: time, and the stack in it.

mod address;
mod connect;
mod core;
mod descriptor;
mod ending;
mod epoll;
mod errno;
mod info;
mod interpose;
mod notices;
mod options;
mod readiness;
mod saved_syn;
mod settings;
mod socket;
mod sysctl;
mod table;
mod worker;
mod world;

pub use interpose::{getsockopt, sendfile, sendfile64};
pub use settings::{Settings, SettingsError};
pub use sysctl::Sysctls;
pub use table::{Table, packetdrill_interface_init};
