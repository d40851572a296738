//! Hexadecimal text to bytes and back.

use thiserror::Error;

/// What is wrong with hexadecimal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HexError {
    /// Not the number of digits that the place asks for.
    #[error("{digits} hexadecimal digits where {expected} belong")]
    Length {
        /// Digits there are.
        digits: usize,
        /// Digits there have to be.
        expected: usize,
    },
    /// An odd number of digits, which are no bytes.
    #[error("{digits} hexadecimal digits are no whole bytes")]
    Odd {
        /// Digits there are.
        digits: usize,
    },
    /// Something else than a digit.
    #[error("not a hexadecimal digit")]
    Digit,
}

/// Writes the bytes that `digits` say to `out`, which has to be half as long.
#[inline]
fn decode_exact(digits: &[u8], out: &mut [u8]) -> Result<(), HexError> {
    // Takes a leading `0x` off, which has no place here.
    if digits.starts_with(b"0x") {
        return Err(HexError::Digit);
    }
    const_hex::decode_to_slice(digits, out).map_err(|_| HexError::Digit)
}

/// Exactly `N` bytes.
///
/// # Errors
/// Another number of digits, or something that is none.
#[inline]
pub fn decode_array<const N: usize>(digits: &[u8]) -> Result<[u8; N], HexError> {
    if digits.len() != 2 * N {
        let (digits, expected) = (digits.len(), 2 * N);
        return Err(HexError::Length { digits, expected });
    }
    let mut out = [0; N];
    decode_exact(digits, &mut out)?;
    Ok(out)
}

/// Four bytes as the number that they are, the first the highest.
///
/// # Errors
/// As [`decode_array`].
#[inline]
pub fn decode_u32(digits: &[u8]) -> Result<u32, HexError> {
    decode_array(digits).map(u32::from_be_bytes)
}

/// Appends the bytes that `digits` say to `out`, which is left as it was on an error.
///
/// # Errors
/// An odd number of digits, or something that is none.
#[inline]
pub fn decode_onto(digits: &[u8], out: &mut Vec<u8>) -> Result<(), HexError> {
    if !digits.len().is_multiple_of(2) {
        let digits = digits.len();
        return Err(HexError::Odd { digits });
    }
    let begin = out.len();
    out.resize(begin + digits.len() / 2, 0);
    decode_exact(digits, &mut out[begin..]).inspect_err(|_| out.truncate(begin))
}

/// Appends two digits, in small letters, for each byte.
pub fn encode_onto(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// The digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>, capital: bool) {
            let mut digits = Vec::new();
            encode_onto(&bytes, &mut digits);
            prop_assert_eq!(String::from_utf8(digits.clone()).expect("ASCII"), encode(&bytes));
            if capital {
                digits.make_ascii_uppercase();
            }
            let mut out = vec![7];
            decode_onto(&digits, &mut out).expect("digits");
            prop_assert_eq!(&out[1..], &bytes[..]);
        }

        #[test]
        fn anything_but_a_digit_is_found_wherever_it_stands(
            bytes in prop::collection::vec(any::<u8>(), 1..70),
            at: prop::sample::Index,
            wrong: u8,
        ) {
            prop_assume!(!wrong.is_ascii_hexdigit());
            let mut digits = encode(&bytes).into_bytes();
            let at = at.index(digits.len());
            digits[at] = wrong;
            let mut out = vec![7];
            prop_assert_eq!(decode_onto(&digits, &mut out), Err(HexError::Digit));
            prop_assert_eq!(out, [7]);
        }
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(decode_u32(b"1c2ac4af"), Ok(0x1c2a_c4af));
        let (digits, expected) = (7, 8);
        assert_eq!(
            decode_u32(b"1c2ac4a"),
            Err(HexError::Length { digits, expected })
        );
        assert_eq!(
            decode_onto(b"abc", &mut Vec::new()),
            Err(HexError::Odd { digits: 3 })
        );
    }
}
