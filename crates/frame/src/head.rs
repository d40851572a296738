//! The headers that the stack wrote, inline in the frame.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use zcn_pool::{CapacityError, SharedBuf};

/// Room of a [`Head`] in bytes: Ethernet with a VLAN tag, IPv6, TCP with all options
/// (118 bytes), and an extension header besides.
pub const HEAD_MAX: usize = 160;

/// Up to [`HEAD_MAX`] bytes inline. They grow at both ends, so that headers may be written
/// from the inside out or from the outside in.
#[derive(Clone)]
pub struct Head {
    bytes: [u8; HEAD_MAX],
    start: u8,
    end: u8,
}

const _: () = assert!(HEAD_MAX <= u8::MAX as usize);

impl Head {
    /// No bytes, and room for [`HEAD_MAX`] after them.
    pub const fn new() -> Self {
        Self {
            bytes: [0; HEAD_MAX],
            start: 0,
            end: 0,
        }
    }

    /// No bytes, and room for `room` before and the rest after them.
    ///
    /// # Panics
    /// If `room` is above [`HEAD_MAX`].
    pub const fn with_room(room: usize) -> Self {
        assert!(room <= HEAD_MAX, "more room than a head has");
        Self {
            bytes: [0; HEAD_MAX],
            start: room as u8,
            end: room as u8,
        }
    }

    /// Room before the bytes.
    pub const fn room_before(&self) -> usize {
        self.start as usize
    }

    /// Room after the bytes.
    pub const fn room_after(&self) -> usize {
        HEAD_MAX - self.end as usize
    }

    /// Adds `count` bytes in front and returns them to be written: they are not all zero.
    ///
    /// # Errors
    /// If there is no room before; then nothing is changed.
    #[inline]
    pub fn grow_front(&mut self, count: usize) -> Result<&mut [u8], CapacityError> {
        let available = self.room_before();
        if count > available {
            return Err(CapacityError {
                needed: count,
                available,
            });
        }
        self.start -= count as u8;
        Ok(&mut self[..count])
    }

    /// Adds `count` bytes at the end and returns them to be written: they are not all zero.
    ///
    /// # Errors
    /// If there is no room after; then nothing is changed.
    #[inline]
    pub fn grow(&mut self, count: usize) -> Result<&mut [u8], CapacityError> {
        let available = self.room_after();
        if count > available {
            return Err(CapacityError {
                needed: count,
                available,
            });
        }
        let old = self.len();
        self.end += count as u8;
        Ok(&mut self[old..])
    }

    /// Writes `bytes` before those that are there.
    ///
    /// # Errors
    /// As [`grow_front`](Self::grow_front).
    #[inline]
    pub fn prepend(&mut self, bytes: &[u8]) -> Result<(), CapacityError> {
        self.grow_front(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes `bytes` after those that are there.
    ///
    /// # Errors
    /// As [`grow`](Self::grow).
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), CapacityError> {
        self.grow(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Drops the first `count` bytes, which become room.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance beyond the bytes");
        self.start += count as u8;
    }

    /// Keeps the first `len` bytes; no effect if there are no more.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.end = self.start + len as u8;
        }
    }

    /// The bytes as a slice that owns them: a copy, with an allocation. For the rare
    /// payload that was sent inside the head.
    pub fn to_shared(&self) -> SharedBuf {
        SharedBuf::from(Bytes::copy_from_slice(self))
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Head {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

impl DerefMut for Head {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_at_both_ends_up_to_its_room() {
        let mut head = Head::with_room(4);
        head.extend_from_slice(b"tcp").expect("room after");
        head.prepend(b"ip4!").expect("room before");
        assert_eq!(&head[..], b"ip4!tcp");
        assert_eq!(
            head.prepend(b"x"),
            Err(CapacityError {
                needed: 1,
                available: 0
            })
        );
        let rest = head.room_after();
        assert_eq!(rest, HEAD_MAX - 7);
        assert!(head.extend_from_slice(&[7; HEAD_MAX]).is_err());
        head.extend_from_slice(&vec![7; rest])
            .expect("fits exactly");
        assert_eq!(head.len(), HEAD_MAX);
    }

    #[test]
    fn what_is_advanced_over_becomes_room() {
        let mut head = Head::new();
        head.extend_from_slice(b"ether|ip").expect("room");
        head.advance(6);
        assert_eq!((&head[..], head.room_before()), (&b"ip"[..], 6));
        head.truncate(1);
        head.truncate(5);
        assert_eq!(&head[..], b"i");
    }
}
