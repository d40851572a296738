//! Sockets with the calls of BSD: numbers, calls that never wait, readiness, and one wake-up for
//! however many sockets are ready.
//!
//! For programs that have their own event loop, or are written against `socket`, `bind`, `accept`,
//! `read`, `write` and an `epoll`: the third face of the runtime, beside callbacks and tasks, on
//! either half ([`Net`](crate::Net)). [`Sockets`] is the table of numbers; a [`Mux`] tells which of
//! them are ready. All calls answer at once, with `EAGAIN` where a blocking socket would wait; the
//! runtime must turn in between ([`Mux::wait`] does that, or
//! [`Runtime::poll`](crate::Runtime::poll) in a loop of your own).
//!
//! Reading and writing copy once; [`Sockets::recv`] and [`Sockets::send`] hand buffers over without
//! a copy.
//!
//! ```
//! use std::time::Duration;
//! use zcn::bsd::{Interest, Kind, Sockets};
//!
//! let mut runtime = zcn::Runtime::new()?;
//! let sockets = Sockets::new(&runtime.net());
//! let mux = sockets.mux()?;
//! let listener = sockets.socket(Kind::Stream)?;
//! sockets.bind(listener, ([127, 0, 0, 1], 0).into())?;
//! sockets.listen(listener, 128)?;
//! let client = sockets.socket(Kind::Stream)?;
//! // It goes on by itself, as a non-blocking connect does.
//! let pending = sockets.connect(client, sockets.local_addr(listener)?).unwrap_err();
//! assert_eq!(pending.raw_os_error(), Some(libc::EINPROGRESS));
//! mux.add(listener, Interest::READABLE)?;
//! mux.add(client, Interest::WRITABLE)?;
//!
//! let mut events = Vec::new();
//! let (mut served, mut asked) = (None, false);
//! loop {
//!     mux.wait(&mut runtime, Some(Duration::from_secs(5)), &mut events)?;
//!     for event in &events {
//!         if event.socket == listener {
//!             let (socket, _) = sockets.accept(listener)?;
//!             mux.add(socket, Interest::READABLE)?;
//!             served = Some(socket);
//!         } else if event.socket == client && !asked {
//!             asked = true;
//!             assert_eq!(sockets.write(client, b"hello")?, 5);
//!             mux.modify(client, Interest::NONE)?;
//!         } else if Some(event.socket) == served {
//!             let mut text = [0; 16];
//!             let count = sockets.read(event.socket, &mut text)?;
//!             assert_eq!(&text[..count], b"hello");
//!             return Ok(());
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod mux;
mod sockets;

pub use self::mux::{Interest, Mux, MuxEvent};
pub use self::sockets::{Kind, SocketNumber, Sockets};
