//! A small solo pool for tests and demonstrations: Stratum V1 and V2, variable difficulty,
//! sessions that can be resumed (V1).
//!
//! [`PoolServer`] serves miners on a listener of the caller's and tells him what they find.
//! What they work on he hands in as a [`Template`]: from [`Template::synthetic`], which follows
//! no chain, or from a [`Node`](node::Node), which [`follow`](node::follow) keeps asking.

pub mod node;
mod notice;
mod server;
mod template;
mod v1;
mod v2;

pub use notice::{Find, MinerFault, PoolNotice};
pub use server::{PoolServer, PoolSettings, PoolStats};
pub use template::{Template, TemplateError};
