//! A small solo pool for tests and demonstrations: Stratum V1, variable difficulty, sessions
//! that can be resumed.
//!
//! [`PoolServer`] serves miners on a listener of the caller's and tells him what they find.
//! What they work on he hands in as a [`Template`]: from [`Template::synthetic`], which follows
//! no chain, or from a [`Node`](node::Node), which [`follow`](node::follow) keeps asking.

pub mod node;
mod server;
mod template;

pub use server::{PoolNotice, PoolServer, PoolSettings, PoolStats};
pub use template::{Template, TemplateError};
