//! A server with callbacks: the face with the least between the kernel and the handler.

mod conn;
mod handler;
mod options;
mod serving;
mod shared;

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::error::{Action, Error, Result};
use crate::net::half::Net;
use crate::net::listener::listen;
use crate::net::socket::Address;
use crate::reactor::stream::Owner;
use crate::runtime::{Inner, Runtime};
use crate::table::Key;

pub use self::conn::{Conn, ConnId};
pub use self::handler::{Handler, SendError};
pub use self::options::ServerOptions;
pub(crate) use self::serving::Serving;
pub use self::shared::ServerStats;
pub(crate) use self::shared::Shared;

/// A server on TCP or a Unix socket, running its [`Handler`] inside a [`Runtime`].
///
/// Dropping the handle lets the server run on for as long as its runtime; [`shutdown`](
/// Self::shutdown) ends it.
#[derive(Debug)]
pub struct TcpServer {
    inner: Rc<Inner>,
    server: Key,
    local: Address,
    shared: Rc<Shared>,
}

impl TcpServer {
    /// Listens on `address` (a [`SocketAddr`](std::net::SocketAddr) of the runtime's default net,
    /// or a path for a Unix socket) and serves with `handler` whenever the runtime runs.
    ///
    /// # Errors
    /// The address is in use or not this machine's, an option is refused, or descriptors are
    /// short; each with the address and the remedy.
    pub fn bind<H: Handler>(
        runtime: &Runtime,
        address: impl Into<Address>,
        options: ServerOptions,
        handler: H,
    ) -> Result<Self> {
        let address = address.into();
        let net = match address {
            Address::Ip(_) => runtime.net(),
            Address::Unix(_) => runtime.kernel_net(),
        };
        Self::bind_on(&net, address, options, handler)
    }

    /// [`bind`](Self::bind) on a net that is not the runtime's default.
    ///
    /// # Errors
    /// As there, and for a path on the net of a stack.
    pub fn bind_on<H: Handler>(
        net: &Net,
        address: impl Into<Address>,
        options: ServerOptions,
        handler: H,
    ) -> Result<Self> {
        let address = address.into();
        options.check(Action::Listen)?;
        let (socket, local) = listen(&net.half, &address, &options.listen)?;
        let inner = net.inner.clone();
        let server = inner.reserve_service();
        let listener = inner
            .reactor
            .borrow_mut()
            .add_listener(socket, Owner::Server(server))
            .map_err(|error| {
                inner.remove_service(server);
                Error::new(Action::Listen, &address, error)
            })?;
        let shared = Rc::new(Shared::default());
        let mut service = Serving::new(server, handler, options, shared.clone());
        service.listener = Some(listener);
        service.socket_file = match &local {
            Address::Unix(path) => Some(path.clone()),
            Address::Ip(_) => None,
        };
        inner.install_service(server, Box::new(service));
        Ok(Self {
            inner,
            server,
            local,
            shared,
        })
    }

    /// The address it listens on, with the port the kernel picked.
    pub fn local_addr(&self) -> &Address {
        &self.local
    }

    /// What it did so far.
    pub fn stats(&self) -> ServerStats {
        self.shared.stats.get()
    }

    /// Stops listening and lets the connections finish ([`Handler::on_drain`]); those that are
    /// left after `limit` are reset. The runtime must run on meanwhile;
    /// [`stopped`](Self::stopped) waits for the end.
    pub fn shutdown(&self, limit: Duration) {
        self.shared.shut_down(&self.inner, self.server, limit);
    }

    /// Whether [`Handler::on_sent`] is called, from now on accepted connections on; see
    /// [`ServerOptions::notify_sent`].
    pub fn notify_sent(&self, yes: bool) {
        self.shared.notify_sent(yes);
    }

    /// Whether it has been shut down and its last connection is gone.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.get()
    }

    /// Waits until [`shutdown`](Self::shutdown) is complete.
    pub async fn stopped(&self) {
        std::future::poll_fn(|context| {
            if self.shared.stopped.get() {
                return Poll::Ready(());
            }
            self.shared
                .wakers
                .borrow_mut()
                .push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
