//! The services over UDP.

use std::time::SystemTime;

use zcn::stack::{Instant, Stack};
use zcn_stack::slab::Id;

use super::chargen::Characters;
use super::{Service, daytime};

/// Ports below are those of services, ours among them: answering one would have two servers
/// talk to each other for ever.
const SERVICES: u16 = 1024;

/// Answers what has come to a socket, and tells how many datagrams that were.
pub(super) fn answer(
    stack: &mut Stack,
    now: Instant,
    socket: Id,
    service: Service,
    characters: &Characters,
) -> u64 {
    let mut count = 0;
    while let Ok(datagram) = stack.udp_recv(socket) {
        count += datagram.count();
        let to = Some(datagram.remote);
        if datagram.remote.port() < SERVICES || service == Service::Discard {
            continue;
        }
        // One that does not leave is lost, as datagrams are.
        let _ = match service {
            Service::Echo => stack.udp_send_buf(now, socket, to, datagram.payload, None),
            Service::Daytime => {
                let line = daytime::line(SystemTime::now());
                stack.udp_send(now, socket, to, line.as_bytes())
            }
            _ => stack.udp_send(now, socket, to, characters.line()),
        };
    }
    count
}
