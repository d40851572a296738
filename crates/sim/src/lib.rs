//! Stacks of zcn in virtual time, on links as bad as wanted, from a seed.
//!
//! A [`Simulation`] has nodes (a [`Stack`](zcn_stack::Stack) each, with a clock and buffers
//! of its own), links and switches whose every direction has its
//! [`Impairments`](zcn_link::Impairments), and programs ([`Application`]). Nothing waits:
//! time jumps from deadline to deadline, so that an hour of silence costs nothing. The same
//! seed gives the same run, to the bit, and [`Simulation::hash`] shows it.
//!
//! While it runs, every frame and every connection is held against the [`Invariant`]s of
//! TCP. [`Scenario::of`] draws whole runs from a seed; the program `zcn-sim` runs many of
//! them, or one with its trace:
//!
//! ```text
//! cargo run --release -p zcn-sim --bin zcn-sim -- --seeds 2000
//! cargo run -p zcn-sim --bin zcn-sim -- --seed 4711 --trace
//! cargo run -p zcn-sim --bin zcn-sim -- --seed 4711 --pcapng 4711.pcapng
//! ```
//!
//! # Testing a protocol of your own
//!
//! Write each side as an [`Application`], put it on a node, and let the network be bad:
//!
//! ```
//! use std::time::Duration;
//! use zcn_frame::{Capabilities, Medium};
//! use zcn_link::Impairments;
//! use zcn_sim::app::{Client, ClientPlan, Ledger, Plan, Role, Server};
//! use zcn_sim::{Ended, NodeConfig, Simulation};
//! use zcn_stack::InterfaceConfig;
//! use zcn_stack::tcp::SocketOptions;
//!
//! let mut sim = Simulation::new(7);
//! let mut ends = Vec::new();
//! for host in 1..=2 {
//!     let node = sim.add_node(NodeConfig::default())?;
//!     let address = format!("10.0.0.{host}/24").parse()?;
//!     let medium = Medium::Ethernet { address: [2, 0, 0, 0, 0, host] };
//!     let capabilities = Capabilities::plain(medium, 1_500);
//!     ends.push(sim.add_interface(node, InterfaceConfig::new(capabilities, &[address]))?);
//! }
//! let lossy = Impairments {
//!     loss: 0.02,
//!     delay: Duration::from_millis(10),
//!     ..Impairments::default()
//! };
//! let link = sim.link([ends[0], ends[1]], [lossy.clone(), lossy]);
//!
//! // The line is cut after 50 ms, for five seconds.
//! sim.at(Duration::from_millis(50), move |sim| sim.cut(link, zcn_sim::Direction::Both));
//! sim.at(Duration::from_millis(5_050), move |sim| sim.heal(link));
//!
//! let ledger = Ledger::default();
//! let address = "10.0.0.2:7".parse()?;
//! let options = SocketOptions::default();
//! let echo = Server::new(address, 8, Plan::new(Role::Echo), options.clone(), &ledger);
//! let plan = ClientPlan {
//!     remote: address,
//!     local: None,
//!     plan: Plan::new(Role::Bulk(100_000)),
//!     connections: 1,
//!     attempts: 10,
//!     parallel: 1,
//!     start: Duration::ZERO,
//!     options,
//! };
//! let nodes: Vec<_> = sim.nodes().collect();
//! sim.run_on(nodes[1], echo);
//! sim.run_on(nodes[0], Client::new(plan, &ledger));
//!
//! assert_eq!(sim.run(Duration::from_secs(120)), Ended::Done);
//! assert_eq!(ledger.delivered(), 200_000);
//! assert!(sim.violations().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod app;
mod application;
mod link;
mod monitor;
mod node;
mod random;
pub mod scenario;
mod simulation;
mod trace;
mod violation;

pub use application::{Application, Context};
pub use link::{Direction, End, LinkId, NodeId, SwitchId};
pub use node::{BUFFER_SIZE, NodeConfig};
pub use random::{Dice, seed_bytes};
pub use scenario::{Outcome, RunOptions, Scenario};
pub use simulation::{Ended, Simulation};
pub use trace::{Frames, Lines, Trace};
pub use violation::{Invariant, Violation, Violations};
