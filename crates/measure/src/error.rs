//! What can go wrong in a measurement.

use std::io;
use std::time::Duration;

/// An error of a measurement, saying whose it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused something.
    #[error("cannot {action}: {source}{}", hint(source))]
    Io {
        /// What was tried, for example `connect to 127.0.0.1:80`.
        action: String,
        /// The error as the kernel gave it.
        source: io::Error,
    },
    /// A byte came back that was not sent there.
    #[error("connection {connection}: the byte at offset {offset} came back wrong")]
    Corrupt {
        /// Number of the connection, in the order of opening.
        connection: usize,
        /// Place of the byte in the stream.
        offset: u64,
    },
    /// The server closed a connection that was still in use.
    #[error("connection {connection}: closed by the server after {received} bytes")]
    Closed {
        /// Number of the connection, in the order of opening.
        connection: usize,
        /// Bytes received on it until then.
        received: u64,
    },
    /// Nothing came back for too long: a message was lost or the server stands still.
    #[error("connection {connection}: nothing came back within {patience:?}")]
    Silent {
        /// Number of the connection, in the order of opening.
        connection: usize,
        /// How long the load waited.
        patience: Duration,
    },
    /// The server ended before it was stopped, or never began.
    #[error("server {name} ended: {reason}")]
    Server {
        /// Name of the server.
        name: String,
        /// Why, in its own words.
        reason: String,
    },
    /// The options make no sense.
    #[error("{0}")]
    Options(String),
}

/// What a measurement returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an error of the kernel with what was tried.
    pub fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action: action.into(),
            source: source.into(),
        }
    }
}

/// Names the action in front of an error of the kernel.
pub(crate) trait Action<T> {
    /// `action` follows "cannot": for example `open an epoll instance`.
    fn action(self, action: &str) -> Result<T>;
}

impl<T, E: Into<io::Error>> Action<T> for std::result::Result<T, E> {
    fn action(self, action: &str) -> Result<T> {
        self.map_err(|error| Error::io(action, error))
    }
}

fn hint(error: &io::Error) -> &'static str {
    let Some(number) = error.raw_os_error() else {
        return "";
    };
    match number {
        libc::EMFILE => " (raise the limit of open files: ulimit -n)",
        libc::EADDRNOTAVAIL => " (the local ports are used up: wait a minute)",
        _ => "",
    }
}
