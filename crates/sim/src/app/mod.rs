//! Programs for simulations: they send streams whose every byte is checked.

mod client;
mod conversation;
mod ledger;
pub mod pattern;
mod server;

pub use client::{Client, ClientPlan};
pub use conversation::{Ending, Pause, Plan, Role};
pub use ledger::{Failure, Ledger};
pub use server::Server;
