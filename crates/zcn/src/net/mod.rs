//! Sockets for tasks.

pub(crate) mod listener;
pub(crate) mod socket;
pub(crate) mod stream;
