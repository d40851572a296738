//! Which half a socket is on.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use zcn_frame::Capabilities;
use zcn_link::{Driver, Statistics};
use zcn_stack::stats::Stats;
use zcn_stack::{Instant, InterfaceId, Stack};

use super::listener::TcpListener;
use super::socket::{ConnectOptions, ListenOptions};
use super::stream::{self, TcpStream};
use super::udp::UdpSocket;
use super::udp_options::UdpOptions;
use crate::error::{Action, Error, Result};
use crate::runtime::{Inner, Runtime, current};
use crate::stack::host::StackHost;
use crate::stack::{StackConfig, StackError, open_link};

/// A half, as sockets to be made are told of it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Half {
    #[default]
    Kernel,
    Stack(Rc<StackHost>),
}

/// The network that sockets of a runtime are on: the kernel's, or that of a stack of the runtime's
/// own.
///
/// Every runtime has the kernel's. [`RuntimeBuilder::stack`](crate::RuntimeBuilder::stack) and
/// [`Runtime::open_stack`] bring up stacks beside it, in the same loop. One net is the runtime's
/// default ([`Runtime::set_net`]): [`TcpListener::bind`], [`TcpStream::connect`],
/// [`UdpSocket::bind`], [`TcpServer::bind`](crate::TcpServer::bind) and their like use that, so
/// that an application changes the half it runs on in one line. The methods here, and those named
/// `…_on`, name the net themselves.
///
/// The types are the same on either half, and so are the errors' kinds and numbers. What only the
/// kernel has is a clear error on a stack: options by descriptor (`with_socket`), multicast groups,
/// `reuse_port`. Unix sockets and sockets of the standard library are always the kernel's. Names
/// are looked up by the system's resolver on either half; only the connections to their addresses
/// are the net's.
///
/// A clone is a handle of the same net. A stack lives as long as its runtime.
///
/// ```
/// use zcn::stack::{LinkConfig, StackConfig};
/// use zcn::{Runtime, TcpListener, TcpStream};
///
/// // Without the second line the same program runs on the kernel's TCP/IP.
/// let mut runtime = Runtime::builder()
///     .stack(StackConfig::new(LinkConfig::memory()))
///     .build()?;
/// runtime.block_on(async {
///     let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
///     let client = TcpStream::connect(listener.local_addr()).await?;
///     let (served, _) = listener.accept().await?;
///     client.send_copy(b"hello").await?;
///     assert_eq!(&served.recv().await?.unwrap()[..], b"hello");
///     Ok::<(), zcn::Error>(())
/// })??;
/// # Ok::<(), zcn::Error>(())
/// ```
#[derive(Clone)]
pub struct Net {
    pub(crate) inner: Rc<Inner>,
    pub(crate) half: Half,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Net").field(&self.half).finish()
    }
}

impl Net {
    /// The default net of the current runtime.
    ///
    /// # Errors
    /// When no runtime is running on this thread.
    pub fn current() -> Result<Self> {
        current(Action::Socket).map(|inner| Self {
            half: inner.half(),
            inner,
        })
    }

    /// The kernel's net, for the current runtime.
    ///
    /// # Errors
    /// When no runtime is running on this thread.
    pub fn kernel() -> Result<Self> {
        current(Action::Socket).map(|inner| Self {
            inner,
            half: Half::Kernel,
        })
    }

    /// Whether it is a stack's.
    pub fn is_stack(&self) -> bool {
        self.host().is_some()
    }

    pub(crate) fn host(&self) -> Option<&Rc<StackHost>> {
        match &self.half {
            Half::Kernel => None,
            Half::Stack(host) => Some(host),
        }
    }

    /// Listens for TCP connections.
    ///
    /// # Errors
    /// As [`TcpListener::bind_with`].
    pub fn tcp_listen(&self, address: SocketAddr, options: &ListenOptions) -> Result<TcpListener> {
        TcpListener::open(self, address, options)
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// As [`TcpStream::connect_with`].
    pub async fn tcp_connect(
        &self,
        address: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<TcpStream> {
        stream::connect(self, &address.into(), options)
            .await
            .map(TcpStream::new)
    }

    /// Connects to `host:port`. The name is looked up by the kernel's resolver.
    ///
    /// # Errors
    /// As [`TcpStream::connect_host`].
    pub async fn tcp_connect_host(
        &self,
        target: &str,
        options: &ConnectOptions,
    ) -> Result<TcpStream> {
        stream::connect_host(self, target, options).await
    }

    /// Binds a UDP socket.
    ///
    /// # Errors
    /// As [`UdpSocket::bind_with`].
    pub fn udp_bind(&self, address: SocketAddr, options: &UdpOptions) -> Result<UdpSocket> {
        UdpSocket::open(self, address, options)
    }

    /// What the link of a stack can do.
    pub fn link_capabilities(&self) -> Option<Capabilities> {
        self.host().map(|host| *host.capabilities())
    }

    /// The counters of a stack's link.
    pub fn link_statistics(&self) -> Option<Statistics> {
        self.host().map(|host| host.link_statistics())
    }

    /// Why the link of a stack is gone, if it is: its device was removed, or the other end dropped.
    /// Connections on it have failed with `ENETDOWN` then, and no others can be made.
    pub fn link_error(&self) -> Option<io::Error> {
        self.host()?.link_error()
    }

    /// Waits for the end of a stack's link, and tells its reason; see
    /// [`link_error`](Self::link_error). Never ends on the kernel's net.
    pub async fn link_gone(&self) -> io::Error {
        poll_fn(|context| match self.host() {
            Some(host) => host.poll_link_gone(context),
            None => Poll::Pending,
        })
        .await
    }

    /// The interface of a stack on its link.
    pub fn interface(&self) -> Option<InterfaceId> {
        self.host().map(|host| host.interface())
    }

    /// Everything that a stack has counted.
    pub fn stats(&self) -> Option<Stats> {
        self.host().map(|host| host.borrow().stack.stats())
    }

    /// The stack itself, at its present time: to look at connections, routes and neighbours, and to
    /// change what [`StackConfig`] set up. `None` on the kernel's net.
    ///
    /// Events are the runtime's: sockets made in here are told of nothing.
    ///
    /// # Panics
    /// If `call` uses sockets of the same net, which are the stack's, too.
    pub fn with_stack<T>(&self, call: impl FnOnce(&mut Stack, Instant) -> T) -> Option<T> {
        let mut hosted = self.host()?.borrow();
        let now = hosted.tick();
        Some(call(&mut hosted.stack, now))
    }
}

impl Inner {
    /// The default half.
    pub(crate) fn half(&self) -> Half {
        self.half.borrow().clone()
    }

    /// Brings up a stack in this runtime.
    pub(crate) fn open_stack(
        &self,
        config: &StackConfig,
        driver: Box<dyn Driver>,
    ) -> std::result::Result<Half, StackError> {
        let host = StackHost::new(config, driver)?;
        self.reactor
            .borrow_mut()
            .add_stack(host.clone())
            .map_err(|source| StackError::Kernel {
                action: "wait for the link",
                source,
            })?;
        self.raise_spin(host.spin);
        Ok(Half::Stack(host))
    }
}

impl Runtime {
    /// The default net: that of [`TcpListener::bind`] and its like.
    pub fn net(&self) -> Net {
        Net {
            inner: self.inner().clone(),
            half: self.inner().half(),
        }
    }

    /// The kernel's net.
    pub fn kernel_net(&self) -> Net {
        Net {
            inner: self.inner().clone(),
            half: Half::Kernel,
        }
    }

    /// Makes a net of this runtime its default. Sockets that exist stay where they are.
    ///
    /// # Errors
    /// It is another runtime's.
    pub fn set_net(&self, net: &Net) -> Result<()> {
        net.check(self, Action::Start)?;
        *self.inner().half.borrow_mut() = net.half.clone();
        Ok(())
    }

    /// Opens a link and brings a stack up on it, in this runtime's loop. The default net stays what
    /// it is.
    ///
    /// # Errors
    /// What is wrong with the link or the settings, and what helps.
    pub fn open_stack(&self, config: &StackConfig) -> std::result::Result<Net, StackError> {
        self.open_stack_on(config, open_link(&config.link)?)
    }

    /// Brings a stack up on a link that is open already: one end of a pair through memory, or a
    /// driver of your own. Of the link's settings only the MTU and the address count.
    ///
    /// # Errors
    /// What is wrong with the settings, and what helps.
    pub fn open_stack_on(
        &self,
        config: &StackConfig,
        driver: Box<dyn Driver>,
    ) -> std::result::Result<Net, StackError> {
        Ok(Net {
            inner: self.inner().clone(),
            half: self.inner().open_stack(config, driver)?,
        })
    }
}

impl Net {
    /// Whether it belongs to `runtime`.
    fn check(&self, runtime: &Runtime, action: Action) -> Result<()> {
        if Rc::ptr_eq(&self.inner, runtime.inner()) {
            return Ok(());
        }
        Err(Error::setting(
            action,
            "the net is another runtime's: a stack and its sockets stay in the runtime that opened it",
        ))
    }
}
