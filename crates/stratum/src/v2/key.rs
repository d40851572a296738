//! The key that signs for a pool.

use std::fmt;
use std::str::FromStr;

use secp256k1::{Keypair, Secp256k1, XOnlyPublicKey};
use thiserror::Error;

/// Comes before the key in its written form: version 1, lowest byte first.
const VERSION: [u8; 2] = [1, 0];

/// Why text is no authority key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not base 58, or its checksum is wrong.
    #[error("the pool's key is mistyped: it is no base 58, or its checksum is wrong")]
    Text,
    /// A key of another version or length.
    #[error("the pool's key is none of version 1")]
    Version,
    /// The bytes are no point of the curve, or no secret.
    #[error("the pool's key is no key on secp256k1")]
    Point,
}

/// The public key of whoever runs a pool, as its operator publishes it: an x coordinate on
/// secp256k1. Written in base 58 with a checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorityKey(XOnlyPublicKey);

impl AuthorityKey {
    /// The x coordinate.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.serialize()
    }

    pub(super) fn point(self) -> XOnlyPublicKey {
        self.0
    }
}

impl FromStr for AuthorityKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // Longer than any key: not worth the square of time that base 58 takes.
        if text.len() > 64 {
            return Err(KeyError::Text);
        }
        let bytes = bs58::decode(text)
            .with_check(None)
            .into_vec()
            .map_err(|_| KeyError::Text)?;
        let key = bytes.strip_prefix(&VERSION).ok_or(KeyError::Version)?;
        if key.len() != 32 {
            return Err(KeyError::Version);
        }
        let point = XOnlyPublicKey::from_slice(key).map_err(|_| KeyError::Point)?;
        Ok(Self(point))
    }
}

impl fmt::Display for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&VERSION[..], &self.to_bytes()].concat();
        f.write_str(&bs58::encode(bytes).with_check().into_string())
    }
}

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityKey({self})")
    }
}

/// The secret of a pool's operator, with which the pool signs its certificates.
#[derive(Clone, Copy)]
pub struct AuthoritySecret(Keypair);

impl AuthoritySecret {
    /// The secret of these bytes; fresh random ones make a new key.
    ///
    /// # Errors
    /// The bytes are zero or not below the order of the curve: 1 in 2^128.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        Keypair::from_seckey_slice(&Secp256k1::new(), bytes)
            .map(Self)
            .map_err(|_| KeyError::Point)
    }

    /// What miners have to know.
    pub fn public(&self) -> AuthorityKey {
        AuthorityKey(self.0.x_only_public_key().0)
    }

    pub(super) fn pair(&self) -> Keypair {
        self.0
    }
}

impl fmt::Debug for AuthoritySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthoritySecret(of {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the reference implementation writes into its example configurations.
    const KNOWN: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";

    #[test]
    fn a_known_key_is_read_and_written() {
        let key: AuthorityKey = KNOWN.parse().expect("a key");
        assert_eq!(key.to_string(), KNOWN);
    }

    #[test]
    fn mistyped_keys_are_told_apart() {
        let mistyped = KNOWN.replace("auq", "aug");
        assert_eq!(mistyped.parse::<AuthorityKey>(), Err(KeyError::Text));
        assert_eq!("".parse::<AuthorityKey>(), Err(KeyError::Text));
        assert_eq!(
            "1".repeat(1 << 20).parse::<AuthorityKey>(),
            Err(KeyError::Text)
        );
        let other = bs58::encode([&[2, 0][..], &[1; 32]].concat()).with_check();
        let other = other.into_string().parse::<AuthorityKey>();
        assert_eq!(other, Err(KeyError::Version));
        let short = bs58::encode([&[1, 0][..], &[1; 31]].concat()).with_check();
        let short = short.into_string().parse::<AuthorityKey>();
        assert_eq!(short, Err(KeyError::Version));
        let zero = bs58::encode([&[1, 0][..], &[0; 32]].concat()).with_check();
        assert_eq!(
            zero.into_string().parse::<AuthorityKey>(),
            Err(KeyError::Point)
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = AuthoritySecret::new(&[7; 32]).expect("a secret");
        assert!(!format!("{secret:?}").contains("07"));
        assert!(AuthoritySecret::new(&[0; 32]).is_err());
    }
}
