//! Mining on zcn.
//!
//! * [`crew`]: worker threads that search for nonces, and the hand-over of work to them
//!   and of finds back.
//! * [`rate`]: hash rates over ten seconds, a minute and a quarter of an hour.
//! * [`latency`]: how long a job takes from its packet to its first hash, and a share from
//!   its find to the pool's answer.
//! * [`ledger`]: found shares on disk, so that a killed program loses none.
//! * [`session`]: the connection to a pool that always comes back: fail-over between pools,
//!   TLS, and no found share lost.
//! * [`rig`]: session and workers as one miner.
//! * [`pages`]: a few pages over HTTP, for whoever watches.
//! * [`drill`]: a pool for measurements.
//! * [`pool`]: a small pool, for tests and demonstrations.
//! * [`machine`]: randomness and the time of the day.
//!
//! Nothing here connects anywhere that it was not told to.

#![forbid(unsafe_code)]

// Workers, sessions and pool run for real; loom explores the hand-over of work alone.
#[cfg(not(loom))]
pub mod crew;
#[cfg(not(loom))]
mod draw;
#[cfg(not(loom))]
pub mod drill;
mod handover;
#[cfg(not(loom))]
mod http_io;
pub mod latency;
pub mod ledger;
pub mod machine;
#[cfg(not(loom))]
pub mod pages;
#[cfg(not(loom))]
pub mod pool;
pub mod rate;
#[cfg(not(loom))]
pub mod rig;
#[cfg(not(loom))]
pub mod session;
#[cfg(not(loom))]
mod signal;
#[cfg(not(loom))]
mod wire;
