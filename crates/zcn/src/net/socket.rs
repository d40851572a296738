//! Sockets made and set up: the one place where options become system calls.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::sockopt;
use crate::error::{Action, Error, Result};

/// Where a server listens or a client connects: an IP address and port, or a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Ip(SocketAddr),
    /// Unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) if path.as_os_str().is_empty() => f.write_str("unix:unnamed"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl Address {
    /// The IP address and port, unless it is a path.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn to_sock_addr(&self, action: Action) -> Result<SockAddr> {
        match self {
            Self::Ip(address) => Ok(SockAddr::from(*address)),
            Self::Unix(path) => SockAddr::unix(path).map_err(|error| {
                Error::new(action, self, error).hinted("a socket's path has at most 107 bytes")
            }),
        }
    }

    pub(crate) fn from_sock_addr(address: &SockAddr) -> Self {
        match address.as_socket() {
            Some(address) => Self::Ip(address),
            None => Self::Unix(
                address
                    .as_pathname()
                    .map(Path::to_owned)
                    .unwrap_or_default(),
            ),
        }
    }

    fn domain(&self) -> Domain {
        match self {
            Self::Ip(address) => Domain::for_address(*address),
            Self::Unix(_) => Domain::UNIX,
        }
    }

    fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Ip(_) => Some(Protocol::TCP),
            Self::Unix(_) => None,
        }
    }
}

/// Options of a listening socket; accepted connections inherit what is theirs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Peers the kernel queues before they are accepted; capped by `net.core.somaxconn`.
    pub backlog: u32,
    /// Several sockets, one per core, share the address and the kernel spreads the peers.
    pub reuse_port: bool,
    /// `TCP_NODELAY` for accepted connections: small messages leave at once.
    pub nodelay: bool,
    /// Whether an IPv6 wildcard takes IPv6 only; the system's default when absent.
    pub only_v6: Option<bool>,
    /// Congestion control of accepted connections by the kernel's name, e.g. `cubic`.
    pub congestion: Option<String>,
    /// TCP keepalive of accepted connections after this long without traffic.
    pub keepalive: Option<Duration>,
    /// Takes data that comes with a SYN and the right cookie (TCP Fast Open, RFC 7413), for at
    /// most so many connections whose handshake is not complete. Such data may come twice, on two
    /// connections: only for requests to whom that does no harm. The kernel also wants the bit of value
    /// 2 (servers) in `net.ipv4.tcp_fastopen`, without which it ignores this.
    pub fast_open: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            reuse_port: false,
            nodelay: true,
            only_v6: None,
            congestion: None,
            keepalive: None,
            fast_open: None,
        }
    }
}

/// A listening socket. A socket file that nobody listens on any more is replaced.
pub(crate) fn listen(address: &Address, options: &ListenOptions) -> Result<OwnedFd> {
    let fail = |action: Action| move |error: io::Error| Error::new(action, address, error);
    let socket = Socket::new(address.domain(), Type::STREAM, address.protocol())
        .map_err(fail(Action::Socket))?;
    if let Address::Ip(ip) = address {
        socket
            .set_reuse_address(true)
            .map_err(fail(Action::Option))?;
        if options.reuse_port {
            socket.set_reuse_port(true).map_err(fail(Action::Option))?;
        }
        if let (Some(only), true) = (options.only_v6, ip.is_ipv6()) {
            socket.set_only_v6(only).map_err(fail(Action::Option))?;
        }
        socket
            .set_tcp_nodelay(options.nodelay)
            .map_err(fail(Action::Option))?;
        if let Some(name) = &options.congestion {
            set_congestion(&socket, name)?;
        }
        if let Some(time) = options.keepalive {
            socket
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(time))
                .map_err(fail(Action::Option))?;
        }
        if let Some(connections) = options.fast_open {
            sockopt::set_fast_open(&socket, connections).map_err(fail(Action::Option))?;
        }
    } else {
        remove_stale_socket(address);
    }
    let raw = address.to_sock_addr(Action::Bind)?;
    socket.bind(&raw).map_err(fail(Action::Bind))?;
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(fail(Action::Listen))?;
    Ok(socket.into())
}

/// Removes the file of a Unix socket on which nobody listens.
fn remove_stale_socket(address: &Address) {
    let Address::Unix(path) = address else { return };
    // Connecting to an ordinary file is refused as well, and that one is not ours to remove.
    let is_socket = std::fs::symlink_metadata(path)
        .is_ok_and(|file| std::os::unix::fs::FileTypeExt::is_socket(&file.file_type()));
    if !is_socket {
        return;
    }
    if std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        // If it cannot be removed the bind says so.
        let _ = std::fs::remove_file(path);
    }
}

/// Chooses the congestion control of a TCP socket.
pub(crate) fn set_congestion(socket: &Socket, name: &str) -> Result<()> {
    socket.set_tcp_congestion(name.as_bytes()).map_err(|error| {
        Error::new(Action::Option, format!("congestion control {name}"), error)
            .hinted("sysctl net.ipv4.tcp_available_congestion_control lists what this kernel has")
    })
}

/// Options of an outgoing connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Give up after this long, the lookup of a name included; the kernel's own limit (about two
    /// minutes) when absent.
    pub timeout: Option<Duration>,
    /// `TCP_NODELAY`: small messages leave at once.
    pub nodelay: bool,
    /// Local address to connect from.
    pub local: Option<SocketAddr>,
    /// TCP keepalive after this long without traffic.
    pub keepalive: Option<Duration>,
    /// Marks of the send queue.
    pub marks: crate::WaterMarks,
    /// Congestion control by the kernel's name, e.g. `cubic`.
    pub congestion: Option<String>,
    /// Who looks names up.
    pub resolver: crate::Resolver,
    /// What is sent first: with the SYN, to a server that gave out a cookie on an earlier
    /// connection (TCP Fast Open, RFC 7413), which saves a round trip, and otherwise as soon as
    /// the connection is there. It may come twice, on two connections: only for requests to whom
    /// that does no harm. Without effect on Unix sockets' opening: there it is just sent first.
    ///
    /// With a cookie the kernel calls a connection made before the server has answered: that it
    /// was refused is told by the first receive then. A stack tells of a connection when the
    /// server has answered, on either way.
    pub early_data: Option<bytes::Bytes>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: None,
            nodelay: true,
            local: None,
            keepalive: None,
            marks: crate::WaterMarks::default(),
            congestion: None,
            resolver: crate::Resolver::system(),
            early_data: None,
        }
    }
}

impl ConnectOptions {
    /// What is to be sent first; a connect that waited for nothing would wait for ever.
    pub(crate) fn early_data(&self) -> Option<bytes::Bytes> {
        self.early_data.clone().filter(|early| !early.is_empty())
    }
}

/// A socket ready to connect.
pub(crate) fn outgoing(address: &Address, options: &ConnectOptions) -> Result<OwnedFd> {
    let fail = |action: Action| move |error: io::Error| Error::new(action, address, error);
    let socket = Socket::new(address.domain(), Type::STREAM, address.protocol())
        .map_err(fail(Action::Socket))?;
    if let Address::Ip(_) = address {
        socket
            .set_tcp_nodelay(options.nodelay)
            .map_err(fail(Action::Option))?;
        if let Some(time) = options.keepalive {
            socket
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(time))
                .map_err(fail(Action::Option))?;
        }
        if let Some(name) = &options.congestion {
            set_congestion(&socket, name)?;
        }
        if options.early_data().is_some() {
            // Where it is switched off, the data follows the handshake.
            match sockopt::set_fast_open_connect(&socket) {
                Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => {
                    return Err(fail(Action::Option)(error));
                }
                _ => {}
            }
        }
        if let Some(local) = options.local {
            socket
                .bind(&SockAddr::from(local))
                .map_err(|error| Error::new(Action::Bind, local, error))?;
        }
    }
    Ok(socket.into())
}

/// Address of this end.
pub(crate) fn local_address(fd: &OwnedFd) -> Result<Address> {
    SockRef::from(fd)
        .local_addr()
        .map(|address| Address::from_sock_addr(&address))
        .map_err(|error| Error::bare(Action::Option, error))
}

/// Address of the other end.
pub(crate) fn peer_address(fd: &OwnedFd) -> Result<Address> {
    SockRef::from(fd)
        .peer_addr()
        .map(|address| Address::from_sock_addr(&address))
        .map_err(|error| Error::bare(Action::Option, error))
}
