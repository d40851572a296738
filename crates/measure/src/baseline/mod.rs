//! Echo servers on plain system calls, as good as they can be made.
//!
//! They are what zcn is held against: a slow baseline would only flatter it.

use crate::server::Server;

mod blocking;
mod epoll;
mod spin_receive;
mod udp;

/// Bytes that one receive may return, in all TCP baselines.
const RECEIVE_BYTES: usize = 64 * 1024;

/// One thread, edge-triggered epoll. Spins with `epoll_wait(0)` when told to spin.
pub fn epoll() -> Server {
    Server::new("epoll", epoll::serve)
}

/// One thread per connection, blocking calls. With one connection this is the plain
/// blocking `recv`/`send` loop. It cannot spin.
pub fn blocking() -> Server {
    Server::new("blocking", blocking::serve)
}

/// A bare loop of non-blocking `recv` and `send` on one connection at a time: the floor
/// of the round trip time. It always spins.
pub fn spin_receive() -> Server {
    Server::new("spin-recv", spin_receive::serve)
}

/// One UDP socket, `recvmmsg` and `sendmmsg` in batches.
pub fn udp() -> Server {
    Server::new("recvmmsg", udp::serve)
}

#[cfg(test)]
mod tests;
