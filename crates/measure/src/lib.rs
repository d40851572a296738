//! Loads, baseline servers and statistics shared by `zcn demo` and the benchmarks.
//!
//! Everything here runs without privileges and on loopback only. A measurement is put
//! together from three parts: a [`server`] on one core, a [`load`] on the other that
//! checks every byte it gets back, and [`rounds`] that alternate the contenders so that
//! a noisy machine is noisy for all of them.

pub mod environment;
pub mod rounds;
pub mod row;
pub mod statistics;
pub mod table;
