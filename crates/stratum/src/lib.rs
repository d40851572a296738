//! Stratum, the protocol between miners and pools, without I/O: bytes, calls and time go in;
//! bytes, events and the next deadline come out.
//!
//! Nothing here opens a socket, reads a clock or draws a random number. What is in it:
//!
//! * [`client::ClientSession`] and [`server::ServerSession`]: the two ends of a connection, with
//!   `mining.configure` and version rolling (BIP 310), resumption, deadlines, and bounds on
//!   everything that the other side can make grow;
//! * [`message`]: the lines themselves, read where they lie (no allocation for a job) and
//!   written;
//! * [`Job`], [`header`], [`hash`], [`Target`], [`share`], [`extranonce`]: from a job to a
//!   header, and whether its hash is a share;
//! * `v2`, behind the feature of that name: Stratum V2, encrypted, both ends.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use zcn_stratum::client::{ClientConfig, ClientSession, Event};
//! use zcn_stratum::extranonce::ExtranonceRange;
//! use zcn_stratum::inline::{Extranonce, JobId};
//! use zcn_stratum::message::Subscribed;
//! use zcn_stratum::server::{ServerConfig, ServerEvent, ServerSession};
//! use zcn_stratum::Job;
//!
//! let now = Instant::now();
//! let mut miner = ClientSession::new(ClientConfig::new("pool.example", "worker", "x"), now);
//! let extranonce_1 = Extranonce::new(&[1, 2, 3, 4]).ok_or("short")?;
//! let extranonces = Subscribed { extranonce_1, extranonce_2_len: 4 };
//! let mut config = ServerConfig::new("session 1", extranonces);
//! config.difficulty = 1e-10;
//! let mut pool = ServerSession::new(config, now);
//! let id = JobId::new(b"1").ok_or("short")?;
//! pool.announce(now, &Arc::new(Job { id, nbits: 0x1d00_ffff, ..Job::default() }));
//!
//! let mut accepted = false;
//! while !accepted {
//!     // What a connection would carry.
//!     let from_miner = miner.output().to_vec();
//!     miner.consume_output(from_miner.len());
//!     pool.handle_bytes(now, &from_miner)?;
//!     while let Some(event) = pool.poll_event() {
//!         if let ServerEvent::Authorize { id, .. } = event {
//!             pool.authorize(now, id, true);
//!         }
//!     }
//!     let from_pool = pool.output().to_vec();
//!     pool.consume_output(from_pool.len());
//!     miner.handle_bytes(now, &from_pool)?;
//!     while let Some(event) = miner.poll_event() {
//!         match event {
//!             Event::Work(key) => {
//!                 let work = miner.work(key).ok_or("a job")?;
//!                 let mut range = ExtranonceRange::new(work.extranonce_2_len, 0, 1);
//!                 let extranonce_2 = range.draw().ok_or("the first")?;
//!                 // At this difficulty any hash will do.
//!                 let share = work.share(extranonce_2, work.job.version, work.job.ntime, 0);
//!                 assert!(work.target.is_met_by(&work.hash_of(&share)));
//!                 miner.submit(now, &share)?;
//!             }
//!             Event::Accepted { .. } => accepted = true,
//!             _ => {}
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources: the protocol has no RFC. What is here follows BIP 310 and BIP 320 for version
//! rolling, the manual of the first pool for the messages, and what pools in the field send
//! (errors in four forms and two tables of codes, see [`reject`]).

#![forbid(unsafe_code)]

mod budget;
pub mod client;
pub mod extranonce;
pub mod hash;
pub mod header;
pub mod hex;
pub mod inline;
pub mod job;
mod job_line;
pub mod json;
pub mod line;
pub mod message;
mod output;
pub mod reject;
pub mod server;
pub mod share;
pub mod target;
#[cfg(feature = "v2")]
pub mod v2;

pub use client::{ClientConfig, ClientSession};
pub use job::Job;
pub use server::{ServerConfig, ServerSession};
pub use target::Target;
