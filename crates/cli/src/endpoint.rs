//! Addresses on the command line.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use zcn::Address;

use crate::failure::Failure;

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Reads an address to listen on: `127.0.0.1:7777`, `[::1]:0`, `unix:/tmp/echo`.
///
/// # Errors
/// A sentence that shows what would have been understood.
pub fn listen(text: &str) -> Result<Address, String> {
    match text.strip_prefix(UNIX) {
        Some(path) => unix(path),
        None => text.parse::<SocketAddr>().map(Address::Ip).map_err(|_| {
            format!(
                "{text:?} is no address; write 127.0.0.1:7777, [::1]:0 (0 takes a free port) or \
                 unix:/tmp/echo"
            )
        }),
    }
}

/// Reads an address to listen on that is no path: `127.0.0.1:3333`, `[::1]:0`.
///
/// # Errors
/// A sentence that shows what would have been understood.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is no address; write 127.0.0.1:3333 or [::1]:0 (0 takes a free port)")
    })
}

/// Reads an address without a port: `192.0.2.1`, `2001:db8::1`.
///
/// # Errors
/// A sentence that shows what would have been understood.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    let wrong = || format!("{text:?} is no IP address; write 192.0.2.1 or 2001:db8::1");
    text.parse().map_err(|_| wrong())
}

/// A server's address as it was written; a name is resolved when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(String);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the address of a server: `localhost:7777`, `[::1]:7777`, `unix:/tmp/echo`.
///
/// # Errors
/// A sentence that shows what would have been understood.
pub fn peer(text: &str) -> Result<Peer, String> {
    let understood = match text.strip_prefix(UNIX) {
        Some(path) => !path.is_empty(),
        None => text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
    };
    match understood {
        true => Ok(Peer(text.to_owned())),
        false => Err(format!(
            "{text:?} is no server; write localhost:7777, [::1]:7777 or unix:/tmp/echo"
        )),
    }
}

impl Peer {
    /// The address itself; of several the first.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub fn resolve(&self) -> Result<Address, Failure> {
        if let Some(path) = self.0.strip_prefix(UNIX) {
            return unix(path).map_err(Failure::new);
        }
        let failed = || {
            Failure::new(format!("cannot resolve {self}"))
                .remedy("an address such as 127.0.0.1:7777, or check the name with `getent hosts`")
        };
        self.0
            .to_socket_addrs()
            .map_err(|error| failed().because(error))?
            .next()
            .map(Address::Ip)
            .ok_or_else(|| failed().because("the name has no address"))
    }
}

fn unix(path: &str) -> Result<Address, String> {
    match path.is_empty() {
        true => Err("a path is missing behind unix:".to_owned()),
        false => Ok(Address::Unix(PathBuf::from(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths() {
        assert_eq!(listen("[::1]:0").map(|a| a.to_string()).unwrap(), "[::1]:0");
        assert_eq!(
            listen("unix:/tmp/echo"),
            Ok(Address::Unix(PathBuf::from("/tmp/echo")))
        );
        for nonsense in ["", "nowhere", "127.0.0.1", "127.0.0.1:65536", "unix:"] {
            assert!(listen(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn addresses_alone() {
        assert_eq!(socket("[::1]:0").map(|a| a.port()), Ok(0));
        assert_eq!(ip("::1").map(|a| a.is_loopback()), Ok(true));
        for nonsense in ["", "nowhere", "9000", "127.0.0.1", "unix:/tmp/echo"] {
            let error = socket(nonsense).expect_err(nonsense);
            assert!(error.contains("write 127.0.0.1:3333"), "{error}");
        }
        for nonsense in ["", "router", "192.0.2.1/24", "192.0.2.1:80"] {
            let error = ip(nonsense).expect_err(nonsense);
            assert!(error.contains("write 192.0.2.1"), "{error}");
        }
    }

    #[test]
    fn names_are_resolved_late() {
        let address = peer("localhost:7777").unwrap().resolve().unwrap();
        assert_eq!(address.ip().unwrap().port(), 7777);
        let unix = peer("unix:/tmp/echo").unwrap().resolve().unwrap();
        assert_eq!(unix.to_string(), "unix:/tmp/echo");
        for nonsense in ["", "localhost", ":7777", "localhost:http", "unix:"] {
            assert!(peer(nonsense).is_err(), "{nonsense:?}");
        }
        let failure = peer("no.such.name.invalid:7").unwrap().resolve();
        assert!(failure.unwrap_err().to_string().contains("cannot resolve"));
    }
}
