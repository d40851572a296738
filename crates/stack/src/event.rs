//! What happened to sockets, for a loop that serves many of them.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};
use std::collections::VecDeque;

use crate::id::SocketId;

/// A set of things that a socket is ready for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Bytes, datagrams or the peer's end can be received.
    pub const READABLE: Self = Self(1);
    /// Something can be sent again after a call that would have blocked.
    pub const WRITABLE: Self = Self(1 << 1);
    /// A connection can be accepted.
    pub const ACCEPTABLE: Self = Self(1 << 2);
    /// The connection asked for is established.
    pub const CONNECTED: Self = Self(1 << 3);
    /// An error waits to be taken.
    pub const ERROR: Self = Self(1 << 4);
    /// The connection is gone; nothing more will happen.
    pub const CLOSED: Self = Self(1 << 5);

    const NAMES: [(Self, &str); 6] = [
        (Self::READABLE, "READABLE"),
        (Self::WRITABLE, "WRITABLE"),
        (Self::ACCEPTABLE, "ACCEPTABLE"),
        (Self::CONNECTED, "CONNECTED"),
        (Self::ERROR, "ERROR"),
        (Self::CLOSED, "CLOSED"),
    ];

    /// Whether all of `other` is in the set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Readiness {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The names joined by `|`.
impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in Self::NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if self.is_empty() {
            f.write_str("NONE")?;
        }
        Ok(())
    }
}

/// A socket, and everything it became ready for since its last event.
///
/// Edges, not levels: readiness is told when it begins, so take what there is until a call
/// answers that it would block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which socket.
    pub socket: SocketId,
    /// For what.
    pub readiness: Readiness,
}

/// Sockets with something to tell, each at most once, first come first served.
///
/// The readiness itself lies in the socket, so that events of a socket that is gone vanish
/// with it and the queue never grows beyond the number of sockets.
#[derive(Debug)]
pub(crate) struct EventQueue<K> {
    queue: VecDeque<K>,
}

impl<K> Default for EventQueue<K> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
        }
    }
}

impl<K> EventQueue<K> {
    /// Adds `readiness` to what the socket `key` has `pending`.
    #[inline]
    pub(crate) fn raise(&mut self, key: K, pending: &mut Readiness, readiness: Readiness) {
        if pending.is_empty() && !readiness.is_empty() {
            self.queue.push_back(key);
        }
        *pending |= readiness;
    }

    /// Whether no socket has anything to tell.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next socket, maybe gone by now; its pending readiness is then to be taken.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<K> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_queued_once_with_all_it_became_ready_for() {
        let mut queue = EventQueue::default();
        let mut pending = [Readiness::NONE; 2];
        queue.raise(0, &mut pending[0], Readiness::READABLE);
        queue.raise(1, &mut pending[1], Readiness::NONE);
        queue.raise(0, &mut pending[0], Readiness::CLOSED);
        assert_eq!(queue.pop(), Some(0));
        assert_eq!(pending[0], Readiness::READABLE | Readiness::CLOSED);
        assert_eq!(format!("{:?}", pending[0]), "READABLE|CLOSED");
        assert_eq!(queue.pop(), None);
        assert!(pending[1].is_empty());
    }
}
