//! Echo of datagrams, on the UDP server.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use zcn::{Address, Datagram, DatagramHandler, UdpConn, UdpOptions, UdpServer};

use super::EchoArgs;
use super::worker::{News, Report};
use crate::failure::Failure;
use crate::reactor;

/// Datagrams that may be in our hands.
const BUFFERS: usize = 256;

/// Socket buffers, so that a burst is not lost; the kernel caps them.
const SOCKET_BYTES: usize = 4 << 20;

/// How long what is queued may take to leave after the signal.
const DRAIN: Duration = Duration::from_millis(200);

struct Echo {
    bytes: Rc<Cell<u64>>,
}

impl DatagramHandler for Echo {
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
        let (peer, bytes) = (datagram.peer, datagram.data.len() as u64);
        // A cut datagram would come back wrong, and a refused one is lost, as
        // datagrams may be.
        if !datagram.truncated && socket.forward(datagram, peer).is_ok() {
            self.bytes.set(self.bytes.get() + bytes);
        }
    }
}

/// Serves on the calling thread until told to stop.
pub(super) fn serve(
    args: &EchoArgs,
    address: &Address,
    core: Option<usize>,
    tell: &Sender<News>,
) -> Result<Report, Failure> {
    let Address::Ip(address) = *address else {
        return Err(Failure::new("UDP needs an IP address"));
    };
    let mut builder = reactor::builder(args.reactor, args.spin);
    if let Some(core) = core {
        builder = builder.cpu(core);
    }
    let mut runtime = builder.build()?;
    let mut options = UdpOptions::default();
    options.buffers = BUFFERS;
    options.receive_buffer = Some(SOCKET_BYTES);
    options.send_buffer = Some(SOCKET_BYTES);
    options.reuse_port = args.threads > 1;
    let bytes = Rc::new(Cell::new(0));
    let handler = Echo {
        bytes: bytes.clone(),
    };
    let server = UdpServer::bind(&runtime, address, &options, handler)?;
    let listening = News::Listening {
        address: Address::Ip(server.local_addr()),
        reactor: runtime.reactor_kind(),
        handle: runtime.handle(),
    };
    // The main thread listens for as long as a worker runs.
    let _ = tell.send(listening);
    runtime.run()?;
    server.shutdown();
    let end = std::time::Instant::now() + DRAIN;
    while server.pool().stats().in_use > 0 && std::time::Instant::now() < end {
        runtime.run_for(DRAIN / 20)?;
    }

    let (served, stats) = (server.stats(), runtime.stats());
    let report = Report {
        connections: 0,
        panics: server.panics(),
        receives: served.received,
        bytes: bytes.get(),
        system_calls: stats.reactor.system_calls,
        ..Report::default()
    };
    let pools = [runtime.pool(), runtime.bulk_pool(), server.pool().clone()];
    drop(server);
    drop(runtime);
    Ok(report.with_buffers(&pools))
}
