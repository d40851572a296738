//! Who has which link address: the neighbour cache of an interface (RFC 4861 section 7.3),
//! for ARP and NDP alike.
//!
//! The cache knows addresses and time; `arp.rs` and `ndp.rs` translate messages.

mod cache;
mod state;

pub(crate) use cache::{NeighbourCache, Resolution, Timeout};
pub(crate) use state::Advertisement;
pub use state::NeighbourState;

use core::time::Duration;

/// Settings of the neighbour caches. Defaults are those of RFC 4861 section 10 and of Linux.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NeighbourConfig {
    /// Entries of one interface.
    pub entries: usize,
    /// Packets that wait for one entry; the oldest goes when one more comes. Enough for the
    /// fragments of the largest datagram, as a lost one makes the others useless.
    pub queue: usize,
    /// Packets that wait for all entries of an interface together.
    pub queue_total: usize,
    /// How long a neighbour is held reachable after it was heard; each time between half
    /// and one and a half of it, drawn anew.
    pub reachable_time: Duration,
    /// Between two solicitations.
    pub retransmit: Duration,
    /// How long a stale entry is used before it is probed, so that an upper layer may
    /// confirm it.
    pub delay_first_probe: Duration,
    /// Solicitations to everybody before a neighbour is given up.
    pub multicast_solicits: u8,
    /// Probes to a known address before it is given up.
    pub unicast_solicits: u8,
    /// Solicitations for new neighbours in a second, of one interface.
    pub solicit_rate: u32,
    /// As many at once.
    pub solicit_burst: u32,
    /// How long an entry that was just learned withstands another link address from an
    /// announcement nobody asked for.
    pub lock_time: Duration,
}

impl Default for NeighbourConfig {
    fn default() -> Self {
        Self {
            entries: 1_024,
            queue: 128,
            queue_total: 1_024,
            reachable_time: Duration::from_secs(30),
            retransmit: Duration::from_secs(1),
            delay_first_probe: Duration::from_secs(5),
            multicast_solicits: 3,
            unicast_solicits: 3,
            solicit_rate: 1_000,
            solicit_burst: 256,
            lock_time: Duration::from_secs(1),
        }
    }
}
