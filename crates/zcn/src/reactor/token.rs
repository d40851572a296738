//! The word that comes back with each completion: which object, which of its operations.

use crate::table::Key;

/// What kind of object an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    Stream = 1,
    Listener,
    Connect,
    Datagram,
    Wake,
    /// The link of a stack.
    Link,
}

/// Which direction of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Way {
    In = 1,
    Out,
}

/// Class, way and key in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) class: Class,
    pub(crate) way: Way,
    pub(crate) key: Key,
}

impl Token {
    pub(crate) const fn new(class: Class, way: Way, key: Key) -> Self {
        Self { class, way, key }
    }

    #[inline]
    pub(crate) fn encode(self) -> u64 {
        (self.class as u64) << 60
            | (self.way as u64) << 56
            | u64::from(self.key.generation) << 32
            | u64::from(self.key.index)
    }

    #[inline]
    pub(crate) fn decode(word: u64) -> Option<Self> {
        let class = match word >> 60 {
            1 => Class::Stream,
            2 => Class::Listener,
            3 => Class::Connect,
            4 => Class::Datagram,
            5 => Class::Wake,
            6 => Class::Link,
            _ => return None,
        };
        let way = match (word >> 56) & 0xf {
            1 => Way::In,
            2 => Way::Out,
            _ => return None,
        };
        let key = Key {
            index: word as u32,
            generation: (word >> 32) as u32 & 0xff_ffff,
        };
        Some(Self { class, way, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for class in [
            Class::Stream,
            Class::Listener,
            Class::Connect,
            Class::Datagram,
            Class::Wake,
            Class::Link,
        ] {
            for way in [Way::In, Way::Out] {
                let key = Key {
                    index: 0xdead_beef,
                    generation: 0xab_cdef,
                };
                let token = Token::new(class, way, key);
                assert_eq!(Token::decode(token.encode()), Some(token));
            }
        }
        assert_eq!(Token::decode(0), None);
    }
}
