//! Sockets of a stack as their owner has them: closed when they are dropped.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use zcn_pool::SharedBuf;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{RecvError, SendError, SocketOption, SocketOptions, TcpInfo};
use zcn_stack::{SocketId, Stack};

use super::errno;
use super::host::{Role, StackHost};
use crate::error::{Action, Error, Result};
use crate::net::socket::{ConnectOptions, ListenOptions};

/// A connection of a stack. Dropping it closes: what is queued still leaves, unless something was
/// left unread; then the peer is reset, as by the kernel.
#[derive(Debug)]
pub(crate) struct StackSocket {
    pub(crate) host: Rc<StackHost>,
    pub(crate) id: Id,
}

impl Drop for StackSocket {
    fn drop(&mut self) {
        self.host.clear_role(SocketId::Tcp(self.id));
        let mut hosted = self.host.borrow();
        let unread = hosted.rests.remove(&self.id).is_some();
        let now = hosted.tick();
        // One that is over or was aborted is not found, which is as well.
        let _ = match unread {
            true => hosted.stack.tcp_abort(now, self.id),
            false => hosted.stack.tcp_close(now, self.id),
        };
    }
}

/// What became of a receive.
#[derive(Debug)]
pub(crate) enum Received {
    Data(SharedBuf),
    End,
    /// Nothing is there; an event tells when there is.
    Nothing,
    Failed(i32),
}

/// What became of a send.
#[derive(Debug)]
pub(crate) enum Sent {
    All,
    /// No room; the bytes come back, and an event tells when there is some.
    Nothing(SharedBuf),
    Failed(i32),
}

impl StackSocket {
    /// Begins to connect.
    ///
    /// # Errors
    /// There is no way, no port or no room; or an option is out of range.
    pub(crate) fn connect(
        host: &Rc<StackHost>,
        address: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<Self> {
        let mut settings = SocketOptions::default();
        settings.nodelay = options.nodelay;
        if let Some(name) = &options.congestion {
            settings.congestion = algorithm(name)?;
        }
        keep_alive(&mut settings, options.keepalive)?;
        settings.fast_open_connect = options.early_data().is_some();
        up(host, Action::Connect, address)?;
        let mut hosted = host.borrow();
        let now = hosted.tick();
        let id = hosted
            .stack
            .tcp_connect(now, address, options.local, settings)
            .map_err(|error| errno::connect(address, options.local, &error))?;
        if let Some(early) = options.early_data() {
            // Nothing is queued yet: there is room for a slice, however long it is.
            let _ = hosted
                .stack
                .tcp_send_buf(now, id, SharedBuf::from(early), false);
        }
        drop(hosted);
        Ok(Self {
            host: host.clone(),
            id,
        })
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.host.set_role(SocketId::Tcp(self.id), role);
    }

    /// The next bytes. What was put back for want of a buffer comes first.
    #[inline]
    pub(crate) fn receive(&self) -> Received {
        let mut hosted = self.host.borrow();
        let hosted = &mut *hosted;
        if !hosted.rests.is_empty()
            && let Some(rest) = hosted.rests.remove(&self.id)
        {
            return Received::Data(rest);
        }
        match hosted.stack.tcp_recv_buf(hosted.now, self.id, usize::MAX) {
            Ok(slice) if slice.is_empty() => Received::End,
            Ok(slice) => Received::Data(slice),
            Err(RecvError::WouldBlock) => Received::Nothing,
            Err(error) => Received::Failed(errno::receive(error)),
        }
    }

    /// Puts bytes back in front of the next ones.
    pub(crate) fn put_back(&self, rest: SharedBuf) {
        if !rest.is_empty() {
            self.host.borrow().rests.insert(self.id, rest);
        }
    }

    /// Queues a slice in the stack. `more`: others follow at once, so it need not leave alone.
    #[inline]
    pub(crate) fn send(&self, bytes: SharedBuf, more: bool) -> Sent {
        let mut hosted = self.host.borrow();
        let now = hosted.now;
        match hosted.stack.tcp_send_buf(now, self.id, bytes, more) {
            Ok(()) => Sent::All,
            Err(refused) if refused.error == SendError::WouldBlock => Sent::Nothing(refused.bytes),
            Err(refused) => Sent::Failed(errno::send(refused.error)),
        }
    }

    /// Ends the write side; whether there was one to end.
    pub(crate) fn shut_down_write(&self) -> bool {
        self.with(|stack, now, id| stack.tcp_shutdown_write(now, id).is_ok())
    }

    /// Wants to read nothing more.
    pub(crate) fn shut_down_read(&self) {
        // One that is over has nothing to read.
        let _ = self.with(|stack, now, id| stack.tcp_shutdown_read(now, id));
    }

    /// Resets the peer; the socket is of no use afterwards.
    pub(crate) fn abort(&self) {
        let _ = self.with(|stack, now, id| stack.tcp_abort(now, id));
    }

    /// The error it died of, told once.
    pub(crate) fn take_error(&self) -> Option<i32> {
        let mut hosted = self.host.borrow();
        Some(hosted.stack.tcp_take_error(self.id)?.errno())
    }

    /// Our end and the peer's; none once it is over and forgotten.
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.host.borrow().stack.tcp_addresses(self.id)
    }

    /// Whether bytes have arrived, or the end has.
    pub(crate) fn is_readable(&self) -> bool {
        let mut hosted = self.host.borrow();
        let hosted = &mut *hosted;
        let peeked = hosted.stack.tcp_peek(hosted.now, self.id, &mut [0]);
        !matches!(peeked, Err(RecvError::WouldBlock)) || hosted.rests.contains_key(&self.id)
    }

    /// A number that changes when the peer takes something.
    pub(crate) fn taken(&self) -> Option<u32> {
        Some(self.info()?.tcpi_bytes_acked as u32)
    }

    pub(crate) fn info(&self) -> Option<TcpInfo> {
        let mut hosted = self.host.borrow();
        let now = hosted.tick();
        hosted.stack.tcp_info(now, self.id)
    }

    /// # Errors
    /// The value is out of range, or the connection is gone.
    pub(crate) fn set_option(&self, option: SocketOption) -> Result<()> {
        self.with(|stack, now, id| stack.tcp_set_option(now, id, option))
            .map_err(|error| errno::option(&error))
    }

    fn with<T>(&self, call: impl FnOnce(&mut Stack, zcn_stack::Instant, Id) -> T) -> T {
        let mut hosted = self.host.borrow();
        let now = hosted.tick();
        call(&mut hosted.stack, now, self.id)
    }
}

/// A listener of a stack. Dropping it ends the listening; who waits to be accepted is reset.
#[derive(Debug)]
pub(crate) struct StackListener {
    pub(crate) host: Rc<StackHost>,
    id: Id,
}

impl Drop for StackListener {
    fn drop(&mut self) {
        self.host.clear_role(SocketId::TcpListener(self.id));
        let mut hosted = self.host.borrow();
        let now = hosted.tick();
        let _ = hosted.stack.tcp_close_listener(now, self.id);
    }
}

impl StackListener {
    /// Listens.
    ///
    /// # Errors
    /// The address is taken or not the stack's, or an option is not to be had.
    pub(crate) fn bind(
        host: &Rc<StackHost>,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<Self> {
        if options.reuse_port {
            return Err(errno::no_reuse_port(address));
        }
        let mut settings = SocketOptions::default();
        settings.nodelay = options.nodelay;
        settings.v6_only = options.only_v6.unwrap_or(false);
        settings.fast_open = options.fast_open;
        if let Some(name) = &options.congestion {
            settings.congestion = algorithm(name)?;
        }
        keep_alive(&mut settings, options.keepalive)?;
        up(host, Action::Listen, address)?;
        let backlog = usize::try_from(options.backlog).unwrap_or(usize::MAX);
        let listening = host.borrow().stack.tcp_listen(address, backlog, settings);
        let id = listening.map_err(|error| errno::listen(address, &error))?;
        Ok(Self {
            host: host.clone(),
            id,
        })
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.host.set_role(SocketId::TcpListener(self.id), role);
    }

    /// The address, with the port it was given.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.host.borrow().stack.tcp_listener_address(self.id)
    }

    /// The connection that has waited longest.
    pub(crate) fn accept(&self) -> Option<StackSocket> {
        let mut hosted = self.host.borrow();
        let now = hosted.tick();
        let (id, _) = hosted.stack.tcp_accept(now, self.id).ok()?;
        drop(hosted);
        Some(StackSocket {
            host: self.host.clone(),
            id,
        })
    }
}

/// Probes the peer after this long without traffic.
fn keep_alive(settings: &mut SocketOptions, after: Option<Duration>) -> Result<()> {
    let Some(after) = after else {
        return Ok(());
    };
    settings.keepalive = true;
    settings
        .set(SocketOption::KeepAliveIdle(after))
        .map_err(|error| errno::option(&error))
}

/// Whether the link is still there.
pub(super) fn up(host: &StackHost, action: Action, address: SocketAddr) -> Result<()> {
    match host.link_error() {
        None => Ok(()),
        Some(error) => Err(Error::errno(action, address, libc::ENETDOWN)
            .hinted(format!("the stack's link is gone: {error}"))),
    }
}

fn algorithm(name: &str) -> Result<zcn_stack::tcp::congestion::Algorithm> {
    name.parse()
        .map_err(|error: zcn_stack::tcp::congestion::UnknownAlgorithm| {
            let target = format!("congestion control {name}");
            Error::errno(Action::Option, target, libc::ENOENT).hinted(error.to_string())
        })
}
