//! Segments as they pass between the TCP and the IP layer.

use core::net::SocketAddr;

use zcn_frame::Chain;
use zcn_wire::{SeqNum, TcpRepr};

use crate::error::NetworkError;
use crate::id::InterfaceId;

/// A segment that arrived: parsed, its checksum verified, both addresses unicast.
#[derive(Debug)]
pub struct SegmentIn {
    /// Who sent it.
    pub remote: SocketAddr,
    /// Which of our addresses it came to.
    pub local: SocketAddr,
    /// Where it came in.
    pub interface: InterfaceId,
    /// The two ECN bits of the IP header.
    pub ecn: u8,
    /// The header.
    pub tcp: TcpRepr,
    /// The data.
    pub payload: Chain,
    /// How many segments of the wire were put together, at least 1.
    pub segments: u16,
    /// Whether one of them had PSH.
    pub psh_seen: bool,
}

/// A segment to send.
#[derive(Debug, Clone)]
pub struct SegmentOut {
    /// Our address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// The header of the first segment, if it is to be cut.
    pub tcp: TcpRepr,
    /// The data.
    pub payload: Chain,
    /// The size of the pieces that a larger payload is to be cut into.
    pub gso_size: Option<u16>,
    /// The traffic class (type of service) for the IP header.
    pub traffic_class: u8,
    /// Hop limit, where the application chose one.
    pub hop_limit: Option<u8>,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
}

impl SegmentOut {
    /// How many segments of the wire it makes.
    pub fn segments(&self) -> u64 {
        match self.gso_size {
            Some(size) => (self.payload.len() as u64).div_ceil(u64::from(size.max(1))),
            None => 1,
        }
    }
}

/// An ICMP error about a segment of ours, with what it quotes of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// The sequence number quoted: who did not see the segment has to guess it (RFC 5927).
    pub seq: SeqNum,
    /// What it says.
    pub kind: NetworkError,
}
