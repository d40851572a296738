//! Where the loops listen.

use std::net::SocketAddr;

use zcn::{Address, ListenGroup};

use super::EchoArgs;
use crate::failure::Failure;

/// An address, for one loop or for several.
#[derive(Debug)]
pub(super) enum Door<A> {
    /// One loop has it for itself, so that a second program on it is refused.
    Alone(A),
    /// The kernel spreads peers over the sockets of all loops.
    Shared(ListenGroup),
}

/// What is served, and where.
#[derive(Debug)]
pub(super) enum Service {
    /// TCP or Unix streams.
    Streams(Door<Address>),
    /// UDP.
    Datagrams(Door<SocketAddr>),
}

impl Service {
    /// The service that the arguments ask for.
    ///
    /// # Errors
    /// A Unix socket with several threads or with UDP.
    pub(super) fn new(args: &EchoArgs) -> Result<Self, Failure> {
        Ok(match (args.listen.ip(), args.udp) {
            (None, false) if args.threads == 1 => Self::Streams(Door::Alone(args.listen.clone())),
            (None, _) => {
                let what = format!(
                    "cannot serve {} with --threads above 1 or --udp",
                    args.listen
                );
                return Err(Failure::new(what).remedy("an IP address, or neither of the two"));
            }
            (Some(ip), false) => Self::Streams(match args.threads {
                1 => Door::Alone(Address::Ip(ip)),
                _ => Door::Shared(ListenGroup::new(ip)),
            }),
            (Some(ip), true) => Self::Datagrams(match args.threads {
                1 => Door::Alone(ip),
                _ => Door::Shared(ListenGroup::new(ip)),
            }),
        })
    }
}
