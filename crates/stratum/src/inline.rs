//! Short byte strings without an allocation.

use std::fmt;

use crate::hex;

/// Up to `N` bytes (at most 255) kept in place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inline<const N: usize> {
    len: u8,
    // Zero from `len` on, so that the derived comparisons hold.
    bytes: [u8; N],
}

impl<const N: usize> Inline<N> {
    /// No bytes.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; N],
    };

    /// A copy of `bytes`; `None` when there are more than `N`.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut all = [0; N];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let len = u8::try_from(bytes.len()).ok()?;
        Some(Self { len, bytes: all })
    }

    /// The bytes that hexadecimal `digits` say; `None` when they are no bytes, or more than `N`.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        if !digits.len().is_multiple_of(2) || digits.len() > 2 * N {
            return None;
        }
        let mut this = Self::EMPTY;
        for (to, pair) in this.bytes.iter_mut().zip(digits.chunks(2)) {
            [*to] = hex::decode_array(pair).ok()?;
        }
        this.len = u8::try_from(digits.len() / 2).ok()?;
        Some(this)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

impl<const N: usize> fmt::Debug for Inline<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_bytes().escape_ascii().to_string())
    }
}

/// The name that a pool gave to a job, escapes resolved; at most 64 bytes.
pub type JobId = Inline<64>;

/// An extranonce, or a part of one; at most 32 bytes.
pub type Extranonce = Inline<32>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Inline::<4>::new(b"abcde"), None);
        let four = Inline::<4>::new(b"abcd").expect("fits");
        assert_eq!(four.as_bytes(), b"abcd");
        assert_eq!(
            Inline::<2>::from_hex(b"0a1B").expect("fits").as_bytes(),
            [10, 0x1b]
        );
        assert_eq!(Inline::<2>::from_hex(b"0a1b2c"), None);
        assert_eq!(Inline::<2>::from_hex(b"0a1"), None);
        assert_eq!(Inline::<2>::from_hex(b"0x"), None);
        assert_eq!(Inline::<2>::from_hex(b""), Some(Inline::EMPTY));
    }
}
