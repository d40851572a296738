//! zcn's own servers, as they take part in the contests.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zcn::{
    Address, Buf, Conn, Datagram, DatagramHandler, Handler, ReactorKind, Runtime, ServerOptions,
    Sleep, TcpServer, UdpConn, UdpOptions, UdpServer,
};
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

/// UDP echo on zcn, on every reactor, and on the ring with what it can add to a load of single
/// datagrams: sending those that belong together as segments of one message.
pub fn udp_servers() -> impl Iterator<Item = Server> {
    [
        (URING, ReactorKind::Uring, false),
        (EPOLL, ReactorKind::Epoll, false),
        ("zcn-uring-coalesce", ReactorKind::Uring, true),
    ]
    .into_iter()
    .map(|(name, reactor, coalesce)| {
        Server::new(name, move |seat| serve_udp(seat, reactor, coalesce))
    })
}

/// Time between two readings of the runtime's statistics.
const READ_EVERY: Duration = Duration::from_millis(20);

fn serve(seat: &Seat, reactor: ReactorKind) -> Result<()> {
    let runtime = runtime(seat, reactor)?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server =
        TcpServer::bind(&runtime, any_port, ServerOptions::default(), Echo).map_err(failed)?;
    seat.ready(match server.local_addr() {
        Address::Ip(address) => *address,
        other => return Err(Error::Options(format!("bound to {other:?}"))),
    });
    run(seat, runtime)
}

/// Room for one Ethernet frame, as the peer has it.
const DATAGRAM_BYTES: usize = 1500;
/// Buffers for datagrams of one frame, and for super-packets.
const DATAGRAMS: usize = 256;
const SUPER_PACKETS: usize = 32;
/// Socket buffers, so that a whole window of the load fits.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

fn serve_udp(seat: &Seat, reactor: ReactorKind, coalesce: bool) -> Result<()> {
    let runtime = runtime(seat, reactor)?;
    let mut options = UdpOptions::default();
    options.receive_buffer = Some(SOCKET_BYTES);
    options.send_buffer = Some(SOCKET_BYTES);
    options.gro = seat.options().udp_segment.is_some();
    options.coalesce = coalesce;
    options.max_datagram = DATAGRAM_BYTES;
    options.buffers = match options.gro {
        true => SUPER_PACKETS,
        false => DATAGRAMS,
    };
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = UdpServer::bind(&runtime, any_port, &options, EchoDatagrams).map_err(failed)?;
    seat.ready(server.local_addr());
    run(seat, runtime)
}

struct EchoDatagrams;

impl DatagramHandler for EchoDatagrams {
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
        let peer = datagram.peer;
        // The queue has room for all buffers there are.
        let _ = socket.forward(datagram, peer);
    }
}

fn runtime(seat: &Seat, reactor: ReactorKind) -> Result<Runtime> {
    Runtime::builder()
        .reactor(reactor)
        .sleep(seat.options().spin.map_or(Sleep::Block, Sleep::Spin))
        .build()
        .map_err(failed)
}

/// Runs until the seat says stop, and keeps its meter.
fn run(seat: &Seat, mut runtime: Runtime) -> Result<()> {
    let handle = runtime.handle();
    seat.on_stop(move || handle.stop());
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
