//! zcn's own servers, as they take part in the contests.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zcn::{Address, Buf, Conn, Handler, ReactorKind, Runtime, ServerOptions, Sleep, TcpServer};
use zcn_measure::error::{Error, Result};
use zcn_measure::server::{Seat, Server};

/// Name of zcn on io_uring: the row that targets are about.
pub const URING: &str = "zcn-uring";
/// Name of zcn on epoll.
const EPOLL: &str = "zcn-epoll";

/// TCP echo on zcn, on every reactor.
pub fn tcp_servers() -> impl Iterator<Item = Server> {
    [(URING, ReactorKind::Uring), (EPOLL, ReactorKind::Epoll)]
        .into_iter()
        .map(|(name, reactor)| Server::new(name, move |seat| serve(seat, reactor)))
}

/// UDP echo on zcn.
pub fn udp_servers() -> impl Iterator<Item = Server> {
    // Plug in here once `zcn::UdpSocket` exists.
    std::iter::empty()
}

/// Time between two readings of the runtime's statistics.
const READ_EVERY: Duration = Duration::from_millis(20);

fn serve(seat: &Seat, reactor: ReactorKind) -> Result<()> {
    let mut runtime = Runtime::builder()
        .reactor(reactor)
        .sleep(seat.options().spin.map_or(Sleep::Block, Sleep::Spin))
        .build()
        .map_err(failed)?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server =
        TcpServer::bind(&runtime, any_port, ServerOptions::default(), Echo).map_err(failed)?;
    let handle = runtime.handle();
    seat.on_stop(move || handle.stop());
    seat.ready(match server.local_addr() {
        Address::Ip(address) => *address,
        other => return Err(Error::Options(format!("bound to {other:?}"))),
    });
    let reading = async {
        while !seat.stopped() {
            zcn::sleep(READ_EVERY).await;
            if let Some(stats) = zcn::stats() {
                seat.meter().set_syscalls(stats.reactor.system_calls);
            }
        }
    };
    // `Handle::stop` ends it early, which is no failure here.
    let stopped = runtime.block_on(reading);
    if !seat.stopped() {
        stopped.map_err(failed)?;
    }
    seat.meter()
        .set_syscalls(runtime.stats().reactor.system_calls);
    Ok(())
}

fn failed(error: zcn::Error) -> Error {
    Error::Options(error.to_string())
}

struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        // Never refused for long: receiving pauses while the queue is full.
        let _ = conn.send(data);
    }
}
