//! One error for everything that touches the network: what failed, where, why, and what helps.

use std::fmt;
use std::io;

/// What was being done when an error came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Starting a runtime.
    Start,
    /// Running on a core of a cluster.
    Run,
    /// Creating a socket.
    Socket,
    /// Binding a local address.
    Bind,
    /// Listening.
    Listen,
    /// Accepting a connection.
    Accept,
    /// Resolving a name.
    Resolve,
    /// Connecting.
    Connect,
    /// Agreeing on keys, and whom to trust (TLS).
    Secure,
    /// Receiving.
    Receive,
    /// Sending.
    Send,
    /// Shutting down or closing.
    Close,
    /// Reading or setting a socket option.
    Option,
    /// Taking a connection from a pool.
    Pool,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start the runtime",
            Self::Run => "go on",
            Self::Socket => "create a socket",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Secure => "speak TLS",
            Self::Receive => "receive",
            Self::Send => "send",
            Self::Close => "close",
            Self::Option => "set a socket option",
            Self::Pool => "take a pooled connection",
        })
    }
}

impl Action {
    /// What stands between the action and what it is done to.
    fn preposition(self) -> &'static str {
        match self {
            Self::Start | Self::Listen | Self::Accept | Self::Receive => " on ",
            Self::Run | Self::Secure => " with ",
            Self::Socket | Self::Option => " for ",
            Self::Connect | Self::Send | Self::Pool => " to ",
            Self::Bind | Self::Resolve | Self::Close => " ",
        }
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The caller asked for something impossible.
    Caller,
    /// The peer refused, reset or vanished.
    Peer,
    /// Something ran out: descriptors, memory, buffers, ports.
    Resources,
    /// The kernel refused.
    Kernel,
}

#[derive(Debug)]
struct Inner {
    action: Action,
    target: String,
    source: io::Error,
    hint: Option<String>,
    thread: Option<String>,
}

/// What failed, on which address, with the errno and, where there is one, a hint what to do.
///
/// One pointer wide; made only when something goes wrong.
#[derive(Debug)]
pub struct Error(Box<Inner>);

/// Result of zcn's own calls.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(action: Action, target: impl fmt::Display, source: io::Error) -> Self {
        Self(Box::new(Inner {
            action,
            target: target.to_string(),
            source,
            hint: None,
            thread: None,
        }))
    }

    pub(crate) fn bare(action: Action, source: io::Error) -> Self {
        Self::new(action, "", source)
    }

    pub(crate) fn errno(action: Action, target: impl fmt::Display, errno: i32) -> Self {
        Self::new(action, target, io::Error::from_raw_os_error(errno))
    }

    /// An error in the caller's own settings: names the setting and the range.
    pub(crate) fn setting(action: Action, text: impl Into<String>) -> Self {
        Self::bare(
            action,
            io::Error::new(io::ErrorKind::InvalidInput, text.into()),
        )
    }

    /// What a setup answered that knows its errno, if the kernel refused, and its remedy.
    pub(crate) fn refused(action: Action, errno: Option<i32>, text: impl Into<String>) -> Self {
        match errno {
            Some(errno) => Self::errno(action, "", errno).hinted(text),
            None => Self::setting(action, text),
        }
    }

    pub(crate) fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn on_thread(mut self, thread: impl Into<String>) -> Self {
        self.0.thread = Some(thread.into());
        self
    }

    /// What was being done.
    pub fn action(&self) -> Action {
        self.0.action
    }

    /// The address or name it was done to; empty when there is none.
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// What failed and on what, to stand behind "cannot": `connect to 192.0.2.1:7`.
    pub fn attempt(&self) -> String {
        let Inner { action, target, .. } = &*self.0;
        match target.as_str() {
            "" => action.to_string(),
            target => format!("{action}{}{target}", action.preposition()),
        }
    }

    /// The thread of a [`Cluster`](crate::Cluster) that it happened on, with its core if it is
    /// pinned to one.
    pub fn thread(&self) -> Option<&str> {
        self.0.thread.as_deref()
    }

    /// The errno, when the kernel gave one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.raw_os_error()
    }

    /// The standard library's classification.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.source.kind()
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self.raw_os_error() {
            Some(
                libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::EPIPE
                | libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ECONNABORTED,
            ) => Fault::Peer,
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EADDRNOTAVAIL
                | libc::EAGAIN,
            ) => Fault::Resources,
            Some(
                libc::EADDRINUSE
                | libc::EINVAL
                | libc::EACCES
                | libc::EAFNOSUPPORT
                | libc::EDESTADDRREQ
                | libc::EMSGSIZE
                | libc::ENOTCONN,
            ) => Fault::Caller,
            Some(_) => Fault::Kernel,
            None => match self.kind() {
                io::ErrorKind::TimedOut
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof => Fault::Peer,
                io::ErrorKind::OutOfMemory | io::ErrorKind::QuotaExceeded => Fault::Resources,
                _ => Fault::Caller,
            },
        }
    }

    /// What to do about it, where something general can be said.
    pub fn hint(&self) -> Option<&str> {
        if let Some(hint) = &self.0.hint {
            return Some(hint);
        }
        Some(match (self.0.action, self.raw_os_error()?) {
            (Action::Bind, libc::EADDRINUSE) if self.0.target.starts_with("unix:") => {
                "another program serves on that path, or the file there is no socket: choose \
                 another path, or remove the file"
            }
            (Action::Bind, libc::ENOENT | libc::ENOTDIR | libc::EACCES)
                if self.0.target.starts_with("unix:") =>
            {
                "the socket is made in a folder that exists and that you may write to"
            }
            (Action::Connect, libc::ENOENT | libc::ENOTDIR)
                if self.0.target.starts_with("unix:") =>
            {
                "no server has made a socket there: start the server, or check the path"
            }
            (_, libc::EADDRINUSE) => {
                "another socket holds the address: choose another port (0 picks a free one), stop \
                 the other program (`ss -ltnp` names it), or set reuse_port on both"
            }
            (_, libc::EADDRNOTAVAIL) => {
                "the address is not one of this machine's (`ip address`), or every local port to \
                 that destination is in use"
            }
            (Action::Bind, libc::EACCES) => {
                "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
            }
            (_, libc::EMFILE) => "raise RLIMIT_NOFILE (`ulimit -n`)",
            (_, libc::ENFILE) => "raise sysctl fs.file-max",
            (Action::Connect, libc::ECONNREFUSED) => {
                "nothing listens there: start the server, or check the address"
            }
            (Action::Connect, libc::ENETUNREACH | libc::EHOSTUNREACH) => {
                "there is no route to the address (`ip route get ADDRESS`)"
            }
            (_, libc::EAFNOSUPPORT) => "this kernel does not have the address family (IPv6 off?)",
            (_, libc::EMSGSIZE) => "the datagram is longer than the path or the protocol takes",
            (Action::Start, libc::ENOMEM) => {
                "raise RLIMIT_MEMLOCK (`ulimit -l`), or use fewer buffers"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.attempt(), self.0.source)?;
        if let Some(thread) = &self.0.thread {
            write!(f, ", on {thread}")?;
        }
        match self.hint() {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.source)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::from_raw_os_error(errno),
            None => Self::new(error.kind(), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_action_address_errno_and_remedy() {
        let error = Error::new(
            Action::Bind,
            "127.0.0.1:80",
            io::Error::from_raw_os_error(libc::EADDRINUSE),
        );
        let text = error.to_string();
        assert!(
            text.starts_with("cannot bind 127.0.0.1:80: Address already in use"),
            "{text}"
        );
        assert!(text.contains("ss -ltnp"), "{text}");
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(
            io::Error::from(error).raw_os_error(),
            Some(libc::EADDRINUSE)
        );
    }

    #[test]
    fn a_path_in_use_is_not_told_of_ports() {
        let error = Error::errno(Action::Bind, "unix:/tmp/echo", libc::EADDRINUSE);
        let hint = error.hint().unwrap();
        assert!(hint.contains("path") && !hint.contains("port"), "{hint}");
    }

    #[test]
    fn paths_that_are_not_there_are_told_apart() {
        for errno in [libc::ENOENT, libc::ENOTDIR] {
            let error = |action| Error::errno(action, "unix:/nowhere/x", errno);
            let (made, reached) = (error(Action::Bind), error(Action::Connect));
            assert!(made.hint().is_some_and(|hint| hint.contains("folder")));
            assert!(
                reached
                    .hint()
                    .is_some_and(|hint| hint.contains("start the server"))
            );
        }
        let error = Error::errno(Action::Bind, "unix:/x", libc::EACCES);
        assert!(error.hint().is_some_and(|hint| !hint.contains("port")));
    }

    #[test]
    fn what_failed_reads_as_a_sentence() {
        for (action, target, expected) in [
            (Action::Start, "core 3", "start the runtime on core 3"),
            (Action::Run, "the cluster", "go on with the cluster"),
            (
                Action::Secure,
                "pool.example",
                "speak TLS with pool.example",
            ),
            (Action::Socket, "[::1]:1", "create a socket for [::1]:1"),
            (Action::Bind, "[::1]:1", "bind [::1]:1"),
            (Action::Listen, "[::1]:1", "listen on [::1]:1"),
            (Action::Accept, "[::1]:1", "accept on [::1]:1"),
            (Action::Resolve, "name", "resolve name"),
            (Action::Connect, "[::1]:1", "connect to [::1]:1"),
            (Action::Receive, "[::1]:1", "receive on [::1]:1"),
            (Action::Send, "[::1]:1", "send to [::1]:1"),
            (Action::Close, "[::1]:1", "close [::1]:1"),
            (
                Action::Option,
                "option x",
                "set a socket option for option x",
            ),
            (
                Action::Pool,
                "[::1]:1",
                "take a pooled connection to [::1]:1",
            ),
        ] {
            let attempt = |target| Error::errno(action, target, libc::EMFILE).attempt();
            assert_eq!(attempt(target), expected);
            assert_eq!(attempt(""), action.to_string());
        }
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
