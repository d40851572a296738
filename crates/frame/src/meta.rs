//! What is known of a frame beside its bytes.

/// Into how many packets a super-frame may be cut at most; who makes one keeps to it. As
/// many as 64 KiB of segments of 43 bytes.
pub const SEGMENTS_MAX: usize = 1536;

/// The metadata of a frame: the fields of the virtio-net header (virtio 1.2, 5.1.6), in
/// parsed form.
///
/// The default is a frame of one packet about whose checksum nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameMeta {
    /// What is known of the transport checksum.
    pub checksum: Checksum,
    /// Set if the frame is a super-frame: several packets of one flow under one header.
    pub gso: Option<Gso>,
}

/// What is known of a frame's transport checksum (TCP, UDP, ICMPv6; not of IPv4's own,
/// which is always complete).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Received: nobody looked at it, the stack has to. Sent: it is complete.
    #[default]
    Unverified,
    /// Received: the device found it right. Sent: the same as `Unverified`.
    Verified,
    /// Somebody further on has to finish it: the field holds the folded sum of the
    /// pseudo-header, and what is missing is the sum of everything from `start` on.
    /// A frame received with it never left the machine, so its bytes are to be trusted.
    Partial {
        /// Where summing begins, the start of the transport header: bytes from the start
        /// of the whole frame, link header included, as it was received or will be sent
        /// ([`Frame::advance`](crate::Frame::advance) does not change it).
        start: u16,
        /// Where the 16-bit field lies, in bytes from `start`.
        offset: u16,
    },
}

impl Checksum {
    /// Whether the receiver may go without computing the sum.
    pub const fn is_trusted(self) -> bool {
        !matches!(self, Self::Unverified)
    }
}

/// How a super-frame has to be cut into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Of which protocol the packets are.
    pub kind: GsoKind,
    /// Payload bytes of each packet but the last, which may have fewer: the MSS for TCP,
    /// the size of a datagram for UDP. Not zero.
    pub size: u16,
    /// Length of all headers, from the start of the frame to the payload. When received, a
    /// hint: to be checked against the headers themselves.
    pub hdr_len: u16,
    /// TCP: CWR is set in the first packet only (RFC 3168, 6.1.2).
    pub ecn: bool,
}

/// The kinds of super-frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams of one size, over IPv4 or IPv6 (`UDP_SEGMENT` of udp(7)).
    UdpL4,
}
