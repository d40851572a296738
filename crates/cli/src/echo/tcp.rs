//! Echo over TCP and Unix streams, on the callback server.

use zcn::{Address, Buf, Conn, Handler, Runtime, ServerOptions, TcpServer};

use super::door::Door;
use super::ledger::{Counter, count};

/// Sends back what comes. The state of a connection is empty: everything is
/// in the loaned buffers.
struct Echo {
    counter: Counter,
}

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        count(&self.counter, data.len());
        // Receiving pauses while the queue is full, so that only a connection
        // that is closing refuses; its buffer goes home by being dropped.
        if conn.send(data).is_err() {
            conn.abort();
        }
    }
}

/// Listens on the runtime of one loop.
pub(super) fn serve(
    runtime: &Runtime,
    door: &Door<Address>,
    counter: Counter,
) -> zcn::Result<TcpServer> {
    let (options, handler) = (ServerOptions::default(), Echo { counter });
    match door {
        Door::Alone(address) => TcpServer::bind(runtime, address.clone(), options, handler),
        Door::Shared(group) => group.serve(runtime, options, handler),
    }
}
