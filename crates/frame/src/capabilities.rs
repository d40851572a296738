//! What a driver can do.

use crate::meta::GsoKind;

/// What a driver says of its link. It stays the same for the driver's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What a frame begins with.
    pub medium: Medium,
    /// Largest IP packet in bytes, without link header; super-frames may be larger.
    pub mtu: u32,
    /// Whose work checksums are.
    pub checksum: ChecksumOffload,
    /// Which super-frames may be sent.
    pub gso: GsoKinds,
    /// Largest super-frame in bytes, from the IP header on. Not below `mtu`.
    pub gso_max_size: u32,
    /// Of how many parallel queues this driver is one, at least 1. Frames of one flow stay
    /// in one queue.
    pub queues: u16,
    /// Of how many contiguous parts a frame to be sent may consist, its head included.
    pub scatter_max: usize,
}

impl Capabilities {
    /// A link of plain packets: no offloads, one queue.
    pub const fn plain(medium: Medium, mtu: u32) -> Self {
        Self {
            medium,
            mtu,
            checksum: ChecksumOffload {
                transmit: false,
                receive: false,
            },
            gso: GsoKinds::NONE,
            gso_max_size: mtu,
            queues: 1,
            scatter_max: crate::SLICES_MAX + 1,
        }
    }

    /// Largest frame that may be sent without GSO, in bytes, link header included.
    pub const fn frame_max(&self) -> usize {
        self.medium.header_len() + self.mtu as usize
    }
}

/// What a frame of the link begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// An Ethernet header, without frame check sequence.
    Ethernet {
        /// The address of this end that the driver proposes. For a packet socket it is
        /// that of the interface, which the kernel also answers to; a stack beside the
        /// kernel wants one of its own.
        address: [u8; 6],
    },
    /// The IP header: a TUN device.
    Ip,
}

impl Medium {
    /// Length of the link header in bytes: 14 or none.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Ethernet { .. } => 14,
            Self::Ip => 0,
        }
    }
}

/// Which checksums the link takes care of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChecksumOffload {
    /// Frames may be sent with [`Checksum::Partial`](crate::Checksum::Partial).
    pub transmit: bool,
    /// Received frames may carry `Verified` or `Partial`.
    pub receive: bool,
}

/// A set of kinds of super-frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GsoKinds {
    /// TCP over IPv4.
    pub tcp4: bool,
    /// TCP over IPv6.
    pub tcp6: bool,
    /// TCP super-frames may have CWR set ([`Gso::ecn`](crate::Gso::ecn)).
    pub ecn: bool,
    /// UDP datagrams of one size.
    pub udp_l4: bool,
}

impl GsoKinds {
    /// None.
    pub const NONE: Self = Self {
        tcp4: false,
        tcp6: false,
        ecn: false,
        udp_l4: false,
    };

    /// All.
    pub const ALL: Self = Self {
        tcp4: true,
        tcp6: true,
        ecn: true,
        udp_l4: true,
    };

    /// Whether super-frames of this kind are in the set.
    pub const fn contains(self, kind: GsoKind) -> bool {
        match kind {
            GsoKind::Tcp4 => self.tcp4,
            GsoKind::Tcp6 => self.tcp6,
            GsoKind::UdpL4 => self.udp_l4,
        }
    }
}
