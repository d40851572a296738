//! The services of a stack: which port is what, and what is done on it.

mod chargen;
mod datagrams;
mod daytime;
mod http;
mod pages;

use std::cell::Cell;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use zcn::{
    Address, Buf, Conn, Handler, Net, ServerOptions, SharedBuf, TcpServer, UdpOptions, UdpServer,
};

use crate::failure::Failure;
use chargen::Characters;
use datagrams::Answers;
use http::Http;
use pages::Pages;

/// Peers that vanish must not hold connections for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);

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

/// What all services have in common.
#[derive(Default)]
struct Shared {
    pages: Pages,
    characters: Characters,
    tally: Cell<Tally>,
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        change(&mut tally);
        self.tally.set(tally);
    }
}

/// All services on all addresses of one net. They run for as long as its runtime.
pub(super) struct Services {
    shared: Rc<Shared>,
}

impl Services {
    /// Listens on every port.
    pub(super) fn start(net: &Net) -> Result<Self, Failure> {
        let shared = Rc::new(Shared::default());
        for (service, port) in Service::ALL {
            // `::` takes IPv4, too.
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let failed = |error: zcn::Error| {
                Failure::new(format!("cannot serve on port {port}")).because(error)
            };
            let mut options = ServerOptions::default();
            options.listen.keepalive = Some(KEEPALIVE);
            let connections = Connections {
                service,
                shared: shared.clone(),
            };
            TcpServer::bind_on(net, address, options, connections).map_err(failed)?;
            if service != Service::Http {
                let answers = Answers::new(service, shared.clone());
                UdpServer::bind_on(net, address, &UdpOptions::default(), answers)
                    .map_err(failed)?;
            }
        }
        Ok(Self { shared })
    }

    /// What was served so far.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally.get()
    }
}

/// The connections of one service.
struct Connections {
    service: Service,
    shared: Rc<Shared>,
}

impl Handler for Connections {
    /// Only the web server keeps something.
    type State = Option<Box<Http>>;

    fn on_accept(&mut self, conn: &mut Conn<'_>, _: &Address) -> Option<Self::State> {
        self.shared.count(|tally| tally.connections += 1);
        match self.service {
            Service::Echo | Service::Discard => {}
            Service::Daytime => {
                let line = daytime::line(SystemTime::now());
                // A new connection has room for a line.
                let _ = conn.send(SharedBuf::from(Bytes::from(line)));
                conn.close();
            }
            Service::Chargen => self.shared.characters.fill(conn),
            Service::Http => return Some(Some(Box::default())),
        }
        Some(None)
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, data: Buf) {
        match (self.service, state) {
            (Service::Echo, _) => {
                // Receiving pauses while the queue is full; a connection that is closed says so.
                let _ = conn.send(data);
            }
            (_, Some(http)) => {
                http.read(&data);
                self.serve(conn, http);
            }
            _ => {}
        }
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        match (self.service, state) {
            (Service::Chargen, _) => self.shared.characters.fill(conn),
            (_, Some(http)) => self.serve(conn, http),
            _ => {}
        }
    }

    fn on_end(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        match (self.service, state) {
            // That the peer sends no more does not end what it is sent.
            (Service::Chargen, _) => {}
            (_, Some(http)) => {
                http.end();
                self.serve(conn, http);
            }
            _ => conn.close(),
        }
    }
}

impl Connections {
    fn serve(&self, conn: &mut Conn<'_>, http: &mut Http) {
        let requests = http.serve(conn, &self.shared.pages);
        self.shared.count(|tally| tally.requests += requests);
    }
}
