//! What the TCP layer asks the IP layer: the way to a peer.

use core::net::IpAddr;

use crate::error::RouteError;
use crate::id::InterfaceId;
use crate::time::Instant;

/// The way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Our address on it.
    pub local: IpAddr,
    /// The interface that leads there.
    pub interface: InterfaceId,
    /// Largest IP packet, in bytes, as far as known.
    pub mtu: u32,
    /// Initial congestion window that the route prescribes, in segments.
    pub initial_window: Option<u32>,
    /// Largest super-frame, in bytes from the IP header on; not above `mtu` where the link
    /// takes none.
    pub gso_max_size: u32,
}

/// Finds ways to peers. The IP layer implements it.
pub trait Paths {
    /// The way to `remote`, from `local` if that is given.
    ///
    /// # Errors
    /// If there is none.
    fn path(
        &mut self,
        now: Instant,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Result<Path, RouteError>;
}
