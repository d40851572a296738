//! Where a pool is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The address of a pool: `stratum+tcp://host:port` or `stratum+ssl://host:port`.
///
/// `tcp`, `ssl` and `tls` alone are taken as well, and without a scheme the connection is plain.
/// An IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolUrl {
    /// Whether the connection is one of TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What is wrong with the address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither TCP nor TLS.
    #[error("{0:?} is no scheme of a pool; there are stratum+tcp:// and stratum+ssl://")]
    Scheme(String),
    /// No host, or one that is none.
    #[error("{0:?} has no host")]
    Host(String),
    /// No port, or one that is none.
    #[error("{0:?} has no port between 1 and 65535 behind its host")]
    Port(String),
}

impl FromStr for PoolUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let tls = match scheme.to_ascii_lowercase().trim_start_matches("stratum+") {
            "tcp" => false,
            "ssl" | "tls" => true,
            _ => return Err(UrlError::Scheme(scheme.to_owned())),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| UrlError::Port(text.to_owned()))?;
        let port = port.parse().ok().filter(|&port| port != 0);
        let port = port.ok_or_else(|| UrlError::Port(text.to_owned()))?;
        let inside = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let bare = inside.unwrap_or(host);
        let odd = |c: char| c.is_whitespace() || "/@?#[]".contains(c);
        if bare.is_empty() || bare.contains(odd) || (inside.is_none() && bare.contains(':')) {
            return Err(UrlError::Host(text.to_owned()));
        }
        Ok(Self {
            tls,
            host: bare.to_owned(),
            port,
        })
    }
}

impl PoolUrl {
    /// `host:port`, as names are looked up.
    pub fn target(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

impl fmt::Display for PoolUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "ssl" } else { "tcp" };
        write!(f, "stratum+{scheme}://{}", self.target())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_pools() {
        for (text, tls, host, port) in [
            (
                "stratum+tcp://pool.example:3333",
                false,
                "pool.example",
                3333,
            ),
            ("stratum+ssl://pool.example:443/", true, "pool.example", 443),
            ("STRATUM+TLS://pool.example:443", true, "pool.example", 443),
            ("tcp://127.0.0.1:1", false, "127.0.0.1", 1),
            ("localhost:3333", false, "localhost", 3333),
            ("ssl://[2001:db8::1]:3333", true, "2001:db8::1", 3333),
        ] {
            let url: PoolUrl = text.parse().expect(text);
            assert_eq!((url.tls, &*url.host, url.port), (tls, host, port));
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        let error = |text: &str| text.parse::<PoolUrl>().expect_err(text);
        assert!(matches!(
            error("http://pool.example:80"),
            UrlError::Scheme(_)
        ));
        for text in [
            "pool.example",
            "tcp://pool.example",
            "a:0",
            "a:65536",
            "a:b",
        ] {
            assert!(matches!(error(text), UrlError::Port(_)), "{text}");
        }
        for text in [
            ":3333",
            "tcp://:1",
            "me@pool:1",
            "2001:db8::1:3333",
            "a b:1",
        ] {
            assert!(matches!(error(text), UrlError::Host(_)), "{text}");
        }
    }
}
