//! Sockets for tasks.

pub(crate) mod half;
pub(crate) mod listener;
mod race;
pub(crate) mod resolve;
pub(crate) mod socket;
mod sockopt;
pub(crate) mod stream;
pub(crate) mod udp;
pub(crate) mod udp_options;
