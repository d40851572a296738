//! Echo over TCP and Unix streams, on the callback server.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use zcn::{Address, Buf, Conn, Handler, ServerOptions, TcpServer};

use super::EchoArgs;
use super::worker::{News, Report};
use crate::failure::Failure;
use crate::reactor;

/// How long connections may take to finish after the signal.
const DRAIN: Duration = Duration::from_secs(5);

/// What was echoed so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    receives: u64,
    bytes: u64,
}

/// Sends back what comes. The state of a connection is empty: everything is
/// in the loaned buffers.
struct Echo {
    counts: Rc<Cell<Counts>>,
}

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        let mut counts = self.counts.get();
        counts.receives += 1;
        counts.bytes += data.len() as u64;
        self.counts.set(counts);
        // Receiving pauses while the queue is full, so that only a connection
        // that is closing refuses; its buffer goes home by being dropped.
        if conn.send(data).is_err() {
            conn.abort();
        }
    }
}

/// Serves on the calling thread until told to stop, then lets the connections
/// finish.
pub(super) fn serve(
    args: &EchoArgs,
    address: &Address,
    core: Option<usize>,
    tell: &Sender<News>,
) -> Result<Report, Failure> {
    let mut builder = reactor::builder(args.reactor, args.spin);
    if let Some(core) = core {
        builder = builder.cpu(core);
    }
    let mut runtime = builder.build()?;
    let mut options = ServerOptions::default();
    options.listen.reuse_port = args.threads > 1;
    let counts = Rc::new(Cell::new(Counts::default()));
    let handler = Echo {
        counts: counts.clone(),
    };
    let server = TcpServer::bind(&runtime, address.clone(), options, handler)?;
    let listening = News::Listening {
        address: server.local_addr().clone(),
        reactor: runtime.reactor_kind(),
        handle: runtime.handle(),
    };
    // The main thread listens for as long as a worker runs.
    let _ = tell.send(listening);
    runtime.run()?;
    server.shutdown(DRAIN);
    runtime.block_on(server.stopped())?;

    let (served, stats) = (server.stats(), runtime.stats());
    let Counts { receives, bytes } = counts.get();
    let report = Report {
        connections: served.accepted,
        panics: served.panics,
        receives,
        bytes,
        system_calls: stats.reactor.system_calls,
        ..Report::default()
    };
    let pools = [runtime.pool(), runtime.bulk_pool()];
    drop(server);
    drop(runtime);
    Ok(report.with_buffers(&pools))
}
