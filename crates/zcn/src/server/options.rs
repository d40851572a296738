//! Limits and options of a server.

use std::time::Duration;

use crate::error::{Action, Error, Result};
use crate::net::socket::ListenOptions;
use crate::reactor::stream::WaterMarks;

/// Limits and options of a [`TcpServer`](super::TcpServer).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Options of the listening socket.
    pub listen: ListenOptions,
    /// Marks of each connection's send queue: above the high one sends are refused and receiving
    /// pauses, until the kernel has taken all but the low one.
    pub marks: WaterMarks,
    /// Most connections at a time; further peers wait in the kernel's backlog.
    pub max_connections: usize,
    /// Close a connection on which nothing has arrived for this long.
    pub idle_timeout: Option<Duration>,
    /// Close a connection whose peer has taken nothing for this long while something is queued: of
    /// TCP has acknowledged nothing, of a Unix socket has read nothing.
    pub write_timeout: Option<Duration>,
    /// Call [`Handler::on_sent`](super::Handler::on_sent) for every send that has ended.
    pub notify_sent: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: ListenOptions::default(),
            marks: WaterMarks::default(),
            max_connections: 1 << 20,
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(60)),
            notify_sent: false,
        }
    }
}

impl ServerOptions {
    /// Whether the limits make sense.
    pub(crate) fn check(&self, action: Action) -> Result<()> {
        if self.max_connections == 0 {
            return Err(Error::setting(
                action,
                "max_connections = 0 is out of range: at least 1",
            ));
        }
        for (name, limit) in [
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            if limit.is_some_and(|limit| limit.is_zero()) {
                return Err(Error::setting(
                    action,
                    format!("{name} = 0 is out of range: None sets no limit"),
                ));
            }
        }
        if self.marks.high == 0 || self.marks.low > self.marks.high {
            return Err(Error::setting(
                action,
                format!(
                    "water marks high = {}, low = {} are out of range: high at least 1, low at most high",
                    self.marks.high, self.marks.low
                ),
            ));
        }
        Ok(())
    }
}
