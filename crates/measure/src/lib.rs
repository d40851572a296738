//! Loads, baseline servers and statistics shared by `zcn demo` and the benchmarks.
//!
//! Everything here runs without privileges and on loopback only. A measurement is put
//! together from three parts: a [`server`] on one core, a [`load`] on the other that
//! checks every byte it gets back, and [`rounds`] that alternate the contenders so that
//! a noisy machine is noisy for all of them.
//!
//! ```
//! use std::time::Duration;
//! use zcn_measure::{baseline, core::Cores, load, server::ServerOptions};
//!
//! let cores = Cores::pick()?;
//! let load = load::RoundTrip {
//!     message_bytes: 64,
//!     duration: Duration::from_millis(20),
//!     spin: false,
//! };
//! let options = ServerOptions::blocking(cores.server);
//! let outcome = load::drive(&baseline::epoll(), &options, cores.client, &load)?;
//! assert!(outcome.report.latency.quantile_ns(0.5) > 0);
//! # Ok::<(), zcn_measure::error::Error>(())
//! ```

pub mod baseline;
pub mod core;
pub mod cpu_clock;
pub mod datagrams;
pub mod environment;
pub mod error;
pub mod latency;
pub mod load;
pub mod meter;
pub mod pattern;
pub mod rounds;
pub mod row;
pub mod server;
pub mod statistics;
pub mod table;
