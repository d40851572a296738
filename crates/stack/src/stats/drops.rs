//! Why something was dropped.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a frame, a packet or a segment was dropped. One counter for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// A name for people and for tools.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    // Link.
    /// A frame shorter than its link header.
    FrameTruncated = "frame-truncated",
    /// A frame for another station.
    FrameNotForUs = "frame-not-for-us",
    /// An Ethernet type that nobody here speaks.
    FrameUnknownType = "frame-unknown-type",
    /// Metadata of a frame (checksum place, segment size) that does not fit its bytes.
    FrameMetadata = "frame-metadata",

    // Neighbours.
    /// An ARP packet with lengths or types that are not Ethernet's and IPv4's, or cut off.
    ArpMalformed = "arp-malformed",
    /// An ARP packet from an address that no host can have.
    ArpBadSender = "arp-bad-sender",
    /// An NDP message that fails the checks of RFC 4861 (hop limit, code, options).
    NdpMalformed = "ndp-malformed",
    /// A probe for an address of ours that the link brought back (RFC 7527).
    NdpLooped = "ndp-looped",
    /// An MLD message that is cut off, or fails the checks of RFC 9777 (source, hop limit, router
    /// alert).
    MldMalformed = "mld-malformed",
    /// A packet whose next hop did not answer.
    NeighbourUnresolved = "neighbour-unresolved",
    /// A packet that found the queue of its pending neighbour full.
    NeighbourQueueFull = "neighbour-queue-full",
    /// A packet for a new neighbour when every entry was in use.
    NeighbourTableFull = "neighbour-table-full",

    // IP.
    /// An IPv4 header that is cut off or says nonsense.
    Ipv4Malformed = "ipv4-malformed",
    /// An IPv4 header with a wrong checksum.
    Ipv4Checksum = "ipv4-checksum",
    /// IPv4 options that are cut off or that we do not take (source routes).
    Ipv4Options = "ipv4-options",
    /// An IPv6 header that is cut off or says nonsense.
    Ipv6Malformed = "ipv6-malformed",
    /// Extension headers of IPv6: too many, in a wrong place, cut off, or refused.
    Ipv6Extensions = "ipv6-extensions",
    /// A source address that nobody can have: multicast, broadcast, loopback, our own.
    MartianSource = "martian-source",
    /// A destination that is not ours.
    NotForUs = "not-for-us",
    /// A packet to a group that nobody here listens to: links bring many of those.
    GroupNotJoined = "group-not-joined",
    /// An upper protocol that nobody here speaks.
    UnknownProtocol = "unknown-protocol",
    /// No route to the destination.
    NoRoute = "no-route",
    /// Larger than the path takes, and not to be fragmented.
    TooBig = "too-big",
    /// The queue towards the link was full.
    OutputQueueFull = "output-queue-full",

    // Fragments.
    /// A fragment that is empty, of a wrong length, or ends beyond 65,535.
    FragmentMalformed = "fragment-malformed",
    /// A fragment that overlaps another one: the whole datagram goes (RFC 5722).
    FragmentOverlap = "fragment-overlap",
    /// A fragment of a datagram that was given up already.
    FragmentOfDropped = "fragment-of-dropped",
    /// A datagram whose fragments did not all arrive in time.
    FragmentTimeout = "fragment-timeout",
    /// A datagram that made room for another one.
    FragmentEvicted = "fragment-evicted",
    /// A datagram of more pieces than are kept, or from a source with too many.
    FragmentLimit = "fragment-limit",

    // ICMP.
    /// An ICMP message that is cut off or says nonsense.
    IcmpMalformed = "icmp-malformed",
    /// An ICMP message with a wrong checksum.
    IcmpChecksum = "icmp-checksum",
    /// An ICMP error that quotes nothing we sent.
    IcmpUnmatched = "icmp-unmatched",
    /// A redirect; they are not followed.
    IcmpRedirect = "icmp-redirect",
    /// A type of message that nobody here speaks.
    IcmpUnknownType = "icmp-unknown-type",
    /// An echo request to a multicast or broadcast address, or over the limit.
    IcmpEchoIgnored = "icmp-echo-ignored",

    // UDP.
    /// A UDP datagram that is cut off or says nonsense.
    UdpMalformed = "udp-malformed",
    /// A UDP datagram with a wrong checksum, or with none on IPv6.
    UdpChecksum = "udp-checksum",
    /// A datagram to a port where nobody listens.
    UdpNoPort = "udp-no-port",
    /// A datagram that found the socket's queue full.
    UdpQueueFull = "udp-queue-full",

    // TCP.
    /// A TCP segment that is cut off or says nonsense.
    TcpMalformed = "tcp-malformed",
    /// A TCP segment with a wrong checksum.
    TcpChecksum = "tcp-checksum",
    /// A segment to or from a multicast or broadcast address.
    TcpNotUnicast = "tcp-not-unicast",
    /// A segment to a port where nobody listens, or about a connection that is gone.
    TcpNoConnection = "tcp-no-connection",
    /// A segment with flags that mean nothing together, or nothing to a listener.
    TcpBadFlags = "tcp-bad-flags",
    /// A segment without ACK where every segment has one.
    TcpNoAck = "tcp-no-ack",
    /// A segment without SYN as an answer to ours.
    TcpNoSyn = "tcp-no-syn",
    /// An acknowledgement of what was never sent, or of what is older than any window.
    TcpBadAck = "tcp-bad-ack",
    /// A segment outside the window.
    TcpOutOfWindow = "tcp-out-of-window",
    /// Data that was there before.
    TcpDuplicate = "tcp-duplicate",
    /// A segment with an older timestamp than what came before it (PAWS).
    TcpPaws = "tcp-paws",
    /// A SYN in the middle of a connection; it is challenged.
    TcpUnexpectedSyn = "tcp-unexpected-syn",
    /// An RST that only nearly fits; it is challenged where the RFC says so.
    TcpBlindReset = "tcp-blind-reset",
    /// An RST for a connection in TIME-WAIT (RFC 1337).
    TcpTimeWaitReset = "tcp-time-wait-reset",
    /// Data beyond the memory of a connection.
    TcpNoRoom = "tcp-no-room",
    /// A handshake that found the accept queue full.
    TcpAcceptQueueFull = "tcp-accept-queue-full",
    /// The handshake is complete, and the listener waits for data (TCP_DEFER_ACCEPT).
    TcpDeferred = "tcp-deferred",
    /// A SYN that found the table of half-open connections full, with cookies switched off.
    TcpSynTableFull = "tcp-syn-table-full",
    /// A handshake beyond the limit of connections.
    TcpConnectionLimit = "tcp-connection-limit",
    /// A reply that found the queue of replies full, or beyond its rate.
    TcpReplyLimit = "tcp-reply-limit",
}

/// How often each reason struck.
#[derive(Clone, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl Drops {
    /// One more for `reason`.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// How often `reason` struck.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().copied().zip(self.0)
    }

    /// Adds the counts of another layer.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own += more;
        }
    }
}

/// Only the reasons that struck.
impl core::fmt::Debug for Drops {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .filter(|&(_, count)| count > 0)
                    .map(|(reason, count)| (reason.name(), count)),
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_count_apart_and_add_up() {
        let mut drops = Drops::default();
        drops.count(DropReason::FrameTruncated);
        drops.count(DropReason::TcpNotUnicast);
        drops.count(DropReason::TcpNotUnicast);
        let mut sum = drops.clone();
        sum.add(&drops);
        assert_eq!(sum.get(DropReason::TcpNotUnicast), 4);
        assert_eq!(sum.total(), 6);
        assert_eq!(
            format!("{drops:?}"),
            r#"{"frame-truncated": 1, "tcp-not-unicast": 2}"#
        );
    }
}
