//! Segments as they pass between the TCP and the IP layer.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use zcn_frame::Chain;
use zcn_wire::{SeqNum, TcpFlags, TcpOptions, TcpRepr};

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

impl Default for SegmentIn {
    /// From nobody to nobody.
    fn default() -> Self {
        Self {
            remote: NOBODY,
            local: NOBODY,
            interface: InterfaceId(0),
            ecn: 0,
            tcp: NO_HEADER,
            payload: Chain::new(),
            segments: 1,
            psh_seen: false,
        }
    }
}

impl Default for SegmentOut {
    /// From nobody to nobody: for the first call of
    /// [`poll_segment`](super::Tcp::poll_segment).
    fn default() -> Self {
        Self {
            local: NOBODY,
            remote: NOBODY,
            tcp: NO_HEADER,
            payload: Chain::new(),
            gso_size: None,
            traffic_class: 0,
            hop_limit: None,
            dont_fragment: true,
        }
    }
}

const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const NO_HEADER: TcpRepr = TcpRepr {
    src_port: 0,
    dst_port: 0,
    seq: SeqNum(0),
    ack: SeqNum(0),
    flags: TcpFlags::NONE,
    window: 0,
    urgent: 0,
    options: TcpOptions::NONE,
};

impl SegmentOut {
    /// Begins a segment without acknowledgement and options, in the place of what is there;
    /// its payload stays.
    pub(crate) fn begin(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        flags: TcpFlags,
        seq: SeqNum,
    ) {
        self.local = local;
        self.remote = remote;
        self.tcp.src_port = local.port();
        self.tcp.dst_port = remote.port();
        self.tcp.seq = seq;
        self.tcp.ack = SeqNum(0);
        self.tcp.flags = flags;
        self.tcp.window = 0;
        self.tcp.urgent = 0;
        self.tcp.options = TcpOptions::NONE;
        self.gso_size = None;
        self.traffic_class = 0;
        self.hop_limit = None;
        self.dont_fragment = true;
    }

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
