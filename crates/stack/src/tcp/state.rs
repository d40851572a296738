//! The states of a connection.

use core::fmt;

/// State of a connection (RFC 9293 section 3.3.2). The numbers are those that Linux
/// reports in `tcpi_state`.
///
/// SYN-RECEIVED of a passive open is an entry of the table of half-open connections and
/// TIME-WAIT one of its own table; a connection itself is in [`State::SynReceived`] only
/// after a simultaneous open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Data goes both ways.
    Established = 1,
    /// A SYN was sent and nothing came back.
    SynSent = 2,
    /// Both SYNs are known, ours is not acknowledged.
    SynReceived = 3,
    /// We sent FIN; it is not acknowledged.
    FinWait1 = 4,
    /// Our FIN is acknowledged, the peer may still send.
    FinWait2 = 5,
    /// Both FINs are acknowledged; what is old may still be on its way.
    TimeWait = 6,
    /// Nothing is left.
    Closed = 7,
    /// The peer sent FIN; we may still send.
    CloseWait = 8,
    /// The peer sent FIN first; then ours was sent and is not acknowledged.
    LastAck = 9,
    /// Waiting for SYNs.
    Listen = 10,
    /// Both FINs crossed; ours is not acknowledged.
    Closing = 11,
}

impl State {
    /// Whether both initial sequence numbers are known to both ends.
    #[inline]
    pub const fn is_synchronised(self) -> bool {
        !matches!(
            self,
            Self::Closed | Self::Listen | Self::SynSent | Self::SynReceived
        )
    }

    /// Whether the application may still add data to send.
    #[inline]
    pub const fn may_send(self) -> bool {
        matches!(
            self,
            Self::Established | Self::CloseWait | Self::SynSent | Self::SynReceived
        )
    }

    /// Whether data may go out on the wire: also what was queued before the FIN.
    #[inline]
    pub const fn transmits(self) -> bool {
        matches!(
            self,
            Self::Established | Self::CloseWait | Self::FinWait1 | Self::Closing | Self::LastAck
        )
    }

    /// Whether the peer may still send data.
    #[inline]
    pub const fn may_receive(self) -> bool {
        matches!(
            self,
            Self::Established | Self::FinWait1 | Self::FinWait2 | Self::SynSent | Self::SynReceived
        )
    }

    /// The name in RFC 9293.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "CLOSED",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
