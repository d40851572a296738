//! Where a pool is, and what it speaks.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use zcn_stratum::v2::AuthorityKey;
use zcn_stratum::v2::key::KeyError;

/// What is spoken with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Stratum V1 in the clear.
    V1,
    /// Stratum V1 over TLS.
    V1Tls,
    /// Stratum V2, with whoever has the secret of this key.
    V2(AuthorityKey),
}

impl Protocol {
    /// The version alone: `v1` or `v2`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1 | Self::V1Tls => "v1",
            Self::V2(_) => "v2",
        }
    }
}

/// The address of a pool: `stratum+tcp://host:port` or `stratum+ssl://host:port` for Stratum V1,
/// `stratum2+tcp://host:port/key` for V2, with the authority key that the pool's operator
/// publishes.
///
/// `tcp`, `ssl` and `tls` alone are taken as well, and without a scheme the connection is one of
/// V1 in the clear. An IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolUrl {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What is wrong with the address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlError {
    /// None of those that there are.
    #[error(
        "{0:?} is no scheme of a pool; there are stratum+tcp://, stratum+ssl:// and stratum2+tcp://"
    )]
    Scheme(String),
    /// No host, or one that is none.
    #[error("{0:?} has no host")]
    Host(String),
    /// No port, or one that is none.
    #[error("{0:?} has no port between 1 and 65535 behind its host")]
    Port(String),
    /// Stratum V2, and no key.
    #[error(
        "{0:?} has no key: Stratum V2 needs stratum2+tcp://HOST:PORT/KEY with the key that the \
         pool's operator publishes"
    )]
    NoKey(String),
    /// Stratum V2, and a key that is none.
    #[error("{key:?} is no key of a pool: {source}")]
    Key {
        /// What stands in its place.
        key: String,
        /// What is wrong with it.
        source: KeyError,
    },
}

impl FromStr for PoolUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "stratum2+tcp" {
            let (place, key) = rest.split_once('/').unwrap_or((rest, ""));
            let (host, port) = place_of(text, place)?;
            let key = key.strip_suffix('/').unwrap_or(key);
            if key.is_empty() {
                return Err(UrlError::NoKey(text.to_owned()));
            }
            let authority = key.parse().map_err(|source| UrlError::Key {
                key: key.to_owned(),
                source,
            })?;
            let protocol = Protocol::V2(authority);
            return Ok(Self {
                protocol,
                host,
                port,
            });
        }
        let protocol = match scheme.trim_start_matches("stratum+") {
            "tcp" => Protocol::V1,
            "ssl" | "tls" => Protocol::V1Tls,
            _ => return Err(UrlError::Scheme(scheme)),
        };
        let (host, port) = place_of(text, rest.strip_suffix('/').unwrap_or(rest))?;
        Ok(Self {
            protocol,
            host,
            port,
        })
    }
}

/// Host and port of `place`, which stands in `text`.
fn place_of(text: &str, place: &str) -> Result<(String, u16), UrlError> {
    let (host, port) = place
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
    Ok((bare.to_owned(), port))
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
        let target = self.target();
        match &self.protocol {
            Protocol::V1 => write!(f, "stratum+tcp://{target}"),
            Protocol::V1Tls => write!(f, "stratum+ssl://{target}"),
            Protocol::V2(key) => write!(f, "stratum2+tcp://{target}/{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the reference implementation writes into its example configurations.
    const KEY: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";

    #[test]
    fn addresses_of_pools() {
        let v2 = Protocol::V2(KEY.parse().expect("a key"));
        for (text, protocol, host, port) in [
            (
                "stratum+tcp://pool.example:3333",
                Protocol::V1,
                "pool.example",
                3333,
            ),
            (
                "stratum+ssl://pool.example:443/",
                Protocol::V1Tls,
                "pool.example",
                443,
            ),
            (
                "STRATUM+TLS://pool.example:443",
                Protocol::V1Tls,
                "pool.example",
                443,
            ),
            ("tcp://127.0.0.1:1", Protocol::V1, "127.0.0.1", 1),
            ("localhost:3333", Protocol::V1, "localhost", 3333),
            (
                "ssl://[2001:db8::1]:3333",
                Protocol::V1Tls,
                "2001:db8::1",
                3333,
            ),
            (
                &format!("stratum2+tcp://pool.example:3336/{KEY}"),
                v2,
                "pool.example",
                3336,
            ),
            (&format!("Stratum2+TCP://[::1]:1/{KEY}/"), v2, "::1", 1),
        ] {
            let url: PoolUrl = text.parse().expect(text);
            assert_eq!((url.protocol, &*url.host, url.port), (protocol, host, port));
            assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn what_is_no_address_says_what_is_missing() {
        let error = |text: &str| text.parse::<PoolUrl>().expect_err(text);
        let v2 = |place: &str| format!("stratum2+tcp://{place}");
        for text in [
            "http://pool.example:80",
            "stratum2+ssl://a:1/key",
            "stratum2://a:1/key",
        ] {
            assert!(matches!(error(text), UrlError::Scheme(_)), "{text}");
        }
        for text in [
            "pool.example",
            "tcp://pool.example",
            "a:0",
            "a:65536",
            "a:b",
            // A key is for V2.
            &format!("stratum+tcp://a:1/{KEY}"),
            &v2(&format!("a/{KEY}")),
            &v2(""),
        ] {
            assert!(matches!(error(text), UrlError::Port(_)), "{text}");
        }
        for text in [
            ":3333",
            "tcp://:1",
            "me@pool:1",
            "2001:db8::1:3333",
            "a b:1",
            &v2(&format!(":1/{KEY}")),
        ] {
            assert!(matches!(error(text), UrlError::Host(_)), "{text}");
        }
        for text in [v2("a:1"), v2("a:1/")] {
            assert!(matches!(error(&text), UrlError::NoKey(_)), "{text}");
        }
        for key in ["nonsense", &KEY.replace("auq", "aug"), &format!("{KEY}/x")] {
            let text = v2(&format!("a:1/{key}"));
            assert!(matches!(error(&text), UrlError::Key { .. }), "{text}");
        }
    }
}
