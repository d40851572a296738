//! The services of a stack: which port is what, and whose event goes where.

mod chargen;
mod datagrams;
mod daytime;
mod echo;
mod http;
mod pages;
mod stream;

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use zcn::stack::{Event, Instant, SocketId, Stack, StackHandler, StackLoop};
use zcn_stack::demux::Binding;
use zcn_stack::slab::Id;
use zcn_stack::tcp::SocketOptions;

use crate::failure::Failure;
use datagrams::answer;
use pages::Pages;
use stream::{Stream, Waiting};

/// Connections that wait to be accepted, for each port.
const BACKLOG: usize = 1024;

/// What is served on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// RFC 862.
    Echo,
    /// RFC 863.
    Discard,
    /// RFC 867.
    Daytime,
    /// RFC 864.
    Chargen,
    /// HTTP/1.1 (RFC 9112).
    Http,
}

impl Service {
    const ALL: [(Self, u16); 5] = [
        (Self::Echo, 7),
        (Self::Discard, 9),
        (Self::Daytime, 13),
        (Self::Chargen, 19),
        (Self::Http, 80),
    ];
}

/// What was served.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) connections: u64,
    pub(super) datagrams: u64,
    pub(super) requests: u64,
}

/// A connection and what is being done on it.
enum Connection {
    Echo(echo::Echo),
    Discard,
    Daytime(daytime::Daytime),
    Chargen(chargen::Chargen),
    Http(Box<http::Http>),
}

/// All services on all addresses of one stack.
pub(super) struct Services {
    listeners: HashMap<Id, Service>,
    datagrams: HashMap<Id, Service>,
    connections: HashMap<Id, Connection>,
    pages: Pages,
    characters: chargen::Characters,
    tally: Tally,
}

impl Services {
    /// Listens on every port.
    pub(super) fn start(stack: &mut StackLoop) -> Result<Self, Failure> {
        let mut services = Self {
            listeners: HashMap::new(),
            datagrams: HashMap::new(),
            connections: HashMap::new(),
            pages: Pages::default(),
            characters: chargen::Characters::default(),
            tally: Tally::default(),
        };
        // Peers that vanish must not hold connections for ever.
        let mut options = SocketOptions::default();
        options.keepalive = true;
        options.keepalive_idle = Duration::from_secs(60);
        options.keepalive_interval = Duration::from_secs(10);
        let stack = stack.stack();
        for (service, port) in Service::ALL {
            // `::` takes IPv4, too.
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let listener = stack
                .tcp_listen(address, BACKLOG, options.clone())
                .map_err(|error| {
                    Failure::new(format!("cannot listen on port {port}")).because(error)
                })?;
            services.listeners.insert(listener, service);
            if service != Service::Http {
                let socket = stack.udp_bind(Binding::new(address)).map_err(|error| {
                    Failure::new(format!("cannot bind UDP port {port}")).because(error)
                })?;
                services.datagrams.insert(socket, service);
            }
        }
        Ok(services)
    }

    /// What was served so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    fn accept(&mut self, stack: &mut Stack, now: Instant, listener: Id) {
        let Some(&service) = self.listeners.get(&listener) else {
            return;
        };
        while let Ok((id, _)) = stack.tcp_accept(now, listener) {
            self.tally.connections += 1;
            let connection = match service {
                Service::Echo => Connection::Echo(echo::Echo::default()),
                Service::Discard => Connection::Discard,
                Service::Daytime => Connection::Daytime(daytime::Daytime::now()),
                Service::Chargen => Connection::Chargen(chargen::Chargen::default()),
                Service::Http => Connection::Http(Box::default()),
            };
            self.connections.insert(id, connection);
            // What came with the handshake was told to nobody.
            self.drive(stack, now, id);
        }
    }

    fn drive(&mut self, stack: &mut Stack, now: Instant, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut stream = Stream { stack, now, id };
        let waiting = match connection {
            Connection::Echo(echo) => echo.drive(&mut stream),
            Connection::Discard => stream.discard(),
            Connection::Daytime(daytime) => daytime.drive(&mut stream),
            Connection::Chargen(chargen) => chargen.drive(&mut stream, &self.characters),
            Connection::Http(http) => {
                http.drive(&mut stream, &self.pages, &mut self.tally.requests)
            }
        };
        if waiting == Waiting::Nothing {
            // A connection that is gone already is just as well.
            let _ = stack.tcp_close(now, id);
            self.connections.remove(&id);
        }
    }
}

impl StackHandler for Services {
    fn on_event(&mut self, stack: &mut Stack, now: Instant, event: Event) {
        match event.socket {
            SocketId::TcpListener(id) => self.accept(stack, now, id),
            SocketId::Tcp(id) => self.drive(stack, now, id),
            SocketId::Udp(id) => {
                if let Some(&service) = self.datagrams.get(&id) {
                    self.tally.datagrams += answer(stack, now, id, service, &self.characters);
                }
            }
            SocketId::Echo(_) => {}
        }
    }
}
