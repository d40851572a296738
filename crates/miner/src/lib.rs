//! Mining on zcn.
//!
//! * [`session`]: the connection to a pool that always comes back: fail-over between pools,
//!   TLS, and no found share lost.
//! * [`pool`]: a small pool, for tests and demonstrations.
//!
//! Nothing here connects anywhere that it was not told to.

#![forbid(unsafe_code)]

pub mod pool;
pub mod session;
mod signal;
mod wire;
