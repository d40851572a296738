//! Echo of datagrams, on the UDP server.

use std::net::SocketAddr;

use zcn::{Datagram, DatagramHandler, Runtime, UdpConn, UdpOptions, UdpServer};

use super::door::Door;
use super::ledger::{Counter, count};

/// Datagrams that may be in our hands.
const BUFFERS: usize = 256;

/// Socket buffers, so that a burst is not lost; the kernel caps them.
const SOCKET_BYTES: usize = 4 << 20;

struct Echo {
    counter: Counter,
}

impl DatagramHandler for Echo {
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
        let (peer, bytes) = (datagram.peer, datagram.data.len());
        // A cut datagram would come back wrong, and a refused one is lost, as
        // datagrams may be.
        if !datagram.truncated && socket.forward(datagram, peer).is_ok() {
            count(&self.counter, bytes);
        }
    }
}

/// Listens on the runtime of one loop. What is queued at its end still
/// leaves: the runtime sees to that.
pub(super) fn serve(
    runtime: &Runtime,
    door: &Door<SocketAddr>,
    counter: Counter,
) -> zcn::Result<UdpServer> {
    let mut options = UdpOptions::default();
    options.buffers = BUFFERS;
    options.receive_buffer = Some(SOCKET_BYTES);
    options.send_buffer = Some(SOCKET_BYTES);
    let handler = Echo { counter };
    match door {
        Door::Alone(address) => UdpServer::bind(runtime, *address, &options, handler),
        Door::Shared(group) => group.serve_udp(runtime, options, handler),
    }
}
