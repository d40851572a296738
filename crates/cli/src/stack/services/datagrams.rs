//! The services over UDP.

use std::rc::Rc;
use std::time::SystemTime;

use zcn::{Datagram, DatagramHandler, UdpConn};

use super::{Service, Shared, daytime};

/// Ports below are those of services, ours among them: answering one would have two servers
/// talk to each other for ever.
const SERVICES: u16 = 1024;

/// Answers the datagrams of one service.
pub(super) struct Answers {
    service: Service,
    shared: Rc<Shared>,
}

impl Answers {
    pub(super) fn new(service: Service, shared: Rc<Shared>) -> Self {
        Self { service, shared }
    }
}

impl DatagramHandler for Answers {
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
        let count = datagram.segment_count() as u64;
        self.shared.count(|tally| tally.datagrams += count);
        let peer = datagram.peer;
        if peer.port() < SERVICES || self.service == Service::Discard {
            return;
        }
        // One that does not leave is lost, as datagrams are.
        let _ = match self.service {
            Service::Echo => socket.forward(datagram, peer),
            Service::Daytime => {
                let line = daytime::line(SystemTime::now());
                socket.send_copy(line.as_bytes(), peer)
            }
            _ => socket.send_copy(self.shared.characters.line(), peer),
        };
    }
}
