//! The fast-open cookie (RFC 7413).

use std::fmt;
use std::hash::{Hash, Hasher};

/// What a fast-open option carries: a cookie of 4 to 16 bytes, or none, which asks for one; in the
/// option's own kind, or in that of experiments (RFC 6994), which was used before there was one.
#[derive(Clone, Copy)]
pub struct FastOpenCookie {
    len: u8,
    experimental: bool,
    bytes: [u8; Self::MAX_LEN],
}

impl FastOpenCookie {
    /// Most bytes of a cookie.
    pub const MAX_LEN: usize = 16;
    /// Fewest bytes of a cookie.
    pub const MIN_LEN: usize = 4;
    /// Asks the server for a cookie.
    pub const REQUEST: Self = Self {
        len: 0,
        experimental: false,
        bytes: [0; Self::MAX_LEN],
    };

    /// A cookie; empty is the request for one. `None` if the length is odd or none that
    /// RFC 7413, section 4.1.1, allows.
    #[must_use]
    pub fn new(cookie: &[u8]) -> Option<Self> {
        let len = cookie.len();
        let fits = len == 0 || (Self::MIN_LEN..=Self::MAX_LEN).contains(&len);
        if !fits || !len.is_multiple_of(2) {
            return None;
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..len].copy_from_slice(cookie);
        Some(Self {
            len: len as u8,
            experimental: false,
            bytes,
        })
    }

    /// The cookie, empty for a request.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The same in the option kind of experiments, or in its own.
    #[must_use]
    pub const fn in_experiment(self, experimental: bool) -> Self {
        Self {
            experimental,
            ..self
        }
    }

    /// Whether it is in the option kind of experiments.
    #[must_use]
    pub const fn is_experimental(&self) -> bool {
        self.experimental
    }

    /// Whether this asks for a cookie.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }
}

impl PartialEq for FastOpenCookie {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes() && self.experimental == other.experimental
    }
}

impl Eq for FastOpenCookie {}

impl Hash for FastOpenCookie {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for FastOpenCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.experimental {
            f.write_str("experimental ")?;
        }
        if self.is_request() {
            f.write_str("request")
        } else {
            write!(f, "{:02x?}", self.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_have_even_lengths_of_4_to_16() {
        for len in 0..20 {
            let cookie = FastOpenCookie::new(&vec![7; len]);
            let fits = len == 0 || ((4..=16).contains(&len) && len % 2 == 0);
            assert_eq!(cookie.is_some(), fits, "{len}");
        }
        assert_eq!(FastOpenCookie::new(&[]), Some(FastOpenCookie::REQUEST));
        assert!(FastOpenCookie::REQUEST.is_request());
    }
}
