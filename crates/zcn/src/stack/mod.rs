//! The user-space half: a [`zcn_stack::Stack`] on a link, in a runtime's loop.
//!
//! [`StackConfig`] says which link, which addresses and which routes, in code or in a TOML
//! file (feature `toml`). [`RuntimeBuilder::stack`](crate::RuntimeBuilder::stack) brings the
//! stack up, and sockets are on it as they are on the kernel's TCP/IP otherwise
//! ([`Net`](crate::Net)). [`StackLoop`] is for programs that want the stack itself, without
//! the sockets.
//!
//! ```no_run
//! use zcn::Runtime;
//! use zcn::stack::{LinkConfig, StackConfig};
//!
//! // A stack at 10.9.0.2 that answers pings; the kernel is at 10.9.0.1 of the TAP `zcn0`.
//! let mut config = StackConfig::new(LinkConfig::tap("zcn0"));
//! config.addresses.push("10.9.0.2/24".parse()?);
//! config.link.kernel_addresses.push("10.9.0.1/24".parse()?);
//! let mut runtime = Runtime::builder().stack(config).build()?;
//! runtime.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
pub(crate) mod datagrams;
pub(crate) mod errno;
mod error;
#[cfg(feature = "toml")]
mod file;
pub(crate) mod host;
mod link;
pub(crate) mod socket;
mod stack_loop;

pub use config::{LinkConfig, LinkKind, RouteConfig, StackConfig};
pub use error::StackError;
pub use link::{capture, open_link};
pub use stack_loop::{BorrowedStack, StackHandler, StackLoop, StackStopper};

pub use zcn_link::{Driver, DropReason, Statistics as LinkStatistics};
pub use zcn_stack::event::{Event, Readiness};
pub use zcn_stack::stats::Stats;
pub use zcn_stack::tcp::{SocketOption, TcpInfo};
pub use zcn_stack::{Instant, InterfaceId, SocketId, Stack};
pub use zcn_wire::{EthernetAddress, IpCidr};
