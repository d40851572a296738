//! Numbers as they stand in the line.

/// A well-formed number, unconverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a>(&'a str);

impl<'a> Number<'a> {
    /// The number that `bytes` are, whole; `None` when the grammar of JSON does not have it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let len = Self::length(bytes)?;
        (len == bytes.len())
            .then(|| std::str::from_utf8(bytes).ok().map(Self))
            .flatten()
    }

    /// How many bytes the number at the start of `bytes` takes.
    pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
        let digits = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (count > 0).then_some(from + count)
        };
        let first = usize::from(bytes.first() == Some(&b'-'));
        let mut at = digits(first)?;
        if bytes[first] == b'0' && at > first + 1 {
            return None;
        }
        if bytes.get(at) == Some(&b'.') {
            at = digits(at + 1)?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            at = digits(at + 1 + sign)?;
        }
        Some(at)
    }

    /// As a float; `None` where that would be infinite.
    pub fn as_f64(self) -> Option<f64> {
        self.0
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
    }

    /// As an integer; `None` with a fraction, an exponent, or beyond 64 bits.
    pub fn as_i64(self) -> Option<i64> {
        self.0.parse().ok()
    }
}
