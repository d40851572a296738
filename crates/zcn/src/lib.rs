//! **zcn** (zero-copy net): one event loop per core, one buffer type, one socket API.
//!
//! A [`Runtime`] is the loop of one core, on io_uring or, where that is refused, on epoll. Its
//! sockets are the kernel's, or those of a TCP/IP of its own in user space ([`Net`], [`stack`]).
//! Three faces stand on it:
//!
//! * [`TcpServer`] and [`TcpClient`] with a [`Handler`], [`UdpServer`] with a [`DatagramHandler`]: callbacks, the least between the kernel and your code;
//! * [`TcpListener`], [`TcpStream`], [`UnixListener`], [`UnixStream`], [`UdpSocket`] for tasks
//!   ([`spawn`], [`Runtime::block_on`]).
//!
//! Every byte lives in a pool buffer ([`Buf`], [`SharedBuf`]): a receive hands one out on loan, a
//! send takes one and gives it back when the kernel is done with it. "Zero-copy" means that no copy
//! is made in user space; a socket receive and a loopback send are copied once by the kernel.
//!
//! ```
//! use zcn::{Buf, Conn, Handler, Runtime, ServerOptions, TcpServer};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type State = ();
//!     fn on_accept(&mut self, _: &mut Conn<'_>, _: &zcn::Address) -> Option<()> {
//!         Some(())
//!     }
//!     fn on_data(&mut self, conn: &mut Conn<'_>, _: &mut (), data: Buf) {
//!         // Receiving pauses while the queue is full, so this is never refused for long.
//!         let _ = conn.send(data);
//!     }
//! }
//!
//! let runtime = Runtime::new()?;
//! let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
//! let server = TcpServer::bind(&runtime, any, ServerOptions::default(), Echo)?;
//! println!("listening on {}", server.local_addr());
//! // runtime.run()? serves until Handle::stop.
//! # Ok::<(), zcn::Error>(())
//! ```

pub mod bsd;
mod client;
pub mod cluster;
mod config;
mod error;
pub mod handoff;
mod net;
mod pool;
mod reactor;
mod runtime;
mod server;
pub mod stack;
mod table;
#[cfg(feature = "tls")]
pub mod tls;
mod udp_server;

pub use client::{Attempt, ClientOptions, Target, TcpClient};
pub use cluster::{Cluster, ClusterBuilder, ClusterStats, ListenGroup, Stopper};
pub use config::{Config, ReactorKind, Sleep, ZERO_COPY_MIN, ZeroCopy};
pub use error::{Action, Error, Fault, Result};
pub use net::half::Net;
pub use net::listener::{TcpListener, UnixListener};
pub use net::resolve::Resolver;
pub use net::socket::{Address, ConnectOptions, ListenOptions};
pub use net::stream::{Stream, TcpStream, UnixStream};
pub use net::udp::UdpSocket;
pub use net::udp_options::UdpOptions;
pub use pool::{
    ConnectionPool, ConnectionPoolOptions, ConnectionPoolStats, Destination, HealthCheck, Pooled,
};
pub use reactor::datagram::{Datagram, UdpStats};
pub use reactor::driver::DriverStats;
pub use reactor::stream::{CloseReason, WaterMarks};
pub use runtime::drain::{DrainSignal, drain_signal};
pub use runtime::join::JoinHandle;
pub use runtime::time::{Elapsed, SleepUntil, sleep, sleep_until, timeout};
pub use runtime::{
    EnterGuard, Handle, Runtime, RuntimeBuilder, RuntimeStats, buffer, now, spawn, stats, stop,
};
pub use server::{Conn, ConnId, Handler, SendError, ServerOptions, ServerStats, TcpServer};
pub use udp_server::{DatagramHandler, UdpConn, UdpSendError, UdpServer};

pub use zcn_pool::{
    Arena, Buf, BufferPool, FixedPool, HugePages, LocalPool, PoolStats, RawBuf, SharedBuf,
};
