//! Names of things that outlive a call.

use core::fmt;

use crate::slab::Id;

/// An interface of a stack, in the order they were added, from 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u16);

impl InterfaceId {
    /// The scope id of link-local IPv6 addresses on this interface: never 0, which means
    /// "no scope" (RFC 4007 section 6).
    #[inline]
    pub const fn scope_id(self) -> u32 {
        self.0 as u32 + 1
    }

    /// The interface that a scope id names; `None` for 0.
    #[inline]
    pub fn from_scope_id(scope_id: u32) -> Option<Self> {
        u16::try_from(scope_id.checked_sub(1)?).ok().map(Self)
    }
}

impl fmt::Display for InterfaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "if{}", self.0)
    }
}

/// A socket of a stack. Stale once the socket has been released; a stale one finds
/// nothing, never somebody else's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketId {
    /// A TCP connection.
    Tcp(Id),
    /// A TCP listener.
    TcpListener(Id),
    /// A UDP socket.
    Udp(Id),
    /// An ICMP echo socket.
    Echo(Id),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_ids_go_both_ways() {
        assert_eq!(InterfaceId::from_scope_id(0), None);
        assert_eq!(InterfaceId::from_scope_id(u32::MAX), None);
        for id in [InterfaceId(0), InterfaceId(7), InterfaceId(u16::MAX)] {
            assert_eq!(InterfaceId::from_scope_id(id.scope_id()), Some(id));
        }
    }
}
