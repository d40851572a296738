//! What zcn asks of the operating system.
//!
//! The ground floor: raw calls that no library wraps, the place of a thread
//! on the cores, limits of the process, and probes of what this kernel and
//! this process can do. Imports none of the other crates.

pub mod affinity;
pub mod check;
pub mod eventfd;
pub mod limits;
pub mod namespace;
pub mod probe;
pub mod refusal;
pub mod syscall;
